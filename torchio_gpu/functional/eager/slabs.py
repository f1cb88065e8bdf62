"""Working through a volume slab by slab, where that keeps intermediate results in a cache.

On a CPU, memory is the bottleneck: several passes over a slab of some rows along I cost little more
than one over the whole volume. A GPU wants the whole volume at once, and so does ``meta``.
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


def slab_rows(rows: int, voxels_per_row: int, device: torch.device) -> int:
    """How many of ``rows`` rows to take at a time."""
    return max(1, VOXELS // voxels_per_row) if device.type == "cpu" else rows


#: Samples, and the order of the axes in which their volumes are worked through.
Turned = Sequence[tuple[Any, Sequence[int]]]
AS_THEY_ARE: Turned = ((slice(None), (0, 1, 2)),)


def turn(x: Tensor, order: Sequence[int]) -> Tensor:
    """A volume with its axes in another order."""
    return x.permute(0, 1, *(2 + axis for axis in order))


def join(slabs: Iterator[Tensor], rows: int, turned: Turned = AS_THEY_ARE) -> Tensor:
    """Slabs [B, C, some of I, J, K] put together to a volume of ``rows`` rows.

    Each is put in its place as soon as it is made, so that its memory serves the next one; only
    where a gradient is wanted are they all kept.

    Args:
        slabs: Parts along dimension 2, in order.
        rows: How many rows they have together.
        turned: Which axes of the volume the three of the slabs are, for all samples or for some
            and the others; the volume returned has them in their own order again.
    """
    part = next(slabs)
    if part.shape[2] == rows and turned is AS_THEY_ARE:
        return part.contiguous()
    if part.shape[2] == rows or part.requires_grad:
        slabs = iter([part if part.shape[2] == rows else torch.cat([part, *slabs], 2)])
        part = next(slabs)
        if len(turned) == 1:
            return turn(part, [turned[0][1].index(axis) for axis in range(3)]).contiguous()
    size = (rows, *part.shape[3:])
    natural = [size[turned[0][1].index(axis)] for axis in range(3)]
    out = empty((*part.shape[:2], *natural), part.dtype, part.device)
    first = 0
    for slab in chain([part], slabs):
        for at, order in turned:
            turn(out, order)[at, :, first : first + slab.shape[2]] = slab[at]
        first += slab.shape[2]
    return out


def join_each(slabs: Iterator[Sequence[Tensor]], rows: int) -> list[Tensor]:
    """Join slabs of several volumes, which come together, to volumes of ``rows`` rows.

    Args:
        slabs: Parts of each volume along dimension 2, in order.
        rows: Rows that they have together.
    """
    first = next(slabs)
    if any(part.requires_grad for part in first):
        columns = zip(first, *slabs, strict=True)
        return [torch.cat(column, 2) for column in columns]
    out = [empty((*p.shape[:2], rows, *p.shape[3:]), p.dtype, p.device) for p in first]
    at = 0
    for parts in chain([first], slabs):
        for whole, part in zip(out, parts, strict=True):
            whole[:, :, at : at + part.shape[2]] = part
        at += parts[0].shape[2]
    return out


def last(axis: int) -> tuple[int, int, int]:
    """The three axes with ``axis`` behind the others, which keep their order."""
    one, two = (a for a in range(3) if a != axis)
    return one, two, axis
