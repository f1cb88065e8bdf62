"""Working through a volume slab by slab, where that keeps intermediate results in a cache.

On a CPU, memory is the bottleneck: several passes over a slab of some rows along I cost little more
than one over the whole volume. A GPU wants the whole volume at once, and so does ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

#: Voxels of a slab: a few MB in float32.
VOXELS = 524288


def slab_rows(rows: int, voxels_per_row: int, device: torch.device) -> int:
    """How many of ``rows`` rows to take at a time."""
    return max(1, VOXELS // voxels_per_row) if device.type == "cpu" else rows


def join(slabs: Iterator[Tensor], rows: int, order: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Slabs [B, C, some of I, J, K] put together to a volume of ``rows`` rows.

    Each is put in its place as soon as it is made, so that its memory serves the next one; only
    where a gradient is wanted are they all kept.

    Args:
        slabs: Parts along dimension 2, in order.
        rows: How many rows they have together.
        order: Which axes of the volume the three of the slabs are.
    """
    part = next(slabs)
    natural = [order.index(axis) for axis in range(3)]
    back = (0, 1, *(2 + n for n in natural))
    if part.shape[2] == rows or part.requires_grad:
        whole = part if part.shape[2] == rows else torch.cat([part, *slabs], 2)
        return whole.permute(back).contiguous()
    size = (rows, *part.shape[3:])
    out = torch.empty(
        (*part.shape[:2], *(size[n] for n in natural)), dtype=part.dtype, device=part.device
    )
    view = out.permute(0, 1, *(2 + axis for axis in order))
    first = 0
    for slab in chain([part], slabs):
        view[:, :, first : first + slab.shape[2]] = slab
        first += slab.shape[2]
    return out


def last(axis: int) -> tuple[int, int, int]:
    """The three axes with ``axis`` behind the others, which keep their order."""
    one, two = (a for a in range(3) if a != axis)
    return one, two, axis
