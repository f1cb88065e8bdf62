"""Standard normal numbers of a sample, by the method of Box and Muller (1958).

They are a function of the sample's seed and their own number alone, whatever else is in the batch
and however many are asked for at once. Both sources of random words are counter-based generators
(Salmon et al. 2011, doi:10.1145/2063384.2063405). On a CPU it is the Philox4x64-10 of numpy, which
is written in C. Elsewhere it is Philox4x32-10, as in the kernels, whose numbers these are: the same
seed gives a CPU and a GPU noise of the same kind, but not the same noise.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from .arrays import Array
from .rng import MASK, philox_pairs

#: Devices whose words come from numpy.
HOST = ("cpu",)
#: On a CPU numbers p and p + 128 of a block of 256 are a pair: runs of 128 are long enough for
#: vector instructions.
_BLOCK = 256
#: Blocks that a thread makes at a time; fewer are made without threads.
_AT_ONCE = 256


def normals(seeds: Array, count: int, device: torch.device | str = "cpu", start: int = 0) -> Tensor:
    """Standard normal numbers, [B, count] float32.

    Args:
        seeds: int64 seeds, [B].
        count: How many numbers each sample gets.
        device: Where to compute.
        start: The number to begin with.

    >>> bool((normals(np.array([1]), 3, start=5) == normals(np.array([1]), 8)[:, 5:]).all())
    True
    """
    device = torch.device(device)
    on_host = device.type in HOST
    block = _BLOCK if on_host else 4
    first, last = start // block, -(-(start + count) // block)
    drawn = _on_host(seeds, first, last) if on_host else _on_device(seeds, first, last, device)
    return drawn.flatten(1)[:, start - block * first :][:, :count]


def _on_device(seeds: Array, first: int, last: int, device: torch.device) -> Tensor:
    """Four numbers for each counter of Philox4x32-10, [B, N, 2, 2]."""
    keys = torch.as_tensor(seeds).to(device, non_blocking=True)
    zero = torch.zeros((1, 1), dtype=torch.int64, device=device)
    number = torch.arange(first, last, dtype=torch.int64, device=device)[None]
    one, two = philox_pairs((number & MASK, number >> 32, zero, zero), keys[:, None])
    # (word + 1/2) / 2**32 lies in (0, 1]: the logarithm stays finite.
    radius = _radius(one.float().add_(0.5).mul_(2.0**-32))  # [2, B, N]
    angle = two.float().mul_(2 * math.pi * 2.0**-32)
    out = torch.empty(len(keys), last - first, 2, 2, dtype=torch.float32, device=device)
    torch.mul(radius, angle.cos(), out=out[..., 0].movedim(-1, 0))
    torch.mul(radius, angle.sin_(), out=out[..., 1].movedim(-1, 0))
    return out


def _on_host(seeds: Array, first: int, last: int) -> Tensor:
    """256 numbers for each 32 counters of Philox4x64-10, [B, N, 2, 128]."""
    words = torch.from_numpy(_words(np.asarray(seeds), first, last))  # [B, N, 2, 128] int32
    # 31 bits, so that no word is negative, and small ones keep all their digits: the tail is theirs
    radius = _radius((words[:, :, 0] & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31))
    angle = words[:, :, 1] * (math.pi * 2.0**-31)
    out = torch.empty(words.shape, dtype=torch.float32)
    torch.mul(radius, angle.cos(), out=out[:, :, 0])
    torch.mul(radius, angle.sin_(), out=out[:, :, 1])
    return out


def _radius(uniform: Tensor) -> Tensor:
    return uniform.log_().mul_(-2).sqrt_()


def _words(seeds: np.ndarray, first: int, last: int) -> np.ndarray:
    """Blocks ``first`` to ``last`` of 256 random words each, [B, N, 2, 128] int32."""
    per_block = _BLOCK // 2  # of 64 bits
    out = np.empty((len(seeds), last - first, per_block), np.uint64)

    def fill(pieces: list[tuple[int, int]]) -> None:
        generator = np.random.Philox(key=0)
        state = generator.state
        for sample, begin in pieces:
            piece = out[sample, begin : begin + _AT_ONCE]
            # as Python's: wraps into an unsigned word
            state["state"]["key"][0] = int(seeds[sample]) % 2**64
            state["state"]["counter"][0] = (first + begin) * per_block // 4
            generator.state = state
            piece[:] = generator.random_raw(piece.size).reshape(piece.shape)

    pieces = [(b, n) for b in range(len(seeds)) for n in range(0, last - first, _AT_ONCE)]
    threads = torch.get_num_threads() if out.size > _AT_ONCE * per_block else 1
    if threads == 1:
        fill(pieces)
    else:  # numpy lets others run while it makes words
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, (pieces[n::threads] for n in range(threads))))
    return out.view(np.int32).reshape(len(seeds), last - first, 2, per_block)
