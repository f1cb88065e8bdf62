"""Spatial maps composed into one, from the grid of a source to that of an output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import functional as F
from ...arrays import Array, common, host
from ...cached import cached_property
from ...data import SpatialMap
from ...functional.maps import VoxelMap, voxel_map
from ...functional.operations import View
from ...geometry import (
    BSplineField,
    DenseField,
    Field,
    Space,
    apply_affine,
    product,
    windowed,
    within_slice,
)
from ...shapes import Triple

#: Tolerance of the ends of a field of view, in voxels: they are products of float64 matrices.
EDGE_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class ComposedMaps:
    """Spatial maps composed into one, from the grid of a source to that of an output.

    Never changes, so that images on one grid can share it: what the maps of a step and those before
    it have in common is computed once for all of them.
    """

    source: Space
    space: Space  # of the output
    matrix: Array | None = None  # world to world, from the result of the elastic map to the source
    elastic: Field | None = None
    output_to_elastic: Array | None = None  # world to world
    elastic_to_output: Array | None = None  # inverse of the above
    header_matrix: np.ndarray | None = None  # factor of the matrix that only corrects affines
    patch: View | None = None  # place of the patch in the output, if only a patch is wanted

    @staticmethod
    def none(space: Space) -> ComposedMaps:
        """Return the composition of no maps on a grid."""
        return ComposedMaps(space, space)

    def then(self, move: SpatialMap) -> ComposedMaps:
        """Compose one more map: outputs of these become its inputs."""
        latest = self.__dict__.get("_latest")  # images on one grid add the same map in turn
        if latest is None or latest[0] is not move:
            latest = self.__dict__["_latest"] = move, self._then(move)
        return latest[1]

    def _then(self, move: SpatialMap) -> ComposedMaps:
        new: dict[str, Any] = {}
        if move.elastic is not None:
            assert self.elastic is None  # the plan starts a new stage before a second one
            new["elastic"] = move.elastic
        if move.matrix is not None:
            # a pull-back: the maps before this one act on its result
            if self.elastic is None:
                new["matrix"] = product(self.matrix, move.matrix)
            else:
                inverse = move.back
                before = self.elastic_to_output
                new["output_to_elastic"] = product(self.output_to_elastic, move.matrix)
                new["elastic_to_output"] = inverse if before is None else product(inverse, before)
        if move.space is not None:
            new["space"] = move.space
            if move.matrix is not None:
                new["header_matrix"] = product(self.header_matrix, move.matrix)
        return replace(self, **new)

    def cropped_to(self, first: np.ndarray, size: Triple) -> ComposedMaps:
        """Crop the output to a patch; no map can be added after that.

        Args:
            first: First voxel of the patch, [B, 3].
            size: Voxels of the patch along I, J, K.
        """
        space = windowed(self.space, first, size)
        return replace(self, space=space, patch=View(self.space.shape, first))

    @property
    def is_empty(self) -> bool:
        """True if no map was added."""
        maps = self.matrix, self.elastic, self.output_to_elastic
        return self.space is self.source and all(each is None for each in maps)

    @property
    def whole_shape(self) -> Triple:
        """Shape of the output before it was cropped to a patch."""
        whole = self.space.shape if self.patch is None else self.patch.whole
        assert isinstance(whole, tuple)  # passes are joined later
        return whole

    @cached_property
    def affine_map(self) -> Any:
        """Map from output voxels to source voxels without the elastic map, [B, 4, 4]."""
        world = product(self.matrix, self.space.affine)
        return self._within_slice(product(self.source.to_voxel, world))

    @cached_property
    def field_of_view(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Ends of the output in source voxels by :attr:`affine_map`, [B, 3]; None if off-axis."""
        if not F.is_parallel(self.affine_map):
            return None
        ends = np.array([[-0.5] * 3, [n - 0.5 for n in self.space.shape]])
        edges = np.sort(apply_affine(self.affine_map, ends), axis=1)  # [B, 2, 3]
        return edges[:, 0], edges[:, 1]

    @cached_property
    def voxel_map(self) -> VoxelMap:
        """Composition of the maps, from output voxels to source voxels."""
        grid = product(self.output_to_elastic, self.space.affine)
        to_grid, before = self.space.to_voxel, self.elastic_to_output
        to_grid = to_grid if before is None else product(to_grid, before)
        to_source, size = self.source.to_voxel, self.space.shape
        found = voxel_map(self.matrix, self.elastic, to_source, grid, to_grid, size)
        if 1 not in self.source.shape:
            return found
        # content of a single slice stays within it
        free = np.array([n > 1 for n in self.whole_shape], dtype=np.float64)[:, None, None, None]
        points, dense = (
            None if each is None else _scaled(each, free)
            for each in (found.control_points, found.displacement)
        )
        matrix = self._within_slice(found.matrix)
        return found._replace(matrix=matrix, control_points=points, displacement=dense)

    def _within_slice(self, matrix: Array) -> Any:
        """Return a map from output to source voxels, [B, 4, 4], that stays within single slices."""
        if 1 not in self.source.shape:
            return matrix
        offset = None
        if self.space is not self.source:  # the offset between grids if no content moved
            still = self.source.to_voxel @ product(self.header_matrix, self.space.affine)
            offset = still[:, :3, 3]
        return within_slice(matrix, self.source.shape, self.whole_shape, offset)

    def origin_of(self, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
        """Return the source voxels that are mapped to a cuboid of output voxels.

        Args:
            low, high: First and last voxel of the cuboid, [3].

        Returns:
            First and last voxel in the source, [B, 2, 3]; None if they may form no cuboid there.
        """
        matrix = self.voxel_map.matrix
        if self.voxel_map.vectors is not None or not F.is_parallel(matrix):
            return None
        ends = np.sort(apply_affine(host(matrix), np.stack([low, high])), axis=1)
        inside = np.stack(
            [np.ceil(ends[:, 0] - EDGE_ROUNDING), np.floor(ends[:, 1] + EDGE_ROUNDING)], 1
        )
        return inside.clip(0, np.array(self.source.shape) - 1).astype(np.int64)

    def where(self, voxel: np.ndarray) -> np.ndarray:
        """Return the place in the output of the content of a source voxel, [B, 3].

        Args:
            voxel: Voxel of the source, [B, 3].
        """
        maps = self.voxel_map
        field: Field | None = None
        if maps.control_points is not None and maps.lattice is not None:
            field = BSplineField(maps.control_points, host(maps.lattice), maps.inverse)
        elif maps.displacement is not None:
            identity = np.eye(4)[None].repeat(len(voxel), 0)
            field = DenseField(maps.displacement, identity, extends=True)
        return host(SpatialMap(maps.matrix, field).push(voxel[:, None])[0])[:, 0]


def _scaled(vectors: Array, scale: np.ndarray) -> Any:
    """Return the product of two arrays."""
    _, vectors, scale = common(vectors, scale)
    return vectors * scale
