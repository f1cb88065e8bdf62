"""Statistics of the voxels of each sample, all channels together, slab by slab.

Small results are in float64; sums run over a slab in the volume's own precision and over slabs in
float64. A mask selects the voxels that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchio_gpu_kernels import load

from ...shapes import PerItem, Volume
from ..dispatch import limits
from ..dispatch.backend import use_kernel
from .intensity import root
from .slabs import slab_planes

#: Bits of a number that one pass counts, and the number of their values.
_BITS = 16
_VALUES = 1 << _BITS
#: Number of voxels up to which sorting is faster than counting.
_FEW = 2**17
#: Entries of the tables of counts: 128 MB.
_TABLE = 2**24
#: Integer dtype with the bits of a number, by their number in units of 16.
_INTEGERS = {2: torch.int32, 4: torch.int64}

#: Voxels of each sample, [B, N] in float32 or float64, and mask of those that count, [B, N] bool.
Part = tuple[Tensor, Tensor | None]


class Moments(NamedTuple):
    """Number of voxels, their mean, and their standard deviation; [B] float64 each.

    The standard deviation divides by n - 1. It is exactly 0 where all voxels are equal, a single
    one included. Mean and standard deviation of an empty mask are NaN.
    """

    number: PerItem
    mean: PerItem
    std: PerItem


def working(x: Tensor) -> Tensor:
    """Return ``x`` in the dtype to compute in: float64 stays float64, others become float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def slab_starts(x: Volume) -> tuple[range, int]:
    """Return the first plane of each slab of a volume, and the number of planes of a slab."""
    planes = x.shape[2]
    slab = slab_planes(planes, x.numel() // planes, x.device)
    return range(0, planes, slab), slab


def parts(x: Volume, mask: Tensor | None) -> Iterator[Part]:
    """Yield the voxels of a volume, slab by slab.

    Args:
        x: Volume.
        mask: Voxels that count, [B, 1 or C, I, J, K] bool; all of them if None.
    """
    starts, slab = slab_starts(x)
    for first in starts:
        some = x[:, :, first : first + slab]
        inside = None
        if mask is not None:
            inside = mask[:, :, first : first + slab].expand_as(some).reshape(len(x), -1)
        yield working(some.reshape(len(x), -1)), inside


def count(x: Volume, mask: Tensor | None) -> PerItem:
    """Return the number of voxels that count, [B] int64."""
    if mask is None:
        return torch.full((len(x),), x[0].numel(), device=x.device)
    channels = x.shape[1] if mask.shape[1] == 1 else 1
    return mask.flatten(1).sum(1) * channels


def extremes(x: Volume, mask: Tensor | None) -> tuple[PerItem, PerItem]:
    """Return minimum and maximum, [B] each in the dtype to compute in.

    They are inf and -inf for an empty mask, and NaN where a voxel is NaN.
    """
    ends = [_extremes(values, inside) for values, inside in parts(x, mask)]
    low, high = (torch.stack(each, 1) for each in zip(*ends, strict=True))
    return low.amin(1), high.amax(1)


def _extremes(values: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    if inside is None and values.device.type == "cpu":  # where two passes are faster than aminmax
        return values.amin(1), values.amax(1)
    if inside is None:
        least, most = torch.aminmax(values, dim=1)
        return least, most
    return values.where(inside, torch.inf).amin(1), _largest(values, inside)


def _largest(values: Tensor, inside: Tensor | None) -> Tensor:
    return (values if inside is None else values.where(inside, -torch.inf)).amax(1)


def moments(x: Volume, mask: Tensor | None) -> Moments:
    """Compute number, mean and standard deviation.

    Each slab is centred on its own mean before it is squared, and slabs are combined as in Chan et
    al. 1983, doi:10.1080/00031305.1983.10483115: a large mean costs no precision.
    """
    if limits.kernels_of_voxels(x) == "numba":
        return _joined(*load("numba").moments(x, mask))
    numbers, means, squares, units, lows, highs = [], [], [], [], [], []
    for values, inside in parts(x, mask):
        with torch.no_grad():
            low, high = _extremes(values, inside)
            counted = values if inside is None else values.where(inside, 0)
            n = _number_of(values, inside).double()
            some = n.clamp_min(1)
            # the rounding error of this mean is added below
            centre = (counted.sum(1) / some).to(low.dtype)
            centre = torch.minimum(torch.maximum(centre, low), high).where(n > 0, 0)
        with torch.no_grad():  # scale by a power of two, so that no square overflows
            unit = torch.frexp(torch.maximum(high - centre, centre - low)).exponent
            scale = _power(-unit, centre)
        apart = _apart(values, centre[:, None], scale[:, None])
        if inside is not None:
            apart = apart.where(inside, 0)
        left = apart.sum(1).double() / some  # in units
        numbers.append(n)
        means.append(centre.double() + left / scale)
        squares.append(_sum_of_squares(apart) - n * left * left)
        units.append(unit)
        lows.append(low)
        highs.append(high)
    if len(units) == 1:  # as on a GPU, where each operation on so few numbers is a launch
        return _moments(n, means[0], squares[0], units[0], low == high)
    n, mean, square = (torch.stack(each, 1) for each in (numbers, means, squares))  # [B, slabs]
    whole = n.sum(1)
    total = (n * mean).sum(1) / whole
    unit = torch.stack(units, 1)
    most = unit.amax(1, keepdim=True)
    square = square * _power(2 * (unit - most), square)
    distance = (mean - total[:, None]) * _power(-most, mean)
    spread = (square + n * distance**2).sum(1)
    equal = torch.stack(lows, 1).amin(1) == torch.stack(highs, 1).amax(1)
    return _moments(whole, total, spread, most[:, 0], equal)


def _joined(number: Tensor, mean: Tensor, square: Tensor) -> Moments:
    """Return moments of samples, given those of blocks of their voxels, [B, blocks] float64."""
    first = mean.gather(1, number.argmax(1, keepdim=True))
    apart = mean - first  # exactly 0 where all voxels are equal
    whole = number.sum(1)
    left = (number * apart).sum(1) / whole
    spread = (square + number * (apart - left[:, None]) ** 2).sum(1)
    total = (first[:, 0] + left).where(spread.isfinite(), torch.nan)
    return _moments(whole, total, spread, torch.zeros_like(whole, dtype=torch.int32), spread == 0)


def _moments(
    number: PerItem, mean: PerItem, spread: PerItem, unit: Tensor, equal: Tensor
) -> Moments:
    """Return moments, given the sum of squared distances from the mean in units of 2**unit."""
    # exactly 0 for equal voxels, without rounding error
    variance = spread.clamp_min(0) / (number - 1).clamp_min(1)
    std = root(variance.where(~equal, 0))
    std = std * _power(unit, std)
    return Moments(number, *(each.where(number > 0, torch.nan) for each in (mean, std)))


def _apart(values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Return ``(values - centre) * scale``, for a power of two that brings them below 1."""
    if values.device.type == "cpu":  # where addcmul with few values for many voxels is slow
        return (values - centre).mul_(scale)
    return torch.addcmul(-centre * scale, values, scale)  # the product is exact


def _sum_of_squares(values: Tensor) -> PerItem:
    if values.device.type == "cpu":  # where vector_norm sums in an order that loses precision
        return (values * values).sum(1).double()
    return torch.linalg.vector_norm(values, dim=1).double().square()


def _power(exponent: Tensor, like: Tensor) -> Tensor:
    """Return powers of 2; a product with them is differentiable, unlike ldexp."""
    return torch.ldexp(torch.ones_like(exponent, dtype=like.dtype), exponent)


def _number_of(values: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return torch.full((len(values),), values.shape[1], device=values.device)
    return inside.sum(1)


def percentile(x: Volume, q: Tensor, mask: Tensor | None) -> Tensor:
    """Compute percentiles with linear interpolation between neighbours, [B, Q] float64.

    They are NaN for an empty mask, and where a voxel is NaN.

    Args:
        x: Volume.
        q: Shares from 0 to 1, [Q] float64.
        mask: See :func:`parts`.
    """
    some = count(x, mask)
    place = q * (some[:, None] - 1).clamp_min(0)  # [B, Q]
    lower = place.floor()
    upper = torch.minimum(lower + 1, (some[:, None] - 1).clamp_min(0))
    ranks = torch.cat((lower, upper), 1).long()
    values = OrderStatistics.apply(x, mask, ranks).double()  # type: ignore[no-untyped-call]
    below, above = values.chunk(2, 1)
    share = place - lower
    # from the nearer end, as numpy does: a percentile at a voxel is exactly its value
    step = above - below
    between = torch.where(share < 0.5, below + step * share, above - step * (1 - share))
    out = torch.where((share == 0) | (below == above), below, between)  # also if infinite
    with torch.no_grad():
        most = torch.stack([_largest(*part) for part in parts(x, mask)], 1)
        finite = (some > 0) & ~most.isnan().any(1)
    return out.where(finite[:, None], torch.nan)


class OrderStatistics(torch.autograd.Function):
    """Voxels of given ranks, [B, R]; the gradient is divided among all voxels of that value."""

    @staticmethod
    def forward(ctx: Any, x: Volume, mask: Tensor | None, ranks: Tensor) -> Tensor:
        if x[0].numel() <= _FEW:
            values = _sort(x, mask).gather(1, ranks)
        else:
            at_once = max(1, _TABLE // ((ranks.shape[1] + 1) * _VALUES))
            pieces = [slice(n, n + at_once) for n in range(0, len(x), at_once)]
            found = [_select(x[at], None if mask is None else mask[at], ranks[at]) for at in pieces]
            values = torch.cat(found)
        ctx.save_for_backward(x, mask, values)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, mask, values = ctx.saved_tensors
        columns = range(values.shape[1])

        def equal(part: Part, column: int) -> Tensor:
            same = part[0] == values[:, column, None]
            return same if part[1] is None else same & part[1]

        counts = torch.stack([
            torch.stack([equal(part, column).sum(1) for column in columns], 1)
            for part in parts(x, mask)
        ]).sum(0)  # fmt: skip
        each = grad / counts.clamp_min(1)
        out = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
        starts, slab = slab_starts(x)
        for first, part in zip(starts, parts(x, mask), strict=True):
            some = out[:, :, first : first + slab]
            for column in columns:
                some += (equal(part, column) * each[:, column, None]).view(some.shape).to(x.dtype)
        return out, None, None


def _sort(x: Volume, mask: Tensor | None) -> Tensor:
    """Return all voxels in ascending order, [B, N], with those that do not count last."""
    values = working(x.flatten(1))
    if mask is not None:
        values = values.where(mask.expand_as(x).flatten(1), torch.inf)
    return values.sort(1).values


def _select(x: Volume, mask: Tensor | None, ranks: Tensor) -> Tensor:
    """Find voxels of given ranks by radix selection.

    The bits of a number, read as an integer, are in the order of the numbers. The first pass counts
    their upper 16 bits, which gives those of the voxel of each rank; the next pass counts the next
    16 bits of voxels that share these, and so on. Each rank has its own slot in the table of
    counts, or shares one with ranks of the same bits; other voxels go to one more slot.

    Args:
        x: Volume.
        mask: See :func:`parts`.
        ranks: Ranks from 0, [B, R] int64.
    """
    batch, wanted = ranks.shape
    levels = 4 if x.dtype == torch.float64 else 2
    slots = _VALUES * torch.arange(wanted, device=x.device).expand(batch, -1)  # their starts
    slot = torch.zeros_like(ranks)
    key = torch.zeros_like(ranks)
    tables: list[Tensor] = []  # per level: slot of voxels at the next level, by their bits
    for level in range(levels):
        size = _VALUES * (1 if level == 0 else wanted)
        counts = _count(x, mask, levels, tables, size)
        upto = counts.cumsum(1)  # [B, size or more]
        ranks = ranks + upto.gather(1, slot) - counts.gather(1, slot)
        place = torch.searchsorted(upto, ranks, right=True)
        place = place.clamp_max(size - 1)  # for an empty mask
        ranks = ranks - upto.gather(1, place) + counts.gather(1, place)
        digit = place & (_VALUES - 1)
        key = digit - _VALUES // 2 if level == 0 else (key << _BITS) + digit
        if level < levels - 1:
            table = torch.full((batch, size + _VALUES), _VALUES * wanted, device=x.device)
            tables.append(table.scatter_(1, place, slots))
            slot = table.gather(1, place)
    return _number(key, levels)


def _count(x: Volume, mask: Tensor | None, levels: int, tables: list[Tensor], size: int) -> Tensor:
    """Count the bits of a level: [B, size], with further counts that do not matter."""
    batch, voxels = len(x), x[0].numel()
    if levels == 2 and voxels < 2**31 and use_kernel(x.device):
        table = tables[0] if tables else None
        values = working(x.reshape(batch, -1)).detach().contiguous()
        inside = None
        if mask is not None:
            inside = mask.reshape(batch, -1).contiguous()
        return load().count_digits(values, inside, table, size)  # type: ignore[no-any-return]
    counts = torch.zeros(batch, size + _VALUES, dtype=torch.int64, device=x.device)
    for values, inside in parts(x, mask):
        index = _digit(values, levels, 0)
        for n, table in enumerate(tables, 1):
            index = table.gather(1, index).add_(_digit(values, levels, n))
        if inside is not None:
            index = index.where(inside, size)
        counts.scatter_add_(1, index, torch.ones_like(index))
    return counts


def _digit(values: Tensor, levels: int, level: int) -> Tensor:
    """Return 16 bits of numbers, upper ones first, as int64 >= 0 in the order of the numbers."""
    kind = _INTEGERS[levels]
    digit = (_ordered(values.view(kind)) >> _BITS * (levels - 1 - level)).long()
    return digit.add_(_VALUES // 2) if level == 0 else digit.bitwise_and_(_VALUES - 1)


def _number(key: Tensor, levels: int) -> Tensor:
    """Return the numbers whose bits, in the order of numbers, are ``key``."""
    bits = _ordered(key.to(_INTEGERS[levels]))
    return bits.view(torch.float32 if levels == 2 else torch.float64)


def _ordered(bits: Tensor) -> Tensor:
    """Map the bits of numbers to integers in the order of the numbers; it is its own inverse."""
    info = torch.iinfo(bits.dtype)
    # bits of negative numbers are in reverse order: invert all but the sign
    return ((bits >> info.bits - 1) & info.max) ^ bits
