"""Reading a volume at places between its voxels, and beyond its ends."""

from __future__ import annotations

import triton
import triton.language as tl

#: A coordinate so many voxels short of halfway between two voxels, or of an end of the volume, half
#: a voxel beyond its outermost centres, counts as there: of a regular grid that meets voxels
#: halfway, all then belong to the voxel that begins there, however they are rounded.
TIE = tl.constexpr(1e-4)
#: Shares of labels this close count as the same.
_SAME = tl.constexpr(1e-6)


@triton.jit
def between(x, n):
    """Along one axis of n voxels: the lower of two to read, and the share of the upper one."""
    near = tl.minimum(tl.maximum(x, 0.0), (n - 1).to(tl.float32))
    low = tl.minimum(near.to(tl.int32), tl.maximum(n - 2, 0))
    return low, near - low.to(tl.float32)


@triton.jit
def in_view(x, y, z, S0, S1, S2):
    """Whether points are in a volume, up to half a voxel beyond its centres; NaN is not."""
    return _along(x, S0) & _along(y, S1) & _along(z, S2)


@triton.jit
def _along(x, n):
    near = tl.minimum(tl.maximum(x, 0.0), (n - 1).to(tl.float32))  # known from `between`
    return tl.abs(x - near + TIE) < 0.5


@triton.jit
def nearest(x, n):
    """Along one axis of n voxels: the voxel to read, of two that are as near the second, and
    whether there is content.
    """
    up = tl.floor(x + (0.5 + TIE))
    near = tl.minimum(tl.maximum(up, 0.0), (n - 1).to(tl.float32))
    return near.to(tl.int32), up == near


@triton.jit
def places(x, y, z, s0, s1, s2):
    """Offsets of voxels in a volume, laid out so that neighbouring threads read neighbours.

    The hint, without which Triton 3.6 gives neighbours along K to one thread and takes twice the
    registers, is not true of a gather. It widens no load as long as the offsets are not known to be
    multiples of 2: s0 and s1 must not be specialised. ``make static`` shows the widths of loads.
    """
    return tl.max_contiguous(x * s0 + y * s1 + z * s2, [1, 2])


@triton.jit
def moved(
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
    FRAMES: tl.constexpr,
):
    """The nearest voxels, as they are, in the type of what is outside."""
    x, in_x = nearest(cx, S0)
    y, in_y = nearest(cy, S1)
    z, in_z = nearest(cz, S2)
    if WIDE:
        x, y, z = x.to(tl.int64), y.to(tl.int64), z.to(tl.int64)
    value = tl.load(source + places(x, y, z, s0, s1, s2)).to(outside.dtype)
    if FRAMES == 0:
        value = tl.where(in_x & in_y & in_z, value, outside)
    return value


@triton.jit
def blend(a, b, share):
    """From a to b; both ends are met exactly."""
    return share * b + (a - share * a)


@triton.jit
def plane(source, at, s1, s2, fy, fz):
    """Between four voxels of a plane of the source."""
    one = source + at
    two = source + (at + s1)
    a, b = tl.load(one).to(tl.float32), tl.load(one + s2).to(tl.float32)
    c, d = tl.load(two).to(tl.float32), tl.load(two + s2).to(tl.float32)
    return blend(blend(a, b, fz), blend(c, d, fz), fy)


@triton.jit
def framed(y, cx, cy, cz, boxes, fill, stride, b, B, C, FRAMES: tl.constexpr):
    """What was read, but for the values of boxes that a point is outside of, oldest first.

    Args:
        y: [BJ, BK].
        cx, cy, cz: Where it was read.
        boxes: Low and high ends, float32 [FRAMES, B, 2, 3].
        fill: Of the sample and channel, of the oldest box; others ``stride`` apart.
    """
    for frame in tl.static_range(FRAMES):
        outside = beyond(cx, cy, cz, boxes + (frame * B + b) * 6)
        y = tl.where(outside, tl.load(fill + frame * stride).to(y.dtype), y)
    return y


@triton.jit
def beyond(cx, cy, cz, box):
    """Whether points are outside a box."""
    x = (cx >= tl.load(box)) & (cx < tl.load(box + 3))
    y = (cy >= tl.load(box + 1)) & (cy < tl.load(box + 4))
    z = (cz >= tl.load(box + 2)) & (cz < tl.load(box + 5))
    return (x & y & z) == 0  # so that NaN is outside


@triton.jit
def common_label(source, at, fx, fy, fz, s0, s1, s2):
    """The label with the largest share of the eight voxels around a point; of several, the least.

    Args:
        source: Where the volume begins.
        at: Offsets of the lowest of the eight.
        fx, fy, fz: Shares of the upper voxels along each axis.
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
