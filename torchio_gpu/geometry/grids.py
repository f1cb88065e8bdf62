"""Grids derived from grids: reoriented, respaced, resized, cropped and padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..shapes import Triple
from .space import CODES, WHOLE, Space, anatomical_axes, spacing


def reoriented(space: Space, codes: Sequence[str]) -> Space:
    """Return the grid over the same voxels whose axes are closest to given directions.

    Args:
        space: The grid.
        codes: Anatomical directions of I, J, K, such as ('R', 'A', 'S').
    """
    world, forward = anatomical_axes(space.affine)  # [B, 3] each
    wanted = [next(n for n, pair in enumerate(CODES) if code in pair) for code in codes]
    up = np.array([CODES[axis][1] == code for axis, code in zip(wanted, codes, strict=True)])
    old = (world[:, None] == np.array(wanted)[:, None]).argmax(2)  # [B, 3], old axis of each new
    samples, new = np.arange(len(old))[:, None], np.arange(3)
    same = forward[samples, old] == up
    shapes = np.array(space.shape)[old]
    old_from_new = np.zeros((len(old), 4, 4))  # new voxel to old voxel
    old_from_new[:, 3, 3] = 1
    old_from_new[samples, old, new] = np.where(same, 1, -1)
    old_from_new[samples, old, 3] = np.where(same, 0, shapes - 1)
    return Space(one_shape(shapes), space.affine @ old_from_new)


def respaced(space: Space, distance: np.ndarray) -> Space:
    """Return the grid with another spacing and the same centre.

    It has as many voxels as fit into the field of view, floor(n old / new) as in TorchIO 1.x, and
    at least one; a single slice remains single.

    Args:
        space: The grid.
        distance: Distance between voxels along I, J, K in mm, [3].
    """
    with np.errstate(over="ignore"):  # a tiny distance gives too many voxels in any case
        counts = np.floor(np.array(space.shape) * spacing(space.affine) / distance + WHOLE)
    counts = np.where(np.array(space.shape) == 1, 1, counts.clip(1, 2.0**53))
    return _rescaled(space, one_shape(counts), distance / spacing(space.affine))


def resized(space: Space, shape: Triple) -> Space:
    """Return the grid of another shape over the same field of view."""
    return _rescaled(space, shape, np.array(space.shape) / np.array(shape))


def _rescaled(space: Space, shape: Triple, factor: np.ndarray) -> Space:
    """Return the grid whose voxels are ``factor`` times as large, about the same centre."""
    affine = space.affine.copy()
    affine[:, :3, :3] *= np.broadcast_to(factor, (len(affine), 3))[:, None]
    affine[:, :3, 3] += space.centre - Space(shape, affine).centre
    return Space(shape, affine)


def windowed(space: Space, first: np.ndarray, shape: Triple) -> Space:
    """Return the grid of a box of voxels, which may reach beyond the grid.

    Args:
        space: The grid.
        first: Its voxel that becomes (0, 0, 0), [3] or [B, 3]; it may lie outside.
        shape: Voxels of the box.
    """
    affine = space.affine.copy()
    corner = np.broadcast_to(first, (len(affine), 3)).astype(np.float64)
    affine[:, :3, 3] += (affine[:, :3, :3] @ corner[..., None])[..., 0]
    return Space(shape, affine)


def one_shape(shapes: Any) -> Triple:
    """Return the common shape of all samples, given [B, 3]; raise if they differ."""
    each = [tuple(int(n) for n in shape) for shape in shapes]
    for sample, shape in enumerate(each):
        if shape != each[0]:
            raise ValueError(
                f"samples of a batch must come out in one shape: sample 0 in {each[0]}, sample "
                f"{sample} in {shape}; transform subjects before they are batched, or to a "
                "given shape"
            )
    i, j, k = each[0]
    return i, j, k
