"""Interpolation of a volume at coordinates in voxels, nearest voxels, and fill outside.

Lines of coordinates [N] are those of up to four neighbouring rows, of N voxels in all.
"""

from __future__ import annotations

import numpy as np

from ..shared import TIE
from .compiling import inlined
from .memory import read, width_of

_TIE = np.float32(TIE)
_HALF = np.float32(0.5)
_ZERO = np.float32(0)


@inlined
def _near(x, end):
    """Return a coordinate moved into [0, end]; 0 for NaN."""
    x = x if x > _ZERO else _ZERO
    return x if x < end else end


@inlined
def _lerp(a, b, share):
    """Interpolate linearly from a to b; both ends are exact."""
    return share * b + (a - share * a)


@inlined
def neighbours(places, shares, at, shape, steps, clamped):
    """Find the eight voxels around each point.

    Args:
        places: Result, int64 [N] or more: offsets of the lowest of them, -1 outside the volume.
        shares: Result, weights of the upper voxels along I, J, K, float32 [3, N] or more.
        at: Coordinates along I, J, K, three of [N] or more, and N.
        shape: Voxels along I, J, K.
        steps: Strides, int32, or int64 if offsets need more; 0 along an axis of one voxel.
        clamped: True if no point is outside: outermost voxels are repeated.
    """
    cx, cy, cz, count = at
    s0, s1, s2 = steps
    x_end, y_end, z_end = _ends(shape)
    x_last = width_of(s0, max(shape[0] - 2, 0))
    y_last = width_of(s0, max(shape[1] - 2, 0))
    z_last = width_of(s0, max(shape[2] - 2, 0))
    for n in range(count):
        px, py, pz = _near(cx[n], x_end), _near(cy[n], y_end), _near(cz[n], z_end)
        inside = (
            (abs(cx[n] - px + _TIE) < _HALF)
            & (abs(cy[n] - py + _TIE) < _HALF)
            & (abs(cz[n] - pz + _TIE) < _HALF)
        )
        ix = min(width_of(s0, px), x_last)
        iy = min(width_of(s0, py), y_last)
        iz = min(width_of(s0, pz), z_last)
        shares[0, n] = px - np.float32(ix)
        shares[1, n] = py - np.float32(iy)
        shares[2, n] = pz - np.float32(iz)
        place = width_of(s0, ix * s0 + iy * s1 + iz * s2)
        places[n] = place if inside | clamped else -1


@inlined
def interpolate(y, x, base, places, shares, count, steps, fill, edges):
    """Interpolate linearly between eight voxels.

    Loads from places that are not neighbours cannot be vectorized. They have a loop of their own,
    so that the others can.

    Args:
        y: Result, float32 [N] or more.
        x, base: Memory of the volume, and the index of its first voxel.
        places, shares, count, steps: As for :func:`neighbours`.
        fill: Value outside the volume.
        edges: Memory, float32 [4, N] or more.
    """
    s0, s1, s2 = np.int64(steps[0]), np.int64(steps[1]), np.int64(steps[2])
    for n in range(count):
        place = base + max(places[n], 0)
        for edge in range(4):
            lower = place + (edge // 2) * s0 + (edge % 2) * s1
            edges[edge, n] = _lerp(read(x, lower, 0), read(x, lower, s2), shares[2, n])
    for n in range(count):
        low = _lerp(edges[0, n], edges[1, n], shares[1, n])
        high = _lerp(edges[2, n], edges[3, n], shares[1, n])
        y[n] = _lerp(low, high, shares[0, n]) if places[n] >= 0 else fill


@inlined
def nearest(places, at, shape, steps, clamped):
    """Find the nearest voxels, of two as near the upper one.

    Args:
        places: Result, int64 [N] or more: offsets of voxels, -1 outside the volume.
        at, shape, steps, clamped: As for :func:`linear`.
    """
    cx, cy, cz, count = at
    s0, s1, s2 = steps
    x_end, y_end, z_end = _ends(shape)
    for n in range(count):
        ux = np.float32(np.floor(cx[n] + (_HALF + _TIE)))
        uy = np.float32(np.floor(cy[n] + (_HALF + _TIE)))
        uz = np.float32(np.floor(cz[n] + (_HALF + _TIE)))
        px, py, pz = _near(ux, x_end), _near(uy, y_end), _near(uz, z_end)
        inside = (ux == px) & (uy == py) & (uz == pz)
        place = width_of(s0, px) * s0 + width_of(s0, py) * s1 + width_of(s0, pz) * s2
        places[n] = place if inside | clamped else -1


@inlined
def outside_field(cx, cy, cz, ends):
    """Return True for a point outside a field of view, given its low and high ends [2, 3]."""
    x = (cx >= ends[0, 0]) & (cx < ends[1, 0])
    y = (cy >= ends[0, 1]) & (cy < ends[1, 1])
    z = (cz >= ends[0, 2]) & (cz < ends[1, 2])
    return not (x & y & z)  # so that NaN is outside


@inlined
def _ends(shape):
    """Return the coordinates of the last voxel."""
    return np.float32(shape[0] - 1), np.float32(shape[1] - 1), np.float32(shape[2] - 1)
