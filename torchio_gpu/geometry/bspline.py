"""Lattices of control points of cubic B-splines, laid out as ITK's BSplineTransform does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, common
from ..shapes import Triple
from ..tracing import instruction
from .space import Space, spacing

#: Margin of the domain of a B-spline beyond the outermost voxel centres, in voxels, as in ITK: half
#: a voxel to the edge of the image and an eighth beyond (BSplineTransformInitializer).
DOMAIN_MARGIN = 0.625
SPLINE_ORDER = 3


def control_lattice(space: Space, counts: Triple) -> np.ndarray:
    """Return the map from world to control-point coordinates, [B, 4, 4], of a cubic B-spline.

    The lattice runs along the voxel axes and is laid out as ITK's BSplineTransform does over an
    image: ``counts - 3`` mesh cells cover the image and a margin of 0.625 voxel beyond the outer
    voxel centres, and one further control point is outside each end. In control-point
    coordinates, point m of the lattice is at m, and the image lies within [1, counts - 2].
    """
    return voxel_lattice(space.shape, counts) @ space.to_voxel


@lru_cache(maxsize=256)
def voxel_lattice(shape: Triple, counts: Triple) -> np.ndarray:
    """Return :func:`control_lattice` from voxel instead of world coordinates, (4, 4)."""
    lattice = np.diag((0.0, 0.0, 0.0, 1.0))
    for axis, (n, count) in enumerate(zip(shape, counts, strict=True)):
        cells_per_voxel = (count - SPLINE_ORDER) / (n - 1 + 2 * DOMAIN_MARGIN)
        lattice[axis, axis] = cells_per_voxel
        lattice[axis, 3] = 1 + DOMAIN_MARGIN * cells_per_voxel
    return lattice


def control_spacing(space: Space, counts: Triple) -> np.ndarray:
    """Return the distance between neighbouring control points along I, J, K in mm, [B, 3]."""
    cells_per_voxel = voxel_lattice(space.shape, counts).diagonal()[:3]
    return spacing(space.affine) / cells_per_voxel


def displace(control_points: Array, linear: Array) -> Any:
    """Express displacement vectors [B, 3, N0, N1, N2] in other axes, by ``linear`` [B, 3, 3]."""
    _, points, linear = common(control_points, linear)
    moved = linear @ points.reshape(*points.shape[:2], -1)
    return moved.reshape(-1, *points.shape[1:])  # either may be of one sample


def cubic_bspline(distance: Any) -> Any:
    """Return the cubic B-spline B3 at signed distances from its centre; zero beyond 2."""
    d = abs(distance)
    outer, inner = 2 - d, 1 - d
    outer, inner = outer * (outer > 0), inner * (inner > 0)
    return (outer * outer * outer - 4 * inner * inner * inner) / 6


def is_diagonal(lattice: np.ndarray) -> bool:
    """Return True if control points lie along the voxel axes, [B, 4, 4]."""
    return bool(_is_diagonal(lattice))


@instruction
def _is_diagonal(lattice: np.ndarray) -> np.ndarray:
    linear = np.abs(lattice[:, :3, :3])
    total = np.add.reduce(linear, axis=0)
    return total.sum() <= (1 + 1e-9) * total.trace()  # type: ignore[no-any-return]


def spline_at(values: Array, at: Array) -> Any:
    """Evaluate a cubic B-spline, from the 64 control points about each coordinate.

    Args:
        values: Control points, [B, D, N0, N1, N2].
        at: Coordinates, in control points, [B, N, 3].

    Returns:
        [B, N, D]; 0 more than two control points outside.
    """
    xp, values, at = common(values, at)
    batch, counts = max(len(values), len(at)), values.shape[2:]
    values, at = (xp.broadcast_to(x, (batch, *x.shape[1:])) for x in (values, at))
    where = at.detach() if isinstance(at, Tensor) else at
    taps = xp.floor(xp.nan_to_num(where))[..., None] + _like(np.arange(-1, 3), at)  # [B, N, 3, 4]
    limits = _like(np.array(counts)[:, None] - 1, at)
    inside = (taps >= 0) & (taps <= limits)
    weights = cubic_bspline(at[..., None] - taps) * inside
    taps = xp.where(inside, taps, 0)
    flat = (taps[:, :, 0, :, None, None] * counts[1] + taps[:, :, 1, None, :, None]) * counts[2]
    flat = (flat + taps[:, :, 2, None, None, :]).reshape(len(at), 1, -1)  # [B, 1, 64 N]
    table = values.reshape(*values.shape[:2], -1)
    read: Any
    if isinstance(table, Tensor):
        read = torch.take_along_dim(table, flat.long(), 2)
    else:
        read = np.take_along_axis(table, flat.astype(np.int64), 2)
    read = read.reshape(*values.shape[:2], at.shape[1], 4, 4, 4)
    for axis in (2, 1, 0):
        read = xp.einsum("bdn...k,bnk->bdn...", read, weights[:, :, axis])
    return read.swapaxes(1, 2)


def _like(array: np.ndarray, other: Array) -> Any:
    """Return an array as a tensor on the device of another, if that is a tensor."""
    return torch.from_numpy(array).to(other) if isinstance(other, Tensor) else array


def spline_weights(at: Array, count: int) -> Any:
    """Return the share of each of ``count`` control points at coordinates [...]: [..., count]."""
    _, at, each = common(at, np.arange(count))
    return cubic_bspline(at[..., None] - each)
