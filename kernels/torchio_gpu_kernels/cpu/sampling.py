"""Interpolation of a volume, and nearest voxels, at the points of up to four neighbouring rows."""

from __future__ import annotations

import numpy as np

from ..shared import TIE
from .compiling import inlined
from .memory import read, width_of

_TIE = np.float32(TIE)
_HALF = np.float32(0.5)
_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined
def _lerp(a, b, share):
    """Interpolate linearly from a to b; both ends are exact, and infinity stays what it is.

    At the upper end, ``a`` counts for nothing, even if it is NaN: so it is at the last voxel of an
    axis, which has no upper neighbour.
    """
    between = a * (_ONE - share) + b * share
    return b if share == _ONE else between


@inlined
def neighbours(places, shares, points, origins, rows, K, shape, steps, clamped):
    """Find the eight voxels around each point.

    Args:
        places: Result, int64 [4 K]: offsets of the lowest of them, -1 outside the volume.
        shares: Result, weights of the upper voxels along I, J, K, float32 [3, 4 K].
        points, origins, rows, K: From :func:`.coordinates.fill_points`.
        shape: Voxels along I, J, K.
        steps: Strides, int32, or int64 if offsets need more; 0 along an axis of one voxel.
        clamped: True if no point is outside: outermost voxels are repeated.
    """
    s0, s1, s2 = steps
    zero = width_of(s0, 0)
    x_last = width_of(s0, max(shape[0] - 2, 0))
    y_last = width_of(s0, max(shape[1] - 2, 0))
    z_last = width_of(s0, max(shape[2] - 2, 0))
    x_end, y_end, z_end = _ends(shape)
    for r in range(rows):
        x_origin, y_origin, z_origin = origins[0, r], origins[1, r], origins[2, r]
        x_step, y_step, z_step = origins[0, 4], origins[1, 4], origins[2, 4]
        for k in range(K):
            n, number = r * K + k, np.float32(np.int32(k))
            x_start, y_start = x_origin + x_step * number, y_origin + y_step * number
            z_start = z_origin + z_step * number
            px, x_known = _near(points[0, n], x_start, x_end)
            py, y_known = _near(points[1, n], y_start, y_end)
            pz, z_known = _near(points[2, n], z_start, z_end)
            ix = width_of(s0, np.float32(np.floor(px)) + x_start)
            iy = width_of(s0, np.float32(np.floor(py)) + y_start)
            iz = width_of(s0, np.float32(np.floor(pz)) + z_start)
            # clamped again: far away, float32 does not hold all whole numbers
            ix, iy = min(max(ix, zero), x_last), min(max(iy, zero), y_last)
            iz = min(max(iz, zero), z_last)
            shares[0, n] = px - (np.float32(ix) - x_start)
            shares[1, n] = py - (np.float32(iy) - y_start)
            shares[2, n] = pz - (np.float32(iz) - z_start)
            place = width_of(s0, ix * s0 + iy * s1 + iz * s2)
            places[n] = place if (x_known & y_known & z_known) | clamped else -1


@inlined
def _near(x, start, end):
    """Return the rest of a coordinate ``start + x``, moved into [0, end], and True if it is inside
    the volume.
    """
    low, high = -start, end - start
    near = x if x > low else low  # of NaN, too
    near = near if near < high else high
    return near, abs(x - near + _TIE) < _HALF


@inlined
def interpolate(y, x, base, places, shares, count, steps, fill, edges):
    """Interpolate linearly between eight voxels.

    Loads from places that are not neighbours cannot be vectorized. They have a loop of their own,
    so that the others can.

    Args:
        y: Result, float32 [4 K].
        x, base: Memory of the volume, and the index of its first voxel.
        places, shares, steps: As for :func:`neighbours`.
        count: Points.
        fill: Value outside the volume.
        edges: Memory, float32 [4, 4 K].
    """
    s0, s1, s2 = np.int64(steps[0]), np.int64(steps[1]), np.int64(steps[2])
    for n in range(count):
        place, share = base + max(places[n], 0), shares[2, n]
        for edge in range(4):
            lower = place + (edge // 2) * s0 + (edge % 2) * s1
            if share == _ONE:  # a branch that is seldom taken is faster here than a selection
                edges[edge, n] = read(x, lower, s2)
            else:
                edges[edge, n] = read(x, lower, 0) * (_ONE - share) + read(x, lower, s2) * share
    for n in range(count):
        low = _lerp(edges[0, n], edges[1, n], shares[1, n])
        high = _lerp(edges[2, n], edges[3, n], shares[1, n])
        y[n] = _lerp(low, high, shares[0, n]) if places[n] >= 0 else fill


@inlined
def nearest(places, points, origins, rows, K, shape, steps, clamped):
    """Find the nearest voxels, of two as near the upper one.

    Args:
        places: Result, int64 [4 K]: offsets of voxels, -1 outside the volume.
        points, origins, rows, K, shape, steps, clamped: As for :func:`neighbours`.
    """
    s0, s1, s2 = steps
    x_end, y_end, z_end = _ends(shape)
    for r in range(rows):
        x_origin, y_origin, z_origin = origins[0, r], origins[1, r], origins[2, r]
        x_step, y_step, z_step = origins[0, 4], origins[1, 4], origins[2, 4]
        for k in range(K):
            n, number = r * K + k, np.float32(np.int32(k))
            px, x_known = _nearest(points[0, n], x_origin + x_step * number, x_end)
            py, y_known = _nearest(points[1, n], y_origin + y_step * number, y_end)
            pz, z_known = _nearest(points[2, n], z_origin + z_step * number, z_end)
            # float32 may have rounded up the last voxel of a very long axis
            ix = min(width_of(s0, px), width_of(s0, shape[0] - 1))
            iy = min(width_of(s0, py), width_of(s0, shape[1] - 1))
            iz = min(width_of(s0, pz), width_of(s0, shape[2] - 1))
            place = width_of(s0, ix * s0 + iy * s1 + iz * s2)
            places[n] = place if (x_known & y_known & z_known) | clamped else -1


@inlined
def _nearest(x, start, end):
    """Return the voxel nearest to a coordinate ``start + x``, and True if it is in the volume."""
    up = np.float32(np.floor(x + (_HALF + _TIE))) + start
    near = up if up > _ZERO else _ZERO  # of NaN, too
    near = near if near < end else end
    return near, up == near


@inlined
def _ends(shape):
    """Return the coordinates of the last voxel."""
    return np.float32(shape[0] - 1), np.float32(shape[1] - 1), np.float32(shape[2] - 1)


@inlined
def fill_outside(y, points, origins, rows, K, ends, value):
    """Fill points outside a field of view.

    Args:
        y: Sampled values, [4 K].
        points, origins, rows, K: As for :func:`neighbours`.
        ends: Low and high ends of the field, float32 [2, 3].
        value: The fill.
    """
    for r in range(rows):
        for k in range(K):
            n, number = r * K + k, np.float32(np.int32(k))
            x_at = points[0, n] + (origins[0, r] + origins[0, 4] * number)
            y_at = points[1, n] + (origins[1, r] + origins[1, 4] * number)
            z_at = points[2, n] + (origins[2, r] + origins[2, 4] * number)
            inside = (x_at >= ends[0, 0]) & (x_at < ends[1, 0])
            inside &= (y_at >= ends[0, 1]) & (y_at < ends[1, 1])
            inside &= (z_at >= ends[0, 2]) & (z_at < ends[1, 2])
            y[n] = y[n] if inside else value  # NaN is outside
