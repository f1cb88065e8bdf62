"""Spatial operations on volumes (B, C, I, J, K): affine and elastic warps, flips.

Maps are pull-backs: they take output voxels to input voxels. World coordinates, and parameters that
describe the motion of the content, belong to the transforms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..arrays import Array, host
from ..geometry import Space, reflection
from ..shapes import Triple, Volume, check_volume, spatial_shape
from .compiled import traceable
from .maps import Reading, VoxelMap, check_maps
from .warping import warp_volumes

__all__ = ["affine_warp", "bspline_warp", "flip", "warp", "warp_pair"]


@traceable
def affine_warp(
    x: Volume,
    matrix: Array,
    size: Triple | None = None,
    *,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
) -> Volume:
    """Sample a volume through an affine map: ``out(v) = x(matrix v)``.

    Args:
        x: Volume, (B, C, I, J, K).
        matrix: Output voxel to input voxel, (4, 4) for all samples or (B, 4, 4). Gradients reach
            it in 'linear' mode.
        size: Voxels of the output along I, J, K; those of ``x`` by default.
        mode: 'linear'; 'nearest'; 'bspline', the cubic B-spline through all voxels (fast where
            axes stay parallel, see :func:`resample`; otherwise 64 voxels are read for each); or
            'label', the label whose membership, interpolated linearly, is largest.
        fill: Value outside the input: a number, one per sample (B), or per channel (B, C). As in
            ITK, the input ends half a voxel beyond the outermost voxel centres; up to there the
            outermost voxels are repeated.

    Returns:
        Volume (B, C, \\*size). Floats keep their dtype; integers become float32 where they are
        interpolated and are kept in modes 'nearest' and 'label'. Samples whose map takes voxel
        centres to voxel centres (identity, shifts by whole voxels, mirrors, permutations) are
        copied exactly.

    Raises:
        ValueError: A shape, the mode or the fill is not as above.

    >>> x = torch.arange(8.).view(1, 1, 2, 2, 2)
    >>> shift = torch.eye(4)
    >>> shift[0, 3] = 1  # out(i) = x(i + 1)
    >>> affine_warp(x, shift)[0, 0, :, 0, 0]
    tensor([4., 0.])
    """
    return warp(x, matrix, size=size, mode=mode, fill=fill)


@traceable
def bspline_warp(
    x: Volume,
    control_points: Array,
    *,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
    inverse: bool = False,
) -> Volume:
    """Sample a volume through a smooth displacement: ``out(v) = x(v + u(v))``.

    The displacement u is a cubic B-spline of control points laid over the volume as ITK's
    BSplineTransform does (:func:`torchio_gpu.geometry.control_lattice`).

    Args:
        x: Volume, (B, C, I, J, K).
        control_points: Displacement vectors in voxels, (B, 3, N0, N1, N2) with at least 4 points
            along each axis, or (3, N0, N1, N2) for all samples. Gradients reach them.
        mode, fill: As for :func:`affine_warp`.
        inverse: Sample through the inverse map, computed by fixed-point iteration: it undoes the
            warp with the same control points where the map does not fold.

    >>> x = torch.rand(1, 1, 8, 8, 8)
    >>> bool((bspline_warp(x, torch.zeros(1, 3, 5, 5, 5)) == x).all())
    True
    """
    return warp(x, control_points=control_points, mode=mode, fill=fill, inverse=inverse)


@traceable
def warp(
    x: Volume,
    matrix: Array | VoxelMap | None = None,
    control_points: Array | None = None,
    *,
    lattice: Array | None = None,
    size: Triple | None = None,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
    inverse: bool = False,
) -> Volume:
    """Sample a volume through an affine and an elastic map: ``out(v) = x(matrix (v + u(v)))``.

    The displacement acts on output coordinates first, the matrix on the result; seen from the
    content, the affine motion comes first and the elastic one second.

    Args:
        x: Volume, (B, C, I, J, K).
        matrix: Output voxel to input voxel, (4, 4) or (B, 4, 4); identity by default. Or the whole
            map, from :meth:`torchio_gpu.SpatialMap.to_voxels`, without further arguments of it.
        control_points: Displacement u in output voxels, (3, N0, N1, N2) or (B, 3, N0, N1, N2).
        lattice: Output voxel to control-point coordinates, (4, 4) or (B, 4, 4); by default the
            control points cover the output grid. Fastest where it is diagonal and on the host.
        size, mode, fill: As for :func:`affine_warp`.
        inverse: Use the inverse of ``v + u(v)``; see :func:`bspline_warp`.

    Returns:
        Volume (B, C, \\*size).

    Raises:
        ValueError: A shape, the mode or the fill is not as above.

    >>> x = torch.rand(2, 1, 8, 8, 8)
    >>> warp(x, torch.eye(4), torch.zeros(3, 4, 4, 4), size=(4, 8, 8)).shape
    torch.Size([2, 1, 4, 8, 8])
    """
    check_volume(x)
    if hasattr(matrix, "to_voxels"):
        raise TypeError("matrix must be the map between voxels that to_voxels() of a map returns")
    if isinstance(matrix, VoxelMap):
        if control_points is not None or lattice is not None or size is not None or inverse:
            raise ValueError("matrix must be a matrix beside other arguments of the map, got a map")
        voxel_map = matrix.expand(len(x))
    else:
        voxel_map = check_maps(x, matrix, control_points, lattice, size, inverse)
    return warp_volumes([Reading(x, mode, fill)], voxel_map)[0]


@traceable
def warp_pair(
    x: Volume,
    labels: Volume,
    matrix: Array | None = None,
    control_points: Array | None = None,
    *,
    lattice: Array | None = None,
    size: Triple | None = None,
    fill: float | Tensor = 0.0,
    labels_fill: float | Tensor = 0.0,
) -> tuple[Volume, Volume]:
    """Sample a volume linearly, and labels on its grid, through one map.

    Equals two calls of :func:`warp`, but coordinates are computed once for both.

    Args:
        x: Volume, (B, C, I, J, K).
        labels: Labels, (B, D, I, J, K), sampled in mode 'nearest'.
        matrix, control_points, lattice, size, fill: As for :func:`warp`.
        labels_fill: Label outside, as ``fill``.

    Returns:
        Volume and labels, (B, C, \\*size) and (B, D, \\*size).

    Raises:
        ValueError: The two are not on one grid, or as for :func:`warp`.

    >>> image, labels = torch.rand(2, 1, 8, 8, 8), torch.ones(2, 1, 8, 8, 8, dtype=torch.uint8)
    >>> half = torch.diag(torch.tensor([2.0, 1, 1, 1]))  # content half as long
    >>> image, labels = warp_pair(image, labels, half)
    >>> labels[0, 0, :, 0, 0]
    tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.uint8)
    """
    check_volume(x)
    check_volume(labels, "labels")
    if (len(x), x.shape[2:], x.device) != (len(labels), labels.shape[2:], labels.device):
        raise ValueError(
            f"labels must be on the grid of x, {list(x.shape)} on {x.device}, "
            f"got {list(labels.shape)} on {labels.device}"
        )
    voxel_map = check_maps(x, matrix, control_points, lattice, size)
    readings = Reading(x, "linear", fill), Reading(labels, "nearest", labels_fill)
    image, moved = warp_volumes(readings, voxel_map)
    return image, moved


@traceable
def flip(x: Volume, axes: Sequence[int] | Tensor) -> Volume:
    """Mirror volumes along voxel axes: an exact permutation of voxels.

    Args:
        x: Volume, (B, C, I, J, K).
        axes: Voxel axes (0, 1, 2) for all samples, or a bool mask (B, 3) on the host, one row per
            sample.

    >>> flip(torch.tensor([1, 2, 3]).view(1, 1, 3, 1, 1), (0,)).flatten()
    tensor([3, 2, 1])
    """
    check_volume(x)
    if isinstance(axes, (Tensor, np.ndarray)):
        mask = host(axes).astype(bool)
        if mask.shape != (len(x), 3):
            raise ValueError(f"axes must be a mask ({len(x)}, 3), got {mask.shape}")
    else:
        mask = np.zeros((len(x), 3), dtype=bool)
        for axis in axes:
            if axis not in (0, 1, 2):
                raise ValueError(f"axes must be among 0, 1, 2, got {axis!r}")
            mask[:, axis] = True
    matrix = reflection(Space(spatial_shape(x), np.eye(4)[None]), mask)
    return warp(x, matrix, mode="nearest")
