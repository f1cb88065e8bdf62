"""Displacements of every voxel: warps, exponentials of velocity fields, Jacobian determinants."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from ..geometry import BSplineField, invert
from ..shapes import Volume, check_count, check_volume, spatial_shape
from .compiled import traceable
from .eager import displacement as eager
from .eager.interpolation import spline_coefficients
from .maps import Reading, VoxelMap, check_displacement, check_matrix
from .warping import warp_volumes

__all__ = ["displacement_warp", "exponentiate", "jacobian_determinant"]

#: Squarings at most: velocities are then scaled by 2**-30.
_MAX_STEPS = 30


@traceable
def displacement_warp(
    x: Volume, displacement: Tensor, *, mode: str = "linear", fill: float | Tensor = 0.0
) -> Volume:
    """Sample a volume through a displacement of each voxel: ``out(v) = x(v + u(v))``.

    Args:
        x: Volume, (B, C, I, J, K).
        displacement: Displacement u in voxels along I, J, K for each voxel of the output,
            (B, 3, I', J', K'), or (3, I', J', K') for all samples. Gradients reach it in 'linear'
            mode.
        mode, fill: As for :func:`affine_warp`.

    Returns:
        Volume (B, C, I', J', K').

    Raises:
        ValueError: A shape, dtype or device, the mode or the fill is not as above.

    >>> x = torch.arange(4.).view(1, 1, 4, 1, 1)
    >>> u = torch.zeros(3, 4, 1, 1)
    >>> u[0] = 0.5  # out(i) = x(i + 1/2); half a voxel beyond the last centre is outside
    >>> displacement_warp(x, u, fill=-1).flatten()
    tensor([ 0.5000,  1.5000,  2.5000, -1.0000])
    """
    check_volume(x)
    displacement = check_displacement(displacement, x)
    matrix = check_matrix(None, len(x), "matrix")
    voxel_map = VoxelMap(matrix, None, None, spatial_shape(displacement), displacement=displacement)
    return warp_volumes([Reading(x, mode, fill)], voxel_map)[0]


@traceable
def exponentiate(velocity: Tensor, steps: int = 7) -> Tensor:
    """Integrate a stationary velocity field over unit time: the displacement of its flow.

    By scaling and squaring (Arsigny et al. 2006, doi:10.1007/11866565_113): the velocity is divided
    by ``2**steps``, and the map is composed with itself ``steps`` times, with linear interpolation.
    Outside the grid the velocity of its outermost voxels goes on. The flow of the negative velocity
    is the inverse map.

    Args:
        velocity: Velocity in voxels along I, J, K, (B, 3, I, J, K) or (3, I, J, K).
        steps: Number of squarings, 0 to 30. Enough if the velocity of neighbouring voxels, divided
            by ``2**steps``, differs by far less than a voxel.

    Returns:
        Displacement in voxels, of the shape of ``velocity``.

    Raises:
        ValueError: The velocity or the number of steps is not as above.

    >>> velocity = torch.zeros(3, 8, 1, 1)
    >>> velocity[0] = 0.1 * torch.arange(8.).view(8, 1, 1)  # the flow of i / 10 is i exp(t / 10)
    >>> exponentiate(velocity)[0, :4, 0, 0]
    tensor([0.0000, 0.1051, 0.2103, 0.3154])
    """
    check_count(steps, "steps", 0, _MAX_STEPS)
    vectors = _check_vectors(velocity, "velocity")
    return eager.exponentiate(vectors, steps).view(velocity.shape)


@traceable
def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return the Jacobian determinant of the map ``v -> v + u(v)`` at each voxel.

    By central differences of neighbouring voxels, one-sided at the ends. Where it is 0 or less the
    map folds; below 1, content is larger in the output of :func:`displacement_warp` than in its
    input. Along axes of a single voxel the map counts as the identity.

    Args:
        displacement: Displacement u in voxels along I, J, K, (B, 3, I, J, K) or (3, I, J, K).

    Returns:
        Determinants, (B, 1, I, J, K) or (1, I, J, K).

    Raises:
        ValueError: The displacement is not as above.

    >>> u = torch.zeros(3, 4, 4, 4)
    >>> u[0] = torch.arange(4.).view(4, 1, 1)  # i goes to 2 i
    >>> jacobian_determinant(u).unique()
    tensor([2.])
    """
    determinant = eager.jacobian_determinant(_check_vectors(displacement, "displacement"))
    return determinant if displacement.ndim == 5 else determinant[0]


def spline_through(displacement: Tensor, affine: np.ndarray) -> BSplineField:
    """Return the cubic B-spline through displacements at the voxels of a grid; it ends there.

    Args:
        displacement: In mm, [B, 3, I, J, K].
        affine: Voxel of the grid to world, [B, 4, 4].
    """
    points, to_lattice = spline_coefficients(displacement), invert(affine)
    for axis, n in enumerate(displacement.shape[2:]):
        margin = 1 if n > 1 else 2  # a spline has four control points along each axis at least
        sides = [0, 0, 0, 0, 0, 0]
        sides[4 - 2 * axis : 6 - 2 * axis] = margin, margin
        # mirrored in the outermost voxels, as the coefficients are
        points = pad(points, sides, mode="reflect" if n > 1 else "replicate")
        to_lattice[:, axis, 3] += margin
    ends = np.array(points.shape[2:])[None].repeat(len(points), 0) - 2.0
    return BSplineField(points, to_lattice, ends=ends)


def _check_vectors(vectors: Tensor, name: str) -> Tensor:
    """Return vectors at each voxel of a grid, [B, 3, I, J, K], or raise."""
    batch = len(vectors) if vectors.ndim == 5 else 1
    return check_displacement(vectors, vectors.new_empty(batch), name)
