"""Interpolation of a volume, nearest voxels and labels, and fill outside, at points of a row."""

from __future__ import annotations

import triton
import triton.language as tl

from . import shared
from .intrinsics import saturated_difference

TIE = tl.constexpr(shared.TIE)
#: Tolerance of ties between the weights of labels.
_SAME = tl.constexpr(1e-6)


@triton.jit
def neighbours(cx, cy, cz, S0, S1, S2, WIDE: tl.constexpr):
    """Return the lowest of the eight voxels around each point, clamped into the volume; the weights
    of the upper ones along each axis; and True for points inside the volume.
    """
    x, fx, ex = _lower_neighbour(cx, S0)
    y, fy, ey = _lower_neighbour(cy, S1)
    z, fz, ez = _lower_neighbour(cz, S2)
    if WIDE:
        x, y, z = x.to(tl.int64), y.to(tl.int64), z.to(tl.int64)
    return (x, y, z), (fx, fy, fz), _within_one(ex, ey, ez)


@triton.jit
def _lower_neighbour(x, n):
    """Return the lower of two neighbours along an axis of n voxels, the weight of the upper one,
    and a number that is within (-1, 1) if the point is inside.
    """
    low = tl.minimum(tl.maximum(x.to(tl.int32), 0), tl.maximum(n - 2, 0))
    rest = low.to(tl.float32)
    # the two neighbours reach half a voxel beyond their centres; a single voxel, too
    slope, shift = tl.where(n > 1, 1.0, 2.0), tl.where(n > 1, TIE - 0.5, 2.0 * TIE)
    return low, saturated_difference(x, rest), slope * (x - rest) + shift


@triton.jit
def _within_one(x, y, z):
    """Return True where all numbers are within (-1, 1); not for NaN."""
    most = tl.maximum(tl.abs(x), tl.abs(y), propagate_nan=tl.PropagateNan.ALL)
    return tl.maximum(most, tl.abs(z), propagate_nan=tl.PropagateNan.ALL) < 1.0


@triton.jit
def inside_source(x, y, z, S0, S1, S2):
    """Return True for points of a volume, up to half a voxel outside its centres; not for NaN."""
    return _inside_axis(x, S0) & _inside_axis(y, S1) & _inside_axis(z, S2)


@triton.jit
def _inside_axis(x, n):
    return (x > -0.5 - TIE) & (x < n.to(tl.float32) - (0.5 + TIE))


@triton.jit
def nearest_voxels(cx, cy, cz, S0, S1, S2, WIDE: tl.constexpr):
    """Return the nearest voxel of each point, clamped into the volume, of two as near the upper
    one; and True for points inside the volume.
    """
    x, y, z = _nearest_voxel(cx, S0), _nearest_voxel(cy, S1), _nearest_voxel(cz, S2)
    if WIDE:
        x, y, z = x.to(tl.int64), y.to(tl.int64), z.to(tl.int64)
    return (x, y, z), inside_source(cx, cy, cz, S0, S1, S2)


@triton.jit
def _nearest_voxel(x, n):
    up = tl.floor(x + (0.5 + TIE))
    return tl.minimum(tl.maximum(up, 0.0), (n - 1).to(tl.float32)).to(tl.int32)


@triton.jit
def offsets(voxels, s0, s1, s2):
    """Return the offsets of voxels in a volume of some strides."""
    x, y, z = voxels
    return x * s0 + y * s1 + z * s2


@triton.jit
def nearest_of_neighbours(at, weights, s0, s1, s2):
    """Return the offset of the nearest of eight neighbours, of two as near the upper one.

    Args:
        at: Offset of the lowest of them.
        weights: Weights of the upper ones along each axis.
    """
    fx, fy, fz = weights
    at = tl.where(fx >= 0.5 - TIE, at + s0, at)
    at = tl.where(fy >= 0.5 - TIE, at + s1, at)
    return tl.where(fz >= 0.5 - TIE, at + s2, at)


