"""Formulas of operations on single voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import PerItem, Volume
from . import filters


def bias_field(x: Volume, coefficients: Tensor, order: int = 3) -> Volume:
    """``x exp(sum c_ijk X^i Y^j Z^k)``, X, Y, Z from -1 to 1: Van Leemput et al. 1999.

    See https://doi.org/10.1109/42.811268; the order of coefficients is that of TorchIO 1.2.1. A
    lone voxel is at 0.

    Args:
        x: [B, C, I, J, K].
        coefficients: For i + j + k <= order, i slowest and k fastest, [B, M].
        order: Largest i + j + k.
    """
    axes = [torch.arange(n).double() * 2 / max(n - 1, 1) - min(n - 1, 1) for n in x.shape[2:]]
    grid = torch.meshgrid(*axes, indexing="ij")
    exponent, term = torch.zeros(len(x), *x.shape[2:], dtype=torch.float64), 0
    for i in range(order + 1):
        for j in range(order + 1 - i):
            for k in range(order + 1 - i - j):
                monomial = grid[0] ** i * grid[1] ** j * grid[2] ** k
                exponent = exponent + coefficients[:, term, None, None, None] * monomial
                term += 1
    return x * exponent.exp()[:, None]


def brightness(x: Volume, factor: Tensor, offset: Tensor) -> Volume:
    """``factor x + offset``, for each sample [B] or channel [B, C]."""
    factor, offset = (v.reshape(len(x), -1, 1, 1, 1) for v in (factor, offset))
    return factor * x + offset


def contrast(x: Volume, factor: Tensor, preserve_range: bool = True) -> Volume:
    """``mean + factor (x - mean)``, for each sample [B] or channel [B, C].

    Args:
        x: [B, C, I, J, K].
        factor: For each sample or channel.
        preserve_range: Clamp to the range of the channel.
    """
    mean = x.mean((2, 3, 4), keepdim=True)
    out = mean + factor.reshape(len(x), -1, 1, 1, 1) * (x - mean)
    if not preserve_range:
        return out
    least, greatest = x.amin((2, 3, 4), keepdim=True), x.amax((2, 3, 4), keepdim=True)
    return torch.minimum(torch.maximum(out, least), greatest)


def gamma(
    x: Volume,
    log_gamma: Tensor,
    *,
    rescale: bool = False,
    invert: bool = False,
    retain_stats: bool = False,
) -> Volume:
    """``sign(x) |x| ** exp(log_gamma)``, for each sample [B] or channel [B, C].

    Args:
        x: [B, C, I, J, K].
        log_gamma: For each sample or channel.
        rescale: Of intensities scaled to [0, 1], and scaled back, for each channel.
        invert: Of -x, with the sign of the result changed.
        retain_stats: Restore mean and standard deviation of each channel.
    """
    y = -x if invert else x
    low = y.amin((2, 3, 4), keepdim=True) if rescale else torch.zeros(())
    span = y.amax((2, 3, 4), keepdim=True) - low if rescale else torch.ones(())
    y = (y - low) / span
    y = y.sign() * y.abs() ** log_gamma.exp().reshape(len(x), -1, 1, 1, 1) * span + low
    y = -y if invert else y
    if retain_stats:
        y = (y - y.mean((2, 3, 4), keepdim=True)) / y.std((2, 3, 4), keepdim=True)
        y = y * x.std((2, 3, 4), keepdim=True) + x.mean((2, 3, 4), keepdim=True)
    return y


def clamp(x: Volume, low: PerItem | None = None, high: PerItem | None = None) -> Volume:
    """``min(max(x, low), high)``; the ends are [B], or None for no end."""
    if low is not None:
        x = torch.maximum(x, low[:, None, None, None, None])
    if high is not None:
        x = torch.minimum(x, high[:, None, None, None, None])
    return x


def noise(x: Volume, mean: PerItem, std: PerItem, normals: Volume) -> Volume:
    """``x + n``, n ~ N(mean, std^2).

    Args:
        x: [B, C, I, J, K].
        mean, std: [B].
        normals: Standard normal numbers, shaped like ``x``; :mod:`torchio_gpu.random.gaussian`
            defines those of a seed.
    """
    return x + mean[:, None, None, None, None] + std[:, None, None, None, None] * normals


def rician_noise(
    x: Volume, std: PerItem, normals: tuple[Volume, Volume], mean: PerItem | None = None
) -> Volume:
    """``sqrt((x + n1)^2 + n2^2)``: Gudbjartsson & Patz 1995, doi:10.1002/mrm.1910340618.

    Args:
        x: [B, C, I, J, K].
        std, mean: Of n1 and of n2, [B].
        normals: Standard normal numbers of both, shaped like ``x``.
    """
    mean = torch.zeros_like(std) if mean is None else mean
    real = noise(x, mean, std, normals[0])
    imaginary = noise(torch.zeros_like(x), mean, std, normals[1])
    return (real**2 + imaginary**2).sqrt()


def histogram_shift(x: Volume, shift: Tensor) -> Volume:
    """Straight lines between control points, moved by ``shift`` of their distance.

    Args:
        x: [B, C, I, J, K].
        shift: Of the K points between minimum and maximum of the channel, [B, C, K].
    """
    low, high = x.amin((2, 3, 4), keepdim=True), x.amax((2, 3, 4), keepdim=True)
    count = shift.shape[-1] + 1
    t = (x - low) / (high - low) * count  # from 0 to count
    out = torch.zeros_like(x)
    ends = torch.nn.functional.pad(shift, (1, 1))[..., None, None, None]  # [B, C, K + 2, 1, 1, 1]
    for k in range(count):
        height = 1 + ends[:, :, k + 1] - ends[:, :, k]
        out = out + height * (t - k).clamp(0, 1)
    return low + (high - low) * out / count


def sigmoid_contrast(x: Volume, gain: Tensor, cutoff: Tensor) -> Volume:
    """``(s(t) - s(0)) / (s(1) - s(0))``, s(t) = 1 / (1 + exp(gain (cutoff - t))).

    Args:
        x: [B, C, I, J, K]; t are its values scaled to [0, 1], for each channel.
        gain, cutoff: [B, C].
    """
    low, high = x.amin((2, 3, 4), keepdim=True), x.amax((2, 3, 4), keepdim=True)
    gain, cutoff = (each[..., None, None, None] for each in (gain, cutoff))
    s = [1 / (1 + (gain * (cutoff - t)).exp()) for t in ((x - low) / (high - low), 0, 1)]
    return low + (high - low) * (s[0] - s[1]) / (s[2] - s[1])


def coil_noise(
    x: Volume,
    std: Tensor,
    numbers: Sequence[tuple[Tensor, Tensor]],
    axis: Sequence[int],
    width: float,
    uniform: bool,
) -> Volume:
    """``sqrt(sum_c |s_c x + n_c|^2)``: Constantinides et al. 1997, doi:10.1002/mrm.1910380524.

    Args:
        x: [B, C, I, J, K].
        std: [B].
        numbers: Two normal numbers of each voxel, for each coil, [B, C, I, J, K].
        axis: Axis that the coils of each sample are around, (B).
        width: Of the sensitivities.
        uniform: Divide by the root of the sum of their squares.
    """
    out = torch.zeros_like(x)
    for b, a in enumerate(axis):
        maps = coil_maps(x.shape[2:], len(numbers), a, width)
        middle = len(numbers) * torch.tensor(-(1.25**2) / width**2, dtype=x.dtype).exp()
        level = (maps**2).sum(0) if uniform else middle
        for sensitivity, (one, two) in zip(maps / level.sqrt(), numbers, strict=True):
            out[b] += (sensitivity * x[b] + std[b] * one[b]) ** 2 + (std[b] * two[b]) ** 2
    return out.sqrt()


def coil_maps(size: Sequence[int], coils: int, axis: int, width: float) -> Tensor:
    """Gaussians about points on a circle of radius 1.25 in a plane from -1 to 1, [L, I, J, K]."""
    axes = [torch.arange(n).double() * 2 / max(n - 1, 1) - min(n - 1, 1) for n in size]
    u, v = (g for n, g in enumerate(torch.meshgrid(*axes, indexing="ij")) if n != axis)
    angles = 2 * torch.pi * torch.arange(coils).double() / coils
    squares = [(u - 1.25 * a.cos()) ** 2 + (v - 1.25 * a.sin()) ** 2 for a in angles]
    return (-torch.stack(squares) / (2 * width**2)).exp()


def low_field(x: Volume, ratio: PerItem, powers: Sequence[PerItem], blur: Tensor,
              spacing: Tensor, numbers: tuple[Tensor, Tensor]) -> Volume:  # fmt: skip
    """Blur, contrast and Rician noise of a weaker magnet.

    Args:
        x: [B, C, I, J, K].
        ratio: Field strength over that of the image, [B].
        powers: Exponent of the signal-to-noise ratio, ratio of the image, exponent of the contrast.
        blur, spacing: mm along I, J, K, [B, 3].
        numbers: Two normal numbers of each voxel, [B, C, I, J, K].
    """
    out = filters.blur(x, blur, spacing)
    exponent, snr, contrast = powers
    for b in range(len(x)):
        for c, y in enumerate(out[b]):
            signal, power = y[y > y.mean() / 2].mean(), ratio[b] ** contrast[b]
            if signal > 0 and ratio[b] < 1:
                std = signal / snr[b] * (ratio[b] ** (-2 * exponent[b]) - power**2).sqrt()
                weak = signal * y.sign() * (y / signal).abs() ** power
                out[b, c] = torch.hypot(weak + std * numbers[0][b, c], std * numbers[1][b, c])
    return out
