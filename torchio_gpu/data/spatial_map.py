"""Maps of the world that spatial transforms apply, as pull-backs: from output to input points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, common, host
from ..geometry import DenseField, Field, Space, apply_affine, invert
from ..shapes import Triple
from . import io

if TYPE_CHECKING:
    from .image import Image

#: Error, in mm, above which a point counts as not found: the map folds there.
_FOLDED = 1e-3
#: Points that are mapped at once: all control points are evaluated for each.
_AT_ONCE = 1 << 14


class SpatialMap(NamedTuple):
    """Map of the world, ``q -> matrix (q + d(q))``, from output points to input points.

    Content moves the other way: :meth:`push` says where a point of the input is in the output.
    Points are in mm along RAS+, [B, N, 3] or [N, 3].

    Args:
        matrix: [B, 4, 4]; identity by default.
        elastic: Field d, in mm; none by default.
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
        if field.inverse:  # the inverse is known, and was evaluated
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
        counts = {self._samples, other._samples} - {1}
        if len(counts) > 1:
            raise ValueError(
                "maps must be of as many samples, or of one, to be composed: "
                f"got {self._samples} and {other._samples}"
            )
        space = self.space if other.space is None else other.space
        if self.elastic is None:
            return SpatialMap(_product(self.matrix, other.matrix), other.elastic, space)
        if other.elastic is None:
            elastic = self.elastic
            if other.matrix is not None:
                elastic = elastic.through(other.matrix)
            return SpatialMap(_product(self.matrix, other.matrix), elastic, space)
        return SpatialMap(None, SequenceField(self, other), space)

    def inverse(self) -> SpatialMap:
        """Return the inverse map; where this one folds, it is the last iterate of an inversion."""
        elastic = None if self.elastic is None else self.elastic.inverted()
        if elastic is not None and self.matrix is not None:
            elastic = elastic.through(self.back)
        return SpatialMap(self.back, elastic, None, self.matrix)

    def select(self, samples: list[int]) -> SpatialMap:
        """Return the map of the given samples of the batch."""
        matrix = None if self.matrix is None else self.matrix[samples]
        elastic = None if self.elastic is None else self.elastic.select(samples)
        return SpatialMap(matrix, elastic)

    def as_dense(self, grid: Image | Space) -> SpatialMap:
        """Return the map as displacements at the voxels of a grid, interpolated linearly.

        Args:
            grid: Image, or space, whose voxels are output points.
        """
        space = _space(grid)
        moved = torch.as_tensor(self._at_voxels(space)) - torch.as_tensor(_voxels(space))
        values = moved.mT.reshape(len(moved), 3, *space.shape)
        return SpatialMap(elastic=DenseField(values, space.affine))

    def jacobian_determinant(self, grid: Image | Space) -> Tensor:
        """Return the Jacobian determinant at the voxels of a grid, (B, 1, I, J, K).

        By central differences of neighbouring voxels, one-sided at the ends. Below 0 the map folds;
        below 1, content of the output is larger than in the input.

        Args:
            grid: Image, or space; at least two voxels along each axis.
        """
        space = _space(grid)
        if min(space.shape) < 2:
            raise ValueError(f"grid must have at least 2 voxels along each axis, got {space.shape}")
        pulled = torch.as_tensor(self._at_voxels(space)).view(-1, *space.shape, 3)
        columns = torch.stack(torch.gradient(pulled, dim=(1, 2, 3)), -1)
        per_voxel = torch.as_tensor(np.linalg.det(space.affine[:, :3, :3]))
        return (torch.linalg.det(columns) / per_voxel.view(-1, 1, 1, 1))[:, None]

    def fold_report(self, grid: Image | Space) -> dict[str, float]:
        """Return the smallest Jacobian determinant on a grid, and the share of folded voxels."""
        determinant = self.jacobian_determinant(grid)
        smallest, folded = determinant.min(), (determinant <= 0).double().mean()
        return {"smallest_determinant": float(smallest), "folded_share": float(folded)}

    def as_sitk(self, grid: Image | Space | None = None) -> Any:
        """Return the map as a ``SimpleITK.Transform``, which resamples to the same image.

        SimpleITK maps output to input points as well, in mm along LPS+.

        Args:
            grid: Image, or space, on which inverses of bending maps are sampled, since SimpleITK
                has none; its voxels are output points.

        Raises:
            ValueError: The map is of several samples, or holds an inverse and no grid is given.
        """
        return io.to_sitk_transform(self, None if grid is None else _space(grid))

    @property
    def _samples(self) -> int:
        """Number of samples; 1 for a map that is the same for all."""
        field, counts = self.elastic, [1 if self.matrix is None else len(self.matrix)]
        if isinstance(field, SequenceField):
            counts += [field.outer._samples, field.inner._samples]
        elif isinstance(field, tuple):  # the first array of a field has an entry for each sample
            counts += [len(a) for a in field if isinstance(a, (np.ndarray, Tensor))][:1]
        return max(counts)

    def _check(self, points: Any) -> Any:
        """Return points as an array or tensor; raise unless they fit the map."""
        if self.matrix is not None:
            shape = tuple(getattr(self.matrix, "shape", ()))
            if len(shape) != 3 or shape[1:] != (4, 4):
                got = shape or type(self.matrix).__name__
                raise ValueError(f"matrix must be an array or tensor of shape (B, 4, 4), got {got}")
        points, own = as_array(points, "points"), self._samples
        shape = tuple(points.shape)
        if len(shape) not in (2, 3) or shape[-1] != 3:
            raise ValueError(f"points must have shape (N, 3) or (B, N, 3), got {shape}")
        if own > 1 and (len(shape) == 2 or shape[0] not in (1, own)):
            raise ValueError(f"points must be of {own} samples, as the map is, got shape {shape}")
        return points

    def _at_voxels(self, space: Space) -> np.ndarray:
        points = _voxels(space)
        parts = [points[:, n : n + _AT_ONCE] for n in range(0, points.shape[1], _AT_ONCE)]
        return np.concatenate([host(self.pull(part)) for part in parts], 1)


class SequenceField(NamedTuple):
    """Field of two maps one after the other, of which both bend.

    Args:
        outer: Map that is applied to the result of the other.
        inner: Map that is applied first, to output points.
    """

    outer: SpatialMap
    inner: SpatialMap

    @property
    def inverse(self) -> bool:
        return False

    def at(self, points: Array) -> Any:
        _, points, pulled = common(points, self.outer.pull(self.inner.pull(points)))
        return pulled - points

    def inverted(self) -> SequenceField:
        return SequenceField(self.inner.inverse(), self.outer.inverse())

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


def _product(left: Array | None, right: Array | None) -> Any:
    """Return the product of two matrices, of which None stands for the identity."""
    if left is None or right is None:
        return right if left is None else left
    _, left, right = common(left, right)
    return left @ right


def _space(grid: Any) -> Space:
    if isinstance(grid, Space):
        return grid
    if not hasattr(grid, "spatial_shape"):
        raise TypeError(f"grid must be an Image or a Space, got {type(grid).__name__}")
    affine = grid.affine if np.ndim(grid.affine) == 3 else np.asarray(grid.affine)[None]
    shape: Triple = grid.spatial_shape
    return Space(shape, affine)


def _voxels(space: Space) -> np.ndarray:
    """Return the world positions of all voxels, [B, N, 3]."""
    index = np.stack(np.meshgrid(*map(np.arange, space.shape), indexing="ij"), -1)
    voxels: np.ndarray = apply_affine(space.affine, index.reshape(-1, 3).astype(np.float64))
    return voxels


__all__ = ["SequenceField", "SpatialMap"]
