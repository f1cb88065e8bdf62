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
from .sampling import between, blend, common_label, framed, in_view, moved, places, plane
from .tiles import (
    BJ,
    OPTIONS,
    Tiles,
    before_hopper,
    capped,
    is_wide,
    locate,
    readable,
    strides,
    within,
)

LINEAR = tl.constexpr(0)
NEAREST = tl.constexpr(1)
LABEL = tl.constexpr(2)
MODES = ("linear", "nearest", "label")
#: Arguments that kernels are compiled for whatever their value. What is specialised makes another
#: form for 1, and for multiples of 16: of sizes and strides, only those are that spare a loop or
#: registers.
_GENERAL = "B S0 S1 S2 I K sb sc s0 s1 tb tc t0 t1 rows shared V S".split()  # noqa: SIM905


@triton.jit(do_not_specialize=_GENERAL)
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
    labels,
    labels_out,
    labels_fill,
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
    D,
    tb,
    tc,
    t0,
    t1,
    t2,
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
    LABELS: tl.constexpr,
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
    if LABELS:
        labels += b.to(tl.int64) * tb
        labels_out += (b.to(tl.int64) * D * I + i) * area
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    for step in range(steps):
        j0 = first + step * BJ
        j = j0 + tl.arange(0, BJ)
        cx, cy, cz = coordinates(
            start, columns, along_j, lowest, b, i, j0, k, I, rows, K, shared, N, TAPS, BJ
        )
        inside = (j < J)[:, None] & (k < K)[None, :]
        # without the hints on addresses, neighbours would go to one thread, which suits the store
        # but not the loads: neighbouring threads are to read neighbouring voxels
        place = tl.multiple_of(within(j, k, K, 1, WIDE), [1, 1])
        if MODE != NEAREST:
            x0, fx = between(cx, S0)
            y0, fy = between(cy, S1)
            z0, fz = between(cz, S2)
            if WIDE:
                x0, y0, z0 = x0.to(tl.int64), y0.to(tl.int64), z0.to(tl.int64)
            at = places(x0, y0, z0, s0, s1, s2)
            known = in_view(cx, cy, cz, S0, S1, S2)
            share = tl.where(known, 1.0, 0.0)
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
                    # chosen, and by way of a product: selected alone, y takes 128 registers
                    y = tl.where(share > 0.0, blend(0.0, y, share), outside)
                if COPIES:
                    if tl.load(copies + b) != 0:
                        y = moved(source, outside, cx, cy, cz, S0, S1, S2, s0, s1, s2, WIDE, FRAMES)
            elif MODE == NEAREST:
                y = moved(source, outside, cx, cy, cz, S0, S1, S2, s0, s1, s2, WIDE, FRAMES)
            else:
                y = common_label(source, at, fx, fy, fz, s0, s1, s2)
                if FRAMES == 0:
                    y = tl.where(known, y, outside)
            y = framed(y, cx, cy, cz, boxes, fill + b * C + c, B * C, b, B, C, FRAMES)
            if len(PROGRAM) > 0:
                y = y.to(tl.float32)
                y = program.run(y, ready, values, (c, i, j, k0), (C, I, J, K), PROGRAM)
            tl.store(out + tl.cast(c, tl.int64) * I * area + place, y, mask=inside)
        if LABELS:
            for c in range(D):
                source = labels + tl.cast(c, tl.int64) * tc
                outside = tl.load(labels_fill + b * D + c).to(labels.dtype.element_ty)
                y = moved(source, outside, cx, cy, cz, S0, S1, S2, t0, t1, t2, WIDE, 0)
                tl.store(labels_out + tl.cast(c, tl.int64) * I * area + place, y, mask=inside)


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
    labels: Tensor | None,
    labels_fill: Tensor | None,
    size: Sequence[int],
    taps: int,
    mode: str,
    program: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None]:
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
        labels: [B, D, *], on the grid of ``x``: read in mode 'nearest' at the same places.
        labels_fill: Label outside, [B, D].
        size: Voxels of the output along I, J, K.
        mode: 'linear', 'nearest' or 'label'.
        dtype: Of the result.

    Returns:
        What was read, [B, C, *size], and the labels, if there are any, [B, D, *size].
    """
    B, C = x.shape[:2]
    I, J, K = size
    out = torch.empty((B, C, I, J, K), dtype=dtype, device=x.device)
    # what is known of a place is kept for the next channel, if there is one, and takes registers;
    # the eight labels around it take more
    most = BJ // 4 if mode == "label" else BJ if C == 1 else BJ // 2
    tiles = Tiles.of(J, K, most=most)
    source, target = readable(x), readable(out)
    source_steps = strides(source)
    labels_out, others, others_out, D, others_steps = None, source, target, 0, [0] * 5
    if labels is not None:
        labels_out = torch.empty((B, labels.shape[1], I, J, K), dtype=labels.dtype, device=x.device)
        others, others_out = readable(labels), readable(labels_out)
        D, others_steps = labels.shape[1], strides(others)
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
        others,
        others_out,
        fill if labels_fill is None else readable(labels_fill),
        B,
        C,
        *x.shape[2:],
        I,
        J,
        K,
        *source_steps,
        D,
        *others_steps,
        *where.sizes(),
        values.shape[1],
        seeds.shape[1],
        tiles.KB,
        tiles.steps,
        **where.constants(),
        MODE=MODES.index(mode),
        FRAMES=0 if boxes is None else len(boxes),
        COPIES=copies is not None,
        LABELS=labels is not None,
        PROGRAM=tuple(program),
        WIDE=any(is_wide(x.shape[2:], each[2:]) for each in (source_steps, others_steps))
        or J * K >= 2**31,
        BJ=tiles.BJ,
        BK=tiles.BK,
        num_warps=tiles.warps,
        **_registers(len(program) > 0, C, J),
        **OPTIONS,
    )
    return out, labels_out


def _registers(program: bool, C: int, J: int) -> dict[str, int]:
    """Return the launch option that caps registers, found by compiling; see :func:`.capped`."""
    if before_hopper():
        return capped(program or (C > 1 and J % 16 > 0))
    if program and C == 1 and J % 16 == 0:
        return capped(True, 96)
    return capped(program)
