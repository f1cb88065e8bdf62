"""Normalization of intensities, given statistics of the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torchio_gpu_kernels import load

from ...shapes import PerItem, Volume, with_voxel_axes
from ..dispatch import limits
from ..dispatch.backend import use_kernel
from .separable import full_precision, product_dtype
from .slabs import join
from .statistics import Moments, slab_starts, working

Ends = tuple[PerItem, PerItem]


def by_slabs(x: Volume, change: Callable[[Tensor], Tensor]) -> Volume:
    """Apply ``change`` slab by slab, in float32 or float64; floats keep their dtype."""
    starts, slab = slab_starts(x)
    dtype = x.dtype if x.is_floating_point() else torch.float32
    some = (x[:, :, first : first + slab] for first in starts)
    return join((change(working(part)).to(dtype) for part in some), x.shape[2])


def _total(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)


def rescale(x: Volume, bounds: Ends | None, ends: Ends, out: tuple[float, float]) -> Volume:
    """Clamp, then map an interval to another; keep samples whose bounds are NaN.

    Args:
        x: Volume.
        bounds: Bounds to clamp to, [B] each; None for no clamping.
        ends: Ends of the interval that is mapped, [B] each.
        out: Ends of the interval that it is mapped to.
    """
    dtype = working(x[:0]).dtype
    # The width is computed from the rounded ends, so that both are mapped exactly.
    first, last = (end.to(dtype) for end in ends)
    width = last - first
    scale, offset = torch.full_like(width, out[1] - out[0]), torch.full_like(width, out[0])
    low = high = None
    if bounds is not None:
        low, high = (bound.to(dtype) for bound in bounds)
        known = ~low.isnan()
        low, high = low.where(known, -torch.inf), high.where(known, torch.inf)
        first, width, scale, offset = (
            value.where(known, neutral)
            for value, neutral in ((first, 0), (width, 1), (scale, 1), (offset, 0))
        )
        low, high = with_voxel_axes(low), with_voxel_axes(high)
    first, width, scale, offset = map(with_voxel_axes, (first, width, scale, offset))

    def change(part: Tensor) -> Tensor:
        if low is not None:
            part = part.clamp(min=low).clamp_(max=high).sub_(first)
        else:
            part = part - first
        return part.div_(width).mul_(scale).add_(offset)

    return by_slabs(x, change)


def standard(known: Moments, dtype: torch.dtype) -> tuple[PerItem, PerItem, PerItem]:
    """Return mean, the rounding error of this mean, and standard deviation, [B] each.

    A standard deviation of 0 or of an empty mask counts as 1, and the mean of an empty mask as 0.
    """
    some = known.number > 0
    mean = known.mean.where(some, 0)
    std = known.std.where(some & (known.std != 0), 1)
    # The rounding of a large mean in float32 may be comparable to the std: subtract the rest, too.
    rounded = mean.detach().to(dtype)
    return rounded, (mean - rounded.double()).to(dtype), std.to(dtype)


def standardize(x: Volume, known: Moments) -> Volume:
    """Subtract the mean and divide by the standard deviation; see :func:`standard`."""
    parameters = standard(known, working(x[:0]).dtype)
    mean, rest, std = map(with_voxel_axes, parameters)
    return by_slabs(x, lambda part: (part - mean).sub_(rest).div_(std))


class Pieces(NamedTuple):
    """Piecewise linear map: the piece that begins at ``start`` is ``value + slope (x - start)``.

    The first piece reaches to -inf as well, the last to inf. [B, N] each.
    """

    start: Tensor
    value: Tensor
    slope: Tensor


def pieces(found: Tensor, wanted: Tensor, least: float) -> Pieces:
    """Return the piecewise linear map from the landmarks of each sample to the given ones.

    Where two landmarks of a sample are closer than ``least``, the map is flat between them. It
    is the identity for samples without landmarks.

    Args:
        found: [B, N + 1], ascending; NaN if there are none.
        wanted: [N + 1].
        least: Smallest distance of landmarks, in the image's own units.
    """
    known = ~found.isnan()[:, :1]
    width = found.diff(dim=1)
    flat = ~(width >= least)
    slope = torch.where(flat, 0, wanted.diff() / width.where(~flat, 1)).where(known, 1)
    start, value = found[:, :-1].where(known, 0), wanted[:-1].expand_as(slope).where(known, 0)
    return Pieces(start, value, slope)


def map_pieces(x: Volume, through: Pieces) -> Volume:
    """Apply a piecewise linear map."""
    dtype = working(x[:0]).dtype
    start, value, slope = (each.to(dtype) for each in through)
    # Pieces begin at the first number of the volume's precision that is not below their start.
    begin = through.start.detach()
    begin = torch.where(start < begin, start.nextafter(torch.full_like(start, torch.inf)), start)
    begin = begin.detach()
    tables = start, value, slope
    wanted = limits.wants_gradient(x, *tables)
    if use_kernel(x.device) and dtype == torch.float32 and not wanted:
        flat = working(x.reshape(len(x), -1)).contiguous()
        out = load().map_pieces(flat, *(each.contiguous() for each in (begin, *tables)))
        return out.view(x.shape).to(x.dtype if x.is_floating_point() else dtype)  # type: ignore[no-any-return]
    begin = begin[:, 1:].contiguous()

    def change(part: Tensor) -> Tensor:
        flat = part.reshape(len(part), -1)
        piece = _piece(flat.detach(), begin)
        out = flat - start.gather(1, piece)
        return torch.addcmul(value.gather(1, piece), out, slope.gather(1, piece)).view(part.shape)

    return by_slabs(x, change)


def _piece(values: Tensor, begin: Tensor) -> Tensor:
    """Return the piece of each value, [B, N] int64, given starts of all but the first, [B, P]."""
    if values.device.type != "cpu":
        return torch.searchsorted(begin, values.contiguous(), right=True)
    # comparing with all starts by vector instructions takes a quarter of the time of a search
    piece = torch.zeros(values.shape, dtype=torch.uint8)
    for each in begin.unbind(1):
        piece += values >= each[:, None]
    return piece.long()


def principal_components(
    x: Volume, number: int, whiten: bool, normalize: bool, positive: bool
) -> Volume:
    """Project the channels on the directions of largest variance, [B, number, I, J, K].

    Args:
        x: Volume.
        number: Number of components.
        whiten: Divide each by its standard deviation, with n - 1.
        normalize: Divide all by the standard deviation of the first, with n.
        positive: Negate each component whose skewness is negative.
    """
    y = working(x)
    voxels = y[0, 0].numel()
    starts, slab = slab_starts(y)

    def some(first: int) -> Tensor:
        return y[:, :, first : first + slab].flatten(2).double()

    mean = _total(some(first).sum(2) for first in starts) / voxels  # [B, C]
    with full_precision(x.device):
        apart = (some(first) - mean[..., None] for first in starts)
        squares = _total(torch.bmm(each, each.mT) for each in apart)
        variance, vectors = torch.linalg.eigh(squares / max(voxels - 1, 1))
        variance, vectors = variance.flip(1)[:, :number], vectors.flip(2)[..., :number]
        # as in scikit-learn: the largest weight of a channel is positive
        largest = vectors.detach().gather(1, vectors.detach().abs().argmax(1, keepdim=True))
        weights = (
            vectors * _factors(variance, voxels, x.shape[1], whiten, normalize) * largest.sign()
        )
        work = product_dtype(x.device, y.dtype)
        projection = weights.mT.to(work)  # [B, number, C]

        def project(part: Tensor) -> Tensor:
            apart = (part.flatten(2) - mean[..., None].to(y.dtype)).to(work)
            return torch.bmm(projection, apart).view(len(part), number, *part.shape[2:]).to(y.dtype)

        out = by_slabs(y, project)
    if not positive:
        return out
    with torch.no_grad():
        skew = _total((out[:, :, n : n + slab].flatten(2) ** 3).sum(2).double() for n in starts)
        sign = torch.where(skew < 0, -1.0, 1.0).to(out.dtype)
    return out * with_voxel_axes(sign)


def _factors(variance: Tensor, voxels: int, channels: int, whiten: bool, normalize: bool) -> Tensor:
    """Return scale factors of components, [B, 1, number]; 0 where the variance is rounding only."""
    first = variance[:, :1]
    known = variance > channels * torch.finfo(variance.dtype).eps * first
    std = variance.where(known, 1).sqrt()
    factor = known.to(variance.dtype)
    if whiten:
        factor = factor / std
    if normalize:
        unit = 1.0 if whiten else std[:, :1]
        factor = factor / (unit * (max(voxels - 1, 1) / voxels) ** 0.5)
    return factor[:, None]
