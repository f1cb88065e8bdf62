"""k-space artifacts with as few Fourier transforms as possible.

A change that depends on one frequency index alone needs the transform along that axis only: along
the others, the transform and its inverse cancel. If it is symmetric about frequency 0 the result is
real, and half of the frequencies are enough. A point of k-space is a plane wave of the image.
Results are those of :mod:`torchio_gpu.functional.definitions.kspace`, which uses 3D transforms.

Volumes are processed slab by slab with the phase-encode axis last, where transforms are fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fft import irfft, rfft, rfftn

from ...arrays import Array, common
from ...memory import empty
from ...shapes import Volume, with_voxel_axes
from .intensity import root
from .separable import Expansion, full_precision, product_dtype
from .slabs import AxisOrders, join, reorder, slab_planes

SPACE = (2, 3, 4)


def filter_lines(
    x: Volume,
    weights: Sequence[Tensor],
    orders: AxisOrders,
    join_parts: Callable[[Volume, Volume], Volume] | None = None,
) -> Volume:
    """Remove shares of lines of k-space: subtract what they contribute to the image.

    Args:
        x: Volume.
        weights: Share that is removed from lines f and -f, for frequencies f from 0 up, [B, F]; and
            half the difference of their weights, if ``join_parts`` is given.
        orders: Axis orders of the samples, with the phase-encode axis last; samples may differ if
            their reordered volumes have one shape.
        join_parts: Function of the real and the imaginary image; None for the real one.
    """
    whole = [(at, reorder(x, order)) for at, order in orders]
    planes, _, lines = whole[0][1].shape[2:]
    missing, *asymmetry = (each.to(x.dtype)[:, None, None, None] for each in weights)
    same = with_voxel_axes((weights[0] == 0).all(-1))
    all_change = x.device.type == "cpu" and not bool(same.any())  # a device is not waited for
    slab = slab_planes(planes, x.numel() // planes, x.device)

    def part(first: int) -> Volume:
        some = select_samples([(at, y[:, :, first : first + slab]) for at, y in whole]).contiguous()
        spectrum = rfft(some)
        out = some - irfft(spectrum * missing, n=lines)
        out = out if all_change else torch.where(same, some, out)  # NaN times 0 is NaN
        if join_parts is None:
            return out
        imaginary = irfft(spectrum * (-1j * asymmetry[0]), n=lines)
        return join_parts(out, imaginary if all_change else imaginary.masked_fill(same, 0))

    return join((part(first) for first in range(0, planes, slab)), planes, orders)


def line_kernels(weights: Sequence[Array], lines: int) -> list[Array]:
    """Return the circular convolutions of :func:`filter_lines`, [B, lines] each.

    Args:
        weights: As for :func:`filter_lines`.
        lines: Number of lines of k-space.

    Returns:
        That of the real image; and that of the imaginary one, if there are two weights.
    """
    identity = np.zeros(lines)
    identity[0] = 1
    xp, identity, missing, *asymmetry = common(identity, *weights)
    odd = [xp.fft.irfft(-1j * each, n=lines) for each in asymmetry]
    return [identity - xp.fft.irfft(missing, n=lines), *odd]


def pose_kernels(even: np.ndarray, odd: np.ndarray, lines: int) -> np.ndarray:
    """Return circular convolutions of the reference and of each pose, [2, B, 1 + P, lines].

    Their sum is the image: the real part for the first of two, the imaginary one for the second.

    Args:
        even, odd: From :func:`halves`, [B, P, F] each.
        lines: Number of planes of k-space.
    """
    of_poses = np.fft.irfft(np.stack((even, -1j * odd)), n=lines)  # [2, B, P, lines]
    reference = -of_poses.sum(2, keepdims=True)
    reference[0, ..., 0] += 1
    return np.concatenate((reference, of_poses), 2)


def spike_frequencies(size: Sequence[int], positions: np.ndarray) -> np.ndarray:
    """Return the frequency of each spike along each axis, [B, P, 3].

    Args:
        size: Voxels along I, J, K.
        positions: Relative positions in centred k-space, from 0 to 1, [B, P, 3].
    """
    n = np.array(size)
    return np.minimum(np.floor(positions * n), n - 1) - n // 2  # type: ignore[no-any-return]


def plane_waves(size: Sequence[int], positions: np.ndarray) -> list[np.ndarray]:
    """Return ``exp(2 pi i k v / n)`` of each spike along I, J, K, real and imaginary, [B, n, P, 2].

    Args:
        size, positions: See :func:`spike_frequencies`.
    """
    frequency = spike_frequencies(size, positions)
    waves = []
    for axis, n in enumerate(size):
        phase = 2 * math.pi / n * np.arange(n)[:, None] * frequency[:, None, :, axis]
        waves.append(np.stack((np.cos(phase), np.sin(phase)), -1))
    return waves


def largest_magnitude(spectrum: Tensor) -> Tensor:
    """Return the largest magnitude of complex volumes, [B, C]."""
    if spectrum.device.type == "cpu":  # where squares are faster than magnitudes
        parts = torch.view_as_real(spectrum)
        return root((parts * parts).sum(-1).amax(SPACE))
    return torch.linalg.vector_norm(spectrum, torch.inf, SPACE)  # type: ignore[no-any-return]


def spike(x: Volume, waves: Sequence[Tensor], intensity: Tensor) -> Volume:
    """Add ``intensity max|X| / N cos(2 pi k v / n)`` for each spike.

    Args:
        x: Volume.
        waves: From :func:`plane_waves`, on the device.
        intensity: Relative to the largest magnitude in k-space, [B, P].
    """
    batch, channels, *size = x.shape
    along_i, along_j, along_k = map(torch.view_as_complex, waves)
    peak = largest_magnitude(rfftn(x, dim=SPACE))  # [B, C]
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
    orders: AxisOrders,
    read: Callable[[Tensor, int], list[Tensor]],
) -> Volume:
    """Add what the lines of other poses, sampled from ``x``, change in the image.

    Args:
        x: Volume in the reference pose.
        factors: Coordinates of each pose of each sample, [B P, ...], for output axes ordered as in
            ``orders``. See :func:`spatial.separable`.
        even, odd: From :func:`halves`, [B, P, F] each; without ``odd``, the real part of the
            image, otherwise its magnitude.
        orders: As for :func:`filter_lines`.
        read: Function that samples ``x`` at a grid; see :func:`spatial.reader`.
    """
    batch, channels = x.shape[:2]
    still = [(at, reorder(x, order)) for at, order in orders]
    planes, columns, lines = still[0][1].shape[2:]
    even = even.to(x.dtype)[:, None, :, None, None]  # [B, 1, P, 1, 1, F]
    if odd is not None:
        odd = (odd.to(x.dtype) * -1j)[:, None, :, None, None]
    grid = Expansion(factors, x.dtype)
    # coordinates and spectra take more memory than the poses themselves
    slab = slab_planes(planes, 2 * len(factors[0]) * columns * lines * channels, x.device)

    def part(first: int) -> Volume:
        # the poses of a sample are planes of one output, so that ``x`` is not copied for each pose
        moved = read(grid.planes(first, first + slab).view(batch, -1, 3, columns, lines), 0)[0]
        here = select_samples([(at, y[:, :, first : first + slab]) for at, y in still])
        change = rfft(moved.view(batch, channels, -1, *here.shape[2:]) - here[:, :, None])
        real = here + irfft((change * even).sum(2), n=lines)
        if odd is None:
            return real
        return magnitude(real, irfft((change * odd).sum(2), n=lines))

    return join((part(first) for first in range(0, planes, slab)), planes, orders)


def magnitude(real: Volume, imaginary: Volume) -> Volume:
    """Return the magnitude of complex voxels."""
    if real.device.type == "cpu" or real.requires_grad:
        return root(real * real + imaginary * imaginary)  # faster there; a gradient of 0 at 0
    return torch.hypot(real, imaginary)  # one pass instead of four


def select_samples(parts: Sequence[tuple[Any, Tensor]]) -> Tensor:
    """Take the samples ``at`` from each tensor of the pairs (at, tensor), which have one shape."""
    if len(parts) == 1:
        return parts[0][1]
    out = empty(parts[0][1].shape, parts[0][1].dtype, parts[0][1].device)
    for at, part in parts:
        out[at] = part[at]
    return out


def halves(owner: np.ndarray, poses: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the mask of lines of each pose into parts for the real and the imaginary image.

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
