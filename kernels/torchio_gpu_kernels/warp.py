"""Warp: sampling of a volume through a map, and pointwise operations on the result, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import program, tiling
from .coordinates import coordinates, polynomials, run_of
from .sampling import (
    corners,
    dominant_label,
    fields_without,
    fill_outside,
    nearest_of_neighbours,
    nearest_voxels,
    neighbours,
    offsets,
    trilinear,
)
from .tiles import (
    OPTIONS,
    Strides,
    Tiles,
    capped,
    in_row,
    is_wide,
    readable,
    row_offsets,
    voxels_along_k,
)

LINEAR = tl.constexpr(0)
NEAREST = tl.constexpr(1)
LABEL = tl.constexpr(2)
MODES = ("linear", "nearest", "label")
BJ = tl.constexpr(tiling.BJ)
#: Arguments that are not specialised. A specialised argument makes another kernel for 1, and for
#: multiples of 16: only the sizes and strides that spare a loop or registers are.
_NOT_SPECIALISED = "B S0 S1 S2 I K sb sc s0 s1 tb tc t0 t1 per_sample V S KB".split()  # noqa: SIM905


@triton.jit(do_not_specialize=_NOT_SPECIALISED)
def warp_kernel(
    x,
    out,
    matrix,
    columns,
    runs,
    spans,
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
    per_sample,
    V,
    S,
    KB,
    N: tl.constexpr,
    MODE: tl.constexpr,
    FIELDS: tl.constexpr,
    COPIES: tl.constexpr,
    LABELS: tl.constexpr,
    SAME_STRIDES: tl.constexpr,
    PROGRAM: tl.constexpr,
    WIDE: tl.constexpr,
    BK: tl.constexpr,
):
    i, b = tl.program_id(1), tl.program_id(2)
    k = voxels_along_k(KB, BK)
    number = tl.program_id(0) // KB
    first, low, high, tiles, span = run_of(runs, spans, b, number, J, per_sample, N)
    terms = polynomials(matrix, columns, span, b, i, first, k, I, K, N)
    x += b.to(tl.int64) * sb
    area = tl.cast(J, tl.int64) * K
    out += (b.to(tl.int64) * C * I + i) * area
    if LABELS:
        labels += b.to(tl.int64) * tb
        labels_out += (b.to(tl.int64) * D * I + i) * area
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    for tile in range(tiles):
        j0 = first + tile * BJ
        start = span[1] + span[2] * (j0 - first).to(tl.float32)
        points = ()
        for r in tl.static_range(BJ):
            cx, cy, cz = coordinates(terms, start, span, r)
            if MODE == NEAREST:
                voxels, inside = nearest_voxels(cx, cy, cz, S0, S1, S2, WIDE)
                weights = (cx, cy, cz)  # not used
            else:
                voxels, weights, inside = neighbours(cx, cy, cz, S0, S1, S2, WIDE)
            at = offsets(voxels, s0, s1, s2)
            without = fields_without(cx, cy, cz, fields, b, B, FIELDS)
            copied = at
            if COPIES:
                nearest, _ = nearest_voxels(cx, cy, cz, S0, S1, S2, WIDE)
                copied = offsets(nearest, s0, s1, s2)
            label = at
            if LABELS:
                label = at if SAME_STRIDES else offsets(voxels, t0, t1, t2)
                label = nearest_of_neighbours(label, weights, t0, t1, t2)
            points = points + ((at, weights, inside, without, copied, label),)
        for c in range(C):
            source = x + tl.cast(c, tl.int64) * sc
            around = ()
            for r in tl.static_range(BJ):
                around = around + (_read(source, points[r], s0, s1, s2, MODE, WIDE),)
            rows = ()
            for r in tl.static_range(BJ):
                y = trilinear(around[r], points[r][1]) if MODE == LINEAR else around[r]
                if COPIES:
                    if tl.load(copies + b) != 0:
                        y = tl.load(source + points[r][4]).to(y.dtype)
                if MODE != LINEAR and len(PROGRAM) > 0:
                    y = y.to(tl.float32)
                y = fill_outside(y, points[r][2], points[r][3], fill + b * C + c, B * C, FIELDS)
                rows = rows + (y,)
            if len(PROGRAM) > 0:
                rows = program.run(rows, ready, values, (c, i, j0, k), (C, I, J, K), PROGRAM)
            target = out + tl.cast(c, tl.int64) * I * area
            for r in tl.static_range(BJ):
                j = j0 + r
                known = in_row(j, k, low, high, K)
                tl.store(target + row_offsets(j, k, K, 1, WIDE), rows[r], mask=known)
        if LABELS:
            for c in range(D):
                target = labels_out + tl.cast(c, tl.int64) * I * area
                outside = tl.load(labels_fill + b * D + c).to(labels.dtype.element_ty)
                for r in tl.static_range(BJ):
                    j = j0 + r
                    y = tl.load(labels + tl.cast(c, tl.int64) * tc + points[r][5])
                    y = tl.where(points[r][2], y, outside)
                    known = in_row(j, k, low, high, K)
                    tl.store(target + row_offsets(j, k, K, 1, WIDE), y, mask=known)


@triton.jit
def _read(source, point, s0, s1, s2, MODE: tl.constexpr, WIDE: tl.constexpr):
    """Return the eight voxels around each point of a row, or the one that a mode takes."""
    if MODE == LINEAR:
        voxels = corners(source, point[0], s0, s1, s2, WIDE)
    elif MODE == NEAREST:
        voxels = tl.load(source + point[0])
    else:
        voxels = dominant_label(source, point[0], point[1], s0, s1, s2)
    return voxels


class Map(NamedTuple):
    """Map of the output to the input, as kernels read it.

    Rows are divided into runs between two neighbouring control points along J, of at most
    :data:`.tiling.ROWS` rows; a sample may have fewer runs than R, the others are empty.

    Args:
        matrix: Output voxel to input voxel, float32 [B, 3, 4].
        columns: Displacement in input voxels, contracted along I and K: float32 [B, I, 3, N, K].
        runs: For each run its first row rounded down to a multiple of :data:`.tiling.BJ`, its first
            row, the one after its last, and the lowest of the four control points that it depends
            on, which may be outside of the lattice: int32 [B or 1, R, 4].
        spans: For each run the place of the first of these rows between the second and the third
            of the control points, its step from row to row, and the inverse of this step:
            float32 [B or 1, R, 3].
    """

    matrix: Tensor
    columns: Tensor | None
    runs: Tensor | None
    spans: Tensor | None

    def arguments(self) -> dict[str, Any]:
        """Return arguments of a kernel by name; the matrix replaces tensors that are not read."""
        matrix, columns, runs, spans = self
        if columns is None or runs is None or spans is None:
            none = dict.fromkeys(("columns", "runs", "spans"), matrix)
            return {"matrix": matrix, **none, "per_sample": 0, "N": 0}
        return {
            "matrix": matrix,
            "columns": columns,
            "runs": runs,
            "spans": spans,
            "per_sample": runs.shape[1] if len(runs) > 1 else 0,
            "N": columns.shape[3],
        }

    def grid(self, tiles: Tiles, planes: int) -> tuple[int, int, int]:
        """Return the grid of a launch: runs times blocks along K, planes, samples."""
        runs = tiles.JB if self.runs is None else self.runs.shape[1]
        return runs * tiles.KB, planes, len(self.matrix)


def warp(
    x: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    runs: Tensor | None,
    spans: Tensor | None,
    fill: Tensor,
    fields: Tensor | None,
    copies: Tensor | None,
    values: Tensor | None,
    seeds: Tensor | None,
    labels: Tensor | None,
    labels_fill: Tensor | None,
    size: Sequence[int],
    mode: str,
    program: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None]:
    """Sample a volume through a map, and apply a program of pointwise operations.

    Args:
        x: Volume [B, C, *] of any strides, float32 or shorter or integers.
        matrix, columns, runs, spans: See :class:`Map`.
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
    tiles = Tiles.of(J, K)
    where = Map(matrix, columns, runs, spans)
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
    warp_kernel[where.grid(tiles, I)](
        x=source,
        out=target,
        **where.arguments(),
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
        MODE=MODES.index(mode),
        FIELDS=0 if fields is None else len(fields),
        COPIES=copies is not None,
        LABELS=labels is not None,
        SAME_STRIDES=labels is not None and source_steps.spatial == labels_steps.spatial,
        PROGRAM=tuple(program),
        WIDE=is_wide(shape, source_steps.spatial)
        or is_wide(shape, labels_steps.spatial)
        or J * K >= 2**31,
        **tiles.arguments(),
        **capped(C > 1),
        **OPTIONS,
    )
    return out, labels_out
