"""Standard normal numbers of a sample, from Philox4x32-10 and the method of Box and Muller (1958).

Each depends on the seed of the sample and on its own index alone: not on the other samples of the
batch, on how many numbers are drawn at once or, up to rounding, on the device.

**Lanes of a counter.** Counter n of a 64-bit seed gives the words a, b, c, d of Philox4x32-10
(Salmon et al. 2011, doi:10.1145/2063384.2063405), whose key is the seed and whose counter has the
words n mod 2**32, floor(n / 2**32), 0, 0. Two words u, v give two normal numbers, r cos t and
r sin t, where r = sqrt(-2 ln((u + 1/2) / 2**32)) and t = 2 pi v / 2**32. Lanes 0 and 1 of the
counter are those of a, b; lanes 2 and 3 are those of c, d.

**Stream of a seed.** Number n is lane n mod 4 of counter floor(n / 4).

**Noise of a volume.** The lanes of a counter are for four neighbouring rows along J. Voxel
(c, i, j, k) of a sample of shape (C, I, J, K) takes lane j mod 4 of counter
((i C + c) ceil(J / 4) + floor(j / 4)) K + k of the seed of the sample. The second number of a
voxel, which Rician noise takes, has the same lane of the counter that is I C ceil(J / 4) K larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, host
from .philox import MASK, keys_of_rounds, philox_pairs, philox_run

#: Counters that are computed at a time on a CPU, so that intermediate results stay in its cache.
_BLOCK = 16384
_HALF, _UNIT, _MINUS_TWO, _TURN = np.array(
    [[0.5], [2.0**-32], [-2.0], [2 * math.pi * 2.0**-32]], dtype=np.float32
)


def normals(seeds: Array, count: int, device: torch.device | str = "cpu", start: int = 0) -> Tensor:
    """Draw standard normal numbers of the stream of each seed, [B, count] float32.

    Args:
        seeds: int64 seeds, [B].
        count: How many numbers each sample gets.
        device: Device of the numbers.
        start: Index of the first number.

    >>> bool((normals(np.array([1]), 3, start=5) == normals(np.array([1]), 8)[:, 5:]).all())
    True
    """
    first, last = start // 4, -(-(start + count) // 4)
    drawn = normal_groups(seeds, last - first, 1, device, first).flatten(1)
    return drawn[:, start - 4 * first :][:, :count]


def normal_groups(
    seeds: Array, groups: int, size: int, device: torch.device | str = "cpu", first: int = 0
) -> Tensor:
    """Draw the lanes of consecutive counters, in groups with lanes first: [B, groups, 4, size].

    Args:
        seeds: int64 seeds, [B].
        groups: Number of groups.
        size: Counters of a group: of a group of four rows of a volume, its voxels along K.
        device: Device of the numbers.
        first: Index of the first group; its first counter is ``first * size``.

    >>> bool((normal_groups(np.array([1]), 2, 3)[0, 1, :, 0] == normals([1], 4, start=12)).all())
    True
    """
    device, shape = torch.device(device), (len(seeds), groups, 2, 2, size)
    if device.type == "cpu":
        numbers = np.empty(shape, dtype=np.float32)
        _in_blocks(seeds, first, np.moveaxis(numbers, 2, 0))
        return torch.from_numpy(numbers).view(len(seeds), groups, 4, size)
    out = torch.empty(shape, dtype=torch.float32, device=device)
    _at_once(seeds, first, out.movedim(2, 0))
    return out.view(len(seeds), groups, 4, size)


def patch_normals(
    seeds: Array,
    whole: Sequence[int],
    channels: int,
    first: Sequence[int],
    size: Sequence[int],
    second: bool = False,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw the noise numbers of some voxels of a volume, [B, C, \\*size].

    Args:
        seeds: int64 seeds, [B].
        whole: Shape of the volume along I, J, K.
        channels: Number of its channels.
        first, size: First voxel and shape of the patch.
        second: Draw the second number of each voxel.
        device: Device of the numbers.

    >>> whole = normal_groups(np.array([1]), 3 * 2, 6)[0].view(3, 8, 6)  # of 3 x 7 x 6 voxels
    >>> patch = patch_normals(np.array([1]), (3, 7, 6), 1, (1, 3, 2), (2, 3, 4))
    >>> bool((patch[0, 0] - whole[1:, 3:6, 2:]).abs().max() < 1e-5)
    True
    """
    _, across, along = whole
    groups, group = -(-across // 4), first[1] // 4
    lasts = first[0] + size[0], (first[1] + size[1] - 1) // 4 + 1, first[2] + size[2]
    starts = first[0], group, first[2]
    i, g, k = (torch.arange(a, b, device=device) for a, b in zip(starts, lasts, strict=True))
    c = torch.arange(channels, device=device)[:, None, None, None]
    n = ((i[:, None, None] * channels + c) * groups + g[:, None]) * along + k  # [C, I, G, K]
    if second:
        n += whole[0] * channels * groups * along
    radius, angle = (part.view(2, len(seeds), *n.shape) for part in _polar_at(seeds, n.view(1, -1)))
    lanes = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)  # [pair, 2, B, C, I, G, K]
    drawn = lanes.permute(2, 3, 4, 5, 0, 1, 6).flatten(3, 5)
    return drawn[..., first[1] - 4 * group :, :][..., : size[1], :]


