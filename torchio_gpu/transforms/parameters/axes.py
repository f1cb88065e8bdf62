"""Axes of transforms: voxel axes, or anatomical names, resolved by each sample's orientation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from ... import geometry
from ...geometry import Space
from ...shapes import rectangular
from .types import AxisLike

Axes = tuple[int | str, ...]


def check_axes(axes: Any) -> Axes:
    """Return one or several axes as a tuple of 0, 1, 2 and anatomical names."""
    if isinstance(axes, (np.ndarray, Tensor, np.integer)):
        axes = axes.tolist()
    found = (axes,) if isinstance(axes, (int, str)) else axes
    found = tuple(found) if isinstance(found, Iterable) else ()
    if not found:
        raise ValueError(f"axes must be 0, 1, 2 or anatomical names such as 'LR', got {axes!r}")
    for axis in found:
        if isinstance(axis, str):
            geometry.check_axis_name(axis)
        else:
            geometry.check_axis(axis)
    return found


def check_axis(axis: Any, argument: str = "axis") -> Any:
    """Return an axis: 0, 1, 2 or an anatomical name, or one of 0, 1, 2 for each sample.

    Args:
        axis: Value of an argument.
        argument: Its name, for errors.
    """
    if isinstance(axis, str):
        return geometry.check_axis_name(axis, argument)
    each = rectangular(axis, argument)
    if (
        each.ndim > 1
        or not np.issubdtype(each.dtype, np.integer)
        or not np.isin(each, (0, 1, 2)).all()
    ):
        raise ValueError(
            f"{argument} must be 0, 1, 2, an anatomical name such as 'LR', or one of 0, 1, 2 "
            f"for each sample, got {axis!r}"
        )
    return axis


def voxel_axis(axis: AxisLike, space: Space, argument: str = "axis") -> np.ndarray:
    """Return the voxel axis of each sample, [B], from one axis for all or one for each.

    Args:
        axis: Value of an argument.
        space: Space of the samples.
        argument: Its name, for errors.
    """
    batch = len(space.affine)
    if isinstance(axis, str):
        return geometry.axis_indices(axis, space.affine)
    found = np.asarray(axis)
    if found.shape not in ((), (1,), (batch,)):
        raise ValueError(f"{argument} must be one, or one per sample [{batch}], got {axis!r}")
    return np.broadcast_to(found, batch)


def axis_mask(axes: Axes, space: Space) -> np.ndarray:
    """Return a mask of the voxel axes of each sample, [B, 3] bool."""
    mask = np.zeros((len(space.affine), 3), dtype=bool)
    for axis in axes:
        if isinstance(axis, int):
            mask[:, axis] = True
        else:
            mask[range(len(mask)), voxel_axis(axis, space)] = True
    return mask


def draw_axis(axes: Axes, u: np.ndarray, space: Space) -> np.ndarray:
    """Choose one of some axes for each sample, [B], by uniform numbers [B].

    Axes of a single voxel, along which nothing can change, are not chosen if there are others.
    """
    candidates = np.stack([voxel_axis(axis, space) for axis in axes], 1)  # [B, N]
    usable = np.array(space.shape)[candidates] > 1
    usable |= ~usable.any(1, keepdims=True)
    rank = (u * usable.sum(1)).astype(int)
    position = (usable.cumsum(1) > rank[:, None]).argmax(1)
    return candidates[range(len(u)), position]


__all__ = ["Axes", "axis_mask", "check_axes", "check_axis", "draw_axis", "voxel_axis"]
