"""4x4 matrices in float64, for numpy arrays and tensors alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, common
from ..tracing import instruction


def apply_affine(matrix: Array, points: Array) -> Any:
    """Map points [..., N, 3] by matrices [..., 4, 4]."""
    return points @ matrix[..., :3, :3].swapaxes(-1, -2) + matrix[..., None, :3, 3]


def invert(matrix: Array) -> Any:
    """Return the inverse of affine matrices [..., 4, 4].

    Tensors are inverted by cofactors: this is differentiable and, unlike LAPACK, which checks for
    singular matrices, does not wait for the device.
    """
    if isinstance(matrix, np.ndarray):
        return np.linalg.inv(matrix)
    m = matrix[..., :3, :3]
    next_, after = [1, 2, 0], [2, 0, 1]
    cofactors = (
        m[..., next_, :][..., next_] * m[..., after, :][..., after]
        - m[..., next_, :][..., after] * m[..., after, :][..., next_]
    )
    determinant = (m[..., 0, :] * cofactors[..., 0, :]).sum(-1)
    linear = cofactors.swapaxes(-1, -2) / determinant[..., None, None]
    return affine_from(linear, -(linear @ matrix[..., :3, 3:])[..., 0])


def product(left: Array | None, right: Array | None) -> Any:
    """Return the product of two matrices, of which None stands for the identity."""
    if left is None or right is None:
        return right if left is None else left
    _, left, right = common(left, right)
    return left @ right


def pull_back(motion: Array) -> Any:
    """Return the map from output to input points, given the motion of the content: its inverse."""
    return invert(motion)


def affine_from(linear: Array, offset: Array) -> Any:
    """Return matrices [..., 4, 4] with linear part [..., 3, 3] and offset [..., 3]."""
    if isinstance(linear, np.ndarray) and isinstance(offset, np.ndarray):
        return _affine_from(linear, offset)
    xp, linear, offset = common(linear, offset)
    matrix = xp.zeros((*linear.shape[:-2], 4, 4), dtype=xp.float64, device=linear.device)
    matrix[..., :3, :3] = linear
    matrix[..., :3, 3] = offset
    matrix[..., 3, 3] = 1
    return matrix


@instruction
def _affine_from(linear: np.ndarray, offset: np.ndarray) -> np.ndarray:
    matrix = np.zeros((*linear.shape[:-2], 4, 4))
    matrix[..., :3, :3] = linear
    matrix[..., :3, 3] = offset
    matrix[..., 3, 3] = 1
    return matrix
