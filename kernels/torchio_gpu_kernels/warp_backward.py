"""Gradient of a warp with respect to the volume, the matrix and the displacement."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiling
from .coordinates import coordinates, polynomials, run_of
from .sampling import (
    corners,
    fields_without,
    lerp,
    nearest_voxels,
    neighbours,
    offsets,
)
from .tiles import (
    OPTIONS,
    Strides,
    Tiles,
    capped,
    is_wide,
    readable,
    voxels_along_k,
)
from .warp import LINEAR, MODES, Map

BJ = tl.constexpr(tiling.BJ)
#: Arguments that are not specialised: see :mod:`.warp`.
_NOT_SPECIALISED = "B S0 S1 S2 I K gb gc gi sb sc s0 s1 per_sample runs_per_block KB".split()  # noqa: SIM905


@triton.jit(do_not_specialize=_NOT_SPECIALISED)
def warp_backward_kernel(
    grad,
    x,
    g_x,
    g_matrix,
    g_columns,
    matrix,
    columns,
    runs,
    spans,
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
    per_sample,
    runs_per_block,
    KB,
    N: tl.constexpr,
    MODE: tl.constexpr,
    FIELDS: tl.constexpr,
    NEEDS_X: tl.constexpr,
    NEEDS_MAP: tl.constexpr,
    EXACT: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BK: tl.constexpr,
):
    """Compute gradients of :func:`.warp_kernel` without a program.

    For gradients of a displacement, a block processes all rows of its columns. Sums have a fixed
    order, but for the gradient of the volume.

    Args:
        grad: Gradient of the result.
        g_x: Gradient of the volume, contiguous: float32, or int64 in units of 1 / ``scale``.
        g_matrix: Sum of each block for the gradient of the matrix, float32 [B, blocks, 3, 4].
        g_columns: Gradient of ``columns``, float32, initially 0.
        NEEDS_X, NEEDS_MAP: True if gradients of the volume, and of the map, are wanted.
        EXACT: True if the gradient of the volume is summed in integers.
        FLAT: True if the volume has one voxel along K.
    """
    i, b = tl.program_id(1), tl.program_id(2)
    k = voxels_along_k(KB, BK)
    x += b.to(tl.int64) * sb
    grad += b.to(tl.int64) * gb + i.to(tl.int64) * gi
    size = tl.cast(S0, tl.int64) * S1 * S2
    g_x += b.to(tl.int64) * C * size
    unit = tl.load(scale) if EXACT else 1.0
    begin = (tl.program_id(0) // KB) * runs_per_block
    none = k.to(tl.float32) * 0.0
    sums = ((none, none), (none, none), (none, none))
    for number in range(begin, begin + runs_per_block):
        first, low, high, tiles, span = run_of(runs, spans, b, number, J, per_sample, N)
        terms = polynomials(matrix, columns, span, b, i, first, k, I, K, N)
        moments = (none, none, none, none) if N > 0 else (none, none)
        moments = (moments, moments, moments)
        for tile in range(tiles):
            start = span[1] + span[2] * (tile * BJ).to(tl.float32)
            points = ()
            pulls = ()
            for r in tl.static_range(BJ):
                j = first + tile * BJ + r
                cx, cy, cz = coordinates(terms, start, span, r)
                known = (k < K) & (j >= low) & (j < high)
                if MODE == LINEAR:
                    voxels, weights, inside = neighbours(cx, cy, cz, S0, S1, S2, WIDE)
                    free = _unclamped((cx, cy, cz), voxels, weights)
                else:
                    voxels, inside = nearest_voxels(cx, cy, cz, S0, S1, S2, WIDE)
                    weights, free = (none, none, none), (inside, inside, inside)
                if FIELDS == 0:
                    known = known & inside
                without = fields_without(cx, cy, cz, fields, b, B, FIELDS)
                for field in tl.static_range(FIELDS):
                    known = known & (without[field] == 0)
                points = points + ((voxels, weights, known, free),)
                pulls = pulls + ((none, none, none),)
            j0 = first + tile * BJ
            for c in range(C):
                rows = _gradients(grad + tl.cast(c, tl.int64) * gc, points, j0, k, gj, gk)
                if NEEDS_X:
                    target = g_x + tl.cast(c, tl.int64) * size
                    _scatter(
                        target, rows, points, terms, unit, S0, S1, S2, MODE, EXACT, FLAT, WIDE
                    )
                if NEEDS_MAP:
                    source = x + tl.cast(c, tl.int64) * sc
                    pulls = _add_pulls(pulls, source, rows, points, s0, s1, s2)
            if NEEDS_MAP:
                moments = _add_moments(moments, pulls, start, span)
        if NEEDS_MAP:
            sums = _add_rows(sums, moments, first, span)
            if N > 0:
                own = (b.to(tl.int64) * I + i) * (3 * N * K) + k
                _add_control_points(g_columns + own, moments, span[0], K, k < K, N)
                tl.debug_barrier()  # the next run adds to the same values
    if NEEDS_MAP:
        block = (b.to(tl.int64) * I + i) * tl.num_programs(0) + tl.program_id(0)
        for n in tl.static_range(3):
            _store_matrix(g_matrix + block * 12 + 4 * n, sums[n][0], sums[n][1], i, k)


@triton.jit
def _unclamped(point, voxels, weights):
    """Return, for each coordinate, True where the weight grows with it: between two neighbours."""
    x, y, z = point
    i, j, k = voxels
    fx, fy, fz = weights
    return x - i.to(tl.float32) == fx, y - j.to(tl.float32) == fy, z - k.to(tl.float32) == fz


@triton.jit
def _gradients(grad, points, j0, k, gj, gk):
    """Return the gradients of the rows of a tile, 0 for points outside: a tuple of [BK]."""
    rows = ()
    for r in tl.static_range(BJ):
        at = (j0 + r).to(tl.int64) * gj + k.to(tl.int64) * gk
        g = tl.load(grad + at, mask=points[r][2], other=0)
        rows = rows + (g.to(tl.float32),)
    return rows


@triton.jit
def _scatter(
    target,
    rows,
    points,
    terms,
    unit,
    S0,
    S1,
    S2,
    MODE: tl.constexpr,
    EXACT: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Add the gradients of the rows of a tile to the voxels that they were sampled from.

    Neighbouring rows often share four voxels: what the first adds to them is passed on to the next.

    Args:
        target: Pointer to the gradient of a channel of the volume, contiguous.
        rows: From :func:`_gradients`.
        points: Lowest neighbours, weights, and True for points inside, of each row.
        terms: From :func:`.polynomials`.
        unit: Factor of the gradients.
    """
    plane = tl.cast(S1, tl.int64) * S2 if WIDE else S1 * S2
    step_0, step_1 = tl.where(S0 > 1, plane, 0), tl.where(S1 > 1, S2, 0)
    # rows proceed towards higher or lower voxels along J
    falls = terms[1][1] < 0.0
    step = tl.where(falls, -step_1, step_1)
    for r in tl.static_range(BJ):
        at = offsets(points[r][0], plane, S2, 1)
        g = rows[r] * unit
        if MODE != LINEAR:
            _atomic_add(target + at, g, g != 0.0, EXACT)
        else:
            fx, fy, fz = points[r][1]
            fy = tl.where(falls, 1.0 - fy, fy)
            at = tl.where(falls, at + step_1, at)
            upper, one = g * fx, g * (1.0 - fx)
            near = _pairs(one * (1.0 - fy), upper * (1.0 - fy), fz)
            far = _pairs(one * fy, upper * fy, fz)
            if r > 0:
                same = at == passed_at
                _add_four(target, passed_at, step_0, passed, same == 0, EXACT, FLAT)
                near = _add_where(near, passed, same)
            _add_four(target, at, step_0, near, at == at, EXACT, FLAT)
            passed, passed_at = far, at + step
    if MODE == LINEAR:
        _add_four(target, passed_at, step_0, passed, passed_at == passed_at, EXACT, FLAT)


