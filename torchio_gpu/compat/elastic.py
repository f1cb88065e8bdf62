"""Control points of elastic deformations, converted from TorchIO 1."""

from __future__ import annotations

import numpy as np

from ..data import Image
from ..data.io import bspline_axes
from ..shapes import rectangular


def elastic_control_points(control_points: np.ndarray, image: Image) -> np.ndarray:
    """Return control points of TorchIO 1 as :class:`ElasticDeformation` takes them.

    TorchIO 1 lays them over an image as ITK's BSplineTransformInitializer does, along axes of its
    own choice, with displacements in LPS+; here they follow the voxel axes, with displacements in
    RAS+.

    Args:
        control_points: Displacements in mm, (N0, N1, N2, 3), for TorchIO 1.
        image: Image that they are for, or one on the same grid.

    >>> points = np.zeros((4, 4, 4, 3))
    >>> points[0, 0, 0] = 1, 2, 3
    >>> elastic_control_points(points, ScalarImage(torch.zeros(1, 5, 5, 5)))[3, 3, 0]
    array([-1., -2.,  3.])
    """
    points = rectangular(control_points, "control_points")
    if points.ndim != 4 or points.shape[-1] != 3 or min(points.shape[:3]) < 4:
        raise ValueError(
            "control_points must have shape (N0, N1, N2, 3) with at least 4 points along each "
            f"axis, got {points.shape}"
        )
    a, b, c = points.shape[:3]
    axes = bspline_axes(image.spatial_shape, image.affine, (a, b, c))
    along = axes.T @ (image.affine[:3, :3] / image.spacing)  # lattice axis for each voxel axis
    order = abs(along).argmax(0)
    moved = points.transpose(*order, 3)
    backward = [axis for axis in range(3) if along[order[axis], axis] < 0]
    flipped: np.ndarray = np.flip(moved, tuple(backward))
    return flipped * (-1, -1, 1)


__all__ = ["elastic_control_points"]
