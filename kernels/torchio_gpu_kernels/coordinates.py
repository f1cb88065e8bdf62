"""Source coordinates of output voxels: an affine map plus a B-spline displacement.

Neither a grid of coordinates nor a dense displacement is written to memory. Control points are
contracted along I and K beforehand, by :mod:`.columns`: a spline along J is left, and a tile needs
few of its control points (taps). A thread holds several rows of one column, and loads these taps
once for all of them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def column_start(matrix, b, i, k):
    """Apply an affine map to the voxels of columns at j = 0.

    Args:
        matrix: Output voxel to source voxel, of all samples, float32 [B, 3, 4].
        b, i, k: Sample, plane, and voxels along K [BK].

    Returns:
        For each coordinate in turn, its value at j = 0, [BK], and its step along J.
    """
    m = matrix + b * 12
    at_i, at_k = i.to(tl.float32), k.to(tl.float32)
    x = tl.load(m + 0) * at_i + tl.load(m + 3) + tl.load(m + 2) * at_k
    y = tl.load(m + 4) * at_i + tl.load(m + 7) + tl.load(m + 6) * at_k
    z = tl.load(m + 8) * at_i + tl.load(m + 11) + tl.load(m + 10) * at_k
    return x, tl.load(m + 1), y, tl.load(m + 5), z, tl.load(m + 9)


@triton.jit
def coordinates(
    start,
    columns,
    along_j,
    lowest,
    b,
    i,
    j0,
    k,
    I,
    padded_j,
    K,
    per_sample,
    N: tl.constexpr,
    TAPS: tl.constexpr,
    BJ: tl.constexpr,
):
    """Return the source coordinates of the voxels of a tile, in voxels: three of [BJ, BK].

    Args:
        start: From :func:`column_start`.
        columns: Displacement in source voxels, contracted along I and K: float32 [B, I, 3, N, K].
        along_j: Weights of the control points along J, float32 [B or 1, J', N].
        lowest: Lowest control point that each row depends on, int32 [B or 1, J'].
        b, i, j0, k: Sample, plane, first row, and voxels along K [BK] of the tile.
        I, K: Voxels of the output along I and K.
        padded_j: J', voxels along J padded to whole tiles.
        per_sample: 1 if samples have their own ``along_j`` and ``lowest``, 0 if they share them.
        N: Control points along J, 0 for no displacement.
        TAPS: Largest number of neighbouring control points of a tile, at least 4.
    """
    x0, dx, y0, dy, z0, dz = start
    j = (j0 + tl.arange(0, BJ)).to(tl.float32)[:, None]
    x, y, z = x0[None, :] + dx * j, y0[None, :] + dy * j, z0[None, :] + dz * j
    if N > 0:
        weights, at, count = spline_taps(
            along_j, lowest, b, i, j0, k, I, padded_j, K, per_sample, N, BJ
        )
        values = columns + at
        for tap in tl.static_range(4):
            x, y, z = _add_tap(x, y, z, weights + tap, values + tap * K, N * K)
        for tap in tl.static_range(4, TAPS):
            if tap < count:
                x, y, z = _add_tap(x, y, z, weights + tap, values + tap * K, N * K)
    return x, y, z


@triton.jit
def _add_tap(x, y, z, weight, value, step):
    """Add the displacement by one control point of each column."""
    share = tl.load(weight)[:, None]
    x += share * tl.load(value)[None, :]
    y += share * tl.load(value + step)[None, :]
    z += share * tl.load(value + 2 * step)[None, :]
    return x, y, z


@triton.jit
def spline_taps(
    along_j,
    lowest,
    b,
    i,
    j0,
    k,
    I,
    padded_j,
    K,
    per_sample,
    N: tl.constexpr,
    BJ: tl.constexpr,
):
    """Return pointers to the first weight of each row of a tile, [BJ], offsets in ``columns`` of
    the first tap of each column, [BK], and the number of taps of the tile, 4 or more.
    """
    item = b * per_sample * padded_j + j0
    one, other = tl.load(lowest + item), tl.load(lowest + item + BJ - 1)
    first = tl.minimum(one, other)
    weights = along_j + item * N + first + tl.arange(0, BJ) * N
    plane = (b.to(tl.int64) * I + i) * (3 * N * K) + first * K
    return weights, plane + tl.minimum(k, K - 1), tl.maximum(one, other) - first + 4
