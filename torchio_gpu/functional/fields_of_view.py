"""Fields of view: boxes of the volume that is read, and values for all that lies outside them.

A point is within a box up to half a voxel beyond the outermost voxel centres, as in ITK; there its
coordinates are clamped to these. Everything else is fill, which is selected and never blended, so
that neither a fill nor a voxel that is NaN spreads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

#: A coordinate c along an axis of n voxels is within for -0.5 <= c + TIE < n - 0.5, in voxels: one
#: that lies on an end, however it is rounded, belongs to the voxel that begins there, as one
#: halfway between two voxels does when the nearest is taken.
TIE = 1e-4


class FieldOfView(NamedTuple):
    """Box in a volume, and the value of what is read from outside it.

    Args:
        low, high: Ends along I, J, K in voxels, [B, 3] on the host. A volume of n voxels reaches
            from -0.5 to n - 0.5.
        fill: Value outside: a number, or [B, C].
    """

    low: np.ndarray
    high: np.ndarray
    fill: float | Tensor

    @staticmethod
    def whole(size: Sequence[int], batch: int, fill: float | Tensor) -> FieldOfView:
        """Return the field of view that is all of a volume of a size."""
        low = np.full((batch, 3), -0.5)
        return FieldOfView(low, low + np.array(size), fill)

    def rows(self, rows: Sequence[int]) -> FieldOfView:
        """Return the fields of view of some samples."""
        fill = self.fill[list(rows)] if isinstance(self.fill, Tensor) else self.fill
        return FieldOfView(self.low[list(rows)], self.high[list(rows)], fill)
