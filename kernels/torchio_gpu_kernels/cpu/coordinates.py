"""Points of the source that output voxels are sampled at: an affine map plus a B-spline.

A point is the sum of a whole number of voxels and of a rest, which is float32 and small: along a
row it grows by the part of the step that is not whole, at most half a voxel from voxel to voxel.
"""

from __future__ import annotations

import numpy as np

from .compiling import inlined

#: Larger numbers are not split: they are far outside of any volume, and NaN has no whole part.
_LARGEST = 2.0**30


@inlined
def fill_points(points, origins, matrix, columns, along_j, lowest_j, b, i, j, rows, K):
    """Compute the points of rows ``j`` to ``j + rows`` of a plane.

    Args:
        points: Result, rests along I, J, K, float32 [3, 4 K].
        origins: Result, whole parts at the first voxel of each row, and the whole part of the step
            from voxel to voxel, float32 [3, 5]. Point k of row r is ``points[:, r K + k] +
            origins[:, r] + origins[:, 4] k``.
        matrix: Output voxel to source voxel, float64 [B, 3, 4].
        columns: Displacement in source voxels, contracted along I and K: float32 [B, I, 3, N, K]; N
            is 0 for none.
        along_j: Weights of the control points along J, float32 [B or 1, J, N].
        lowest_j: Lowest control point that each row depends on, int32 [B or 1, J].
        b, i: Sample and plane.
        j, rows, K: First row, number of rows, and voxels of a row.
    """
    bent, own = columns.shape[3] > 0, b if len(along_j) > 1 else 0
    for axis in range(3):
        whole_step, step = _split(matrix[b, axis, 2])
        origins[axis, 4] = whole_step
        for r in range(rows):
            start = matrix[b, axis, 0] * i + matrix[b, axis, 1] * (j + r) + matrix[b, axis, 3]
            whole, rest = _split(start)
            origins[axis, r] = whole
            out = points[axis, r * K : r * K + K]
            for k in range(K):
                out[k] = rest + step * np.float32(np.int32(k))
            if bent:
                tap = lowest_j[own, j + r]
                w0, w1 = along_j[own, j + r, tap], along_j[own, j + r, tap + 1]
                w2, w3 = along_j[own, j + r, tap + 2], along_j[own, j + r, tap + 3]
                line = columns[b, i, axis]
                for k in range(K):
                    shift = w0 * line[tap, k] + w1 * line[tap + 1, k]
                    out[k] += shift + (w2 * line[tap + 2, k] + w3 * line[tap + 3, k])


@inlined
def _split(x):
    """Return a float64 as the nearest whole number and the rest, both float32."""
    whole = np.floor(x + 0.5) if abs(x) < _LARGEST else 0.0
    return np.float32(whole), np.float32(x - whole)
