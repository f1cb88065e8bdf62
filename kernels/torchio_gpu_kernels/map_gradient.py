"""Gradient of a warp with respect to source coordinates, and to the matrix and the spline of them.

Along a run of rows a coordinate is a polynomial of the place between two control points. So sums of
gradients times powers of the place, for each column, give the gradients of all parameters.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import tiling
from .sampling import corners, lerp
from .tiles import in_row

BJ = tl.constexpr(tiling.BJ)


@triton.jit
def unclamped(point, voxels, weights):
    """Return, for each coordinate, True where the weight grows with it: between two neighbours."""
    x, y, z = point
    i, j, k = voxels
    fx, fy, fz = weights
    return x - i.to(tl.float32) == fx, y - j.to(tl.float32) == fy, z - k.to(tl.float32) == fz


@triton.jit
def add_pulls(pulls, source, rows, points, s0, s1, s2, WIDE: tl.constexpr):
    """Add gradients with respect to the source coordinates of each row of a tile."""
    total = ()
    for r in tl.static_range(BJ):
        at, _, weights, known, free = points[r]
        around = corners(source, at, s0, s1, s2, WIDE)
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
def add_moments(moments, pulls, start, span):
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
def add_run(sums, moments, first, span):
    """Add the sums of a run, and those times the row."""
    total = ()
    for n in tl.static_range(3):
        zero, one = moments[n][0], moments[n][1]
        # a place is span[1] + span[2] (row - first)
        by_row = first.to(tl.float32) * zero + (one - span[1] * zero) * span[3]
        total = total + ((sums[n][0] + zero, sums[n][1] + by_row),)
    return total


@triton.jit
def add_control_points(own, moments, lowest, k, K, N: tl.constexpr):
    """Add the gradients of the four control points of a run, for each column."""
    for n in tl.static_range(3):
        zero, one, two, three = moments[n]
        line = own + n * N * K
        sixth = (zero - three) * 0.16666667
        _add_column(line, lowest, sixth + (two - one) * 0.5, k, K, N)
        _add_column(line, lowest + 1, zero * 0.6666667 - two + three * 0.5, k, K, N)
        third = sixth - three * 0.33333334 + (one + two) * 0.5
        _add_column(line, lowest + 2, third, k, K, N)
        _add_column(line, lowest + 3, three * 0.16666667, k, K, N)


@triton.jit
def _add_column(line, n, value, k, K, N: tl.constexpr):
    there = in_row(n, k, 0, N, K)
    to = line + n * K
    tl.store(to, tl.load(to, mask=there, other=0.0) + value, mask=there)


@triton.jit
def store_matrix(own, total, total_j, i, k):
    """Store the gradient of the matrix coefficients of one coordinate."""
    whole = tl.sum(total, 0)
    tl.store(own, whole * i.to(tl.float32))
    tl.store(own + 1, tl.sum(total_j, 0))
    tl.store(own + 2, tl.sum(total * k.to(tl.float32), 0))
    tl.store(own + 3, whole)
