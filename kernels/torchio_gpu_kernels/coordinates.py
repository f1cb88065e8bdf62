"""Where voxels of the output are read in the source: an affine map of a B-spline displacement.

Neither a grid of coordinates nor a dense displacement is ever written. The displacement is
contracted with the control points along I and K beforehand, by :mod:`.columns`: what is left is a
spline along J, of which a tile needs a few taps. A thread holds several rows of one column, and
loads these taps once for all of them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def column(matrix, b, i, k):
    """Of an affine map, what the voxels of a column share: of each coordinate, the value at j = 0,
    [BK], and the step along j.

    Args:
        matrix: Of all samples, float32 [B, 3, 4].
        b, i, k: Sample, plane, and voxels along its rows [BK].
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
    J,
    K,
    shared,
    N: tl.constexpr,
    TAPS: tl.constexpr,
    BJ: tl.constexpr,
):
    """Coordinates in the source, in voxels, of the voxels of a tile: three of [BJ, BK].

    Args:
        start: From :func:`column`.
        columns: Displacement in source voxels, contracted along I and K: float32 [B, I, 3, N, K].
        along_j: Weights of the control points along J, float32 [B or 1, J and more, N].
        lowest: The lowest control point that each row depends on, int32 [B or 1, J and more].
        b, i, j0, k: Sample, plane, first row, and voxels along the rows [BK] of the tile.
        I, J, K: Voxels of the output; J with the rows that ``along_j`` has more, so that every tile
            finds its own.
        shared: 0 where all samples share ``along_j`` and ``lowest``, else 1.
        N: Control points along J, 0 for no displacement.
        TAPS: How many neighbouring ones the rows of a tile can depend on, at least 4.
    """
    x0, dx, y0, dy, z0, dz = start
    j = (j0 + tl.arange(0, BJ)).to(tl.float32)[:, None]
    x, y, z = x0[None, :] + dx * j, y0[None, :] + dy * j, z0[None, :] + dz * j
    if N > 0:
        weights, at, count = taps(along_j, lowest, b, i, j0, k, I, J, K, shared, N, BJ)
        values = columns + at
        for tap in tl.static_range(4):
            x, y, z = _add_tap(x, y, z, weights + tap, values + tap * K, N * K)
        for tap in tl.static_range(4, TAPS):
            if tap < count:
                x, y, z = _add_tap(x, y, z, weights + tap, values + tap * K, N * K)
    return x, y, z


@triton.jit
def _add_tap(x, y, z, weight, value, step):
    """Add what one control point of each column contributes."""
    share = tl.load(weight)[:, None]
    x += share * tl.load(value)[None, :]
    y += share * tl.load(value + step)[None, :]
    z += share * tl.load(value + 2 * step)[None, :]
    return x, y, z


@triton.jit
def taps(
    along_j,
    lowest,
    b,
    i,
    j0,
    k,
    I,
    J,
    K,
    shared,
    N: tl.constexpr,
    BJ: tl.constexpr,
):
    """Where the first weight of each row of a tile stands, [BJ], which of ``columns`` is the first
    tap of each column, [BK], and how many taps the rows depend on: 4 or more.
    """
    item = b * shared * J + j0
    one, other = tl.load(lowest + item), tl.load(lowest + item + BJ - 1)
    first = tl.minimum(one, other)
    weights = along_j + item * N + first + tl.arange(0, BJ) * N
    plane = (b.to(tl.int64) * I + i) * (3 * N * K) + first * K
    return weights, plane + tl.minimum(k, K - 1), tl.maximum(one, other) - first + 4
