"""Gradient of a warp with respect to voxels: additions to those that a row was sampled from."""

from __future__ import annotations

import triton
import triton.language as tl

from . import tiling
from .warp import LINEAR

BJ = tl.constexpr(tiling.BJ)


@triton.jit
def scatter_rows(
    target,
    rows,
    points,
    unit,
    falls,
    step_0,
    step_1,
    MODE: tl.constexpr,
    EXACT: tl.constexpr,
    FLAT: tl.constexpr,
):
    """Add the gradients of the rows of a tile to the voxels that they were sampled from.

    Neighbouring rows often share four voxels: what the first adds to them is passed on to the next.

    Args:
        target: Pointer to the gradient of a channel of the volume, contiguous.
        rows: From :func:`_gradients`.
        points: For each row, offsets of the lowest neighbours in ``source`` and in ``target``,
            weights, and True for points inside, and where weights grow with coordinates.
        unit: Factor of the gradients.
        falls: True if the next row is sampled from lower voxels along the second axis.
        step_0, step_1: From a voxel to the next along the first and the second axis.
    """
    if MODE == LINEAR:
        step = tl.where(falls, -step_1, step_1)
        near, passed, at = _divide(rows[0] * unit, points[0], falls, step_1)
        _add_four(target, at, step_0, near, at == at, EXACT, FLAT)
        for r in tl.static_range(1, BJ):
            passed_at = at + step
            near, far, at = _divide(rows[r] * unit, points[r], falls, step_1)
            same = at == passed_at
            _add_four(target, passed_at, step_0, passed, same == 0, EXACT, FLAT)
            _add_four(target, at, step_0, _add_where(near, passed, same), at == at, EXACT, FLAT)
            passed = far
        _add_four(target, at + step, step_0, passed, at == at, EXACT, FLAT)
    else:
        for r in tl.static_range(BJ):
            g = rows[r] * unit
            _atomic_add(target + points[r][1], g, g != 0.0, EXACT)


@triton.jit
def _divide(g, point, falls, step_1):
    """Divide a gradient between the four voxels that it shares with the row before, if any, the
    four that it shares with the next; and return the offset of the lowest of the former.
    """
    _, at, weights, _, _ = point
    fx, fy, fz = weights
    fy = tl.where(falls, 1.0 - fy, fy)
    at = tl.where(falls, at + step_1, at)
    upper, lower = g * fx, g * (1.0 - fx)
    near = _pairs(lower * (1.0 - fy), upper * (1.0 - fy), fz)
    return near, _pairs(lower * fy, upper * fy, fz), at


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
