"""Axes that the planes of CT images are stacked along, from arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Context
from ..parameters.axes import check_axis, voxel_axis
from ..parameters.params import value_per_image, values_of


def check_plane_axis(axis: Any) -> Any:
    """Return an argument for the axis across planes, or raise a ValueError."""
    for value in values_of(axis):
        check_axis(value)
    return axis


def plane_axes(axis: Any, context: Context) -> np.ndarray:
    """Return the voxel axis across planes of each sample and image, [B, M], from an argument."""
    pairs = zip(value_per_image(axis, "axis", context.names), context.spaces, strict=True)
    return np.stack([voxel_axis(value, space) for value, space in pairs], 1)


__all__ = ["check_plane_axis", "plane_axes"]
