"""Slabs of planes along I, which keep intermediate results in the CPU cache.

On a CPU, memory bandwidth is the bottleneck: several passes over a slab cost little more than one
over the whole volume. On a GPU and on ``meta``, the whole volume is one slab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ...memory import empty

#: Voxels of a slab: 1 MB in float32.
VOXELS = 262144


def slab_planes(planes: int, voxels_per_plane: int, device: torch.device) -> int:
    """Return how many of ``planes`` planes a slab has."""
    return max(1, VOXELS // voxels_per_plane) if device.type == "cpu" else planes


#: Pairs of samples and the axis order in which their volumes are processed.
AxisOrders = Sequence[tuple[Any, Sequence[int]]]
UNCHANGED: AxisOrders = ((slice(None), (0, 1, 2)),)


def reorder(x: Tensor, order: Sequence[int]) -> Tensor:
    """Permute the voxel axes of a volume."""
    return x.permute(0, 1, *(2 + axis for axis in order))


def join(slabs: Iterator[Tensor], planes: int, orders: AxisOrders = UNCHANGED) -> Tensor:
    """Concatenate slabs [B, C, planes, J, K] to a volume of ``planes`` planes.

    Each is copied to the volume as soon as it is computed, so that its memory serves the next one;
    only where a gradient is required are they all kept.

    Args:
        slabs: Parts along dimension 2, in order.
        planes: Number of planes that they have together.
        orders: Axis order of the slabs, for all samples or for groups of samples; the volume
            returned has the axes in their original order.
    """
    part = next(slabs)
    if part.shape[2] == planes and orders is UNCHANGED:
        return part.contiguous()
    if part.shape[2] == planes or part.requires_grad:
        slabs = iter([part if part.shape[2] == planes else torch.cat([part, *slabs], 2)])
        part = next(slabs)
        if len(orders) == 1:
            return reorder(part, [orders[0][1].index(axis) for axis in range(3)]).contiguous()
    size = (planes, *part.shape[3:])
    natural = [size[orders[0][1].index(axis)] for axis in range(3)]
    out = empty((*part.shape[:2], *natural), part.dtype, part.device)
    first = 0
    for slab in chain([part], slabs):
        for at, order in orders:
            reorder(out, order)[at, :, first : first + slab.shape[2]] = slab[at]
        first += slab.shape[2]
    return out


def join_each(slabs: Iterator[Sequence[Tensor]], planes: int) -> list[Tensor]:
    """Concatenate slabs of several volumes at once, to volumes of ``planes`` planes.

    Args:
        slabs: Parts of each volume along dimension 2, in order.
        planes: Number of planes that they have together.
    """
    first = next(slabs)
    if any(part.requires_grad for part in first):
        columns = zip(first, *slabs, strict=True)
        return [torch.cat(column, 2) for column in columns]
    out = [empty((*p.shape[:2], planes, *p.shape[3:]), p.dtype, p.device) for p in first]
    at = 0
    for parts in chain([first], slabs):
        for whole, part in zip(out, parts, strict=True):
            whole[:, :, at : at + part.shape[2]] = part
        at += parts[0].shape[2]
    return out


def last(axis: int) -> tuple[int, int, int]:
    """Return the axis order with ``axis`` last, and the others in their order."""
    first, second = (a for a in range(3) if a != axis)
    return first, second, axis
