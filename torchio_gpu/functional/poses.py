"""Rigid poses of the content of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import geometry
from ..arrays import Array, common
from ..geometry import Space
from ..shapes import Triple


def pose_matrices(size: Triple, affine: np.ndarray, degrees: Array, translation: Array) -> Any:
    """Return the map from output to input voxels of each pose of each sample, [B, P, 4, 4].

    A single slice stays within its plane.

    Args:
        size: Voxels along I, J, K.
        affine: Voxel to world, [B, 4, 4].
        degrees: Angles about x, y, z of the world, about the centre, [1 or B, P, 3].
        translation: Millimetres along x, y, z, [1 or B, P, 3].
    """
    batch, poses = len(affine), degrees.shape[1]
    affines = affine.repeat(poses, 0)
    space = Space(size, affines)
    xp, angles, shifts = common(degrees, translation)
    angles, shifts = (
        xp.broadcast_to(a, (batch, poses, 3)).reshape(-1, 3) for a in (angles, shifts)
    )
    motion = geometry.motion_in(space, np.ones(3), angles, shifts, space.centre)
    _, to_voxel, back, affines = common(space.to_voxel, geometry.pull_back(motion), affines)
    matrix = to_voxel @ back @ affines
    matrix = geometry.within_slice(matrix, size, size) if 1 in size else matrix
    return matrix.reshape(batch, poses, 4, 4)
