"""Cutout of volumes (B, C, I, J, K): boxes that are filled."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, host, on_host
from ..shapes import LONGEST, Volume, check_volume, spatial_shape, with_voxel_axes
from .compiled import traceable
from .dispatch.arguments import check_real, per_item, real
from .dispatch.launch import packed, to_device

__all__ = ["RULES", "check_boxes", "check_fill", "cutout", "in_boxes"]

#: Fills that are statistics of the channel.
RULES = ("minimum", "maximum", "mean")


@traceable
def cutout(x: Volume, first: Array, size: Array, fill: float | str | Array = 0.0) -> Volume:
    """Fill boxes: DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552.

    Args:
        x: Volume, (B, C, I, J, K), of any dtype.
        first: First voxel of N boxes, (N, 3) or (B, N, 3), whole numbers; it may lie outside.
        size: Voxels of each box along I, J, K, shaped likewise; 0 is no box. What lies outside the
            volume is cut off.
        fill: Value in the boxes: a number, one per sample (B), or per channel (B, C), in the
            image's own units; or 'minimum', 'maximum' or 'mean' of the voxels of the channel.

    Returns:
        Volume of the same dtype, for which values are rounded if it is of integers. The gradient
        reaches the fill and the voxels outside the boxes.

    Raises:
        ValueError: A shape is not as above, a size is negative, an integer type cannot hold the
            fill, or the minimum or maximum of a complex volume is asked for.

    >>> cutout(torch.arange(6).view(1, 1, 1, 1, 6), [(0, 0, 2)], [(1, 1, 3)], fill=9).flatten()
    tensor([0, 1, 9, 9, 9, 5])
    """
    check_volume(x)
    corner, sides = check_boxes(first, size)
    for boxes, name in ((corner, "first"), (sides, "size")):
        if len(boxes) not in (1, len(x)):
            raise ValueError(f"{name} must be (N, 3) or ({len(x)}, N, 3), got {boxes.shape}")
    check_fill(fill)
    value = _statistic(x, fill) if isinstance(fill, str) else _given(x, fill)  # [1 or B, 1 or C]
    if not (x.is_floating_point() or x.is_complex()):
        value = value.round()
    return torch.where(in_boxes(x, corner, sides), with_voxel_axes(value.to(x.dtype)), x)


def in_boxes(x: Volume, first: np.ndarray, size: np.ndarray) -> Tensor:
    """Return the mask of voxels in any box, [1 or B, 1, I, J, K], from boxes [1 or B, N, 3]."""
    # one bit of a byte for each box: eight boxes take no more memory than one mask
    groups = [slice(start, start + 8) for start in range(0, max(first.shape[1], 1), 8)]
    bits = [
        _bits(n, first[:, group, axis], size[:, group, axis])
        for group in groups
        for axis, n in enumerate(spatial_shape(x))
    ]
    moved = iter(packed(x.device, bits))
    masks = []
    for _ in groups:
        i, j, k = next(moved), next(moved), next(moved)
        planes = j[:, None, None, :, None] & k[:, None, None, None, :]
        masks.append((i[:, None, :, None, None] & planes) != 0)
    return reduce(torch.bitwise_or, masks)


def _bits(n: int, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the intervals that hold each of n places, [1 or B, n] uint8: bit m for the m-th."""
    place = np.arange(n) - first[..., None]  # [1 or B, up to 8, n]
    inside = (place >= 0) & (place < size[..., None])
    weight = 2 ** np.arange(first.shape[1])
    return (inside * weight[:, None]).sum(1).astype(np.uint8)


def _statistic(x: Volume, rule: str) -> Tensor:
    """Return minimum, maximum or mean of each channel, [B, C]."""
    if rule == "mean":
        return (x if x.is_complex() else real(x)).mean((2, 3, 4))
    check_real(x)
    return x.amin((2, 3, 4)) if rule == "minimum" else x.amax((2, 3, 4))


def _given(x: Volume, fill: float | Array) -> Tensor:
    """Return given fills on the device, [1 or B, 1 or C] float64."""
    batch, channels = x.shape[:2]
    array = as_array(fill, "fill")
    by_channel = array.ndim == 2
    if by_channel and array.shape[1] not in (1, channels):
        raise ValueError(
            f"fill must hold one value per sample [{batch}] or per channel [{batch}, {channels}], "
            f"got {list(array.shape)}"
        )
    value = per_item(array, x, "fill", tuple(array.shape[1:]))
    if not (x.is_floating_point() or x.is_complex()) and on_host(value):
        limits = torch.iinfo(torch.uint8 if x.dtype == torch.bool else x.dtype)
        low, high = (0, 1) if x.dtype == torch.bool else (limits.min, limits.max)
        if not ((host(value) >= low) & (host(value) <= high)).all():
            raise ValueError(
                f"fill must be from {low} to {high} for voxels of {x.dtype}, got {fill!r}"
            )
    (moved,) = to_device(x.device, value)
    return moved if by_channel else moved[:, None]


def check_boxes(first: Any, size: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return first voxels and sizes of boxes, [1 or B, N, 3]; raise if they are invalid."""
    arrays = []
    for value, name in ((first, "first"), (size, "size")):
        array = host(as_array(value, name)).astype(np.float64)
        array = array[None] if array.ndim == 2 else array
        whole = np.abs(array) <= LONGEST
        if array.ndim != 3 or array.shape[-1] != 3 or not (whole & (array % 1 == 0)).all():
            raise ValueError(
                f"{name} must be whole numbers, (N, 3) or (B, N, 3), up to {LONGEST}, got {value!r}"
            )
        arrays.append(array)
    corner, sides = arrays
    if corner.shape[1] != sides.shape[1]:
        raise ValueError(
            f"size must hold one for each of the {corner.shape[1]} boxes, got {sides.shape[1]}"
        )
    if (sides < 0).any():
        raise ValueError(f"size must be >= 0, got {size!r}")
    return corner, sides


def check_fill(fill: Any) -> None:
    """Raise if a fill is a word that is no rule."""
    if isinstance(fill, str) and fill not in RULES:
        raise ValueError(f"fill must be numbers or one of {', '.join(RULES)}, got {fill!r}")
