"""Displacement fields of the world: from output points to input points, in millimetres along RAS+.

A field d stands for the map ``p -> p + d(p)``. All are evaluated at any points, in float64, for
numpy arrays and tensors alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..arrays import Array, common, host, on_host, send
from ..shapes import Triple
from .bspline import displace, is_diagonal, spline_at, spline_weights
from .matrices import apply_affine, invert
from .space import Space, spacing

#: Iterations of the fixed point that inverts a map at points, at most. Below the folding bound each
#: leaves less than 3/5 of the error, so that 60 reach float64.
_ITERATIONS = 60
#: Step, in mm, below which a fixed point has converged.
CONVERGED = 1e-9
#: The same for images, as a share of a voxel.
_SHARE_OF_VOXEL = 1e-5
#: Tolerance towards inside of the ends of a grid, in voxels, as for images.
_TIE = 1e-4
#: Points that are evaluated at once.
_AT_ONCE = 1 << 14


class Field(Protocol):
    """Displacement field of the world, for the samples of a batch."""

    @property
    def samples(self) -> int:
        """Number of samples; 1 for a field that is the same for all."""

    @property
    def grid(self) -> Space | None:
        """Grid on which folds of the map that the numbers describe show; None if there is none."""

    @property
    def inverse_is_known(self) -> bool:
        """True if the field of the inverse map is evaluated directly, not by iteration."""

    def at(self, points: Array, tolerance: float = CONVERGED) -> Any:
        """Return the displacement in mm at world points, [B, N, 3].

        Args:
            points: The points.
            tolerance: Error of inverses, which are found by iteration, in mm.
        """

    def on_grid(self, space: Space) -> Tensor:
        """Return the displacement in mm at the voxels of a grid, [B, 3, I, J, K] float64."""

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
        ends: Control points beyond which, as below 1, the displacement at the end is repeated,
            [B, 3], rather than fade.
    """

    control_points: Array
    lattice: np.ndarray
    inverse: bool = False
    ends: np.ndarray | None = None

    @property
    def vectors(self) -> Array:
        return self.control_points

    @property
    def samples(self) -> int:
        return len(self.control_points)

    @property
    def grid(self) -> Space:
        a, b, c = (2 * n - 1 for n in self.control_points.shape[2:])  # halfway between points too
        return Space((a, b, c), invert(host(self.lattice)) @ np.diag((0.5, 0.5, 0.5, 1)))

    @property
    def inverse_is_known(self) -> bool:
        return self.inverse

    def at(self, points: Array, tolerance: float = CONVERGED) -> Any:
        if self.inverse:
            return _inverse_at(self, points, tolerance)
        _, points, values, lattice = common(points, self.control_points, self.lattice)
        at = apply_affine(lattice, points)
        if self.ends is not None:
            _, at, ends = common(at, self.ends)
            at = _clamped(at, ends)
        return spline_at(values, at)

    def on_grid(self, space: Space) -> Tensor:
        to_lattice = host(self.lattice) @ space.affine
        if self.inverse or not on_host(self.lattice) or not is_diagonal(to_lattice):
            return at_voxels(self, space)
        values = torch.as_tensor(self.control_points).double()
        along = []  # [B, n, N] each
        for axis, n in enumerate(space.shape):
            scale, offset = to_lattice[:, axis, axis, None], to_lattice[:, axis, 3, None]
            at = scale * np.arange(n) + offset
            if self.ends is not None:
                at = at.clip(1, self.ends[:, axis, None])
            weights = spline_weights(at, values.shape[2 + axis])
            along.append(send(torch.from_numpy(weights), values.device))
        for weights in reversed(along):  # K first; each product moves a finished axis forward
            values = torch.einsum("bd...n,bmn->bdm...", values, weights)
        return values

    def covers(self, grid: Array, size: Triple) -> bool:
        """Return True if no voxel of a grid, [B, 4, 4], is known to be beyond the ends."""
        if self.ends is None:
            return True
        if not on_host(grid) or not on_host(self.lattice):
            return False
        corners = apply_affine(host(self.lattice), Space(size, host(grid)).corners)
        return bool(((corners >= 1) & (corners <= self.ends[:, None])).all())

    def inverted(self) -> BSplineField:
        return self._replace(inverse=not self.inverse)

    def through(self, matrix: Array) -> BSplineField:
        _, lattice, matrix = common(self.lattice, matrix)
        points = displace(self.control_points, invert(matrix)[:, :3, :3])
        return self._replace(control_points=points, lattice=lattice @ matrix)

    def select(self, samples: list[int]) -> BSplineField:
        points, lattice = self.control_points[samples], self.lattice[samples]
        ends = None if self.ends is None else self.ends[samples]
        return self._replace(control_points=points, lattice=lattice, ends=ends)


