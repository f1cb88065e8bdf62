"""Intensity operations on single voxels: bias field, gamma, noise.

Each function may overwrite its volume when told that it ``owns`` it: between the steps of one
pointwise run nobody else sees the voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ... import rng
from ...arrays import Array, common
from ...shapes import PerItem, Volume
from .separable import Factors, expand


@lru_cache(maxsize=16)
def monomials(order: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Exponents (of X, of Y, of Z) of the monomials up to a total order, Z running fastest."""
    terms = [
        (i, j, k)
        for i in range(order + 1)
        for j in range(order + 1 - i)
        for k in range(order + 1 - i - j)
    ]
    i, j, k = zip(*terms, strict=True)
    return i, j, k


@lru_cache(maxsize=64)
def _powers(size: int, order: int) -> np.ndarray:
    """Powers 0 .. order of coordinates from -1 to 1, [1, size, order + 1]; a lone voxel is at 0."""
    axis = (2 * np.arange(size) - (size - 1)) / max(size - 1, 1)
    return (axis[:, None] ** np.arange(order + 1))[None]


def bias_factors(size: tuple[int, ...], coefficients: Array, order: int) -> Factors:
    """The polynomial of a bias field in factors: powers of each axis' coordinates."""
    xp, coefficients = common(coefficients)
    where = {} if xp is np else {"device": coefficients.device}
    n = order + 1
    dense = xp.zeros((coefficients.shape[0], n, n, n, 1), dtype=xp.float64, **where)
    i, j, k = monomials(order)
    dense[:, i, j, k, 0] = coefficients
    along_i, along_j, along_k = (_powers(length, order) for length in size)
    return Factors(dense, along_i, along_j, along_k.swapaxes(1, 2))


def bias_field(x: Volume, factors: Sequence[Tensor], owns: bool) -> Volume:
    """``x exp(sum_ijk c_ijk X^i Y^j Z^k)`` with X, Y, Z in [-1, 1] between the outer voxel centres.

    Args:
        x: Volume in float32 or float64.
        factors: From :func:`bias_factors`, on the device.
        owns: Whether ``x`` may be overwritten.
    """
    field = expand(factors, x.dtype).exp_()[..., 0]  # [B, I, J, K]
    return x.mul_(field[:, None]) if owns else x * field[:, None]


def gamma(x: Volume, log_gamma: Tensor, owns: bool) -> Volume:
    """``sign(x) |x| ** exp(log_gamma)``; the gradient with respect to x is 0 where x is 0.

    Args:
        x: Volume in float32 or float64.
        log_gamma: [B, 1] or [B, C].
    """
    exponent = log_gamma.exp().to(x.dtype)[:, :, None, None, None]
    if not (x.requires_grad or exponent.requires_grad):
        return x.abs().pow_(exponent).copysign_(x)
    # |x| ** g has an infinite slope at 0 when g < 1: hold x = 0 out of the power.
    zero = x == 0
    magnitude = torch.where(zero, torch.ones_like(x), x.abs())
    return torch.where(zero, torch.zeros_like(x), magnitude.pow(exponent).copysign(x))


def noise(
    x: Volume,
    mean: PerItem,
    std: PerItem,
    seeds: Array,
    rician: bool,
    active: Tensor | None,
    owns: bool,
) -> Volume:
    """Gaussian noise ``x + n``, or Rician noise ``sqrt((x + n1)^2 + n2^2)``, n ~ N(mean, std^2).

    Args:
        x: Volume in float32 or float64.
        mean, std: In the image's own units, [B].
        seeds: One stream of normal numbers per sample, [B] int64.
        rician: Add the noise to a complex image and return its magnitude.
        active: Samples to change, [B] bool; all of them if None.
    """
    count = x[0].numel()
    drawn = rng.normals(seeds, count * (2 if rician else 1), x.device).to(x.dtype)
    mean = mean.to(x.dtype)[:, None, None, None, None]
    std = std.to(x.dtype)[:, None, None, None, None]
    real = drawn[:, :count].view(x.shape)
    if not rician:
        # mean + std n is 0 for a sample left out, so it needs no mask
        change = drawn.view(x.shape).mul_(std).add_(mean) if owns else real * std + mean
        return x.add_(change) if owns else x + change
    imaginary = drawn[:, count:].view(x.shape)
    # hypot has a finite slope at 0 only where torch.hypot's is: voxels with both parts exactly 0
    out = torch.hypot(x + (real * std + mean), imaginary * std + mean)
    return out if active is None else torch.where(active[:, None, None, None, None], out, x)
