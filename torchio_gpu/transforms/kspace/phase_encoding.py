"""Phase-encode axes of images, given or drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Context
from ..parameters.axes import check_axis, draw_axis, voxel_axis
from ..parameters.params import by_name, values_of


def axes_of(axis: Any, context: Context) -> np.ndarray:
    """The phase-encode axis that was given, for each sample and image: [B, M]."""
    pairs = zip(by_name(axis, "axis", context.names), context.spaces, strict=True)
    return np.stack([voxel_axis(value, space) for value, space in pairs], 1)


def check_axes_given(axis: Any) -> Any:
    for value in values_of(axis):
        check_axis(value)
    return axis


def drawn_axes(axes: tuple[int | str, ...], u: np.ndarray, context: Context) -> np.ndarray:
    """One of some axes for each sample and image, [B, M], from uniform numbers [B, M]."""
    columns = zip(u.T, context.spaces, strict=True)
    return np.stack([draw_axis(axes, column, space) for column, space in columns], 1)
