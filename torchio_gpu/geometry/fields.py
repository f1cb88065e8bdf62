"""Displacement fields of the world: from output points to input points, in millimetres along RAS+.

A field d stands for the map ``p -> p + d(p)``. All are evaluated at any points, in float64, for
numpy arrays and tensors alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, common, host, on_host
from .bspline import displace, spline_weights
from .matrices import apply_affine, invert

#: Iterations of the fixed point that inverts a map at points, at most. Below the folding bound each
#: leaves less than 3/5 of the error, so that 60 reach float64.
_ITERATIONS = 60
#: Step, in mm, below which the fixed point has converged.
_CONVERGED = 1e-9


class Field(Protocol):
    """Displacement field of the world, for the samples of a batch."""

    @property
    def inverse(self) -> bool:
        """True if this is the inverse of the map that the numbers describe."""

    def at(self, points: Array) -> Any:
        """Return the displacement in mm at world points, [B, N, 3]."""

    def inverted(self) -> Any:
        """Return the field of the inverse map."""

    def through(self, matrix: Array) -> Any:
        """Return the field in other coordinates q, where the world is ``matrix q``, [B, 4, 4]."""

    def select(self, samples: list[int]) -> Any:
        """Return the field of the given samples of the batch."""


class BSplineField(NamedTuple):
    """Cubic B-spline of control points.

    Args:
        control_points: Displacement d in mm along RAS+, [B, 3, N0, N1, N2].
        lattice: World to control-point coordinates, [B, 4, 4].
        inverse: Use the inverse map instead.
    """

    control_points: Array
    lattice: np.ndarray
    inverse: bool = False

    def at(self, points: Array) -> Any:
        if self.inverse:
            return _inverse_at(self, points)
        xp, points, values, lattice = common(points, self.control_points, self.lattice)
        at = apply_affine(lattice, points)  # [B, N, 3]
        i, j, k = (spline_weights(at[..., a], n) for a, n in enumerate(values.shape[2:]))
        # one axis after another: [B, 3, N0, N1, N2] to [B, N, 3]
        out = xp.einsum("bdijk,bnk->bndij", values, k)
        out = xp.einsum("bndij,bnj->bndi", out, j)
        return xp.einsum("bndi,bni->bnd", out, i)

    def inverted(self) -> BSplineField:
        return self._replace(inverse=not self.inverse)

    def through(self, matrix: Array) -> BSplineField:
        _, lattice, matrix = common(self.lattice, matrix)
        points = displace(self.control_points, invert(matrix)[:, :3, :3])
        return BSplineField(points, lattice @ matrix, self.inverse)

    def select(self, samples: list[int]) -> BSplineField:
        return BSplineField(self.control_points[samples], self.lattice[samples], self.inverse)


class DenseField(NamedTuple):
    """Displacements on a grid of voxels, interpolated linearly; zero outside it, as in ITK.

    The grid ends half a voxel beyond its outermost voxels, whose values are continued there.

    Args:
        displacement: In mm along RAS+, [B, 3, I, J, K].
        affine: Voxel of the grid to world, [B, 4, 4].
        inverse: Use the inverse map instead.
    """

    displacement: Tensor
    affine: np.ndarray
    inverse: bool = False

    def at(self, points: Array) -> Any:
        if self.inverse:
            return _inverse_at(self, points)
        _, at, values, affine = common(points, self.displacement, self.affine)
        voxel = apply_affine(invert(affine), at)  # [B, N, 3]
        size = torch.tensor(values.shape[2:], device=values.device)
        inside = ((voxel >= -0.5) & (voxel < size - 0.5)).all(-1, keepdim=True)  # as in ITK
        voxel = voxel.clamp(min=0).minimum((size - 1).to(voxel.dtype))
        low = voxel.detach().nan_to_num(nan=0).floor().minimum((size - 2).clamp(min=0)).long()
        share = voxel - low  # [B, N, 3]
        flat = values.flatten(2)  # [B, 3, I J K]
        out = torch.zeros_like(at)
        steps = size.new_tensor((values.shape[3] * values.shape[4], values.shape[4], 1))
        for corner in np.ndindex(2, 2, 2):
            more = size.new_tensor(corner)
            weight = (share * more + (1 - share) * (1 - more)).prod(-1)  # [B, N]
            index = ((low + more).minimum(size - 1) * steps).sum(-1)  # [B, N]
            value = flat.gather(2, index[:, None].expand(-1, 3, -1)).mT
            out = out + weight[..., None] * value
        return torch.where(inside, out, torch.zeros_like(out))

    def inverted(self) -> DenseField:
        return self._replace(inverse=not self.inverse)

    def through(self, matrix: Array) -> DenseField:
        back = invert(matrix)
        moved = displace(self.displacement, back[:, :3, :3])
        _, back, affine = common(back, self.affine)
        return DenseField(moved, back @ affine, self.inverse)

    def select(self, samples: list[int]) -> DenseField:
        return DenseField(self.displacement[samples], self.affine[samples], self.inverse)


def _inverse_at(field: Any, points: Array) -> Any:
    """Return the displacement of the inverse of the map of a field, [B, N, 3]."""
    found = solve(field.inverted().at, points)
    _, found, points = common(found, points)
    return found - points


def solve(displacement: Callable[[Array], Any], points: Array) -> Any:
    """Return the points q with ``q + d(q) = points``, [B, N, 3], by fixed-point iteration.

    Where the map folds, the iteration may not converge: the last iterate is returned.

    Args:
        displacement: Function from points [B, N, 3] to displacements d.
        points: [B, N, 3].
    """
    _, points, moved = common(points, displacement(points))
    found = points - moved
    for _ in range(_ITERATIONS - 1):
        new = points - displacement(found)
        # elsewhere a test would wait for the device
        done = on_host(new) and not (abs(host(new) - host(found)) > _CONVERGED).any()
        found = new
        if done:
            break
    return found
