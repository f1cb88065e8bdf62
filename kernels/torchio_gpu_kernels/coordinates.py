"""Source coordinates of output voxels: an affine map plus a cubic B-spline displacement.

Neither a grid of coordinates nor a dense displacement is written to memory. Control points are
contracted along I and K beforehand, by :mod:`.columns`: a spline along J is left. The rows of a
plane are divided into *runs* between two neighbouring control points along J. Along a run, each
coordinate of a column of voxels is one cubic polynomial, which a thread computes once and evaluates
for each row.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import tiling

BJ = tl.constexpr(tiling.BJ)
ROWS = tl.constexpr(tiling.ROWS)


@triton.jit
def run_of(runs, spans, b, number, J, per_sample, N: tl.constexpr):
    """Return one of the runs of rows of a sample, and its span between control points.

    Args:
        runs, spans: See :class:`.warp.Map`.
        b, number: Sample and run.
        J: Voxels along J.
        per_sample: Runs of a sample, or 0 if samples share them.
        N: Control points along J, 0 for no displacement: then runs have :data:`.tiling.ROWS` rows.

    Returns:
        The first row of the first tile; the first row and the one after the last; tiles; and the
        span: its lowest control point, the place of the first row of the first tile in it, the step
        from row to row, and the inverse of this step.
    """
    if N > 0:
        run = runs + (b * per_sample + number) * 4
        first, low, high = tl.load(run), tl.load(run + 1), tl.load(run + 2)
        place = spans + (b * per_sample + number) * 3
        span = (tl.load(run + 3), tl.load(place), tl.load(place + 1), tl.load(place + 2))
    else:
        first = number * ROWS
        low, high = first, tl.minimum(first + ROWS, J)
        span = (0, 0.0, 1.0, 1.0)
    return first, low, high, tl.cdiv(high - first, BJ), span


@triton.jit
def polynomials(matrix, columns, span, b, i, first, k, I, K, N: tl.constexpr):
    """Return the coefficients of the source coordinates of columns of voxels, along a run.

    Args:
        matrix: Output voxel to source voxel, float32 [B, 3, 4].
        columns: Displacement in source voxels, contracted along I and K: float32 [B, I, 3, N, K].
        span: From :func:`run_of`.
        b, i, first, k: Sample, plane, first row, and voxels along K [BK].
        I, K: Voxels of the output along I and K.

    Returns:
        For each coordinate, four coefficients of powers of the place in the span; or two without
        displacement.
    """
    m = matrix + b * 12
    own = columns + (b.to(tl.int64) * I + i) * (3 * N * K) + tl.minimum(k, K - 1)
    x = _polynomial(m, own, span, i, first, k, K, N)
    y = _polynomial(m + 4, own + N * K, span, i, first, k, K, N)
    z = _polynomial(m + 8, own + 2 * N * K, span, i, first, k, K, N)
    return x, y, z


@triton.jit
def _polynomial(m, own, span, i, first, k, K, N: tl.constexpr):
    lowest, start, _, rows = span
    step = tl.load(m + 1)
    affine = tl.load(m) * i.to(tl.float32) + tl.load(m + 3) + step * first.to(tl.float32)
    affine = affine + tl.load(m + 2) * k.to(tl.float32)
    terms = (affine, step)
    if N > 0:
        a, b = _control_point(own, lowest, K, N), _control_point(own, lowest + 1, K, N)
        c, d = _control_point(own, lowest + 2, K, N), _control_point(own, lowest + 3, K, N)
        # the uniform cubic B-spline of four points between the second and the third
        slope = step * rows
        constant = (a + c) * 0.16666667 + b * 0.6666667 + (affine - slope * start)
        square, cube = (a + c) * 0.5 - b, (d - a) * 0.16666667 + (b - c) * 0.5
        terms = (constant, (c - a) * 0.5 + slope, square, cube)
    return terms


@triton.jit
def _control_point(own, n, K, N: tl.constexpr):
    """Return a control point of each column, 0 where there is none."""
    return tl.load(own + n * K, mask=(n >= 0) & (n < N), other=0.0)


@triton.jit
def coordinates(terms, start, span, R: tl.constexpr):
    """Return the source coordinates of row R of a tile: three of [BK].

    Args:
        terms: From :func:`polynomials`.
        start: Place of the first row of the tile in the span.
        span: From :func:`run_of`.
    """
    x, y, z = terms
    u = start + span[2] * R
    return _evaluate(x, u), _evaluate(y, u), _evaluate(z, u)


@triton.jit
def _evaluate(p, u):
    x = p[len(p) - 1]
    for n in tl.static_range(len(p) - 2, -1, -1):
        x = p[n] + u * x
    return x
