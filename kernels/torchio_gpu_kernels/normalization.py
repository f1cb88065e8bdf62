"""Counts of the bits of voxels, which give percentiles; and piecewise linear maps."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .library import refuse_gradient, register
from .tiles import OPTIONS, readable

_BLOCK = 1024


@triton.jit
def count_kernel(
    counts,
    x,
    mask,
    starts,
    voxels,
    blocks,
    size,
    stride,
    mask_voxels,
    BLOCK: tl.constexpr,
):
    b, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    n = block * BLOCK + tl.arange(0, BLOCK)
    known = n < voxels
    bits = tl.load(x + b * voxels + n, known, 0.0).to(tl.int32, bitcast=True)
    # bits of negative numbers are in reverse order: invert all but the sign
    bits = ((bits >> 31) & 0x7FFFFFFF) ^ bits
    if mask is not None:
        known = known & (tl.load(mask + b * mask_voxels + n % mask_voxels, known, 0) != 0)
    digit = (bits >> 16) + 32768
    if starts is not None:
        digit = tl.load(starts + b * stride + digit, known, size).to(tl.int32)
        known = known & (digit < size)
        digit += bits & 0xFFFF
    own = counts + b * size
    # of one digit, that of a background for the most part, the block is counted at once
    least = tl.min(tl.where(known, digit, 2147483647), 0)
    same = known & (digit == least)
    tl.atomic_add(own + least, tl.sum(same.to(tl.int32), 0), least < size, sem="relaxed")
    tl.atomic_add(own + digit, 1, known & ~same, sem="relaxed")


@triton.jit
def pieces_kernel(out, x, begin, start, value, slope, voxels, blocks, pieces, BLOCK: tl.constexpr):
    b, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    n = block * BLOCK + tl.arange(0, BLOCK)
    known = n < voxels
    v = tl.load(x + b * voxels + n, known, 0.0)
    row = b * pieces
    a, y, s = tl.load(start + row), tl.load(value + row), tl.load(slope + row)
    a, y, s = a + tl.zeros_like(v), y + tl.zeros_like(v), s + tl.zeros_like(v)
    for piece in range(pieces):
        here = v >= tl.load(begin + row + piece)
        a = tl.where(here, tl.load(start + row + piece), a)
        y = tl.where(here, tl.load(value + row + piece), y)
        s = tl.where(here, tl.load(slope + row + piece), s)
    tl.store(out + b * voxels + n, y + (v - a) * s, known)


def count_digits(x: Tensor, mask: Tensor | None, starts: Tensor | None, size: int) -> Tensor:
    """Count 16 bits of the voxels of each sample, int32 [B, size].

    Bits are those of integers in the order of the numbers, upper ones first.

    Args:
        x: Voxels [B, N] in float32, contiguous.
        mask: Voxels that count, [B, M] bool, contiguous, where M divides N: it is repeated.
        starts: Where the counts of the lower bits begin, by the upper ones, [B, 65536 or more]
            int64; ``size`` for those that do not count. By default, upper bits are counted.
        size: Number of counts.
    """
    counts = torch.zeros((len(x), size), dtype=torch.int32, device=x.device)
    blocks = triton.cdiv(x.shape[1], _BLOCK)
    count_kernel[(len(x) * blocks,)](
        counts=counts,
        x=x,
        mask=None if mask is None else readable(mask),
        starts=starts,
        voxels=x.shape[1],
        blocks=blocks,
        size=size,
        stride=0 if starts is None else starts.stride(0),
        mask_voxels=1 if mask is None else mask.shape[1],
        BLOCK=_BLOCK,
        num_warps=4,
        **OPTIONS,
    )
    return counts


def map_pieces(x: Tensor, begin: Tensor, start: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """Map voxels [B, N] by ``value + (x - start) slope`` of the last piece that has begun.

    Args:
        x: Voxels in float32, contiguous.
        begin, start, value, slope: Of each piece, [B, P] float32, contiguous; the first piece
            reaches down to -inf.
    """
    out = torch.empty_like(x)
    blocks = triton.cdiv(x.shape[1], _BLOCK)
    pieces_kernel[(len(x) * blocks,)](
        out=out,
        x=x,
        begin=begin,
        start=start,
        value=value,
        slope=slope,
        voxels=x.shape[1],
        blocks=blocks,
        pieces=begin.shape[1],
        BLOCK=_BLOCK,
        num_warps=4,
        **OPTIONS,
    )
    return out


register(
    "count_digits(Tensor x, Tensor? mask, Tensor? starts, int size) -> Tensor",
    count_digits,
    lambda x, mask, starts, size: x.new_empty((len(x), size), dtype=torch.int32),
)
register(
    "map_pieces(Tensor x, Tensor begin, Tensor start, Tensor value, Tensor slope) -> Tensor",
    map_pieces,
    lambda x, begin, start, value, slope: torch.empty_like(x),
)
refuse_gradient("map_pieces")
