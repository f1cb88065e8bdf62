"""Standard normal numbers of a sample.

Each depends on the seed of the sample and on its own index alone, not on the other samples of the
batch or on how many numbers are drawn at once. On a CPU they come from torch's generator, which is
the fastest: the numbers of a sample are blocks, each with its own seed. Elsewhere they come from
Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405) by the method of Box and Muller
(1958), as in the kernels: one seed gives noise of the same distribution on a CPU and on a GPU, but
not the same noise.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from .philox import MASK, philox, philox_pairs

#: Devices on which torch's generator is used.
HOST = ("cpu",)
#: Numbers of a block: enough to take far longer than seeding their generator.
_BLOCK = 32768
#: Numbers that torch generates at a time; the last ones of a shorter tensor would differ.
_AT_ONCE = 16


def normals(seeds: Array, count: int, device: torch.device | str = "cpu", start: int = 0) -> Tensor:
    """Draw standard normal numbers, [B, count] float32.

    Args:
        seeds: int64 seeds, [B].
        count: How many numbers each sample gets.
        device: Device of the numbers.
        start: Index of the first number.

    >>> bool((normals(np.array([1]), 3, start=5) == normals(np.array([1]), 8)[:, 5:]).all())
    True
    """
    device = torch.device(device)
    if device.type in HOST:
        return _on_host(np.asarray(seeds), start, start + count)
    return _on_device(seeds, start, start + count, device)


def _on_host(seeds: np.ndarray, start: int, stop: int) -> Tensor:
    """Draw numbers ``start`` to ``stop`` from torch's generator."""
    first, last = start // _BLOCK, -(-stop // _BLOCK)
    blocks, zero = np.arange(first, last, dtype=np.int64)[None], np.zeros((1, 1), dtype=np.int64)
    # the last word is the purpose: 0 for parameters, 1 for seeds of patches, 2 for noise
    keys, *_ = philox((blocks & MASK, blocks >> 32, zero, zero + 2), seeds[:, None])  # [B, N]
    out = torch.empty(len(seeds), -(-stop // _AT_ONCE) * _AT_ONCE - first * _BLOCK)
    generator = torch.Generator()
    single = last - first == 1
    for numbers, sample_keys in zip(out, keys.tolist(), strict=True):
        parts = (numbers,) if single else numbers.split(_BLOCK)
        for part, key in zip(parts, sample_keys, strict=True):
            part.normal_(generator=generator.manual_seed(key))
    begin = start - first * _BLOCK
    return out[:, begin : begin + stop - start]


def _on_device(seeds: Array, start: int, stop: int, device: torch.device) -> Tensor:
    """Draw numbers ``start`` to ``stop`` from Philox4x32-10, four for each counter."""
    first, last = start // 4, -(-stop // 4)
    keys = torch.as_tensor(seeds).to(device, non_blocking=True)
    zero = torch.zeros((1, 1), dtype=torch.int64, device=device)
    number = torch.arange(first, last, dtype=torch.int64, device=device)[None]
    one, two = philox_pairs((number & MASK, number >> 32, zero, zero), keys[:, None])
    # (word + 1/2) / 2**32 lies in (0, 1]: the logarithm stays finite.
    radius = one.float().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()  # [2, B, N]
    angle = two.float().mul_(2 * math.pi * 2.0**-32)
    out = torch.empty(len(keys), last - first, 2, 2, dtype=torch.float32, device=device)
    torch.mul(radius, angle.cos(), out=out[..., 0].movedim(-1, 0))
    torch.mul(radius, angle.sin_(), out=out[..., 1].movedim(-1, 0))
    return out.flatten(1)[:, start - 4 * first :][:, : stop - start]
