"""Arguments that all artefacts of a CT scan have: the axis across planes, and views."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...functional.ct.projection import check_views
from ..base import Context
from ..kinds import VolumeTransform
from ..parameters.axes import check_axis, voxel_axis
from ..parameters.params import value_per_image, values_of


class Scan(VolumeTransform):
    """Artefact that arises in the line integrals of planes. Not for use by itself."""

    def _set_scan(self, axis: Any, views: int) -> None:
        for value in values_of(axis):
            check_axis(value)
        self.axis, self.views = axis, check_views(views)

    def _axes(self, context: Context) -> np.ndarray:
        """Return the axis across the planes of each sample and image, [B, M]."""
        pairs = zip(value_per_image(self.axis, "axis", context.names), context.spaces, strict=True)
        return np.stack([voxel_axis(value, space) for value, space in pairs], 1)


__all__ = ["Scan"]