@triton.jit
def _pairs(one, other, fz):
    """Divide two gradients between neighbours along K."""
    a, b = one * fz, other * fz
    return one - a, a, other - b, b


@triton.jit
def _add_where(values, more, where):
    total = ()
    for n in tl.static_range(len(values)):
        total = total + (values[n] + tl.where(where, more[n], 0.0),)
    return total


@triton.jit
def _add_four(target, at, step_0, values, where, EXACT: tl.constexpr, FLAT: tl.constexpr):
    """Add to two neighbours along K in each of two neighbouring planes."""
    upper: tl.constexpr = 0 if FLAT else 1
    for n in tl.static_range(4):
        to = target + (at + step_0 if n >= 2 else at) + (n % 2) * upper
        _atomic_add(to, values[n], where & (values[n] != 0.0), EXACT)


@triton.jit
def _atomic_add(target, value, inside, EXACT: tl.constexpr):
    # sums of integers do not depend on the order
    if EXACT:
        value = value.to(tl.int64)
    tl.atomic_add(target, value, mask=inside, sem="relaxed")


@triton.jit
def _add_pulls(pulls, source, rows, points, s0, s1, s2):
    """Add gradients with respect to the source coordinates of each row of a tile."""
    total = ()
    for r in tl.static_range(BJ):
        voxels, weights, known, free = points[r]
        around = corners(source, offsets(voxels, s0, s1, s2), s0, s1, s2)
        by = spatial_gradient(around, weights)
        own = ()
        for n in tl.static_range(3):
            # a selection, so that NaN from voxels outside does not spread
            pull = tl.where(known & free[n], rows[r] * by[n], 0.0)
            own = own + (pulls[r][n] + pull,)
        total = total + (own,)
    return total


