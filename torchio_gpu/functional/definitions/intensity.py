"""Formulas of operations on single voxels."""

from __future__ import annotations

import torch
from torch import Tensor

from ...shapes import PerItem, Volume


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


def gamma(x: Volume, log_gamma: Tensor) -> Volume:
    """``sign(x) |x| ** exp(log_gamma)``, for each sample [B] or channel [B, C]."""
    exponent = log_gamma.exp().reshape(len(x), -1, 1, 1, 1)
    return x.sign() * x.abs() ** exponent


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
        normals: Standard normal numbers, shaped like ``x``.
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
