"""The gradient of a warp: with respect to the volume, the matrix and the displacement."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .coordinates import column, coordinates, taps
from .sampling import between, beyond, blend, in_view, nearest, places
from .tiles import OPTIONS, ROWS, Tiles, before_hopper, capped, is_wide, locate, readable, strides
from .warp import LINEAR, MODES, Map

#: Rows of a tile: of more, not all that a gradient takes would stay in registers. Gradients of the
#: volume and of where it is read, together, take twice as many.
_BJ = 4
#: Arguments that the kernel is compiled for whatever their value: see :mod:`.warp`.
_GENERAL = "B S0 S1 S2 I K gb gc gi sb sc s0 s1 rows shared".split()  # noqa: SIM905


@triton.jit
def slope(x, n):
    """How the share of the upper voxel of :func:`between` changes with the coordinate: 1 or 0."""
    return tl.where((x >= 0.0) & (x <= (n - 1).to(tl.float32)), 1.0, 0.0)


@triton.jit
def derivative(source, s0, s1, s2, fx, fy, fz):
    """How what is read between eight voxels changes along each axis."""
    a, b = _two(source, s2)
    c, d = _two(source + s1, s2)
    e, f = _two(source + s0, s2)
    g, h = _two(source + s0 + s1, s2)
    p, q, r, s = blend(a, b, fz), blend(c, d, fz), blend(e, f, fz), blend(g, h, fz)
    low, high = blend(p, q, fy), blend(r, s, fy)
    by_z = blend(blend(b - a, d - c, fy), blend(f - e, h - g, fy), fx)
    return high - low, blend(q - p, s - r, fx), by_z


@triton.jit
def _two(pointer, stride):
    return tl.load(pointer).to(tl.float32), tl.load(pointer + stride).to(tl.float32)


@triton.jit
def _scatter(target, at, s1, s2, g, fy, fz, inside, EXACT: tl.constexpr):
    """Add to four voxels of a plane their shares of a gradient."""
    for corner in tl.static_range(4):
        share = g * (fy if corner // 2 == 1 else 1.0 - fy) * (fz if corner % 2 == 1 else 1.0 - fz)
        to = target + (at + (corner // 2) * s1 + (corner % 2) * s2)
        _add(to, share, inside & (share != 0.0), EXACT)


@triton.jit
def _add(target, value, inside, EXACT: tl.constexpr):
    # whole numbers add up to the same in any order
    if EXACT:
        value = value.to(tl.int64)
    tl.atomic_add(target, value, mask=inside, sem="relaxed")


@triton.jit(do_not_specialize=_GENERAL)
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
    boxes,
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
    rows,
    shared,
    KB,
    steps,
    N: tl.constexpr,
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    FRAMES: tl.constexpr,
    VOXELS: tl.constexpr,
    POINTS: tl.constexpr,
    EXACT: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    """Gradients of :func:`warp_kernel` without a program.

    A program works through all rows of its columns when gradients of these are wanted, and adds up
    what belongs to the matrix as it goes: in an order that is always the same.

    Args:
        grad: Of the result.
        g_x: Of the volume, contiguous: float32, or int64 in units of 1 / ``scale``.
        g_matrix: The share of each program, float32 [B, programs, 3, 4].
        g_columns: float32, as ``columns``, 0 to begin with.
        VOXELS, POINTS: Whether gradients of the volume, and of where it is read, are wanted.
        EXACT: Whether that of the volume is counted in whole numbers.
    """
    first, k0 = locate(KB, steps, BJ, BK)
    i, b = tl.program_id(1), tl.program_id(2)
    k = k0 + tl.arange(0, BK)
    start = column(matrix, b, i, k)
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
            start, columns, along_j, lowest, b, i, j0, k, I, rows, K, shared, N, TAPS, BJ
        )
        inside = (j < J)[:, None] & (k < K)[None, :]
        place = j[:, None].to(tl.int64) * gj + k[None, :].to(tl.int64) * gk
        place = tl.multiple_of(place, [1, 1])  # as in the warp itself
        if MODE == LINEAR:
            x0, fx = between(cx, S0)
            y0, fy = between(cy, S1)
            z0, fz = between(cz, S2)
            known = inside & in_view(cx, cy, cz, S0, S1, S2) if FRAMES == 0 else inside
        else:
            x0, in_x = nearest(cx, S0)
            y0, in_y = nearest(cy, S1)
            z0, in_z = nearest(cz, S2)
            known = inside & in_x & in_y & in_z if FRAMES == 0 else inside
        if WIDE:
            x0, y0, z0 = x0.to(tl.int64), y0.to(tl.int64), z0.to(tl.int64)
        plane = tl.cast(S1, tl.int64) * S2 if WIDE else S1 * S2
        into = places(x0, y0, z0, plane, S2, 1)
        step_0 = tl.where(S0 > 1, plane, 0)
        step_1, step_2 = tl.where(S1 > 1, S2, 0), tl.where(S2 > 1, 1, 0)
        if POINTS:
            up_x, up_y, up_z = slope(cx, S0), slope(cy, S1), slope(cz, S2)
        g_cx, g_cy, g_cz = cx * 0.0, cx * 0.0, cx * 0.0
        for c in range(C):
            g = tl.load(grad + tl.cast(c, tl.int64) * gc + place, mask=inside, other=0).to(
                tl.float32
            )
            for frame in tl.static_range(FRAMES):
                g = tl.where(beyond(cx, cy, cz, boxes + (frame * B + b) * 6), 0.0, g)
            if VOXELS:
                target = g_x + tl.cast(c, tl.int64) * size
                amount = g * tl.load(scale) if EXACT else g
                if MODE == LINEAR:
                    low, high = amount * (1.0 - fx), amount * fx
                    _scatter(target, into, step_1, step_2, low, fy, fz, known, EXACT)
                    _scatter(target, into + step_0, step_1, step_2, high, fy, fz, known, EXACT)
                else:
                    _add(target + into, amount, known, EXACT)
            if POINTS:
                source = x + tl.cast(c, tl.int64) * sc + places(x0, y0, z0, s0, s1, s2)
                by_x, by_y, by_z = derivative(source, s0, s1, s2, fx, fy, fz)
                # selected, so that a voxel that is NaN beside the view does not count
                g_cx += tl.where(known, g * up_x * by_x, 0.0)
                g_cy += tl.where(known, g * up_y * by_y, 0.0)
                g_cz += tl.where(known, g * up_z * by_z, 0.0)
        if POINTS:
            row = j.to(tl.float32)[:, None]
            sum_x += tl.sum(g_cx, 0)
            sum_y += tl.sum(g_cy, 0)
            sum_z += tl.sum(g_cz, 0)
            sum_xj += tl.sum(g_cx * row, 0)
            sum_yj += tl.sum(g_cy * row, 0)
            sum_zj += tl.sum(g_cz * row, 0)
            if N > 0:
                weights, at, count = taps(along_j, lowest, b, i, j0, k, I, rows, K, shared, N, BJ)
                to = g_columns + at
                for tap in tl.static_range(TAPS):
                    if tap < count:
                        weight = tl.load(weights + tap)[:, None]
                        _add_column(to + tap * K, tl.sum(g_cx * weight, 0), k < K)
                        _add_column(to + (N + tap) * K, tl.sum(g_cy * weight, 0), k < K)
                        _add_column(to + (2 * N + tap) * K, tl.sum(g_cz * weight, 0), k < K)
                tl.debug_barrier()  # the next rows add to the same numbers
    if POINTS:
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
    """One row of the gradient of a matrix."""
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
    boxes: Tensor | None,
    taps: int,
    mode: str,
    voxels: bool,
    points: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`.warp.warp` without a program.

    Where torch is asked for deterministic algorithms, the gradient of the volume is added up in
    whole numbers, of which the largest gradient has some 40 bits: they add up to the same in any
    order.

    Args:
        grad: Of the result, [B, C, I, J, K].
        voxels: Whether the gradient of the volume is wanted.
        points: Whether those of the matrix and the columns are.

    Returns:
        Gradients of ``x``, ``matrix`` and ``columns``; empty where they are not wanted.
    """
    B, C, I, J, K = grad.shape
    device = x.device
    exact = voxels and torch.are_deterministic_algorithms_enabled()
    # a program that adds to columns works through all of their rows
    tiles = Tiles.of(J, K, J if points else ROWS, _BJ // 2 if points and voxels else _BJ)
    g_x, g_matrix, g_columns, scale = (torch.zeros(0, device=device) for _ in range(4))
    if voxels:
        dtype = torch.int64 if exact else torch.float32
        g_x = torch.zeros(x.shape, dtype=dtype, device=device)
    if exact:
        # the sum of as many of the largest gradients as there are stays below 2**62
        most = grad.abs().amax().double()
        # which float32 must hold; not finite, it makes all of the gradient so
        room = (62 - torch.log2(most * (I * J * K)).ceil()).clamp(max=126)
        scale = torch.exp2(room).where(most != 0, 1).to(torch.float32)
    if points:
        g_matrix = torch.zeros((B, I * tiles.JB * tiles.KB, 3, 4), device=device)
        if columns is not None:
            g_columns = torch.zeros_like(columns)
    where = Map(matrix, columns, along_j, lowest, taps)
    source = readable(x)
    source_steps, grad_steps = strides(source), strides(grad)
    warp_backward_kernel[(tiles.JB * tiles.KB, I, B)](
        grad,
        source,
        g_x,
        g_matrix,
        g_columns,
        *where.arguments(),
        matrix if boxes is None else boxes,
        scale,
        B,
        C,
        *x.shape[2:],
        I,
        J,
        K,
        *grad_steps,
        *source_steps,
        *where.sizes(),
        tiles.KB,
        tiles.steps,
        **where.constants(),
        MODE=MODES.index(mode),
        FRAMES=0 if boxes is None else len(boxes),
        VOXELS=voxels,
        POINTS=points,
        EXACT=exact,
        WIDE=is_wide(x.shape[2:], source_steps[2:]) or x[0, 0].numel() >= 2**31,
        BJ=tiles.BJ,
        BK=tiles.BK,
        num_warps=tiles.warps,
        **capped(points and (exact or before_hopper())),
        **OPTIONS,
    )
    if exact:
        g_x = g_x.double().div_(scale)
    return g_x.to(x.dtype) if voxels else g_x, g_matrix.sum(1) if points else g_matrix, g_columns
