"""Maps of the world that spatial transforms apply, as pull-backs: from output to input points."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, common, host
from ..functional import jacobian_determinant, warp
from ..functional.maps import VoxelMap, voxel_map
from ..geometry import (
    CONVERGED,
    DenseField,
    Field,
    Space,
    apply_affine,
    at_voxels,
    displace,
    invert,
    product,
)
from ..shapes import Triple
from . import io
from .image import Image
from .keys import LABEL

#: Error, in mm, above which a point counts as not found: the map folds there.
_FOLDED = 1e-3


class SpatialMap(NamedTuple):
    """Map of the world, ``q -> matrix (q + d(q))``, from output points to input points.

    Content moves the other way: :meth:`push` says where a point of the input is in the output.
    Points are in mm along RAS+, [B, N, 3] or [N, 3].

    Args:
        matrix: [B, 4, 4]; identity by default.
        elastic: Field d, in mm: a :class:`torchio_gpu.geometry.BSplineField` or ``DenseField``, or
            a :class:`torchio_gpu.data.VelocityField`; none by default.
        space: Grid of the output; that of the input by default.
        inverse_matrix: Inverse of the matrix, if it is known; computed when needed otherwise.

    >>> move = SpatialMap(np.array([[[1, 0, 0, 5.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]))
    >>> move.pull(np.zeros((1, 3))), move.push(np.zeros((1, 3)))[0]
    (array([[5., 0., 0.]]), array([[-5.,  0.,  0.]]))
    """

    matrix: Array | None = None
    elastic: Field | None = None
    space: Space | None = None
    inverse_matrix: Array | None = None

    def pull(self, points: Array) -> Any:
        """Return the input points that output points show, of the same shape.

        Raises:
            TypeError: Points are no numbers.
            ValueError: Points have another shape, or are of other samples than the map.
        """
        points = self._check(points)
        if points.ndim == 2:
            return self.pull(points[None])[0]
        if self.elastic is not None:
            _, points, moved = common(points, self.elastic.at(points))
            points = points + moved
        if self.matrix is None:
            return points
        _, matrix, points = common(self.matrix, points)
        return apply_affine(matrix, points)

    def push(self, points: Array) -> tuple[Any, Any]:
        """Return where input points are in the output, and which of them are not known.

        Returns:
            Points of the same shape; and bool, [B, N] or [N]: True where the map folds, and the
            point is the last iterate of the inversion.

        Raises:
            TypeError, ValueError: See :meth:`pull`.
        """
        points = self._check(points)
        if points.ndim == 2:
            found, folded = self.push(points[None])
            return found[0], folded[0]
        if self.matrix is not None:
            _, back, points = common(self.back, points)
            points = apply_affine(back, points)
        field = self.elastic
        if field is None:
            return points, _nowhere(points)
        _, points, moved = common(points, field.inverted().at(points))
        found = points + moved
        if field.inverse_is_known:
            return found, _nowhere(found)
        error = found + field.at(found) - points
        return found, (error * error).sum(-1) > _FOLDED**2

    @property
    def back(self) -> Any:
        """Inverse of the matrix, [B, 4, 4]; None if there is no matrix.

        Raises:
            ValueError: The matrix is singular, and on the host.
        """
        if self.inverse_matrix is None and self.matrix is not None:
            try:
                return invert(self.matrix)
            except np.linalg.LinAlgError as error:
                singular = host(self.matrix).tolist()
                raise ValueError(f"matrix must be invertible, got {singular}") from error
        return self.inverse_matrix

    @property
    def affine(self) -> Any:
        """Map as a matrix in mm along RAS+, (4, 4), or [B, 4, 4] for several samples.

        Raises:
            ValueError: The map bends.
        """
        if self.elastic is not None:
            raise ValueError("map must be affine to be a matrix, but it bends: use displacement()")
        matrix = np.eye(4)[None] if self.matrix is None else self.matrix
        return matrix[0] if len(matrix) == 1 else matrix

    def displacement(self, points: Array) -> Any:
        """Return the way from output points to the input points that they show, in mm."""
        points = self._check(points)
        _, points, pulled = common(points, self.pull(points))
        return pulled - points

    def __matmul__(self, other: SpatialMap) -> SpatialMap:  # type: ignore[override]
        """Return the map that applies ``other`` first: of two steps, ``first @ second``.

        Content goes through the left map first, since maps are pull-backs.

        Raises:
            TypeError: ``other`` is no map.
            ValueError: The maps are of different numbers of samples, more than one each.
        """
        if not isinstance(other, SpatialMap):
            raise TypeError(f"a map is composed with a SpatialMap, got {type(other).__name__}")
        counts = {self.samples, other.samples} - {1}
        if len(counts) > 1:
            raise ValueError(
                "maps must be of as many samples, or of one, to be composed: "
                f"got {self.samples} and {other.samples}"
            )
        space = self.space if other.space is None else other.space
        if self.elastic is None:
            return SpatialMap(product(self.matrix, other.matrix), other.elastic, space)
        if other.elastic is None:
            elastic = self.elastic
            if other.matrix is not None:
                elastic = elastic.through(other.matrix)
            return SpatialMap(product(self.matrix, other.matrix), elastic, space)
        return SpatialMap(None, SequenceField(self, other), space)

    def inverse(self) -> SpatialMap:
        """Return the inverse map.

        Warns:
            RuntimeWarning: The map folds, so that it has none there: the inverse is the last
                iterate of a fixed-point iteration.
        """
        field = self.elastic
        if field is not None and not field.inverse_is_known and field.grid is not None:
            map_of_field = SpatialMap(elastic=field)
            smallest = map_of_field.fold_report(field.grid)["smallest_determinant"]
            if smallest <= 0:
                warnings.warn(
                    f"map must not fold to be inverted, but its Jacobian determinant reaches "
                    f"{smallest:.3g}: points that fold get the last iterate of the inversion",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return self._inverse()

    def _inverse(self) -> SpatialMap:
        """Return the inverse map, without a look at folds."""
        elastic = None if self.elastic is None else self.elastic.inverted()
        if elastic is not None and self.matrix is not None:
            elastic = elastic.through(self.back)
        return SpatialMap(self.back, elastic, None, self.matrix)

    def select(self, samples: list[int]) -> SpatialMap:
        """Return the map of the given samples of the batch."""
        matrix, elastic = self.matrix, self.elastic
        if matrix is not None and len(matrix) > 1:
            matrix = matrix[samples]
        if elastic is not None and elastic.samples > 1:
            elastic = elastic.select(samples)
        return SpatialMap(matrix, elastic)

    def warp(
        self,
        image: Image,
        grid: Image | Space | None = None,
        *,
        mode: str | None = None,
        fill: float = 0.0,
    ) -> Image:
        """Sample an image through the map: the content moves as the map pushes points.

        Gradients reach the voxels, the matrix and the vectors of the field.

        Args:
            image: The image.
            grid: Image, or space, on whose voxels the result is sampled; those of the image by
                default.
            mode: See :func:`torchio_gpu.functional.warp`; by default 'linear', and 'nearest' for
                label maps.
            fill: Value outside the image.

        >>> image = ScalarImage(tensor=torch.arange(3.).view(1, 3, 1, 1))
        >>> shift = np.eye(4)[None].copy()
        >>> shift[0, 0, 3] = 1  # an output point shows what lies 1 mm to its right
        >>> SpatialMap(shift).warp(image).data.flatten()
        tensor([1., 2., 0.])
        """
        space = _space(image if grid is None else grid)
        mode = mode or ("nearest" if image.kind == LABEL else "linear")
        voxel_map = self.to_voxels(_space(image), space)
        data = warp(image.data[None], voxel_map, mode=mode, fill=fill)
        return image._with(data[0], space.affine[0])

    def to_voxels(self, source: Image | Space, output: Image | Space) -> VoxelMap:
        """Return the map between the voxels of two grids, for :func:`torchio_gpu.functional.warp`.

        Args:
            source: Grid of the volume that is read.
            output: Grid of the result.
        """
        source, output = _space(source), _space(output)
        to_source, grid, to_grid = (
            np.broadcast_to(each, (max(self.samples, len(each)), 4, 4))
            for each in (source.to_voxel, output.affine, output.to_voxel)
        )
        return voxel_map(self.matrix, self.elastic, to_source, grid, to_grid, output.shape)

    def as_dense(self, grid: Image | Space) -> SpatialMap:
        """Return the map as displacements at the voxels of a grid, interpolated linearly.

        Args:
            grid: Image, or space, whose voxels are output points.
        """
        space = _space(grid)
        return SpatialMap(elastic=DenseField(self._on_grid(space), space.affine))

    def jacobian_determinant(self, grid: Image | Space) -> Tensor:
        """Return the Jacobian determinant at the voxels of a grid, (B, 1, I, J, K).

        By central differences of neighbouring voxels, one-sided at the ends. Below 0 the map folds;
        below 1, content of the output is larger than in the input.

        Args:
            grid: Image, or space. Along axes of a single voxel the map counts as the identity.
        """
        space = _space(grid)
        return jacobian_determinant(displace(self._on_grid(space), space.to_voxel[:, :3, :3]))

    def fold_report(self, grid: Image | Space) -> dict[str, float]:
        """Return the smallest Jacobian determinant on a grid, and the share of folded voxels.

        Mirrors are no folds: the sign is that relative to most voxels.
        """
        determinant = self.jacobian_determinant(grid).detach()
        most = determinant.flatten(1).median(1).values.sign()
        determinant = determinant * most.view(-1, 1, 1, 1, 1)
        smallest, folded = determinant.min(), (determinant <= 0).double().mean()
        return {"smallest_determinant": float(smallest), "folded_share": float(folded)}

    def as_sitk(self, grid: Image | Space | None = None) -> Any:
        """Return the map as a ``SimpleITK.Transform``, which resamples to the same image.

        SimpleITK maps output to input points as well, in mm along LPS+.

        Args:
            grid: Image, or space, on which inverses of bending maps and flows of velocities are
                sampled, since SimpleITK has none; its voxels are output points.

        Raises:
            ValueError: The map is of several samples, or holds an inverse of a bending map or a
                flow, and no grid is given.
        """
        return io.to_sitk_transform(self, None if grid is None else _space(grid))

    def _on_grid(self, space: Space) -> Tensor:
        """Return the way to the input points at the voxels of a grid, in mm, [B, 3, I, J, K]."""
        start = pulled = torch.as_tensor(space.points()).mT.reshape(-1, 3, *space.shape)
        if self.elastic is not None:
            _, pulled, moved = common(pulled, self.elastic.on_grid(space))
            pulled = pulled + moved
        if self.matrix is not None:
            _, matrix, pulled = common(self.matrix, pulled)
            pulled = displace(pulled, matrix[:, :3, :3]) + matrix[:, :3, 3, None, None, None]
        _, pulled, start = common(pulled, start)
        return pulled - start  # type: ignore[no-any-return]

    @property
    def samples(self) -> int:
        """Number of samples; 1 for a map that is the same for all."""
        field = 1 if self.elastic is None else self.elastic.samples
        return max(field, 1 if self.matrix is None else len(self.matrix))

    def _check(self, points: Any) -> Any:
        """Return points as an array or tensor; raise unless they fit the map."""
        if self.matrix is not None:
            shape = tuple(getattr(self.matrix, "shape", ()))
            if len(shape) != 3 or shape[1:] != (4, 4):
                got = shape or type(self.matrix).__name__
                raise ValueError(f"matrix must be an array or tensor of shape (B, 4, 4), got {got}")
        points, own = as_array(points, "points"), self.samples
        shape = tuple(points.shape)
        if len(shape) not in (2, 3) or shape[-1] != 3:
            raise ValueError(f"points must have shape (N, 3) or (B, N, 3), got {shape}")
        if own > 1 and (len(shape) == 2 or shape[0] not in (1, own)):
            raise ValueError(f"points must be of {own} samples, as the map is, got shape {shape}")
        return points


class SequenceField(NamedTuple):
    """Field of two maps one after the other, of which both bend.

    Args:
        outer: Map that is applied to the result of the other.
        inner: Map that is applied first, to output points.
    """

    outer: SpatialMap
    inner: SpatialMap

    @property
    def samples(self) -> int:
        return max(self.outer.samples, self.inner.samples)

    @property
    def grid(self) -> None:
        return None

    @property
    def inverse_is_known(self) -> bool:
        return False

    def on_grid(self, space: Space) -> Tensor:
        return at_voxels(self, space)

    def at(self, points: Array, tolerance: float = CONVERGED) -> Any:
        _, points, pulled = common(points, self.outer.pull(self.inner.pull(points)))
        return pulled - points

    def inverted(self) -> SequenceField:
        return SequenceField(self.inner._inverse(), self.outer._inverse())

    def through(self, matrix: Array) -> SequenceField:
        before, after = SpatialMap(matrix), SpatialMap(invert(matrix))
        return SequenceField(after @ self.outer, self.inner @ before)

    def select(self, samples: list[int]) -> SequenceField:
        return SequenceField(self.outer.select(samples), self.inner.select(samples))


def _nowhere(points: Array) -> Any:
    """Return False for each of points [..., 3]."""
    if isinstance(points, Tensor):
        return torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    return np.zeros(points.shape[:-1], dtype=bool)


def _space(grid: Any) -> Space:
    if isinstance(grid, Space):
        return grid
    if not hasattr(grid, "spatial_shape"):
        raise TypeError(f"grid must be an Image or a Space, got {type(grid).__name__}")
    affine = grid.affine if np.ndim(grid.affine) == 3 else np.asarray(grid.affine)[None]
    shape: Triple = grid.spatial_shape
    return Space(shape, affine)


__all__ = ["SequenceField", "SpatialMap"]
