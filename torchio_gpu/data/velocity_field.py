"""Velocity fields of the world, whose flow over unit time is a smooth invertible map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from ..arrays import Array, common
from ..functional import exponentiate
from ..geometry import DenseField, Field, Space, at_voxels, displace, solve


@dataclass(frozen=True, eq=False)
class VelocityField:
    """Displacement of the flow of a velocity over unit time, integrated on a grid.

    See :func:`torchio_gpu.functional.exponentiate`. Outside the grid the displacements of its
    outermost voxels are repeated.

    Args:
        velocity: Velocity in mm, as a field.
        grid: Grid of the integration.
        inverse: Use the inverse map.
        steps: Number of squarings.
        matrix: Coordinates q of the points, where the world is ``matrix q``, [B, 4, 4]; those of
            the world by default.
    """

    velocity: Field
    grid: Space
    inverse: bool = False
    steps: int = 7
    matrix: Array | None = None

    @property
    def samples(self) -> int:
        return self.velocity.samples

    @property
    def inverse_is_known(self) -> bool:
        return self.inverse

    @cached_property
    def flow(self) -> DenseField:
        """Flow of the velocity at the voxels of the grid."""
        return self._integrated(1)

    @cached_property
    def flow_back(self) -> DenseField:
        """Flow of the negative velocity: the inverse of :attr:`flow`, but for interpolation."""
        return self._integrated(-1)

    def _integrated(self, sign: int) -> DenseField:
        velocity = displace(self.velocity.on_grid(self.grid), self.grid.to_voxel[:, :3, :3])
        moved = exponentiate(sign * velocity, self.steps)
        moved = displace(moved, self.grid.affine[:, :3, :3])
        field = DenseField(moved, self.grid.affine, extends=True)
        return field if self.matrix is None else field.through(self.matrix)

    def at(self, points: Array) -> Any:
        if not self.inverse:
            return self.flow.at(points)
        _, points, _ = common(points, self.flow_back.displacement)

        def error(x: Any) -> Any:
            """Return the displacement of x by the flow back and forth, of interpolation alone."""
            y = x + self.flow_back.at(x)
            return y + self.flow.at(y) - x

        x = solve(error, points)
        return x + self.flow_back.at(x) - points

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
        matrix = None if self.matrix is None else self.matrix[samples]
        return replace(self, velocity=self.velocity.select(samples), grid=grid, matrix=matrix)
