"""Warp: sampling of a volume through a map, and pointwise operations on the result, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import program
from .coordinates import column_start, coordinates
from .sampling import (
    bilinear,
    copy_nearest,
    dominant_label,
    fill_outside,
    inside_source,
    lerp,
    lower_neighbour,
    voxel_offsets,
)
from .tiles import (
    OPTIONS,
    Strides,
    Tiles,
    before_hopper,
    capped,
    is_wide,
    plane_offsets,
    readable,
    tile_start,
)
from .tiling import BJ

LINEAR = tl.constexpr(0)
NEAREST = tl.constexpr(1)
LABEL = tl.constexpr(2)
MODES = ("linear", "nearest", "label")
#: Arguments that are not specialised. A specialised argument makes another kernel for 1, and for
#: multiples of 16: only the sizes and strides that spare a loop or registers are.
_NOT_SPECIALISED = "B S0 S1 S2 I K sb sc s0 s1 tb tc t0 t1 padded_j per_sample V S".split()  # noqa: SIM905


@triton.jit(do_not_specialize=_NOT_SPECIALISED)
def warp_kernel(
    x,
    out,
    matrix,
    columns,
    along_j,
    lowest,
    fill,
    fields,
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
    padded_j,
    per_sample,
    V,
    S,
    KB,
    steps,
    N: tl.constexpr,
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    FIELDS: tl.constexpr,
    COPIES: tl.constexpr,
    LABELS: tl.constexpr,
    PROGRAM: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    first, k0 = tile_start(KB, steps, BJ, BK)
    i, b = tl.program_id(1), tl.program_id(2)
    k = k0 + tl.arange(0, BK)
    start = column_start(matrix, b, i, k)
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
            start, columns, along_j, lowest, b, i, j0, k, I, padded_j, K, per_sample, N, TAPS, BJ
        )
        inside = (j < J)[:, None] & (k < K)[None, :]
        # without this hint, Triton gives neighbouring voxels to one thread, which suits the store;
        # for the loads, neighbouring threads must read neighbouring voxels
        place = tl.multiple_of(plane_offsets(j, k, K, 1, WIDE), [1, 1])
        if MODE != NEAREST:
            x0, fx = lower_neighbour(cx, S0)
            y0, fy = lower_neighbour(cy, S1)
            z0, fz = lower_neighbour(cz, S2)
            if WIDE:
                x0, y0, z0 = x0.to(tl.int64), y0.to(tl.int64), z0.to(tl.int64)
            at = voxel_offsets(x0, y0, z0, s0, s1, s2)
            known = inside_source(cx, cy, cz, S0, S1, S2)
            share = tl.where(known, 1.0, 0.0)
        for c in range(C):
            source = x + tl.cast(c, tl.int64) * sc
            outside = tl.load(fill + b * C + c)
            if MODE != LINEAR:
                outside = outside.to(x.dtype.element_ty)
            if MODE == LINEAR:
                low = bilinear(source, at, s1, s2, fy, fz)
                high = bilinear(source, at + s0, s1, s2, fy, fz)
                y = lerp(low, high, fx)
                if FIELDS == 0:
                    # same as `where(known, y, outside)`, which takes 128 registers
                    y = tl.where(share > 0.0, lerp(0.0, y, share), outside)
                if COPIES:
                    if tl.load(copies + b) != 0:
                        y = copy_nearest(
                            source, outside, cx, cy, cz, S0, S1, S2, s0, s1, s2, WIDE, FIELDS
                        )
            elif MODE == NEAREST:
                y = copy_nearest(source, outside, cx, cy, cz, S0, S1, S2, s0, s1, s2, WIDE, FIELDS)
            else:
                y = dominant_label(source, at, fx, fy, fz, s0, s1, s2)
                if FIELDS == 0:
                    y = tl.where(known, y, outside)
            y = fill_outside(y, cx, cy, cz, fields, fill + b * C + c, B * C, b, B, C, FIELDS)
            if len(PROGRAM) > 0:
                y = y.to(tl.float32)
                y = program.run(y, ready, values, (c, i, j, j0, k0), (C, I, J, K), PROGRAM)
            tl.store(out + tl.cast(c, tl.int64) * I * area + place, y, mask=inside)
        if LABELS:
            for c in range(D):
                source = labels + tl.cast(c, tl.int64) * tc
                outside = tl.load(labels_fill + b * D + c).to(labels.dtype.element_ty)
                y = copy_nearest(source, outside, cx, cy, cz, S0, S1, S2, t0, t1, t2, WIDE, 0)
                tl.store(labels_out + tl.cast(c, tl.int64) * I * area + place, y, mask=inside)


class Map(NamedTuple):
    """Map of the output to the input, as kernels read it.

    Args:
        matrix: Output voxel to input voxel, float32 [B, 3, 4].
        columns: Displacement in input voxels, contracted along I and K: float32 [B, I, 3, N, K].
        along_j: Weights of the control points along J, float32 [B or 1, J', N], J' being J rounded
            up to a multiple of :data:`.tiling.ROWS`.
        lowest: Lowest control point that each row depends on, int32 [B or 1, J'].
        taps: Largest number of neighbouring control points that 8 rows depend on.
    """

    matrix: Tensor
    columns: Tensor | None
    along_j: Tensor | None
    lowest: Tensor | None
    taps: int

    def arguments(self) -> dict[str, Any]:
        """Return arguments of a kernel by name; the matrix replaces tensors that are not read."""
        matrix, columns, along_j, lowest, taps = self
        if columns is None or along_j is None or lowest is None:
            return {
                "matrix": matrix,
                "columns": matrix,
                "along_j": matrix,
                "lowest": matrix,
                "padded_j": 0,
                "per_sample": 0,
                "N": 0,
                "TAPS": 0,
            }
        points = columns.shape[3]
        return {
            "matrix": matrix,
            "columns": columns,
            "along_j": along_j,
            "lowest": lowest,
            "padded_j": along_j.shape[1],
            "per_sample": int(along_j.shape[0] > 1),
            "N": points,
            "TAPS": min(points, taps),
        }


def warp(
    x: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    along_j: Tensor | None,
    lowest: Tensor | None,
    fill: Tensor,
    fields: Tensor | None,
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
    """Sample a volume through a map, and apply a program of pointwise operations.

    Args:
        x: Volume [B, C, *] of any strides, float32 or shorter or integers.
        matrix, columns, along_j, lowest, taps: See :class:`Map`.
        fill: Fill outside the volume, [B, C], or outside each field of view, [F, B, C]. float32, or
            int64 for integers that are not interpolated.
        fields: Low and high ends of fields of view in the input, float32 [F, B, 2, 3].
        copies: Not 0 for samples whose voxels are copied without interpolation, so that a voxel
            that is NaN does not spread, int32 [B].
        values, seeds, program: As for :func:`.pointwise.pointwise`.
        labels: Labels [B, D, *] on the grid of ``x``, sampled in mode 'nearest' through the map.
        labels_fill: Label outside, [B, D].
        size: Voxels of the output along I, J, K.
        mode: 'linear', 'nearest' or 'label'.
        dtype: Dtype of the result.

    Returns:
        The sampled volume, [B, C, *size], and the sampled labels, if any, [B, D, *size].
    """
    B, C = x.shape[:2]
    I, J, K = size
    out = torch.empty((B, C, I, J, K), dtype=dtype, device=x.device)
    # for several channels, neighbours and weights of a voxel stay in registers; in mode 'label' so
    # do the eight labels around it
    most = BJ // 4 if mode == "label" else BJ if C == 1 else BJ // 2
    tiles = Tiles.of(J, K, most=most)
    source, target = readable(x), readable(out)
    labels_out, source_labels, target_labels, D = None, source, target, 0
    source_steps, labels_steps = Strides.of(source), Strides(0, 0, 0, 0, 0)
    if labels is not None:
        D = labels.shape[1]
        labels_out = torch.empty((B, D, I, J, K), dtype=labels.dtype, device=x.device)
        source_labels, target_labels = readable(labels), readable(labels_out)
        labels_steps = Strides.of(source_labels)
    shape = x.shape[2:]
    S0, S1, S2 = shape
    # a kernel needs a tensor for each pointer, read or not: the matrix replaces those not given
    values = matrix if values is None else values
    seeds = matrix if seeds is None else seeds
    warp_kernel[tiles.grid(I, B)](
        x=source,
        out=target,
        **Map(matrix, columns, along_j, lowest, taps).arguments(),
        fill=readable(fill),
        fields=matrix if fields is None else fields,
        copies=matrix if copies is None else copies,
        values=values,
        seeds=seeds,
        labels=source_labels,
        labels_out=target_labels,
        labels_fill=fill if labels_fill is None else readable(labels_fill),
        B=B,
        C=C,
        S0=S0,
        S1=S1,
        S2=S2,
        I=I,
        J=J,
        K=K,
        **source_steps.arguments("sb", "sc", "s0", "s1", "s2"),
        D=D,
        **labels_steps.arguments("tb", "tc", "t0", "t1", "t2"),
        V=values.shape[1],
        S=seeds.shape[1],
        steps=tiles.steps,
        MODE=MODES.index(mode),
        FIELDS=0 if fields is None else len(fields),
        COPIES=copies is not None,
        LABELS=labels is not None,
        PROGRAM=tuple(program),
        WIDE=is_wide(shape, source_steps.spatial)
        or is_wide(shape, labels_steps.spatial)
        or J * K >= 2**31,
        **tiles.arguments(),
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
