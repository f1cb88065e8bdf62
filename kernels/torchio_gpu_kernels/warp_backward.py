"""Gradient of a warp with respect to the volume, the matrix and the displacement."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .coordinates import column_start, coordinates, spline_taps
from .sampling import (
    inside_source,
    lerp,
    lower_neighbour,
    nearest_voxel,
    outside_field,
    voxel_offsets,
)
from .tiles import (
    OPTIONS,
    ROWS,
    Strides,
    Tiles,
    before_hopper,
    capped,
    is_wide,
    readable,
    tile_start,
)
from .warp import LINEAR, MODES, Map

#: Rows of a tile: with more, a gradient would not fit into registers. Gradients of the volume and
#: of the map, together, take twice as many registers.
_BJ = 4
#: Arguments that are not specialised: see :mod:`.warp`.
_NOT_SPECIALISED = "B S0 S1 S2 I K gb gc gi sb sc s0 s1 padded_j per_sample".split()  # noqa: SIM905


@triton.jit
def clamp_slope(x, n):
    """Derivative of the weight of :func:`.lower_neighbour` by the coordinate: 1, or 0 outside."""
    return tl.where((x >= 0.0) & (x <= (n - 1).to(tl.float32)), 1.0, 0.0)


@triton.jit
def spatial_gradient(source, s0, s1, s2, fx, fy, fz):
    """Derivatives of the trilinear interpolation between eight voxels along each axis."""
    a, b = _load_pair(source, s2)
    c, d = _load_pair(source + s1, s2)
    e, f = _load_pair(source + s0, s2)
    g, h = _load_pair(source + s0 + s1, s2)
    p, q, r, s = lerp(a, b, fz), lerp(c, d, fz), lerp(e, f, fz), lerp(g, h, fz)
    low, high = lerp(p, q, fy), lerp(r, s, fy)
    by_z = lerp(lerp(b - a, d - c, fy), lerp(f - e, h - g, fy), fx)
    return high - low, lerp(q - p, s - r, fx), by_z


@triton.jit
def _load_pair(pointer, stride):
    return tl.load(pointer).to(tl.float32), tl.load(pointer + stride).to(tl.float32)


@triton.jit
def _add_bilinear(target, at, s1, s2, g, fy, fz, inside, EXACT: tl.constexpr):
    """Add a gradient to four voxels of a plane, times their weights."""
    for corner in tl.static_range(4):
        share = g * (fy if corner // 2 == 1 else 1.0 - fy) * (fz if corner % 2 == 1 else 1.0 - fz)
        to = target + (at + (corner // 2) * s1 + (corner % 2) * s2)
        _atomic_add(to, share, inside & (share != 0.0), EXACT)


@triton.jit
def _atomic_add(target, value, inside, EXACT: tl.constexpr):
    # sums of integers do not depend on the order
    if EXACT:
        value = value.to(tl.int64)
    tl.atomic_add(target, value, mask=inside, sem="relaxed")


@triton.jit(do_not_specialize=_NOT_SPECIALISED)
def warp_backward_kernel(
    grad,
    x,
    g_x,
    g_matrix,
    g_columns,
    matrix,
    columns,
    along_j,
    lowest,
    fields,
    scale,
    B,
    C,
    S0,
    S1,
    S2,
    I,
    J,
    K,
    gb,
    gc,
    gi,
    gj,
    gk,
    sb,
    sc,
    s0,
    s1,
    s2,
    padded_j,
    per_sample,
    KB,
    steps,
    N: tl.constexpr,
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    FIELDS: tl.constexpr,
    NEEDS_X: tl.constexpr,
    NEEDS_MAP: tl.constexpr,
    EXACT: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    """Compute gradients of :func:`.warp_kernel` without a program.

    For gradients of the map, a block processes all rows of its columns, and sums the gradient of
    the matrix in a fixed order.

    Args:
        grad: Gradient of the result.
        g_x: Gradient of the volume, contiguous: float32, or int64 in units of 1 / ``scale``.
        g_matrix: Sum of each block for the gradient of the matrix, float32 [B, blocks, 3, 4].
        g_columns: Gradient of ``columns``, float32, initially 0.
        NEEDS_X, NEEDS_MAP: True if gradients of the volume, and of the map, are wanted.
        EXACT: True if the gradient of the volume is summed in integers.
    """
    first, k0 = tile_start(KB, steps, BJ, BK)
    i, b = tl.program_id(1), tl.program_id(2)
    k = k0 + tl.arange(0, BK)
    start = column_start(matrix, b, i, k)
    x += b.to(tl.int64) * sb
    grad += b.to(tl.int64) * gb + i.to(tl.int64) * gi
    size = tl.cast(S0, tl.int64) * S1 * S2
    g_x += b.to(tl.int64) * C * size
    none = k.to(tl.float32) * 0.0
    sum_x, sum_y, sum_z = none, none, none
    sum_xj, sum_yj, sum_zj = none, none, none
    for step in range(steps):
        j0 = first + step * BJ
        j = j0 + tl.arange(0, BJ)
        cx, cy, cz = coordinates(
            start, columns, along_j, lowest, b, i, j0, k, I, padded_j, K, per_sample, N, TAPS, BJ
        )
        inside = (j < J)[:, None] & (k < K)[None, :]
        place = j[:, None].to(tl.int64) * gj + k[None, :].to(tl.int64) * gk
        place = tl.multiple_of(place, [1, 1])  # as in `warp_kernel`
        if MODE == LINEAR:
            x0, fx = lower_neighbour(cx, S0)
            y0, fy = lower_neighbour(cy, S1)
            z0, fz = lower_neighbour(cz, S2)
            known = inside & inside_source(cx, cy, cz, S0, S1, S2) if FIELDS == 0 else inside
        else:
            x0, in_x = nearest_voxel(cx, S0)
            y0, in_y = nearest_voxel(cy, S1)
            z0, in_z = nearest_voxel(cz, S2)
            known = inside & in_x & in_y & in_z if FIELDS == 0 else inside
        if WIDE:
            x0, y0, z0 = x0.to(tl.int64), y0.to(tl.int64), z0.to(tl.int64)
        plane = tl.cast(S1, tl.int64) * S2 if WIDE else S1 * S2
        into = voxel_offsets(x0, y0, z0, plane, S2, 1)
        step_0 = tl.where(S0 > 1, plane, 0)
        step_1, step_2 = tl.where(S1 > 1, S2, 0), tl.where(S2 > 1, 1, 0)
        if NEEDS_MAP:
            up_x, up_y, up_z = clamp_slope(cx, S0), clamp_slope(cy, S1), clamp_slope(cz, S2)
        g_cx, g_cy, g_cz = cx * 0.0, cx * 0.0, cx * 0.0
        for c in range(C):
            g = tl.load(grad + tl.cast(c, tl.int64) * gc + place, mask=inside, other=0).to(
                tl.float32
            )
            for field in tl.static_range(FIELDS):
                g = tl.where(outside_field(cx, cy, cz, fields + (field * B + b) * 6), 0.0, g)
            if NEEDS_X:
                target = g_x + tl.cast(c, tl.int64) * size
                amount = g * tl.load(scale) if EXACT else g
                if MODE == LINEAR:
                    low, high = amount * (1.0 - fx), amount * fx
                    _add_bilinear(target, into, step_1, step_2, low, fy, fz, known, EXACT)
                    _add_bilinear(target, into + step_0, step_1, step_2, high, fy, fz, known, EXACT)
                else:
                    _atomic_add(target + into, amount, known, EXACT)
            if NEEDS_MAP:
                source = x + tl.cast(c, tl.int64) * sc + voxel_offsets(x0, y0, z0, s0, s1, s2)
                by_x, by_y, by_z = spatial_gradient(source, s0, s1, s2, fx, fy, fz)
                # a selection, so that NaN from voxels outside does not spread
                g_cx += tl.where(known, g * up_x * by_x, 0.0)
                g_cy += tl.where(known, g * up_y * by_y, 0.0)
                g_cz += tl.where(known, g * up_z * by_z, 0.0)
        if NEEDS_MAP:
            at_j = j.to(tl.float32)[:, None]
            sum_x += tl.sum(g_cx, 0)
            sum_y += tl.sum(g_cy, 0)
            sum_z += tl.sum(g_cz, 0)
            sum_xj += tl.sum(g_cx * at_j, 0)
            sum_yj += tl.sum(g_cy * at_j, 0)
            sum_zj += tl.sum(g_cz * at_j, 0)
            if N > 0:
                weights, at, count = spline_taps(
                    along_j, lowest, b, i, j0, k, I, padded_j, K, per_sample, N, BJ
                )
                to = g_columns + at
                for tap in tl.static_range(TAPS):
                    if tap < count:
                        weight = tl.load(weights + tap)[:, None]
                        _add_column(to + tap * K, tl.sum(g_cx * weight, 0), k < K)
                        _add_column(to + (N + tap) * K, tl.sum(g_cy * weight, 0), k < K)
                        _add_column(to + (2 * N + tap) * K, tl.sum(g_cz * weight, 0), k < K)
                tl.debug_barrier()  # the next tile adds to the same values
    if NEEDS_MAP:
        number = (b.to(tl.int64) * I + i) * tl.num_programs(0) + tl.program_id(0)
        own = g_matrix + number * 12
        _store_matrix(own, sum_x, sum_xj, i, k)
        _store_matrix(own + 4, sum_y, sum_yj, i, k)
        _store_matrix(own + 8, sum_z, sum_zj, i, k)


@triton.jit
def _add_column(to, value, known):
    tl.store(to, tl.load(to, mask=known, other=0.0) + value, mask=known)


@triton.jit
def _store_matrix(own, total, total_j, i, k):
    """Store the gradient of the matrix coefficients of one coordinate."""
    whole = tl.sum(total, 0)
    tl.store(own, whole * i.to(tl.float32))
    tl.store(own + 1, tl.sum(total_j, 0))
    tl.store(own + 2, tl.sum(total * k.to(tl.float32), 0))
    tl.store(own + 3, whole)


def warp_backward(
    grad: Tensor,
    x: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    along_j: Tensor | None,
    lowest: Tensor | None,
    fields: Tensor | None,
    taps: int,
    mode: str,
    needs_x: bool,
    needs_map: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of :func:`.warp.warp` without a program.

    If torch is to use deterministic algorithms, the gradient of the volume is summed in integers,
    in which the largest gradient has about 40 bits: their sum does not depend on the order.

    Args:
        grad: Gradient of the result, [B, C, I, J, K].
        x, matrix, columns, along_j, lowest, fields, taps, mode: As for :func:`.warp.warp`.
        needs_x: True if the gradient of the volume is wanted.
        needs_map: True if the gradients of the matrix and the columns are wanted.

    Returns:
        Gradients of ``x``, ``matrix`` and ``columns``; empty where they are not wanted.
    """
    B, C, I, J, K = grad.shape
    device = x.device
    exact = needs_x and torch.are_deterministic_algorithms_enabled()
    # a block that adds to columns processes all of their rows
    rows = J if needs_map else ROWS
    tiles = Tiles.of(J, K, rows=rows, most=_BJ // 2 if needs_map and needs_x else _BJ)
    g_x, g_matrix, g_columns, scale = (torch.zeros(0, device=device) for _ in range(4))
    if needs_x:
        dtype = torch.int64 if exact else torch.float32
        g_x = torch.zeros(x.shape, dtype=dtype, device=device)
    if exact:
        # the sum of I J K gradients, each as large as the largest, stays below 2**62
        most = grad.abs().amax().double()
        # the scale must fit float32; if the largest is not finite, neither is the whole gradient
        bits = (62 - torch.log2(most * (I * J * K)).ceil()).clamp(max=126)
        scale = torch.exp2(bits).where(most != 0, 1).to(torch.float32)
    if needs_map:
        g_matrix = torch.zeros((B, I * tiles.JB * tiles.KB, 3, 4), device=device)
        if columns is not None:
            g_columns = torch.zeros_like(columns)
    shape = x.shape[2:]
    S0, S1, S2 = shape
    source = readable(x)
    source_steps, grad_steps = Strides.of(source), Strides.of(grad)
    warp_backward_kernel[tiles.grid(I, B)](
        grad=grad,
        x=source,
        g_x=g_x,
        g_matrix=g_matrix,
        g_columns=g_columns,
        **Map(matrix, columns, along_j, lowest, taps).arguments(),
        fields=matrix if fields is None else fields,
        scale=scale,
        B=B,
        C=C,
        S0=S0,
        S1=S1,
        S2=S2,
        I=I,
        J=J,
        K=K,
        **grad_steps.arguments("gb", "gc", "gi", "gj", "gk"),
        **source_steps.arguments("sb", "sc", "s0", "s1", "s2"),
        steps=tiles.steps,
        MODE=MODES.index(mode),
        FIELDS=0 if fields is None else len(fields),
        NEEDS_X=needs_x,
        NEEDS_MAP=needs_map,
        EXACT=exact,
        WIDE=is_wide(shape, source_steps.spatial) or S0 * S1 * S2 >= 2**31,
        **tiles.arguments(),
        **capped(needs_map and (exact or before_hopper())),
        **OPTIONS,
    )
    if exact:
        g_x = g_x.double().div_(scale)
    g_x = g_x.to(x.dtype) if needs_x else g_x
    return g_x, g_matrix.sum(1) if needs_map else g_matrix, g_columns