@triton.jit
def spatial_gradient(values, weights):
    """Derivatives of the trilinear interpolation between eight voxels along each axis."""
    a, b, c, d, e, f, g, h = values
    fx, fy, fz = weights
    p, q, r, s = lerp(a, b, fz), lerp(c, d, fz), lerp(e, f, fz), lerp(g, h, fz)
    by_x = lerp(r, s, fy) - lerp(p, q, fy)
    by_z = lerp(lerp(b - a, d - c, fy), lerp(f - e, h - g, fy), fx)
    return by_x, lerp(q - p, s - r, fx), by_z


@triton.jit
def _add_moments(moments, pulls, start, span):
    """Add gradients with respect to coordinates to their sums times powers of the place."""
    for r in tl.static_range(BJ):
        u = start + span[2] * r
        total = ()
        for n in tl.static_range(3):
            own = ()
            pull = pulls[r][n]
            for power in tl.static_range(len(moments[n])):
                own = own + (moments[n][power] + pull,)
                pull = pull * u
            total = total + (own,)
        moments = total
    return moments


@triton.jit
def _add_rows(sums, moments, first, span):
    """Add the sums of a run, and those times the row."""
    total = ()
    for n in tl.static_range(3):
        zero, one = moments[n][0], moments[n][1]
        # a place is span[1] + span[2] (row - first)
        by_row = first.to(tl.float32) * zero + (one - span[1] * zero) * span[3]
        total = total + ((sums[n][0] + zero, sums[n][1] + by_row),)
    return total


@triton.jit
def _add_control_points(own, moments, lowest, K, known, N: tl.constexpr):
    """Add the gradients of the four control points of a run, for each column."""
    for n in tl.static_range(3):
        zero, one, two, three = moments[n]
        line = own + n * N * K
        sixth = (zero - three) * 0.16666667
        _add_column(line, lowest, sixth + (two - one) * 0.5, K, known, N)
        _add_column(line, lowest + 1, zero * 0.6666667 - two + three * 0.5, K, known, N)
        third = sixth - three * 0.33333334 + (one + two) * 0.5
        _add_column(line, lowest + 2, third, K, known, N)
        _add_column(line, lowest + 3, three * 0.16666667, K, known, N)


@triton.jit
def _add_column(line, n, value, K, known, N: tl.constexpr):
    there = known & (n >= 0) & (n < N)
    to = line + n * K
    tl.store(to, tl.load(to, mask=there, other=0.0) + value, mask=there)


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
    runs: Tensor | None,
    spans: Tensor | None,
    fields: Tensor | None,
    mode: str,
    needs_x: bool,
    needs_map: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of :func:`.warp.warp` without a program.

    If torch is to use deterministic algorithms, the gradient of the volume is summed in integers,
    in which the largest gradient has about 40 bits: their sum does not depend on the order.

    Args:
        grad: Gradient of the result, [B, C, I, J, K].
        x, matrix, columns, runs, spans, fields, mode: As for :func:`.warp.warp`.
        needs_x: True if the gradient of the volume is wanted.
        needs_map: True if the gradients of the matrix and the columns are wanted.

    Returns:
        Gradients of ``x``, ``matrix`` and ``columns``; empty where they are not wanted.
    """
    B, C, I, J, K = grad.shape
    device = x.device
    exact = needs_x and torch.are_deterministic_algorithms_enabled()
    tiles = Tiles.of(J, K)
    where = Map(matrix, columns, runs, spans)
    blocks, planes, _ = where.grid(tiles, I)
    # a block that adds to columns processes all of their rows
    runs_per_block = blocks // tiles.KB if needs_map and columns is not None else 1
    blocks //= runs_per_block
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
        g_matrix = torch.zeros((B, I * blocks, 3, 4), device=device)
        if columns is not None:
            g_columns = torch.zeros_like(columns)
    shape = x.shape[2:]
    S0, S1, S2 = shape
    source = readable(x)
    source_steps, grad_steps = Strides.of(source), Strides.of(grad)
    warp_backward_kernel[blocks, planes, B](
        grad=grad,
        x=source,
        g_x=g_x,
        g_matrix=g_matrix,
        g_columns=g_columns,
        **where.arguments(),
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
        runs_per_block=runs_per_block,
        MODE=MODES.index(mode),
        FIELDS=0 if fields is None else len(fields),
        NEEDS_X=needs_x,
        NEEDS_MAP=needs_map,
        EXACT=exact,
        FLAT=S2 == 1,
        WIDE=is_wide(shape, source_steps.spatial) or S0 * S1 * S2 >= 2**31,
        **tiles.arguments(),
        **capped(needs_map),
        **OPTIONS,
    )
    if exact:
        g_x = g_x.double().div_(scale)
    g_x = g_x.to(x.dtype) if needs_x else g_x
    return g_x, g_matrix.sum(1) if needs_map else g_matrix, g_columns