def _polar_at(seeds: Array, n: Tensor) -> tuple[Tensor, Tensor]:
    """Return radius and angle of the pairs of counters [1, N], [2, B, N] each, in torch."""
    keys = torch.as_tensor(seeds).to(n.device, non_blocking=True)
    zero = torch.zeros((1, 1), dtype=torch.int64, device=n.device)
    one, two = philox_pairs((n & MASK, n >> 32, zero, zero), keys[:, None])
    # (word + 1/2) / 2**32 lies in (0, 1]: the logarithm stays finite
    radius = one.float().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    return radius, two.float().mul_(2 * math.pi * 2.0**-32)


def _at_once(seeds: Array, first: int, out: Tensor) -> None:
    """Write the pairs of all counters, [2, B, groups, 2, size], in torch."""
    _, batch, groups, _, size = out.shape
    n = torch.arange(groups * size, dtype=torch.int64, device=out.device)[None] + first * size
    radius, angle = (part.view(2, batch, groups, size) for part in _polar_at(seeds, n))
    torch.mul(radius, angle.cos(), out=out[..., 0, :])
    torch.mul(radius, angle.sin_(), out=out[..., 1, :])


def _in_blocks(seeds: Array, first: int, out: np.ndarray) -> None:
    """Write the pairs of all counters, [2, B, groups, 2, size], block by block in numpy."""
    _, batch, groups, _, size = out.shape
    if not out.size:
        return
    keys = keys_of_rounds(np.asarray(host(seeds), dtype=np.int64))
    some = min(groups, max(1, _BLOCK // size))
    samples = min(batch, max(1, _BLOCK // (some * size)))
    memory = np.empty((3, 2, samples * some * size), dtype=np.uint64)
    for b in range(0, batch, samples):
        for g in range(0, groups, some):
            block = out[:, b : b + samples, g : g + some]
            shape = block.shape[1], block.shape[2] * size
            work = memory[..., : math.prod(shape)].reshape(3, 2, *shape)
            words = philox_run((first + g) * size, keys[:, :, b : b + samples], work)
            polar = _polar(*(stack.reshape(2, -1) for stack in words))
            radius, cos, sin = (part.reshape(*block.shape[:3], size) for part in polar)
            np.multiply(radius, cos, out=block[..., 0, :])
            np.multiply(radius, sin, out=block[..., 1, :])


def _polar(
    radial: np.ndarray, angular: np.ndarray, spare: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return radius, cosine and sine of pairs of words, in float32.

    Args:
        radial, angular: First and second words, uint64 [2, N]; bits above 31 are ignored. Memory of
            the results, too.
        spare: Memory of the same shape.
    """
    word, radius = _halves(spare)
    word = word.view(np.uint32)  # numpy converts 32 bits several times as fast as 64
    np.copyto(word, radial, casting="unsafe")
    np.copyto(radius, word)
    radius += _HALF
    radius *= _UNIT  # in (0, 1]: the logarithm stays finite
    np.log(radius, out=radius)
    radius *= _MINUS_TWO
    np.sqrt(radius, out=radius)
    cos, sin = _halves(radial)
    np.copyto(word, angular, casting="unsafe")
    angle = sin
    np.copyto(angle, word.view(np.int32))  # [-pi, pi) in place of [0, 2 pi)
    angle *= _TURN
    np.cos(angle, out=cos)
    np.sin(angle, out=sin)
    return radius, cos, sin


def _halves(memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two float32 arrays [2, N] in the memory of one of uint64 [2, N]."""
    one, two = memory.view(np.float32).reshape(2, 2, -1)
    return one, two
