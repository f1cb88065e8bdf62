"""Sampling a volume through a map, and what is then done to each voxel, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import program
from .coordinates import column, coordinates
from .tiles import BJ, OPTIONS, Tiles, is_wide, locate, readable, strides

LINEAR = tl.constexpr(0)
NEAREST = tl.constexpr(1)
LABEL = tl.constexpr(2)
MODES = ("linear", "nearest", "label")
#: A position so many voxels short of halfway between two counts as there: of a regular grid that
#: meets voxels halfway, all are then the second one's, however they are rounded.
_HALFWAY = tl.constexpr(1e-4)
#: Shares of labels this close count as the same.
_TIE = tl.constexpr(1e-6)


@triton.jit
def between(x, n):
    """Along one axis of n voxels: the lower of two to read, the share of the upper one, and how
    much of what is read is content, which ends a voxel outside: the rest is fill.
    """
    near = tl.minimum(tl.maximum(x, 0.0), (n - 1).to(tl.float32))
    content = tl.maximum(1.0 - tl.abs(x - near), 0.0)
    low = tl.minimum(near.to(tl.int32), tl.maximum(n - 2, 0))
    return low, near - low.to(tl.float32), content


@triton.jit
def nearest(x, n):
    """Along one axis of n voxels: the voxel to read, of two that are as near the second, and
    whether there is content.
    """
    up = tl.floor(x + (0.5 + _HALFWAY))
    near = tl.minimum(tl.maximum(up, 0.0), (n - 1).to(tl.float32))
    return near.to(tl.int32), up == near


@triton.jit
def moved(
    source,
    outside,
    cx,
    cy,
    cz,
    S0,
    S1,
    S2,
    s0,
    s1,
    s2,
    WIDE: tl.constexpr,
    FRAMES: tl.constexpr,
):
    """The nearest voxels, as they are, in the type of what is outside."""
    x, in_x = nearest(cx, S0)
    y, in_y = nearest(cy, S1)
    z, in_z = nearest(cz, S2)
    if WIDE:
        x, y, z = x.to(tl.int64), y.to(tl.int64), z.to(tl.int64)
    value = tl.load(source + (x * s0 + y * s1 + z * s2)).to(outside.dtype)
    if FRAMES == 0:
        value = tl.where(in_x & in_y & in_z, value, outside)
    return value


@triton.jit
def neighbours(x, n):
    """Along one axis of n voxels: the two voxels around a point, kept within, whether they are,
    and the share of the upper one.
    """
    low = tl.floor(x)
    last = (n - 1).to(tl.float32)
    one = tl.minimum(tl.maximum(low, 0.0), last)
    two = tl.minimum(tl.maximum(low + 1.0, 0.0), last)
    return one.to(tl.int32), two.to(tl.int32), one == low, two == low + 1.0, x - low


@triton.jit
def blend(a, b, share):
    """From a to b; both ends are met exactly."""
    return share * b + (a - share * a)


@triton.jit
def plane(source, at, s1, s2, fy, fz):
    """Between four voxels of a plane of the source."""
    one = source + at
    two = source + (at + s1)
    a, b = tl.load(one).to(tl.float32), tl.load(one + s2).to(tl.float32)
    c, d = tl.load(two).to(tl.float32), tl.load(two + s2).to(tl.float32)
    return blend(blend(a, b, fz), blend(c, d, fz), fy)


@triton.jit
def framed(y, cx, cy, cz, boxes, fill, stride, b, B, C, FRAMES: tl.constexpr):
    """What was read, but for the values of boxes that a point is outside of, oldest first.

    Args:
        y: [BJ, BK].
        cx, cy, cz: Where it was read.
        boxes: Low and high ends, float32 [FRAMES, B, 2, 3].
        fill: Of the sample and channel, of the oldest box; others ``stride`` apart.
    """
    for frame in tl.static_range(FRAMES):
        outside = beyond(cx, cy, cz, boxes + (frame * B + b) * 6)
        y = tl.where(outside, tl.load(fill + frame * stride).to(y.dtype), y)
    return y


@triton.jit
def beyond(cx, cy, cz, box):
    """Whether points are outside a box."""
    x = (cx >= tl.load(box)) & (cx <= tl.load(box + 3))
    y = (cy >= tl.load(box + 1)) & (cy <= tl.load(box + 4))
    z = (cz >= tl.load(box + 2)) & (cz <= tl.load(box + 5))
    return (x & y & z) == 0  # so that NaN is outside


@triton.jit
def common_label(source, outside, x, y, z, s0, s1, s2, FRAMES: tl.constexpr):
    """The label with the largest share of the eight voxels around a point; of several, the least.

    Args:
        source, outside: Where the volume begins, and the label of what is outside.
        x, y, z: From :func:`neighbours`.
    """
    labels = ()
    shares = ()
    for corner in tl.static_range(8):
        at = x[corner // 4] * s0 + y[corner // 2 % 2] * s1 + z[corner % 2] * s2
        label = tl.load(source + at)
        if FRAMES == 0:
            there = x[2 + corner // 4] & y[2 + corner // 2 % 2] & z[2 + corner % 2]
            label = tl.where(there, label, outside)
        share_x = x[4] if corner // 4 == 1 else 1.0 - x[4]
        share_y = y[4] if corner // 2 % 2 == 1 else 1.0 - y[4]
        share_z = z[4] if corner % 2 == 1 else 1.0 - z[4]
        labels = labels + (label,)
        shares = shares + (share_x * share_y * share_z,)
    for one in tl.static_range(8):
        total = shares[one]
        for other in tl.static_range(8):
            if other != one:
                total += tl.where(labels[one] == labels[other], shares[other], 0.0)
        if one == 0:
            best, most = labels[0], total
        else:
            wins = (total > most + _TIE) | ((total >= most - _TIE) & (labels[one] < best))
            best = tl.where(wins, labels[one], best)
            most = tl.where(wins, total, most)
    return best


@triton.jit
def warp_kernel(
    x,
    out,
    matrix,
    columns,
    along_j,
    lowest,
    fill,
    boxes,
    copies,
    values,
    seeds,
    B,
    C,
    S0,
    S1,
    S2,
    I,
    J,
    K,
    sb,
    sc,
    s0,
    s1,
    s2,
    rows,
    shared,
    V,
    S,
    KB,
    steps,
    N: tl.constexpr,
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    FRAMES: tl.constexpr,
    COPIES: tl.constexpr,
    PROGRAM: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    first, k0 = locate(KB, steps, BJ, BK)
    i, b = tl.program_id(1), tl.program_id(2)
    k = k0 + tl.arange(0, BK)
    start = column(matrix, b, i, k)
    x += b.to(tl.int64) * sb
    area = tl.cast(J, tl.int64) * K
    out += (b.to(tl.int64) * C * I + i) * area
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    for step in range(steps):
        j0 = first + step * BJ
        j = j0 + tl.arange(0, BJ)
        cx, cy, cz = coordinates(
            start, columns, along_j, lowest, b, i, j0, k, I, rows, K, shared, N, TAPS, BJ
        )
        inside = (j < J)[:, None] & (k < K)[None, :]
        # without the hint, neighbours would go to one thread, which suits the store but not the
        # loads: neighbouring threads are to read neighbouring voxels
        place = tl.max_contiguous(j[:, None] * K + k[None, :], [1, 1])
        if MODE == LINEAR:
            x0, fx, wx = between(cx, S0)
            y0, fy, wy = between(cy, S1)
            z0, fz, wz = between(cz, S2)
            content = wx * wy * wz
            if WIDE:
                x0, y0, z0 = x0.to(tl.int64), y0.to(tl.int64), z0.to(tl.int64)
            at = x0 * s0 + y0 * s1 + z0 * s2
        if MODE == LABEL:
            if WIDE:
                s0, s1, s2 = tl.cast(s0, tl.int64), tl.cast(s1, tl.int64), tl.cast(s2, tl.int64)
            around_x, around_y, around_z = (
                neighbours(cx, S0),
                neighbours(cy, S1),
                neighbours(cz, S2),
            )
        for c in range(C):
            source = x + tl.cast(c, tl.int64) * sc
            outside = tl.load(fill + b * C + c)
            if MODE != LINEAR:
                outside = outside.to(x.dtype.element_ty)
            if MODE == LINEAR:
                low = plane(source, at, s1, s2, fy, fz)
                high = plane(source, at + s0, s1, s2, fy, fz)
                y = blend(low, high, fx)
                if FRAMES == 0:
                    # a voxel that has no share must not count, not even if it is NaN
                    y = tl.where(content > 0.0, blend(outside, y, content), outside)
                if COPIES:
                    if tl.load(copies + b) != 0:
                        y = moved(source, outside, cx, cy, cz, S0, S1, S2, s0, s1, s2, WIDE, FRAMES)
            elif MODE == NEAREST:
                y = moved(source, outside, cx, cy, cz, S0, S1, S2, s0, s1, s2, WIDE, FRAMES)
            else:
                y = common_label(source, outside, around_x, around_y, around_z, s0, s1, s2, FRAMES)
            y = framed(y, cx, cy, cz, boxes, fill + b * C + c, B * C, b, B, C, FRAMES)
            if len(PROGRAM) > 0:
                y = y.to(tl.float32)
                y = program.run(y, ready, values, (c, i, j, k0), (C, I, J, K), PROGRAM)
            tl.store(out + tl.cast(c, tl.int64) * I * area + place, y, mask=inside)


class Map(NamedTuple):
    """Where voxels of the output are read: all that a launch needs to know.

    Args:
        matrix: Output voxel to input voxel, float32 [B, 3, 4].
        columns: Displacement in input voxels, contracted along I and K: float32 [B, I, 3, N, K].
        along_j: Weights of the control points along J, float32 [B or 1, J', N], J' being J rounded
            up to a multiple of :data:`.tiles.ROWS`.
        lowest: The lowest control point that each row depends on, int32 [B or 1, J'].
        taps: How many neighbouring control points 8 rows can depend on.
    """

    matrix: Tensor
    columns: Tensor | None
    along_j: Tensor | None
    lowest: Tensor | None
    taps: int

    def arguments(self) -> tuple[Any, ...]:
        """Tensors, or something in their place."""
        some = self.matrix
        if self.columns is None:
            return some, some, some, some
        return some, self.columns, self.along_j, self.lowest

    def sizes(self) -> tuple[int, int]:
        """Rows of the tables, and whether samples have their own."""
        if self.along_j is None:
            return 0, 0
        return self.along_j.shape[1], int(self.along_j.shape[0] > 1)

    def constants(self) -> dict[str, int]:
        """What a kernel is compiled for."""
        points = 0 if self.columns is None else self.columns.shape[3]
        return {"N": points, "TAPS": min(points, self.taps)}


def warp(
    x: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    along_j: Tensor | None,
    lowest: Tensor | None,
    fill: Tensor,
    boxes: Tensor | None,
    copies: Tensor | None,
    values: Tensor | None,
    seeds: Tensor | None,
    size: Sequence[int],
    taps: int,
    mode: str,
    program: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    """Read a volume through a map, and apply a program of pointwise operations.

    Args:
        x: [B, C, *], any strides, float32 or shorter or integers.
        matrix, columns, along_j, lowest, taps: See :class:`Map`.
        fill: Value outside, [B, C]; with boxes, that outside each, [F, B, C]. float32, or int64
            where whole numbers are moved.
        boxes: Low and high ends of boxes in the input, float32 [F, B, 2, 3].
        copies: Not 0 for samples of which voxels are only moved, int32 [B]: there, not even a voxel
            that is NaN spreads.
        values, seeds, program: As for :func:`.pointwise.pointwise`.
        size: Voxels of the output along I, J, K.
        mode: 'linear', 'nearest' or 'label'.
        dtype: Of the result.
    """
    B, C = x.shape[:2]
    I, J, K = size
    out = torch.empty((B, C, I, J, K), dtype=dtype, device=x.device)
    # what is known of a place is kept for the next channel, if there is one, and takes registers;
    # so do the eight labels around it
    tiles = Tiles.of(J, K, most=BJ if C == 1 and mode != "label" else BJ // 2)
    source, target = readable(x), readable(out)
    source_steps = strides(source)
    where = Map(matrix, columns, along_j, lowest, taps)
    values = matrix if values is None else values
    seeds = matrix if seeds is None else seeds
    warp_kernel[(tiles.JB * tiles.KB, I, B)](
        source,
        target,
        *where.arguments(),
        readable(fill),
        matrix if boxes is None else boxes,
        matrix if copies is None else copies,
        values,
        seeds,
        B,
        C,
        *x.shape[2:],
        I,
        J,
        K,
        *source_steps,
        *where.sizes(),
        values.shape[1],
        seeds.shape[1],
        tiles.KB,
        tiles.steps,
        **where.constants(),
        MODE=MODES.index(mode),
        FRAMES=0 if boxes is None else len(boxes),
        COPIES=copies is not None,
        PROGRAM=tuple(program),
        WIDE=is_wide(x.shape[2:], source_steps[2:]) or J * K >= 2**31,
        BJ=tiles.BJ,
        BK=tiles.BK,
        num_warps=tiles.warps,
        **OPTIONS,
    )
    return out
