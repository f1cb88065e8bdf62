"""Weighted sums of rows of a table: interpolation that is the same in all planes of a volume."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from torch.utils.checkpoint import checkpoint

#: Interpolation weights made at a time: as many as a cache holds on a CPU; on a GPU, where some
#: 20 kernels make them, many more.
_WEIGHTS = 2**18
_WEIGHTS_ON_GPU = 2**23


def centred(count: int, step: float, device: torch.device) -> Tensor:
    """Return equally spaced positions whose mean is 0, in float64."""
    return (torch.arange(count, dtype=torch.float64, device=device) - (count - 1) / 2) * step


def chunks_of(count: int, weights: int, device: torch.device) -> list[slice]:
    """Return slices of so many items, each of which needs so many interpolation weights."""
    most = _WEIGHTS if device.type == "cpu" else _WEIGHTS_ON_GPU
    some = max(1, most // max(1, weights))
    return [slice(first, min(first + some, count)) for first in range(0, count, some)]


def weighted_sums(table: Tensor, taps: Callable[[], tuple[Tensor, Tensor]]) -> Tensor:
    """Return weighted sums of rows of a table, (rows, N).

    Args:
        table: (rows, N).
        taps: Returns the rows of each sum, [sums, T] int32, and their weights. Called again for the
            gradient, so that these are not kept.
    """

    def run(rows: Tensor) -> Tensor:
        index, weights = taps()
        return embedding_bag(index, rows, mode="sum", per_sample_weights=weights)

    if table.requires_grad and torch.is_grad_enabled():
        out: Tensor = checkpoint(run, table, use_reentrant=False, preserve_rng_state=False)
        return out
    return run(table)


__all__ = ["centred", "chunks_of", "weighted_sums"]
