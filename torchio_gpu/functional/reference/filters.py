"""Filters: linear maps along the voxel axes, as matrices, and the exchange of patches.

A Gaussian with its mirrored border, or the loss of resolution along an axis, is a small dense
matrix per sample. As a matrix it needs no padding, takes any width, and its gradient is the
product's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...arrays import Array, common, host, on_host
from ...shapes import PerItem, Triple, Volume
from .separable import full_precision, product_dtype, ramp

#: Where the Gaussian is cut off, in standard deviations, as by scipy.ndimage.
TRUNCATE = 4.0
#: Wider Gaussians than reach as many voxels are cut there.
_REACH = 1024
_TINY = 1e-6  # voxels: a Gaussian of this width is the identity
_TIE = 1e-6  # voxels
#: Of a Gaussian of standard deviation 1, the full width at half maximum.
FWHM = 2 * math.sqrt(2 * math.log(2))


def gaussian(size: int, std: Array) -> Array:
    """A Gaussian on an axis that is mirrored at its ends, as what :func:`convolution` takes.

    The mirror stands half a voxel outside, ``... c b a | a b c ...``: scipy's 'reflect'. The
    axis with its mirror images has a period of twice its size.

    Args:
        size: Voxels along the axis.
        std: In voxels, [B]; 0 for none.

    Returns:
        Weight at each distance in voxels from 0 to 3 size - 1, mirror images included, [B, 3 size].
    """
    xp, std = common(std)
    where = {} if xp is np else {"device": std.device}
    period = 2 * size
    reach = TRUNCATE * float(host(std).max()) + 1 if on_host(std) else _REACH
    mirrors = min(int(reach), _REACH) // period + 1
    copies = xp.arange(-mirrors, mirrors + 1, dtype=xp.float64, **where)[:, None] * period
    distance = abs(xp.arange(period, dtype=xp.float64, **where) + copies)  # [copies, period]
    std = std[:, None, None]
    weights = xp.exp(-0.5 * (distance / std.clip(_TINY)) ** 2)
    weights = (weights * (distance <= xp.floor(TRUNCATE * std + 0.5))).sum(1)
    weights = weights / weights.sum(1)[:, None]
    return xp.concatenate((weights, weights[:, :size]), 1)  # type: ignore[no-any-return]


def convolution(kernel: Tensor) -> Tensor:
    """The matrix of a convolution on a mirrored axis, [B, size, size].

    Args:
        kernel: From :func:`gaussian`, on the device, [B, 3 size].
    """
    size = kernel.shape[1] // 3
    rows = kernel.unfold(1, size, 1)  # rows[m, j] = kernel[m + j]
    apart = rows[:, size + 1 :].flip(1)  # kernel[j - i], whose period is 2 size
    return apart + rows[:, 1 : size + 1]  # and the mirror image at distance i + j + 1


def blur(x: Volume, kernels: Sequence[Tensor]) -> Volume:
    """Convolve with a Gaussian along each axis.

    Each product puts the axis it is for in front of the others: after three, they stand as before.

    Args:
        x: Volume in float32 or float64.
        kernels: Along I, J, K, on the device; see :func:`gaussian`.
    """
    batch, channels, *size = x.shape
    work = product_dtype(x.device, x.dtype)
    y = x.to(work).flatten(0, 1)  # [B C, I, J, K]
    with full_precision(x.device):
        for axis in (2, 1, 0):
            matrix = convolution(kernels[axis].to(work))
            matrix = matrix.expand(batch, -1, -1).repeat_interleave(channels, 0)
            y = torch.bmm(matrix, y.reshape(batch * channels, -1, size[axis]).mT)
    return y.view(x.shape).to(x.dtype)


def along_axis(x: Volume, matrix: Tensor, axis: int) -> Volume:
    """Multiply the voxels along one axis by a matrix per sample, [B, N out, N in]."""
    work = product_dtype(x.device, x.dtype)
    y, matrix = x.to(work), matrix.to(work)[:, None]
    with full_precision(x.device):
        if axis == 0:
            out = matrix @ y.flatten(3)
        elif axis == 1:
            out = matrix[:, :, None] @ y
        else:
            out = y.flatten(2, 3) @ matrix.mT
    size = list(x.shape)
    size[2 + axis] = matrix.shape[2]
    return out.view(size).to(x.dtype)


def thick_slices(size: int, factor: PerItem) -> tuple[Tensor, Tensor, Tensor]:
    """Where each voxel lies among slices ``factor`` times as thick, on the same centre.

    Returns:
        (slice below, share of the slice above it), [B, size] each, and the position of the first
        slice, [B, 1] in voxels: slice n lies at ``first + factor n``.
    """
    factor = factor[:, None]
    last = torch.ceil(size / factor - _TIE) - 1  # as many slices as cover the image
    first = (size - 1) / 2 - factor * last / 2
    at = (ramp(size, factor.device) - first) / factor
    at = torch.minimum(at.clip(0), last)
    below = torch.minimum(at.detach().floor(), (last - 1).clip(0))
    return below, at - below, first


def anisotropy(x: Volume, factor: PerItem, axis: int, antialias: bool) -> Volume:
    """Sample at thick slices, then interpolate linearly at the voxels again.

    A slice's value is that of the nearest voxel, the mean of two that are equally near; or with
    ``antialias`` the mean under a Gaussian that turns a voxel's width into the slice's (Cardoso et
    al. 2015, doi:10.1007/978-3-319-24571-3_81).
    """
    size = x.shape[2 + axis]
    below, share, first = thick_slices(size, factor)
    voxel = ramp(size, x.device)
    matrix: Tensor | float = 0.0
    for step, weight in ((0, 1 - share), (1, share)):
        place = (first + factor[:, None] * (below + step)).clip(0, size - 1)[..., None]
        if antialias:
            std = (factor.square() - 1).clip(_TINY).sqrt()[:, None, None] / FWHM
            taps = torch.exp(-0.5 * ((voxel - place) / std) ** 2)
            taps = taps / taps.sum(-1, keepdim=True)  # [B, size, size]
        else:
            high, low = torch.floor(place + 0.5 + _TIE), torch.ceil(place - 0.5 - _TIE)
            taps = ((voxel == low).double() + (voxel == high)) / 2
        matrix = matrix + weight[..., None] * taps
    return along_axis(x, matrix, axis)  # type: ignore[arg-type]


def anisotropy_nearest(x: Volume, factor: PerItem, axis: int) -> Volume:
    """Sample at thick slices, then take the nearest slice: voxels are moved, never mixed."""
    size = x.shape[2 + axis]
    below, share, first = thick_slices(size, factor)
    chosen = below + (share > 0.5)
    source = (first + factor[:, None] * chosen).clip(0, size - 1)
    shape = [len(x), 1, 1, 1, 1]
    shape[2 + axis] = size
    index = torch.ceil(source - 0.5 - _TIE).long().view(shape)
    return torch.take_along_dim(x, index, 2 + axis)


def swap(x: Volume, locations: Tensor, patch: Triple) -> Volume:
    """Exchange pairs of patches, one pair after another.

    Args:
        x: Volume.
        locations: First voxels of both patches of each pair, [B, T, 2, 3] int64.
        patch: Voxels of a patch along I, J, K.
    """
    batch, channels, i, j, k = x.shape
    strides = torch.tensor([j * k, k, 1]).to(x.device, non_blocking=True)
    inside = torch.cartesian_prod(*(torch.arange(n, device=x.device) for n in patch))
    offset = (inside.view(-1, 3) * strides).sum(-1)  # [n]
    corner = (locations * strides).sum(-1)  # [B, T, 2]
    rows = torch.arange(batch * channels, device=x.device).view(batch, channels) * (i * j * k)
    flat = corner.permute(1, 2, 0)[..., None, None] + rows[..., None] + offset  # [T, 2, B, C, n]
    return _Exchange.apply(x, flat.flatten(2))  # type: ignore[no-any-return,no-untyped-call]


class _Exchange(Function):
    """Elements of a tensor exchanged in pairs; its own inverse when done backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: Tensor) -> Tensor:
        ctx.save_for_backward(pairs)
        return _exchange(x, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (pairs,) = ctx.saved_tensors
        return _exchange(gradient, pairs.flip(0)), None


def _exchange(x: Tensor, pairs: Tensor) -> Tensor:
    """A copy in which elements have changed places.

    Args:
        x: Anything.
        pairs: Flat indices of both sides of each exchange, [T, 2, N], one exchange after another.
    """
    out = x.clone(memory_format=torch.contiguous_format)
    flat, steps = _as_numpy(out.view(-1)), _as_numpy(pairs)
    xp: Any = torch if isinstance(steps, Tensor) else np
    for here in steps:
        flat[here] = flat[xp.flip(here, (0,))]
    return out


def _as_numpy(x: Tensor) -> Any:
    """Memory of the host as an array, whose indexing is four times as quick as a tensor's."""
    if x.device.type != "cpu":
        return x
    return (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy()  # only bits are moved


__all__: Sequence[str] = ["anisotropy", "anisotropy_nearest", "blur", "gaussian", "swap"]
