"""Statistics of the voxels of each sample, all channels together, slab by slab.

Small results are in float64; sums run over a slab in the volume's own precision and over slabs in
float64. A mask says which voxels count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...shapes import PerItem, Volume
from .intensity import root
from .slabs import slab_rows

#: Bits of a number that are looked at in one pass, and how many values they have.
_BITS = 16
_VALUES = 1 << _BITS
#: Up to how many voxels sorting them is quicker than filling such tables.
_FEW = 2**17
#: Entries of the tables with which numbers are counted: 128 MB.
_TABLE = 2**24
#: Integers with the bits of a number, by how many times 16 these are.
_INTEGERS = {2: torch.int32, 4: torch.int64}

#: Voxels of each sample, [B, N] in float32 or float64, and which of them count, [B, N] bool.
Part = tuple[Tensor, Tensor | None]


class Moments(NamedTuple):
    """Number of voxels, their mean, and their standard deviation; [B] float64 each.

    The standard deviation divides by n - 1. It is exactly 0 where all voxels are equal, a single
    one included; of no voxels, mean and standard deviation are NaN.
    """

    number: PerItem
    mean: PerItem
    std: PerItem


def working(x: Tensor) -> Tensor:
    """Numbers to compute with: in float64 if they are, else in float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def slab_starts(x: Volume) -> tuple[range, int]:
    """First rows of the slabs of a volume, and how many rows each has."""
    rows = x.shape[2]
    slab = slab_rows(rows, x.numel() // rows, x.device)
    return range(0, rows, slab), slab


def parts(x: Volume, mask: Tensor | None) -> Iterator[Part]:
    """The voxels of a volume, some at a time.

    Args:
        x: Volume.
        mask: Which voxels count, [B, 1 or C, I, J, K] bool; all of them if None.
    """
    starts, slab = slab_starts(x)
    for first in starts:
        some = x[:, :, first : first + slab]
        inside = None
        if mask is not None:
            inside = mask[:, :, first : first + slab].expand_as(some).reshape(len(x), -1)
        yield working(some.reshape(len(x), -1)), inside


def count(x: Volume, mask: Tensor | None) -> PerItem:
    """How many voxels count, [B] int64."""
    if mask is None:
        return torch.full((len(x),), x[0].numel(), device=x.device)
    channels = x.shape[1] if mask.shape[1] == 1 else 1
    return mask.flatten(1).sum(1) * channels


def extremes(x: Volume, mask: Tensor | None) -> tuple[PerItem, PerItem]:
    """Least and greatest voxel, [B] each in the dtype to compute with.

    Of no voxels they are inf and -inf; both are NaN where a voxel is.
    """
    ends = [_extremes(values, inside) for values, inside in parts(x, mask)]
    low, high = (torch.stack(each, 1) for each in zip(*ends, strict=True))
    return low.amin(1), high.amax(1)


def _extremes(values: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    if inside is None:
        return values.amin(1), values.amax(1)
    inf = torch.inf
    return values.where(inside, inf).amin(1), values.where(inside, -inf).amax(1)


def moments(x: Volume, mask: Tensor | None) -> Moments:
    """Number, mean and standard deviation.

    Each slab is centred on its own mean before it is squared, and slabs are put together as by
    Chan et al. 1983, doi:10.1080/00031305.1983.10483115: no digits are lost to a large mean.
    """
    numbers, means, squares, units, lows, highs = [], [], [], [], [], []
    for values, inside in parts(x, mask):
        with torch.no_grad():
            low, high = _extremes(values, inside)
            counted = values if inside is None else values.where(inside, 0)
            n = _number_of(values, inside).double()
            some = n.clamp_min(1)
            # what is rounded off the mean here is added below
            centre = (counted.sum(1) / some).to(low.dtype)
            centre = torch.minimum(torch.maximum(centre, low), high).where(n > 0, 0)
        apart = values - centre[:, None]
        if inside is not None:
            apart = apart.where(inside, 0)
        left = apart.sum(1).double() / some
        numbers.append(n)
        means.append(centre.double() + left)
        with torch.no_grad():  # in units of a power of two, so that no square overflows
            unit = torch.frexp(torch.maximum(high - centre, centre - low)).exponent
        apart, left = apart * _power(-unit, apart)[:, None], left * _power(-unit, left)
        squares.append((apart * apart).sum(1).double() - n * left * left)
        units.append(unit)
        lows.append(low)
        highs.append(high)
    n, mean, square = (torch.stack(each, 1) for each in (numbers, means, squares))  # [B, slabs]
    whole = n.sum(1)
    total = (n * mean).sum(1) / whole
    unit = torch.stack(units, 1)
    most = unit.amax(1, keepdim=True)
    square = square * _power(2 * (unit - most), square)
    distance = (mean - total[:, None]) * _power(-most, mean)
    spread = (square + n * distance**2).sum(1).clamp_min(0)
    # exactly 0 for equal voxels, whatever was rounded
    equal = torch.stack(lows, 1).amin(1) == torch.stack(highs, 1).amax(1)
    std = root((spread / (whole - 1).clamp_min(1)).where(~equal, 0))
    std = std * _power(most[:, 0], std)
    return Moments(whole, total, std.where(whole > 0, torch.nan))


def _power(exponent: Tensor, like: Tensor) -> Tensor:
    """Return 2 to whole exponents; a product with it is differentiable, which ldexp is not."""
    return torch.ldexp(torch.ones_like(exponent, dtype=like.dtype), exponent)


def _number_of(values: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return torch.full((len(values),), values.shape[1], device=values.device)
    return inside.sum(1)


def percentile(x: Volume, q: Tensor, mask: Tensor | None) -> Tensor:
    """Percentiles with linear interpolation between neighbours, [B, Q] float64.

    Args:
        x: Volume.
        q: From 0 to 1, [Q] float64.
        mask: See :func:`parts`.

    Of no voxels they are NaN, as where a voxel is NaN.
    """
    some = count(x, mask)
    place = q * (some[:, None] - 1).clamp_min(0)  # [B, Q]
    lower = place.floor()
    upper = torch.minimum(lower + 1, (some[:, None] - 1).clamp_min(0))
    ranks = torch.cat((lower, upper), 1).long()
    values = OrderStatistics.apply(x, mask, ranks).double()  # type: ignore[no-untyped-call]
    below, above = values.chunk(2, 1)
    share = place - lower
    # from the nearer end, as numpy does: what lies on a voxel's value is that value
    step = above - below
    between = torch.where(share < 0.5, below + step * share, above - step * (1 - share))
    out = torch.where((share == 0) | (below == above), below, between)  # infinite ones too
    with torch.no_grad():
        finite = (some > 0) & ~extremes(x, mask)[1].isnan()
    return out.where(finite[:, None], torch.nan)


class OrderStatistics(torch.autograd.Function):
    """The voxels of given ranks, [B, R]; their gradient goes to all voxels of that value alike."""

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
    """All voxels in order, [B, N], those that do not count behind the others."""
    values = working(x.flatten(1))
    if mask is not None:
        values = values.where(mask.expand_as(x).flatten(1), torch.inf)
    return values.sort(1).values


def _select(x: Volume, mask: Tensor | None, ranks: Tensor) -> Tensor:
    """Voxels of given ranks, by counting how often each value of some leading bits occurs.

    The bits of a number, read as an integer, are in the order of the numbers. One pass counts
    their upper 16, which tells those of the voxel wanted; the next pass looks at the next 16 of
    voxels that share these, and so on. Each rank has a slot of its own in the table that counts,
    or shares one with ranks of the same bits; other voxels go to one more slot.

    Args:
        x: Volume.
        mask: See :func:`parts`.
        ranks: From 0, [B, R] int64.
    """
    batch, wanted = ranks.shape
    levels = 4 if x.dtype == torch.float64 else 2
    slots = _VALUES * torch.arange(wanted, device=x.device).expand(batch, -1)  # where each begins
    slot = torch.zeros_like(ranks)
    key = torch.zeros_like(ranks)
    tables: list[Tensor] = []  # of each level: the slot that voxels of some bits are in at the next
    for level in range(levels):
        size = _VALUES * (1 if level == 0 else wanted)
        counts = torch.zeros(batch, size + _VALUES, dtype=torch.int64, device=x.device)
        for values, inside in parts(x, mask):
            index = _digit(values, levels, 0)
            for n, table in enumerate(tables, 1):
                index = table.gather(1, index).add_(_digit(values, levels, n))
            if inside is not None:
                index = index.where(inside, size)
            counts.scatter_add_(1, index, torch.ones_like(index))
        upto = torch.nn.functional.pad(counts.cumsum(1), (1, 0))  # [B, 1 + size + 65536]
        ranks = ranks + upto.gather(1, slot)
        place = torch.searchsorted(upto, ranks, right=True) - 1
        place = place.clamp_max(size - 1)  # of no voxels at all
        ranks = ranks - upto.gather(1, place)
        digit = place & (_VALUES - 1)
        key = digit - _VALUES // 2 if level == 0 else (key << _BITS) + digit
        if level < levels - 1:
            table = torch.full((batch, size + _VALUES), _VALUES * wanted, device=x.device)
            tables.append(table.scatter_(1, place, slots))
            slot = table.gather(1, place)
    return _number(key, levels)


def _digit(values: Tensor, levels: int, level: int) -> Tensor:
    """16 bits of numbers, upper ones first, as int64 from 0 up in the order of the numbers."""
    kind = _INTEGERS[levels]
    digit = (_ordered(values.view(kind)) >> _BITS * (levels - 1 - level)).long()
    return digit.add_(_VALUES // 2) if level == 0 else digit.bitwise_and_(_VALUES - 1)


def _number(key: Tensor, levels: int) -> Tensor:
    """The numbers that keys in their order stand for."""
    bits = _ordered(key.to(_INTEGERS[levels]))
    return bits.view(torch.float32 if levels == 2 else torch.float64)


def _ordered(bits: Tensor) -> Tensor:
    """The bits of numbers as integers in the order of the numbers; and the way back."""
    info = torch.iinfo(bits.dtype)
    # those of negative numbers, the largest of which is nearest to 0, are turned over
    return ((bits >> info.bits - 1) & info.max) ^ bits
