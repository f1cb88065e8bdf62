"""Working through a volume slab by slab, where that keeps intermediate results in a cache.

On a CPU, memory is the bottleneck: several passes over a slab of some rows along I cost little more
than one over the whole volume. A GPU wants the whole volume at once, and so does ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

#: Voxels of a slab: a few MB in float32.
VOXELS = 524288


def slab_rows(rows: int, voxels_per_row: int, device: torch.device) -> int:
    """How many of ``rows`` rows to take at a time."""
    return max(1, VOXELS // voxels_per_row) if device.type == "cpu" else rows


def join(slabs: Iterator[Tensor], rows: int) -> Tensor:
    """Slabs [B, C, some of I, J, K] put together to a volume of ``rows`` rows.

    Each is put in its place as soon as it is made, so that its memory serves the next one; only
    where a gradient is wanted are they all kept.
    """
    part = next(slabs)
    if part.shape[2] == rows:
        return part
    if part.requires_grad:
        return torch.cat([part, *slabs], 2)
    batch, channels, _, *plane = part.shape
    out = torch.empty((batch, channels, rows, *plane), dtype=part.dtype, device=part.device)
    first = 0
    for slab in chain([part], slabs):
        out[:, :, first : first + slab.shape[2]] = slab
        first += slab.shape[2]
    return out
