"""Phase-encode axes of images, given or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...data import ImagesBatch
from ..base import Scene
from ..parameters.axes import check_axis, draw_axis, voxel_axis
from ..parameters.params import by_name, values_of

Images = Mapping[str, ImagesBatch]


def _axes_of(axis: Any, scene: Scene) -> np.ndarray:
    """The phase-encode axis that was given, for each sample and image: [B, M]."""
    pairs = zip(by_name(axis, "axis", scene.names), scene.spaces, strict=True)
    return np.stack([voxel_axis(value, space) for value, space in pairs], 1)


def _check_axis(axis: Any) -> Any:
    for value in values_of(axis):
        check_axis(value)
    return axis


def _drawn_axes(axes: tuple[int | str, ...], u: np.ndarray, scene: Scene) -> np.ndarray:
    """One of some axes for each sample and image, [B, M], from uniform numbers [B, M]."""
    columns = zip(u.T, scene.spaces, strict=True)
    return np.stack([draw_axis(axes, column, space) for column, space in columns], 1)
