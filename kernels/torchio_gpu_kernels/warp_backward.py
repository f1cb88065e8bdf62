"""Gradient of a warp with respect to the volume, the matrix and the displacement."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiling
from .coordinates import coordinates, polynomials, run_of
from .map_gradient import (
    add_control_points,
    add_moments,
    add_pulls,
    add_run,
    store_matrix,
    unclamped,
)
from .sampling import fields_without, nearest_voxels, neighbours, offsets
from .tiles import (
    OPTIONS,
    Strides,
    Tiles,
    before_hopper,
    capped,
    in_row,
    is_wide,
    readable,
    voxels_along_k,
)
from .voxel_gradient import scatter_rows
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
    DENSE: tl.constexpr,
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
        DENSE: True if each channel of the volume is contiguous.
        FLAT: True if the volume has one voxel along K.
    """
    i, b = tl.program_id(1), tl.program_id(2)
    k = voxels_along_k(KB, BK)
    x += b.to(tl.int64) * sb
    grad += b.to(tl.int64) * gb + i.to(tl.int64) * gi
    plane = tl.cast(S1, tl.int64) * S2 if WIDE else S1 * S2
    size = tl.cast(S0, tl.int64) * S1 * S2
    g_x += b.to(tl.int64) * C * size
    step_0, step_1 = tl.where(S0 > 1, plane, 0), tl.where(S1 > 1, S2, 0)
    # rows proceed towards higher or lower voxels along the second axis
    falls = tl.load(matrix + b * 12 + 5) < 0.0
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
            j0 = first + tile * BJ
            start = span[1] + span[2] * (j0 - first).to(tl.float32)
            points = ()
            pulls = ()
            for r in tl.static_range(BJ):
                j = j0 + r
                cx, cy, cz = coordinates(terms, start, span, r)
                known = in_row(j, k, low, high, K)
                if MODE == LINEAR:
                    voxels, weights, inside = neighbours(cx, cy, cz, S0, S1, S2, WIDE)
                    free = unclamped((cx, cy, cz), voxels, weights)
                else:
                    voxels, inside = nearest_voxels(cx, cy, cz, S0, S1, S2, WIDE)
                    weights, free = (none, none, none), (inside, inside, inside)
                if FIELDS == 0:
                    known = known & inside
                without = fields_without(cx, cy, cz, fields, b, B, FIELDS)
                for field in tl.static_range(FIELDS):
                    known = known & (without[field] == 0)
                into = offsets(voxels, plane, S2, 1)
                at = into if DENSE else offsets(voxels, s0, s1, s2)
                points = points + ((at, into, weights, known, free),)
                pulls = pulls + ((none, none, none),)
            for c in range(C):
                rows = _gradients(grad + tl.cast(c, tl.int64) * gc, points, j0, k, gj, gk)
                if NEEDS_MAP:
                    source = x + tl.cast(c, tl.int64) * sc
                    pulls = add_pulls(pulls, source, rows, points, s0, s1, s2, WIDE)
                if NEEDS_X:
                    target = g_x + tl.cast(c, tl.int64) * size
                    scatter_rows(
                        target, rows, points, unit, falls, step_0, step_1, MODE, EXACT, FLAT
                    )
            if NEEDS_MAP:
                moments = add_moments(moments, pulls, start, span)
        if NEEDS_MAP:
            sums = add_run(sums, moments, first, span)
            if N > 0:
                own = (b.to(tl.int64) * I + i) * (3 * N * K) + k
                add_control_points(g_columns + own, moments, span[0], k, K, N)
                tl.debug_barrier()  # the next run adds to the same values
    if NEEDS_MAP:
        block = (b.to(tl.int64) * I + i) * tl.num_programs(0) + tl.program_id(0)
        for n in tl.static_range(3):
            store_matrix(g_matrix + block * 12 + 4 * n, sums[n][0], sums[n][1], i, k)


@triton.jit
def _gradients(grad, points, j0, k, gj, gk):
    """Return the gradients of the rows of a tile, 0 for points outside: a tuple of [BK]."""
    rows = ()
    for r in tl.static_range(BJ):
        at = (j0 + r).to(tl.int64) * gj + k.to(tl.int64) * gk
        g = tl.load(grad + at, mask=points[r][3], other=0)
        rows = rows + (g.to(tl.float32),)
    return rows


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
    if needs_x and needs_map and before_hopper():
        given = grad, x, matrix, columns, runs, spans, fields, mode
        g_x = warp_backward(*given, needs_x=True, needs_map=False)[0]
        return g_x, *warp_backward(*given, needs_x=False, needs_map=True)[1:]
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
        DENSE=x[0, 0].is_contiguous(),
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
