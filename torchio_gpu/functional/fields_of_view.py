"""Fields of view: boxes in the volume that is read, and the fill value outside each of them.

A point is inside a box up to half a voxel beyond the outermost voxel centres, as in ITK; there its
coordinates are clamped to these. Outside is fill, which is selected and never blended, so that
neither a NaN fill nor a NaN voxel spreads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

#: Tolerance, in voxels, of the test whether a coordinate c on an axis of n voxels is inside:
#: -0.5 <= c + TIE < n - 0.5. A coordinate on an end, whichever way it was rounded, then belongs to
#: the voxel that begins there, as a tie between two voxels does in nearest-neighbour interpolation.
TIE = 1e-4


class FieldOfView(NamedTuple):
    """Box in a volume, and the fill value outside it.

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
        """Return the field of view that covers a whole volume of shape ``size``."""
        low = np.full((batch, 3), -0.5)
        return FieldOfView(low, low + np.array(size), fill)

    def select(self, samples: Sequence[int]) -> FieldOfView:
        """Return the field of view of the given samples of the batch."""
        chosen = list(samples)
        fill = self.fill[chosen] if isinstance(self.fill, Tensor) else self.fill
        return FieldOfView(self.low[chosen], self.high[chosen], fill)
