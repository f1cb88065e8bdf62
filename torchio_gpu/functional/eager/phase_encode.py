"""k-space artifacts with as little Fourier transform as they need.

A change that depends on one frequency index alone needs the transform along that axis only: along
the others, forth and back cancel. If it is symmetric about frequency 0 the result is real, and
half of the frequencies are enough. A point of k-space is a plane wave of the image. Results are
those of :mod:`torchio_gpu.functional.definitions.kspace`, a 3D transform forth and back.

Volumes are taken slab by slab with the phase-encode axis last, where transforms are quickest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fft import irfft, rfft, rfftn

from ...arrays import Array, common
from ...memory import empty
from ...shapes import Volume
from .intensity import root
from .separable import Expansion, full_precision, product_dtype
from .slabs import Turned, join, slab_rows, turn

SPACE = (2, 3, 4)


class Planes(NamedTuple):
    """Planes of k-space that ghosting weakens, for each sample: [B] each.

    ``intensity`` is missing of every plane whose frequency ``num_ghosts`` divides, but for the
    share ``restore`` of all planes about the centre, and never of the central one.
    """

    num_ghosts: Array
    intensity: Array
    restore: Array

    def missing(self, frequency: np.ndarray, lines: int) -> Any:
        """What is missing of the planes of some frequencies [N], out of ``lines``: [B, N]."""
        xp, frequency, ghosts, intensity, restore = common(frequency, *self)
        comb = xp.remainder(frequency, ghosts[:, None]) == 0
        outside = abs(frequency) > xp.floor(restore * lines / 2)[:, None]
        return intensity[:, None] * (comb & outside)


def ghosting(x: Volume, missing: Tensor, turned: Turned) -> Volume:
    """Ghosting: the image minus what the weakened planes hold of it.

    Args:
        x: Volume.
        missing: Share of each plane that is missing, for frequencies from 0 up, [B, F].
        turned: The order of the axes of the samples, which brings the phase-encode axis behind
            the others; samples may differ if they are of one size then.
    """
    whole = [(at, turn(x, order)) for at, order in turned]
    rows, _, lines = whole[0][1].shape[2:]
    missing = missing.to(x.dtype)[:, None, None, None]
    slab = slab_rows(rows, x.numel() // rows, x.device)

    def part(first: int) -> Volume:
        some = _together([(at, y[:, :, first : first + slab]) for at, y in whole]).contiguous()
        return some - irfft(rfft(some) * missing, n=lines)

    return join((part(first) for first in range(0, rows, slab)), rows, turned)


def spike_frequencies(size: Sequence[int], positions: np.ndarray) -> np.ndarray:
    """Frequency of each spike along each axis, [B, P, 3].

    Args:
        size: Voxels along I, J, K.
        positions: Relative positions in centred k-space, from 0 to 1, [B, P, 3].
    """
    n = np.array(size)
    return np.minimum(np.floor(positions * n), n - 1) - n // 2  # type: ignore[no-any-return]


def plane_waves(size: Sequence[int], positions: np.ndarray) -> list[np.ndarray]:
    """``exp(2 pi i k v / n)`` along I, J, K for each spike: real and imaginary, [B, n, P, 2] each.

    Args:
        size, positions: See :func:`spike_frequencies`.
    """
    frequency = spike_frequencies(size, positions)
    waves = []
    for axis, n in enumerate(size):
        phase = 2 * math.pi / n * np.arange(n)[:, None] * frequency[:, None, :, axis]
        waves.append(np.stack((np.cos(phase), np.sin(phase)), -1))
    return waves


def spike(x: Volume, waves: Sequence[Tensor], intensity: Tensor) -> Volume:
    """Spikes: the image plus ``intensity max|X| / N cos(2 pi k v / n)`` for each.

    Args:
        x: Volume.
        waves: From :func:`plane_waves`, on the device.
        intensity: Relative to the largest magnitude in k-space, [B, P].
    """
    batch, channels, *size = x.shape
    along_i, along_j, along_k = map(torch.view_as_complex, waves)
    spectrum = torch.view_as_real(rfftn(x, dim=SPACE))
    peak = root((spectrum * spectrum).sum(-1).amax(SPACE))  # [B, C]
    height = peak[:, :, None] * (intensity / math.prod(size))[:, None]  # [B, C, P]
    plane = along_i[:, :, None] * along_j[:, None]  # [B, I, J, P]
    plane = plane[:, None] * height[:, :, None, None]
    # Re(a b) = Re a Re b - Im a Im b, summed over spikes: one matrix product for each channel
    left = torch.view_as_real(plane).expand(batch, *plane.shape[1:], 2).flatten(-2).flatten(0, 1)
    right = torch.view_as_real(along_k.conj_physical()).flatten(2).mT  # [B, 2 P, K]
    right = right.expand(batch, -1, -1).repeat_interleave(channels, 0)
    work = product_dtype(x.device, x.dtype)
    flat = x.reshape(batch * channels, -1, size[2])
    with full_precision(x.device):
        out = torch.baddbmm(flat.to(work), left.flatten(1, 2).to(work), right.to(work))
    return out.view(x.shape).to(x.dtype)


def motion(
    x: Volume,
    factors: Sequence[Tensor],
    even: Tensor,
    odd: Tensor | None,
    turned: Turned,
    read: Callable[[Tensor, int], list[Tensor]],
) -> Volume:
    """Motion: the image plus what the lines of other poses, read from ``x``, change in it.

    Args:
        x: Volume in the reference pose.
        factors: Where each pose of each sample is read, [B P, ...], the axes of the output being
            ordered as ``turned`` says. See :func:`spatial.separable`.
        even, odd: From :func:`halves`, [B, P, F] each; without ``odd``, the real part of the
            image, otherwise its magnitude.
        turned: As for :func:`ghosting`.
        read: What reads ``x`` at a grid; see :func:`spatial.reader`.
    """
    batch, channels = x.shape[:2]
    still = [(at, turn(x, order)) for at, order in turned]
    rows, columns, lines = still[0][1].shape[2:]
    even = even.to(x.dtype)[:, None, :, None, None]  # [B, 1, P, 1, 1, F]
    if odd is not None:
        odd = (odd.to(x.dtype) * -1j)[:, None, :, None, None]
    grid = Expansion(factors, x.dtype)
    # coordinates and spectra take more room than the poses themselves
    slab = slab_rows(rows, 2 * len(factors[0]) * columns * lines * channels, x.device)

    def part(first: int) -> Volume:
        # the poses of a sample are further rows of one output, so that it is not copied for each
        moved = read(grid.rows(first, first + slab).view(batch, -1, 3, columns, lines), 0)[0]
        here = _together([(at, y[:, :, first : first + slab]) for at, y in still])
        change = rfft(moved.view(batch, channels, -1, *here.shape[2:]) - here[:, :, None])
        real = here + irfft((change * even).sum(2), n=lines)
        if odd is None:
            return real
        imaginary = irfft((change * odd).sum(2), n=lines)
        return root(real * real + imaginary * imaginary)

    return join((part(first) for first in range(0, rows, slab)), rows, turned)


def _together(parts: Sequence[tuple[Any, Tensor]]) -> Tensor:
    """Some samples of each of several tensors of one shape."""
    if len(parts) == 1:
        return parts[0][1]
    out = empty(parts[0][1].shape, parts[0][1].dtype, parts[0][1].device)
    for at, part in parts:
        out[at] = part[at]
    return out


def halves(owner: np.ndarray, poses: int) -> tuple[np.ndarray, np.ndarray]:
    """What the lines of each pose add to the real and to the imaginary part of the image.

    A mask m over frequencies f is the sum of an even part, whose image is real, and an odd one,
    whose image is imaginary; -i times the odd one is Hermitian again.

    Args:
        owner: Pose that each line of centred k-space is taken from, [B, N]; 0 is the reference.
        poses: Number P of poses beside the reference.

    Returns:
        Even and odd part for f >= 0, [B, P, F] each.
    """
    lines = owner.shape[1]
    f = np.arange(lines // 2 + 1)
    owns = owner[:, None] == np.arange(1, poses + 1)[:, None]  # [B, P, N], centred
    plus, minus = (owns[..., (sign * f + lines // 2) % lines] / 2 for sign in (1, -1))
    return plus + minus, plus - minus
