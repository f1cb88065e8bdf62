"""Filters: linear maps along the voxel axes, as matrices, and the exchange of patches.

A Gaussian with mirrored border, or the loss of resolution along an axis, is a small matrix per
sample. A matrix product needs no padding, has the same cost for any width, and brings its own
gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...arrays import Array, common, host, on_host
from ...memory import empty
from ...shapes import Triple, Volume
from ...tracing import instruction
from ..dispatch.launch import indices
from . import products
from .local import local_product
from .separable import full_precision, product_dtype, ramp

#: Truncation of the Gaussian, in standard deviations, as in scipy.ndimage.
_TRUNCATE = 4.0
#: Truncation of wide Gaussians, in voxels.
_REACH = 1024
#: Smallest standard deviation, in voxels: it avoids a division by 0, and is the identity.
_TINY = 1e-6
#: Tolerance, in voxels, for the rounding of positions that lie on a tie.
_TIE = 1e-6
#: Voxel indices that are computed at once: they should stay in the CPU cache.
_INDICES = 2**16
#: Matrix rows in a block of a banded matrix.
_ROWS = 32
#: Full width at half maximum of a Gaussian of standard deviation 1.
_FWHM = 2 * math.sqrt(2 * math.log(2))


@instruction
def gaussian(size: int, std: Array) -> Array:
    """Return a Gaussian on an axis that is mirrored at its ends, for :func:`convolution`.

    The mirror stands half a voxel outside, ``... c b a | a b c ...``: scipy's 'reflect'. The
    axis with its mirror images has a period of twice its size.

    Args:
        size: Voxels along the axis.
        std: Standard deviation in voxels, [B]; 0 for no blur.

    Returns:
        Weight at each distance in voxels from 0 to 3 size - 1, mirror images included, [B, 3 size].
    """
    xp, std = common(std)
    where = {} if xp is np else {"device": std.device}
    period = 2 * size
    reach = _TRUNCATE * float(host(std).max()) + 1 if on_host(std) else _REACH
    mirrors = int(min(reach, _REACH)) // period + 1
    copies = xp.arange(-mirrors, mirrors + 1, dtype=xp.float64, **where)[:, None] * period
    distance = abs(xp.arange(period, dtype=xp.float64, **where) + copies)  # [copies, period]
    std = std[:, None, None]
    weights = xp.exp(-0.5 * (distance / std.clip(_TINY)) ** 2)
    cut = xp.floor(_TRUNCATE * std + 0.5).clip(0, _REACH)  # within the mirror images there are
    weights = (weights * (distance <= cut)).sum(1)
    weights = weights / weights.sum(1)[:, None]
    return xp.concatenate((weights, weights[:, :size]), 1)  # type: ignore[no-any-return]


def convolution(kernel: Tensor) -> Tensor:
    """Return the matrix of a convolution on a mirrored axis, [B, size, size].

    Args:
        kernel: From :func:`gaussian`, on the device, [B, 3 size].
    """
    size = kernel.shape[1] // 3
    rows = kernel.unfold(1, size, 1)  # rows[m, j] = kernel[m + j]
    apart = rows[:, size + 1 :].flip(1)  # kernel[j - i], whose period is 2 size
    return apart + rows[:, 1 : size + 1]  # and the mirror image at distance i + j + 1


def blur(x: Volume, kernels: Sequence[Tensor]) -> Volume:
    """Convolve with a Gaussian along each axis.

    Each product moves its axis to the front: after three, the axes are in their original order.

    Args:
        x: Volume in float32 or float64.
        kernels: Along I, J, K, on the device; see :func:`gaussian`.
    """
    if products.has_kernel(x.device):
        for axis, kernel in enumerate(kernels):
            x = products.along(x, convolution(kernel.to(x.dtype)), axis)
        return x
    batch, channels, *size = x.shape
    work = product_dtype(x.device, x.dtype)
    y = x.to(work).flatten(0, 1)  # [B C, I, J, K]

    def product(y: Tensor, matrix: Tensor) -> Tensor:
        blocks, n = bands(matrix), matrix.shape[1]
        each = matrix.expand(batch, -1, -1).repeat_interleave(channels, 0)
        return _join((each[:, to, at] @ y[:, at] for to, at in blocks), 1, n)

    with full_precision(x.device):
        for axis in (2, 1, 0):
            y = y.reshape(batch * channels, -1, size[axis]).mT
            y = local_product(product, y, convolution(kernels[axis].to(work)), 1)
    return y.view(x.shape).to(x.dtype)


def along_axis(
    x: Volume, matrix: Tensor, axis: products.Axis, base: Volume | None = None
) -> Volume:
    """Multiply the voxels along an axis by a matrix per sample, [B, N out, N in].

    Args:
        x: Volume in float32 or float64.
        matrix: Weights [B or 1, N out, N in].
        axis: The axis.
        base: Volume to which the product is added.
    """
    if products.has_kernel(x.device):
        return products.along(x, matrix, axis, base)
    assert isinstance(axis, int)  # others are for the kernel
    work = product_dtype(x.device, x.dtype)

    def part(y: Tensor, matrix: Tensor, to: slice, at: slice) -> Tensor:
        if axis == 0:
            return matrix[:, :, to, at] @ y[:, :, at].flatten(3)
        if axis == 1:
            return matrix[:, :, None, to, at] @ y[:, :, :, at]
        return y[..., at].flatten(2, 3) @ matrix[:, :, to, at].mT

    def product(y: Tensor, matrix: Tensor) -> Tensor:
        size = list(y.shape)
        size[2 + axis] = matrix.shape[1]
        parts = (part(y, matrix[:, None], to, at) for to, at in bands(matrix))
        return _join(parts, (2, 3, 3)[axis], matrix.shape[1]).view(size)

    with full_precision(x.device):
        out = local_product(product, x.to(work), matrix.to(work), 2 + axis).to(x.dtype)
    return out if base is None else base + out


def bands(matrix: Tensor) -> list[tuple[slice, slice]]:
    """Return rows and columns of blocks of matrices [B, M, N] that cover all nonzero entries.

    With blocks, the cost of a filter per voxel does not depend on the size of the volume. There is
    a single block where the matrices are on a device, whose entries the host cannot read without
    waiting, where they are small or without zeros, and where they need a gradient, which zeros
    have, too.
    """
    rows, columns = matrix.shape[1:]
    whole = [(slice(0, rows), slice(0, columns))]
    if matrix.device.type != "cpu" or matrix.requires_grad or columns < 4 * _ROWS:
        return whole
    used = (matrix != 0).any(0).numpy()
    if used.all():
        return whole
    found = []
    for first in range(0, rows, _ROWS):
        at = used[first : first + _ROWS].any(0).nonzero()[0]
        low, high = (at[0], at[-1] + 1) if len(at) else (0, 1)
        found.append((slice(first, min(first + _ROWS, rows)), slice(int(low), int(high))))
    return found


def _join(parts: Iterator[Tensor], dim: int, size: int) -> Tensor:
    """Concatenate parts along an axis that has ``size`` elements in total."""
    part = next(parts)
    if part.shape[dim] == size:
        return part
    if part.requires_grad:
        return torch.cat([part, *parts], dim)
    shape = list(part.shape)
    shape[dim] = size
    out, first = empty(shape, part.dtype, part.device), 0
    for each in chain([part], parts):
        out.narrow(dim, first, each.shape[dim]).copy_(each)
        first += each.shape[dim]
    return out


class Slices(NamedTuple):
    """Two thick slices next to each voxel, below and above, of each sample."""

    place: Array  # [B, size, 2], position of their centres in voxels, inside the image
    weight: Array  # [B, size, 2], of linear interpolation


def thick_slices(size: int, factor: Array) -> Slices:
    """Return slices ``factor`` [B] times as thick as voxels, enough to cover ``size`` voxels.

    They share the centre of the image; beyond the outer slices, these are repeated.
    """
    xp, factor, voxel = common(factor[:, None], np.arange(float(size)))
    final = xp.ceil(size / factor - _TIE) - 1  # [B, 1], number of the last slice
    middle = (size - 1) / 2
    at = (voxel - middle) / factor + final / 2  # in slices, [B, size]
    at = xp.minimum(at.clip(0), final)
    below = xp.minimum(xp.floor(at), (final - 1).clip(0))
    above = xp.minimum(below + 1, final)
    place = xp.stack((below, above), -1) - final[..., None] / 2
    place = (place * factor[..., None] + middle).clip(0, size - 1)
    share = at - below
    return Slices(place, xp.stack((1 - share, share), -1))


def nearest(place: Array) -> tuple[Any, Any]:
    """Return the two voxels nearest to each position if it is a tie; else the nearest, twice."""
    xp, place = common(place)
    return xp.ceil(place - 0.5 - _TIE), xp.floor(place + 0.5 + _TIE)


def slice_profile(factor: Array) -> Array:
    """Return the standard deviation, in voxels, that widens a voxel to a thick slice, [B]."""
    xp, factor = common(factor)
    return xp.sqrt((factor**2 - 1).clip(_TINY)) / _FWHM  # type: ignore[no-any-return]


def anisotropy(x: Volume, taps: Tensor, weight: Tensor, axis: products.Axis) -> Volume:
    """Sample at thick slices, then interpolate linearly at the voxels again.

    Args:
        x: Volume in float32 or float64.
        taps: Voxels that contribute to each voxel, [B, N, T], whole numbers in float64.
        weight: Their weights, [B, N, T].
        axis: The axis across the slices.
    """
    size = taps.shape[1]
    matrix = weight.new_zeros(len(taps), size, size).scatter_add(2, taps.long(), weight)
    return along_axis(x, matrix, axis)


def anisotropy_antialiased(
    x: Volume, place: Tensor, weight: Tensor, std: Tensor, axis: products.Axis
) -> Volume:
    """Sample at thick slices that are Gaussian means, then interpolate linearly at the voxels.

    Args:
        x, axis: See :func:`anisotropy`.
        place, weight: See :class:`Slices`.
        std: Standard deviation of the Gaussian in voxels, [B].
    """
    voxel = ramp(place.shape[1], x.device)
    distance = (voxel - place[..., None]) / std[:, None, None, None]
    taps = torch.softmax(-0.5 * distance**2, -1)  # [B, N, 2, N], a Gaussian that sums to 1
    return along_axis(x, (taps * weight[..., None]).sum(2), axis)


def anisotropy_nearest(x: Volume, source: Tensor, axis: int) -> Volume:
    """Replace each voxel by the one at index ``source`` [B, N] along an axis."""
    shape = [len(source), 1, 1, 1, 1]
    shape[2 + axis] = source.shape[1]
    return torch.take_along_dim(x, source.long().view(shape), 2 + axis)


def rounds(locations: np.ndarray, patch: Triple) -> np.ndarray:
    """Return the round in which each exchange can take place, [B, T], with all others of it.

    It is after those of all earlier exchanges whose patches overlap with its own.

    Args:
        locations: First voxels of both patches of each pair, [B, T, 2, 3].
        patch: Voxels of a patch along I, J, K.
    """
    batch, times = locations.shape[:2]
    found = np.zeros((batch, min(times, 1)), dtype=np.int64)
    for t in range(1, times):
        apart = abs(locations[:, :t, :, None] - locations[:, t, None, None])  # [B, t, 2, 2, 3]
        meets = (apart < patch).all(-1).any((-1, -2))
        later = np.where(meets, found + 1, 0).max(1, keepdims=True)
        found = np.concatenate([found, later], 1)
    return found


def in_rounds(pairs: Tensor, when: np.ndarray) -> tuple[Tensor, list[int]]:
    """Return exchanges in the order of their rounds, [B T, 2, C, 1], and how many each round has.

    Args:
        pairs: Flat indices of exchanges, [T, 2, B, C, 1].
        when: From :func:`rounds`, [1 or B, T].
    """
    when = np.broadcast_to(when, (pairs.shape[2], len(pairs))).T.reshape(-1)  # [T B]
    order = indices(np.argsort(when, kind="stable"), pairs.device)
    return pairs.transpose(1, 2).flatten(0, 1)[order], np.bincount(when).tolist()


def swap(x: Volume, locations: Tensor, patch: Triple, known: np.ndarray | None = None) -> Volume:
    """Exchange pairs of patches, one pair after another.

    Args:
        x: Volume.
        locations: First voxels of both patches of each pair, [B, T, 2, 3] int64.
        patch: Voxels of a patch along I, J, K.
        known: ``locations`` on the host, [1 or B, T, 2, 3]: on a GPU, pairs that do not overlap are
            then exchanged at once.
    """
    batch, channels, i, j, k = x.shape
    inside = torch.cartesian_prod(*(torch.arange(n, device=x.device) for n in patch)).view(-1, 3)
    # flat indices of the voxels of a patch, [n], and of the first voxels of all patches, [B, T, 2]
    offset, corner = ((at[..., 0] * j + at[..., 1]) * k + at[..., 2] for at in (inside, locations))
    starts = torch.arange(batch * channels, device=x.device).view(batch, channels) * (i * j * k)
    pairs = corner.permute(1, 2, 0)[..., None, None] + starts[..., None]  # [T, 2, B, C, 1]
    sizes = None
    if known is not None and x.device.type != "cpu":
        pairs, sizes = in_rounds(pairs, rounds(known, patch))
    return _Exchange.apply(x, pairs, offset, sizes)  # type: ignore[no-any-return,no-untyped-call]


class _Exchange(Function):
    """Exchange of elements of a tensor in pairs; the reverse order is its inverse and gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, pairs: Tensor, offset: Tensor, sizes: list[int] | None
    ) -> Tensor:
        ctx.save_for_backward(pairs, offset)
        ctx.sizes = sizes
        return _exchange(x, pairs, offset, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        pairs, offset = ctx.saved_tensors
        sizes = None if ctx.sizes is None else ctx.sizes[::-1]
        return _exchange(gradient, pairs.flip(0), offset, sizes), None, None, None


def _exchange(x: Tensor, pairs: Tensor, offset: Tensor, sizes: list[int] | None) -> Tensor:
    """Return a copy in which groups of elements are exchanged, one pair of groups after another.

    Args:
        x: Any tensor.
        pairs: Flat index of the first element of both sides of each exchange, [T, 2, ..., 1].
        offset: Flat index of the elements of a group, relative to its first, [N].
        sizes: Numbers of exchanges that take place at once; None if it is one after another.
    """
    out = x.clone(memory_format=torch.contiguous_format)
    if sizes is not None:
        flat = out.view(-1)
        for some in torch.split(pairs, sizes):
            here = some + offset
            flat[here] = flat[here.flip(1)]
        return out
    flat, offset = _as_numpy(out.view(-1)), _as_numpy(offset)
    heres, theres = _as_numpy(pairs), _as_numpy(pairs.flip(1))
    count = max(1, _INDICES // max(1, pairs[:1].numel() * len(offset)))  # exchanges at a time
    for first in range(0, len(pairs), count):
        steps = slice(first, first + count)
        for here, there in zip(heres[steps] + offset, theres[steps] + offset, strict=True):
            flat[here] = flat[there]
    return out


def _as_numpy(x: Tensor) -> Any:
    """Return a CPU tensor as an array, whose indexing is four times as fast as a tensor's."""
    if x.device.type != "cpu":
        return x
    return (
        x.view(torch.int16) if x.dtype == torch.bfloat16 else x
    ).numpy()  # the exchange copies bits
