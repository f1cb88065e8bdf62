"""Intensity operations on single voxels: bias field, gamma, linear maps, noise, clamp.

A function may overwrite its volume if it ``owns`` it: an intermediate result of a fused pointwise
pass is not visible outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, common
from ...random import normal_groups
from ...shapes import Volume, with_voxel_axes
from ..operations import monomials
from .separable import Factors, expand


@lru_cache(maxsize=64)
def _powers(size: int, order: int) -> np.ndarray:
    """Return powers 0 .. order of coordinates in [-1, 1], [1, size, order + 1]; 0 for one voxel."""
    axis = (2 * np.arange(size) - (size - 1)) / max(size - 1, 1)
    return (axis[:, None] ** np.arange(order + 1))[None]


def _powers_at(lengths: np.ndarray, voxels: np.ndarray, order: int) -> np.ndarray:
    """Return :func:`_powers` at voxels [B, n] of axes of ``lengths`` [B], [B, n, order + 1]."""
    tables = {length: _powers(length, order)[0] for length in set(lengths.tolist())}
    if len(tables) == 1:
        return next(iter(tables.values()))[voxels]
    return np.stack([tables[n][at] for n, at in zip(lengths.tolist(), voxels, strict=True)])


def bias_factors(
    size: Sequence[int],
    coefficients: Array,
    order: int,
    whole: Sequence[int] | np.ndarray,
    first: np.ndarray | None = None,
) -> Factors:
    """Return the polynomial of a bias field in factors: powers of the coordinates of each axis.

    Args:
        size: Voxels of the volume along I, J, K.
        coefficients: [B, M].
        order: Degree of the polynomial.
        whole: Shape of the volume that the field covers, from which this one may be cut; or that
            of each sample, [B, 3].
        first: Voxel of that volume that is voxel (0, 0, 0) here, [B, 3].
    """
    xp, coefficients = common(coefficients)
    where = {} if xp is np else {"device": coefficients.device}
    n = order + 1
    dense = xp.zeros((coefficients.shape[0], n, 1, n, n), dtype=xp.float64, **where)
    i, j, k = monomials(order)
    dense[:, i, 0, j, k] = coefficients
    if first is None:
        along_i, along_j, along_k = (_powers(length, order) for length in whole)
    else:
        lengths = np.broadcast_to(whole, (len(first), 3))
        along_i, along_j, along_k = (
            _powers_at(lengths[:, axis], first[:, axis, None] + np.arange(n), order)
            for axis, n in enumerate(size)
        )
        dense = (
            dense if len(dense) == len(first) else xp.broadcast_to(dense, (len(first), n, 1, n, n))
        )
    return Factors(dense, along_i, along_j, along_k)


def bias_field(x: Volume, factors: Sequence[Tensor], first: int, owns: bool) -> Volume:
    """Multiply by ``exp(sum_ijk c_ijk X^i Y^j Z^k)``, X, Y, Z in [-1, 1] at outer voxel centres.

    Args:
        x: Slab of a volume in float32 or float64.
        factors: From :func:`bias_factors` for the whole volume, on the device.
        first: Plane of the volume, along I, with which the slab begins.
        owns: True if ``x`` may be overwritten.
    """
    coefficients, along_i, along_j, along_k = factors
    along_i = along_i[:, first : first + x.shape[2]]
    field = expand((coefficients, along_i, along_j, along_k), x.dtype).exp_()
    field = field.movedim(2, 1)  # [B, 1, I, J, K]
    return x.mul_(field) if owns else x * field


def gamma(x: Volume, log_gamma: Tensor) -> Volume:
    """Return ``sign(x) |x| ** exp(log_gamma)``; the gradient in x is 0 where x is 0.

    Args:
        x: Volume in float32 or float64.
        log_gamma: [B, 1] or [B, C].
    """
    exponent = with_voxel_axes(log_gamma.exp().to(x.dtype))
    if not (x.requires_grad or exponent.requires_grad):
        return x.abs().pow_(exponent).copysign_(x)
    # |x| ** g has an infinite slope at 0 if g < 1: exclude x = 0 from the power.
    zero = x == 0
    magnitude = torch.where(zero, torch.ones_like(x), x.abs())
    return torch.where(zero, torch.zeros_like(x), magnitude.pow(exponent).copysign(x))


def linear(
    x: Volume,
    scale: Tensor,
    shift: Tensor | None = None,
    centre: Tensor | None = None,
    *,
    owns: bool,
) -> Volume:
    """Return ``(x - centre) * scale + shift``.

    Args:
        x: Volume in float32 or float64.
        scale, shift, centre: [B, 1] or [B, C]; None for 0.
        owns: True if ``x`` may be overwritten.
    """
    scale = with_voxel_axes(scale.to(x.dtype))
    if centre is not None:
        centre = with_voxel_axes(centre.to(x.dtype))
        x = x.sub_(centre) if owns else x - centre
        owns = not (x.requires_grad or scale.requires_grad)
    x = x.mul_(scale) if owns else x * scale
    if shift is None:
        return x
    shift = with_voxel_axes(shift.to(x.dtype))
    return x + shift if x.requires_grad or shift.requires_grad else x.add_(shift)


def noise(
    x: Volume,
    std: Tensor,
    mean: Tensor | None,
    seeds: Array,
    rician: bool,
    active: Tensor | None,
    first: int,
    planes: int,
    owns: bool,
) -> Volume:
    """Add Gaussian noise ``x + n`` or Rician noise ``sqrt((x + n1)^2 + n2^2)``, n ~ N(mean, std^2).

    :mod:`torchio_gpu.random.gaussian` defines which numbers a voxel takes.

    Args:
        x: Slab of a volume in float32 or float64.
        std, mean: Standard deviation and mean, in the image's own units, [B, 1] or [B, C]; None for
            a mean of 0.
        seeds: Seeds of the samples, [B] int64.
        rician: Add the noise to a complex image and return its magnitude.
        active: Samples or channels to change, [B] or [B, C] bool; all of them if None.
        first: Plane of the volume, along I, with which the slab begins.
        planes: Number of planes of the whole volume.
        owns: True if ``x`` may be overwritten.
    """
    batch, channels, slab, across, along = x.shape
    groups = channels * -(-across // 4)  # of four rows, in a plane
    std = with_voxel_axes(std.to(x.dtype))
    mean = None if mean is None else with_voxel_axes(mean.to(x.dtype))

    def numbers(start: int) -> Volume:
        drawn = normal_groups(seeds, slab * groups, along, x.device, start * groups).to(x.dtype)
        drawn = drawn.view(batch, slab, channels, -1, along)
        return drawn[..., :across, :].transpose(1, 2)

    def change(start: int) -> Volume:
        scaled = numbers(start).mul_(std)
        return scaled if mean is None else scaled.add_(mean)

    real = change(first)
    if not rician:
        # mean and std are 0 for an inactive sample, so that no mask is needed
        return x.add_(real) if owns else real.add_(x)
    out = torch.hypot(real.add_(x), change(planes + first))
    return out if active is None else torch.where(with_voxel_axes(active), out, x)


def clamp(x: Volume, low: Tensor, high: Tensor, owns: bool) -> Volume:
    """Limit values to the range from ``low`` to ``high``.

    Args:
        x: Volume in float32 or float64.
        low, high: [B, 1] or [B, C], infinite for no bound.
        owns: True if ``x`` may be overwritten.
    """
    low, high = (with_voxel_axes(end.to(x.dtype)) for end in (low, high))
    # two calls are several times as fast in torch as one with both bounds
    return x.clamp_(min=low).clamp_(max=high) if owns else x.clamp(min=low).clamp(max=high)


def root(x: Tensor) -> Tensor:
    """Return the square root, whose gradient is 0 instead of infinite where x is 0."""
    if not x.requires_grad:
        return x.sqrt()
    zero = x == 0
    return torch.where(zero, torch.zeros_like(x), torch.where(zero, torch.ones_like(x), x).sqrt())
