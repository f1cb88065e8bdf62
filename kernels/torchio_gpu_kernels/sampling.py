"""Interpolation of a volume, nearest voxels and labels, and fill outside fields of view."""

from __future__ import annotations

import triton
import triton.language as tl

from . import shared

TIE = tl.constexpr(shared.TIE)
#: Tolerance of ties between the weights of labels.
_SAME = tl.constexpr(1e-6)


@triton.jit
def lower_neighbour(x, n):
    """Return the lower of two neighbours on an axis of n voxels, and the weight of the upper."""
    near = tl.minimum(tl.maximum(x, 0.0), (n - 1).to(tl.float32))
    low = tl.minimum(near.to(tl.int32), tl.maximum(n - 2, 0))
    return low, near - low.to(tl.float32)


@triton.jit
def inside_source(x, y, z, S0, S1, S2):
    """Return True for points of a volume, up to half a voxel outside its centres; not for NaN."""
    return _inside_axis(x, S0) & _inside_axis(y, S1) & _inside_axis(z, S2)


@triton.jit
def _inside_axis(x, n):
    near = tl.minimum(tl.maximum(x, 0.0), (n - 1).to(tl.float32))  # as in `lower_neighbour`
    return tl.abs(x - near + TIE) < 0.5


@triton.jit
def nearest_voxel(x, n):
    """Return the nearest voxel on an axis of n voxels, of two as near the upper one, and True for
    points inside the volume.
    """
    up = tl.floor(x + (0.5 + TIE))
    near = tl.minimum(tl.maximum(up, 0.0), (n - 1).to(tl.float32))
    return near.to(tl.int32), up == near


@triton.jit
def voxel_offsets(x, y, z, s0, s1, s2):
    """Return offsets of voxels in a volume, with neighbouring voxels in neighbouring threads.

    Without the hint, Triton 3.6 gives neighbours along K to one thread and takes twice the
    registers. The hint is not true of a gather, but widens no load as long as the offsets are not
    known to be multiples of 2: s0 and s1 must not be specialised. ``make static`` prints the widths
    of loads.
    """
    return tl.max_contiguous(x * s0 + y * s1 + z * s2, [1, 2])


@triton.jit
def copy_nearest(
    source,
    outside,
    cx,
    cy,
    cz,
    S0,
    S1,
    S2,
    s0,
    s1,
    s2,
    WIDE: tl.constexpr,
    FIELDS: tl.constexpr,
):
    """Return the nearest voxels without interpolation, in the dtype of the fill ``outside``."""
    x, in_x = nearest_voxel(cx, S0)
    y, in_y = nearest_voxel(cy, S1)
    z, in_z = nearest_voxel(cz, S2)
    if WIDE:
        x, y, z = x.to(tl.int64), y.to(tl.int64), z.to(tl.int64)
    value = tl.load(source + voxel_offsets(x, y, z, s0, s1, s2)).to(outside.dtype)
    if FIELDS == 0:
        value = tl.where(in_x & in_y & in_z, value, outside)
    return value


@triton.jit
def lerp(a, b, share):
    """Interpolate linearly from a to b; both ends are exact."""
    return share * b + (a - share * a)


@triton.jit
def bilinear(source, at, s1, s2, fy, fz):
    """Interpolate between four voxels of a plane of the source."""
    one = source + at
    two = source + (at + s1)
    a, b = tl.load(one).to(tl.float32), tl.load(one + s2).to(tl.float32)
    c, d = tl.load(two).to(tl.float32), tl.load(two + s2).to(tl.float32)
    return lerp(lerp(a, b, fz), lerp(c, d, fz), fy)


@triton.jit
def fill_outside(y, cx, cy, cz, fields, fill, stride, b, B, C, FIELDS: tl.constexpr):
    """Fill points outside of fields of view, the oldest field first.

    Args:
        y: Sampled values, [BJ, BK].
        cx, cy, cz: Source coordinates.
        fields: Low and high ends of fields of view, float32 [FIELDS, B, 2, 3].
        fill: Pointer to the fill of the oldest field, for the sample and channel.
        stride: Elements from the fill of a field to that of the next.
    """
    for field in tl.static_range(FIELDS):
        outside = outside_field(cx, cy, cz, fields + (field * B + b) * 6)
        y = tl.where(outside, tl.load(fill + field * stride).to(y.dtype), y)
    return y


@triton.jit
def outside_field(cx, cy, cz, ends):
    """Return True for points outside a field of view."""
    x = (cx >= tl.load(ends)) & (cx < tl.load(ends + 3))
    y = (cy >= tl.load(ends + 1)) & (cy < tl.load(ends + 4))
    z = (cz >= tl.load(ends + 2)) & (cz < tl.load(ends + 5))
    return (x & y & z) == 0  # so that NaN is outside


@triton.jit
def dominant_label(source, at, fx, fy, fz, s0, s1, s2):
    """Return the label with the largest weight among the eight voxels around a point; of several,
    the smallest.

    Args:
        source: Pointer to the volume.
        at: Offsets of the lowest of the eight voxels.
        fx, fy, fz: Weights of the upper voxels along each axis.
    """
    labels = ()
    shares = ()
    for corner in tl.static_range(8):
        step = (corner // 4) * s0 + (corner // 2 % 2) * s1 + (corner % 2) * s2
        share_x = fx if corner // 4 == 1 else 1.0 - fx
        share_y = fy if corner // 2 % 2 == 1 else 1.0 - fy
        share_z = fz if corner % 2 == 1 else 1.0 - fz
        labels = labels + (tl.load(source + (at + step)),)
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
