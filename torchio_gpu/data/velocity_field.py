"""Velocity fields of the world, whose flow over unit time is a smooth invertible map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..arrays import Array, common, on_host
from ..functional import exponentiate
from ..functional.displacement import spline_through
from ..geometry import (
    CONVERGED,
    BSplineField,
    DenseField,
    Field,
    Space,
    at_voxels,
    displace,
    spacing,
)

#: Nodes beyond the outermost voxels of a grid on which a smooth flow is integrated, on each side.
_MARGIN = 1
#: Steps of Newton's method from the flow back to the inverse of the flow, at most.
_REFINEMENTS = 12
#: Step of its derivatives, as a share of a voxel.
_STEP = 1e-4


@dataclass(frozen=True, eq=False)
class VelocityField:
    """Displacement of the flow of a velocity over unit time, integrated on a grid.

    See :func:`torchio_gpu.functional.exponentiate`. The flow is interpolated linearly between the
    voxels of the grid, and outside the displacements at its ends are repeated. Or it is
    integrated on nodes of their own over the grid, and is the cubic B-spline through its values
    there: for velocities that are smooth at that scale.

    Args:
        velocity: Velocity in mm.
        grid: Grid of the integration.
        inverse: Use the inverse map.
        steps: Number of squarings.
        matrix: Coordinates q of the points, where the world is ``matrix q``, [B, 4, 4]; those of
            the world by default.
        every: Distance of nodes along I, J, K in voxels of the grid, [B, 3].
    """

    velocity: BSplineField | DenseField
    grid: Space
    inverse: bool = False
    steps: int = 7
    matrix: Array | None = None
    every: np.ndarray | None = None

    @property
    def samples(self) -> int:
        return self.velocity.samples

    @property
    def inverse_is_known(self) -> bool:
        return self.inverse

    @property
    def flow(self) -> BSplineField | DenseField:
        """Flow of the velocity."""
        return self._kept_flow(1)

    @property
    def flow_back(self) -> BSplineField | DenseField:
        """Flow of the negative velocity: the inverse of :attr:`flow`, but for interpolation."""
        return self._kept_flow(-1)

    def _kept_flow(self, sign: int) -> BSplineField | DenseField:
        """Return a flow; it is computed once unless the velocity changes or needs a gradient."""
        vectors = self.velocity.vectors
        numbers = [each for each in (vectors, self.matrix) if isinstance(each, Tensor)]
        if any(each.requires_grad for each in numbers):
            return self._flow(sign)
        key = sign, *(each._version for each in numbers)
        flows = self.__dict__.setdefault("_flows", {})
        if key not in flows:
            flows[key] = self._flow(sign)
        found: BSplineField | DenseField = flows[key]
        return found

    def _flow(self, sign: int) -> BSplineField | DenseField:
        field: BSplineField | DenseField
        if self.every is None:
            moved = _integrated(self.velocity, self.grid, sign, self.steps)
            field = DenseField(moved, self.grid.affine, extends=True)
        else:
            field = self._smooth_flow(self.every, sign)
        return field if self.matrix is None else field.through(self.matrix)

    def _smooth_flow(self, every: np.ndarray, sign: int) -> BSplineField:
        """Return the flow as a spline; samples with nodes at other voxels have another lattice."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for sample, key in enumerate(every.tolist()):
            groups.setdefault(tuple(key), []).append(sample)
        parts: list[Any] = [None] * len(every)
        for key, samples in groups.items():
            nodes = _nodes(Space(self.grid.shape, self.grid.affine[samples]), key)
            velocity = self.velocity if len(groups) == 1 else self.velocity.select(samples)
            spline = spline_through(_integrated(velocity, nodes, sign, self.steps), nodes.affine)
            for n, sample in enumerate(samples):
                parts[sample] = spline.select([n])
        lattice, ends = (
            np.concatenate([getattr(p, n) for p in parts]) for n in ("lattice", "ends")
        )
        i, j, k = np.max([p.control_points.shape[2:] for p in parts], 0).tolist()
        points = [p.control_points for p in parts]
        points = [  # control points beyond the end of a smaller lattice have no effect
            pad(p, (0, k - p.shape[4], 0, j - p.shape[3], 0, i - p.shape[2])) for p in points
        ]
        return BSplineField(torch.cat(points), lattice, ends=ends)

    def at(self, points: Array, tolerance: float = CONVERGED) -> Any:
        flow = self.flow
        if not self.inverse:
            return flow.at(points)
        back = self.flow_back
        _, points, _ = common(points, back.vectors)
        step = _STEP * float(spacing(self.grid.affine).min())
        with torch.no_grad():
            found = points + back.at(points)
            for _ in range(_REFINEMENTS):
                slopes, error = _derivative(flow, found, step), found + flow.at(found) - points
                found = found - _solved(slopes, error)
                # elsewhere a test would wait for the device
                if on_host(error) and not (error.abs() > tolerance).any():
                    break
            slopes = _derivative(flow, found, step)
        # once more, with the gradient of an implicit function
        return found - _solved(slopes, found + flow.at(found) - points) - points

    def on_grid(self, space: Space) -> Tensor:
        return at_voxels(self, space) if self.inverse else self.flow.on_grid(space)

    def inverted(self) -> VelocityField:
        return replace(self, inverse=not self.inverse)

    def through(self, matrix: Array) -> VelocityField:
        if self.matrix is not None:
            _, before, matrix = common(self.matrix, matrix)
            matrix = before @ matrix
        return replace(self, matrix=matrix)

    def select(self, samples: list[int]) -> VelocityField:
        grid = Space(self.grid.shape, self.grid.affine[samples])
        velocity = self.velocity.select(samples)
        matrix = None if self.matrix is None else self.matrix[samples]
        every = None if self.every is None else self.every[samples]
        return replace(self, velocity=velocity, grid=grid, matrix=matrix, every=every)


def _integrated(velocity: Field, grid: Space, sign: int, steps: int) -> Tensor:
    """Return the displacement of a flow at the voxels of a grid, in mm, [B, 3, I, J, K]."""
    in_voxels = displace(velocity.on_grid(grid), grid.to_voxel[:, :3, :3])
    moved: Tensor = displace(exponentiate(sign * in_voxels, steps), grid.affine[:, :3, :3])
    return moved


def _nodes(grid: Space, every: Sequence[float]) -> Space:
    """Return the grid of nodes over a grid, and a margin; single slices stay single."""
    shape, first = [], []
    for n, step in zip(grid.shape, every, strict=True):
        shape.append(1 if n == 1 else ceil((n - 1) / step) + 1 + 2 * _MARGIN)
        first.append(0 if n == 1 else -step * _MARGIN)
    i, j, k = shape
    corner = np.diag((*map(float, every), 1.0))
    corner[:3, 3] = first
    return Space((i, j, k), grid.affine @ corner)


def _derivative(field: Field, points: Tensor, step: float) -> Tensor:
    """Return the derivatives of the map of a field at points, [B, N, 3, 3], by differences."""
    here, columns = field.at(points), []
    for axis in range(3):
        unit = torch.zeros(3, dtype=points.dtype, device=points.device)
        unit[axis] = 1
        columns.append((field.at(points + step * unit) - here) / step + unit)
    return torch.stack(columns, -1)


def _solved(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return the solutions of linear equations, [B, N, 3]; a singular matrix is not waited for."""
    return torch.linalg.solve_ex(matrix, vector[..., None])[0][..., 0]
