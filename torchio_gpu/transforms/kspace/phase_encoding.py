"""Phase-encode and readout axes of images, from arguments or at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Context
from ..parameters.axes import check_axis, draw_axis, voxel_axis
from ..parameters.params import value_per_image, values_of


def axes_of(axis: Any, context: Context, argument: str = "axis") -> np.ndarray:
    """Return the axis of each sample and image, [B, M], from an argument of that name."""
    pairs = zip(value_per_image(axis, argument, context.names), context.spaces, strict=True)
    return np.stack([voxel_axis(value, space, argument) for value, space in pairs], 1)


def check_phase_encoding(axis: Any, argument: str = "axis") -> Any:
    """Return the argument of that name for an axis, or raise a ValueError."""
    for value in values_of(axis):
        check_axis(value, argument)
    return axis


def draw_axes(axes: tuple[int | str, ...], u: np.ndarray, context: Context) -> np.ndarray:
    """Choose one of some axes for each sample and image, [B, M], by uniform numbers [B, M]."""
    columns = zip(u.T, context.spaces, strict=True)
    return np.stack([draw_axis(axes, column, space) for column, space in columns], 1)