class DenseField(NamedTuple):
    """Displacements on a grid of voxels, interpolated linearly; zero outside it, as in ITK.

    The grid ends half a voxel beyond its outermost voxels, whose values are continued there.

    Args:
        displacement: In mm along RAS+, [B, 3, I, J, K].
        affine: Voxel of the grid to world, [B, 4, 4].
        inverse: Use the inverse map instead.
        extends: Repeat the displacements of the outermost voxels outside, rather than 0.
    """

    displacement: Tensor
    affine: Array
    inverse: bool = False
    extends: bool = False

    @property
    def vectors(self) -> Tensor:
        return self.displacement

    @property
    def samples(self) -> int:
        return len(self.displacement)

    @property
    def grid(self) -> Space:
        i, j, k = self.displacement.shape[2:]
        return Space((i, j, k), host(self.affine))

    @property
    def inverse_is_known(self) -> bool:
        return self.inverse

    def at(self, points: Array, tolerance: float = CONVERGED) -> Any:
        if self.inverse:
            return _inverse_at(self, points, tolerance)
        _, points, values, affine = common(points, self.displacement, self.affine)
        voxel = apply_affine(invert(affine), points)  # [B, N, 3]
        values, voxel = (
            each.expand(max(len(voxel), len(values)), *each.shape[1:]) for each in (values, voxel)
        )
        size = voxel.new_tensor(values.shape[2:])
        scaled = ((2 * voxel + 1) / size - 1).flip(-1)[:, None, None]
        read = F.grid_sample(values, scaled, padding_mode="border", align_corners=False)
        out = read[:, :, 0, 0].mT
        if self.extends:
            return out
        inside = ((voxel + _TIE >= -0.5) & (voxel + _TIE < size - 0.5)).all(-1, keepdim=True)
        return torch.where(inside, out, torch.zeros_like(out))

    def on_grid(self, space: Space) -> Tensor:
        own = space.shape == tuple(self.displacement.shape[2:]) and not self.inverse
        if own and on_host(self.affine) and _same(self.affine, space.affine):
            return self.displacement.double()
        return at_voxels(self, space)

    def inverted(self) -> DenseField:
        return self._replace(inverse=not self.inverse)

    def through(self, matrix: Array) -> DenseField:
        back = invert(matrix)
        moved = displace(self.displacement, back[:, :3, :3])
        _, back, affine = common(back, self.affine)
        return self._replace(displacement=moved, affine=back @ affine)

    def select(self, samples: list[int]) -> DenseField:
        values, affine = self.displacement[samples], self.affine[samples]
        return self._replace(displacement=values, affine=affine)


def at_voxels(field: Field, space: Space) -> Tensor:
    """Return the displacement in mm at the voxels of a grid, [B, 3, I, J, K], point by point."""
    points = space.points()  # [B, N, 3]
    tolerance = _SHARE_OF_VOXEL * float(spacing(space.affine).min())
    parts = [
        torch.as_tensor(field.at(points[:, n : n + _AT_ONCE], tolerance))
        for n in range(0, points.shape[1], _AT_ONCE)
    ]
    moved = torch.cat(parts, 1)
    return moved.mT.reshape(len(moved), 3, *space.shape)


def _clamped(at: Any, ends: Any) -> Any:
    """Return control-point coordinates [B, N, 3] of which none is below 1 or beyond the ends."""
    if isinstance(at, Tensor):
        return at.clamp(min=1).minimum(ends[:, None])
    return np.minimum(at.clip(1), ends[:, None])


def _same(one: Array, other: np.ndarray) -> bool:
    return np.allclose(host(one), other, rtol=0, atol=CONVERGED)


def _inverse_at(field: Any, points: Array, tolerance: float = CONVERGED) -> Any:
    """Return the displacement of the inverse of the map of a field, [B, N, 3]."""
    found = solve(field.inverted().at, points, tolerance)
    _, found, points = common(found, points)
    return found - points


def solve(displacement: Callable[[Array], Any], points: Array, tolerance: float = CONVERGED) -> Any:
    """Return the points q with ``q + d(q) = points``, [B, N, 3], by fixed-point iteration.

    Where the map folds, the iteration may not converge: the last iterate is returned.

    Args:
        displacement: Function from points [B, N, 3] to displacements d.
        points: [B, N, 3].
        tolerance: Step, in mm, below which the iteration ends.
    """
    _, points, moved = common(points, displacement(points))
    found = points - moved
    for _ in range(_ITERATIONS - 1):
        new = points - displacement(found)
        # elsewhere a test would wait for the device
        done = on_host(new) and not (abs(host(new) - host(found)) > tolerance).any()
        found = new
        if done:
            break
    return found