@triton.jit
def corners(source, at, s0, s1, s2, WIDE: tl.constexpr):
    """Return the eight voxels around each point, float32; the last axis changes fastest."""
    both = tl.cast(s0, tl.int64) + s1 if WIDE else s0 + s1
    # one address for two neighbours along K: if s2 is 1, the second is at a constant offset
    a, b = _pair(source + at, s2)
    c, d = _pair(source + s1 + at, s2)
    e, f = _pair(source + s0 + at, s2)
    g, h = _pair(source + both + at, s2)
    return a, b, c, d, e, f, g, h


@triton.jit
def _pair(pointer, stride):
    return tl.load(pointer).to(tl.float32), tl.load(pointer + stride).to(tl.float32)


@triton.jit
def lerp(a, b, share):
    """Interpolate linearly from a to b; both ends are exact.

    Infinity stays what it is where its weight is above 0, and is NaN where that is 0.
    """
    return a * (1.0 - share) + b * share


@triton.jit
def trilinear(values, weights):
    """Interpolate between the eight voxels around each point."""
    a, b, c, d, e, f, g, h = values
    fx, fy, fz = weights
    low = lerp(lerp(a, b, fz), lerp(c, d, fz), fy)
    return lerp(low, lerp(lerp(e, f, fz), lerp(g, h, fz), fy), fx)


@triton.jit
def fields_without(cx, cy, cz, fields, b, B, FIELDS: tl.constexpr):
    """Return, for each field of view, True for points outside of it.

    Args:
        cx, cy, cz: Source coordinates.
        fields: Low and high ends of fields of view, float32 [FIELDS, B, 2, 3].
    """
    found = ()
    for field in tl.static_range(FIELDS):
        ends = fields + (field * B + b) * 6
        x = (cx >= tl.load(ends)) & (cx < tl.load(ends + 3))
        y = (cy >= tl.load(ends + 1)) & (cy < tl.load(ends + 4))
        z = (cz >= tl.load(ends + 2)) & (cz < tl.load(ends + 5))
        found = found + ((x & y & z) == 0,)  # so that NaN is outside
    return found


@triton.jit
def fill_outside(y, inside, without, fill, stride, FIELDS: tl.constexpr):
    """Fill points outside the volume, or outside fields of view, the oldest field first.

    Args:
        y: Sampled values.
        inside: True for points inside the volume.
        without: From :func:`fields_without`; empty to fill outside the volume.
        fill: Pointer to the fill of the oldest field, for the sample and channel.
        stride: Elements from the fill of a field to that of the next.
    """
    if FIELDS == 0:
        y = tl.where(inside, y, tl.load(fill).to(y.dtype))
    for field in tl.static_range(FIELDS):
        y = tl.where(without[field], tl.load(fill + field * stride).to(y.dtype), y)
    return y


@triton.jit
def dominant_label(source, at, weights, s0, s1, s2):
    """Return the label with the largest weight among the eight voxels around a point; of several,
    the smallest.

    Args:
        source: Pointer to the volume.
        at: Offsets of the lowest of the eight voxels.
        weights: Weights of the upper voxels along each axis.
    """
    fx, fy, fz = weights
    labels = ()
    shares = ()
    for corner in tl.static_range(8):
        voxel = source + at
        if corner // 4 == 1:
            voxel += s0
        if corner // 2 % 2 == 1:
            voxel += s1
        if corner % 2 == 1:
            voxel += s2
        share_x = fx if corner // 4 == 1 else 1.0 - fx
        share_y = fy if corner // 2 % 2 == 1 else 1.0 - fy
        share_z = fz if corner % 2 == 1 else 1.0 - fz
        labels = labels + (tl.load(voxel),)
        shares = shares + (share_x * share_y * share_z,)
    for one in tl.static_range(8):
        total = shares[one]
        for other in tl.static_range(8):
            if other != one:
                total += tl.where(labels[one] == labels[other], shares[other], 0.0)
        if one == 0:
            best, most = labels[0], total
        else:
            wins = (total > most + _SAME) | ((total >= most - _SAME) & (labels[one] < best))
            best = tl.where(wins, labels[one], best)
            most = tl.where(wins, total, most)
    return best
