"""Axes of coordinates: world codes such as RAS, and orders of voxel axes such as IJK."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from .. import geometry

#: Orders of the voxel axes: coordinates are voxels of an affine, whole at voxel centres.
VOXEL_AXES = frozenset("".join(order) for order in permutations("IJK"))
#: Directions in which three world coordinates grow, in millimetres.
WORLD_AXES = frozenset(
    "".join(code) for pairs in permutations(geometry.CODES) for code in product(*pairs)
)


def check_axes(axes: object, name: str = "axes") -> str:
    """Return a world code or an order of the voxel axes in capitals; raise if it is neither.

    >>> check_axes("lps"), check_axes("KJI")
    ('LPS', 'KJI')
    """
    code = axes.upper() if isinstance(axes, str) else ""
    if code not in VOXEL_AXES and code not in WORLD_AXES:
        raise ValueError(
            f"{name} must be one letter each of R or L, A or P, S or I, such as 'RAS', or an order "
            f"of 'IJK', got {axes!r}"
        )
    return code


def are_voxels(axes: str) -> bool:
    """Return True if coordinates along the axes are voxels, False if they are millimetres."""
    return axes in VOXEL_AXES


def check_has_affine(axes: str, affine: np.ndarray | None) -> None:
    """Raise if the axes are those of voxels, and there is no affine that places these."""
    if are_voxels(axes) and affine is None:
        raise ValueError(
            f"affine must be given for voxel axes, which it places in the world: got None, {axes!r}"
        )


def conversion(
    axes: str, affine: np.ndarray | None, new_axes: str, new_affine: np.ndarray | None
) -> np.ndarray:
    """Return the matrix (4, 4) from coordinates along some axes to those along others.

    Axes of one affine, or of the world, are reordered and reflected without rounding.

    Args:
        axes, new_axes: Axes as :func:`check_axes` returns them.
        affine, new_affine: Voxel to world; None where the axes are those of the world.
    """
    steps = [_reordering(axes)]
    check_has_affine(axes, affine)
    check_has_affine(new_axes, new_affine)
    before, after = (are_voxels(each) for each in (axes, new_axes))
    if not (before and after and np.array_equal(affine, new_affine)):  # type: ignore[arg-type]
        if before:
            steps.append(affine)  # type: ignore[arg-type]
        if after:
            steps.append(geometry.invert(new_affine))  # type: ignore[arg-type]
    steps.append(_reordering(new_axes).T)
    matrix = np.eye(4)
    for step in steps:
        matrix = step @ matrix
    return matrix


def _reordering(axes: str) -> np.ndarray:
    """Return the signed permutation (4, 4) from coordinates along the axes to RAS or to IJK."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for column, letter in enumerate(axes):
        if are_voxels(axes):
            matrix["IJK".index(letter), column] = 1
        else:
            row = next(n for n, pair in enumerate(geometry.CODES) if letter in pair)
            matrix[row, column] = 1 if geometry.CODES[row][1] == letter else -1
    return matrix
