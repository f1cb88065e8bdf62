"""Number, mean and squared distances of the voxels of blocks, in one read of a volume."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .compiling import Kernel
from .memory import copy, read, voxels

#: Voxels of a block: its sums lose at most 16 of the 53 bits of float64.
_BLOCK = 2**16
#: Sums that run beside each other, so that LLVM vectorizes the loop over them.
_LANES = 256


@Kernel
def moments_kernel(x, inside, out, shape, start, stop):
    """Sum over blocks ``start`` to ``stop`` of all channels and samples.

    Args:
        x: Memory of the volume, for :func:`.read`.
        inside: 1 for voxels that count, uint8 [B x M x N]; empty if all of them do.
        out: Number, mean and sum of squared distances of each block, float64 [3, blocks].
        shape: Channels C of the volume, channels M of the mask, and voxels N of a channel.
    """
    channels, masks, size = shape
    blocks = (size + _BLOCK - 1) // _BLOCK
    totals, squares = np.empty(_LANES, np.float64), np.empty(_LANES, np.float64)
    for n in range(start, stop):
        volume, first = n // blocks, n % blocks * _BLOCK
        count = min(_BLOCK, size - first)
        base, number, at = np.int64(volume) * size + first, count, 0
        mask = (np.int64(volume // channels) * masks + volume % channels % masks) * size + first
        if len(inside) > 0:
            number = 0
            for i in range(count):
                number += np.int64(copy(inside, mask, i))
            while number > 0 and inside[mask + at] == 0:
                at += 1
        # distances from one of the voxels are exactly 0 where all are equal
        shift = np.float64(read(x, base, at))
        for k in range(_LANES):
            totals[k] = squares[k] = 0
        for i in range(0, count, _LANES):
            lanes = min(_LANES, count - i)
            if len(inside) > 0:
                for k in range(lanes):
                    d = np.float64(read(x, base + i, k)) - shift
                    d = d if copy(inside, mask + i, k) != 0 else 0.0
                    totals[k] += d
                    squares[k] += d * d
            else:
                for k in range(lanes):
                    d = np.float64(read(x, base + i, k)) - shift
                    totals[k] += d
                    squares[k] += d * d
        total, square = totals.sum(), squares.sum()
        some = max(number, 1)
        out[0, n] = number
        out[1, n] = shift + total / some if number > 0 else 0.0
        out[2, n] = square - total * total / some if number > 0 else 0.0


def moments(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return number, mean and sum of squared distances of blocks of voxels, float64 [3, B, blocks].

    Args:
        x: Volume, [B, C, I, J, K].
        mask: Voxels that count, [B, 1 or C, I, J, K] bool; all of them if None.
    """
    x = x.resolve_neg().contiguous()
    flat = torch.empty(0, dtype=torch.uint8) if mask is None else mask.contiguous().view(-1)
    batch, channels, size = len(x), x.shape[1], x[0, 0].numel()
    count = batch * channels * -(-size // _BLOCK)
    out = np.empty((3, count))
    shape = channels, 1 if mask is None else mask.shape[1], size
    moments_kernel(voxels(x), flat.view(torch.uint8).numpy(), out, shape, count=count)
    return torch.from_numpy(out).view(3, batch, -1)
