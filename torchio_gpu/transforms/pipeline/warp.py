"""Pending spatial maps of one image, composed into one, and the fields of view that limit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ... import functional as F
from ...arrays import Array, common, host
from ...data import ImagesBatch
from ...functional.fields_of_view import FieldOfView
from ...functional.maps import VoxelMap
from ...functional.operations import View
from ...functional.warping import warp_volume
from ...geometry import (
    Space,
    apply_affine,
    displace,
    invert,
    spline_weights,
    windowed,
    within_slice,
)
from ...shapes import Triple
from .maps import BSplineField, Interpolation, SpatialMap, SpatialTraits

_DEFAULT = Interpolation()
#: Tolerance of the ends of a field of view, in voxels: they are products of float64 matrices.
_EDGE_ROUNDING = 1e-4
#: Difference between a field of view and whole voxels that statistics tolerate, as a share of it.
_STATISTICS_TOLERANCE = 0.05
#: Iterations of the fixed point that inverts an elastic map at a point, at most.
_MAX_ITERATIONS = 30
#: Step below which the fixed point has converged, in voxels: the result is rounded to whole ones.
_CONVERGED = 1e-3


class PendingFieldOfView(NamedTuple):
    """Field of view, in source voxels, before a step that extended it or moved its content.

    Args:
        low, high: Ends along I, J, K in voxels of the source, [B, 3].
        rule: Fill that the step gives to what lies outside: a number, or a rule of ``fill_value``
            that is computed when the image is sampled.
    """

    low: np.ndarray
    high: np.ndarray
    rule: str | float


@dataclass
class PendingWarp:
    """Pending maps of one image.

    Until a step makes the maps off-axis, voxel axes of source and output are parallel, and the
    field of view of the output is a cuboid of source voxels. A step that pads, or that moves
    content on a grid, may bring other voxels into view: it records the field of view before it, and
    voxels that are sampled outside that hold the fill of the step.
    """

    source: Space
    space: Space  # of the output so far
    kind: str
    matrix: Array | None = None  # world to world, from the result of the elastic map to the source
    elastic: BSplineField | None = None
    output_to_elastic: Array | None = None  # world to world
    elastic_to_output: Array | None = None  # inverse of the above
    mode: str | None = None  # interpolation, if a step asked for one
    rule: str | float | None = None  # fill outside the source, if there is no field of view
    fields_of_view: list[PendingFieldOfView] = field(default_factory=list)
    header_matrix: np.ndarray | None = None  # factor of the matrix that only corrects affines
    regridded: bool = False  # a step may have changed the grid
    moved_content: bool = False  # content may have moved on the grid of the source
    off_axis: bool = False  # a step may have rotated, sheared or bent voxel axes
    sampled_exactly: bool = False  # the latest sampling only moved voxels
    patch: View | None = None  # place of the patch in the output, if only a patch is wanted
    _known: tuple[tuple[Any, ...], VoxelMap] | None = None  # the state of the maps, and their map

    def add(self, move: SpatialMap) -> None:
        """Compose one more map: outputs of the warp become its inputs."""
        if move.elastic is not None:
            assert self.elastic is None  # the plan starts a new stage before a second one
            self.elastic = move.elastic
        if move.matrix is not None:
            # a pull-back: the maps before this one act on its result
            if self.elastic is None or move.elastic is not None:
                self.matrix = _product(self.matrix, move.matrix)
            else:
                self.output_to_elastic = _product(self.output_to_elastic, move.matrix)
                inverse = invert(move.matrix) if move.inverse is None else move.inverse
                before = self.elastic_to_output
                self.elastic_to_output = inverse if before is None else _product(inverse, before)
        if move.space is not None:
            self.space = move.space
            if move.matrix is not None:
                self.header_matrix = _product(self.header_matrix, move.matrix)

    def note_step(self, interpolation: Interpolation, traits: SpatialTraits) -> None:
        """Record the interpolation and the traits of a step, even if no sample is active in it."""
        self.mode = self.mode or interpolation.of(self.kind)[0]
        self.off_axis = self.off_axis or not traits.parallel
        self.regridded = self.regridded or traits.regrids

    @property
    def has_maps(self) -> bool:
        """True if any map was added."""
        maps = (self.matrix, self.elastic, self.output_to_elastic)
        return self.space is not self.source or any(m is not None for m in maps)

    def add_field_of_view(self, rule: str | float | None, regrids: bool) -> bool:
        """Record the field of view before a step that may bring other voxels into view.

        Args:
            rule: Fill of the step, or a rule for it.
            regrids: The step changes the grid, rather than move content on it. As long as content
                only moves, the field of view is the source, and interpolation blends it with the
                fill.

        Returns:
            False if the field of view is no cuboid of source voxels: the warp must be sampled
            first.
        """
        default = _DEFAULT.of(self.kind)[1]
        before, self.rule = self.rule, rule if self.rule is None else self.rule
        if self.off_axis:
            return True
        if not (self.regridded or regrids or self.fields_of_view):
            self.moved_content = True
            return True
        ends = self._field_of_view()
        if ends is None:
            return False
        if self.moved_content and not self.fields_of_view:
            last = np.broadcast_to(np.array(self.source.shape) - 0.5, ends[0].shape)
            whole = np.full(ends[0].shape, -0.5), last
            fill = default if before is None else before
            self.fields_of_view.append(PendingFieldOfView(*whole, fill))
        new = PendingFieldOfView(*ends, default if rule is None else rule)
        if self.fields_of_view and _same_ends(self.fields_of_view[-1], new):
            self.fields_of_view.pop()  # the later step fills the same voxels
        self.fields_of_view.append(new)
        return True

    def _field_of_view(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the ends of the output in source voxels, [B, 3]; None if it is no cuboid there."""
        matrix = self._to_source(_product(self.matrix, self.space.affine))
        if self.off_axis or not F.is_parallel(matrix):
            return None
        ends = np.array([[-0.5] * 3, [n - 0.5 for n in self.space.shape]])
        edges = np.sort(apply_affine(matrix, ends), axis=1)  # [B, 2, 3]
        return edges[:, 0], edges[:, 1]

    def _to_source(self, world: Array) -> Any:
        """Return the map from output voxels to source voxels, [B, 4, 4].

        Args:
            world: Map from output voxels to the world of the source, [B, 4, 4].
        """
        matrix = _product(self.source.to_voxel, world)
        if 1 in self.source.shape:
            offset = None
            if self.space is not self.source:  # the offset between grids if no content moved
                still = self.source.to_voxel @ _product(self.header_matrix, self.space.affine)
                offset = still[:, :3, 3]
            matrix = within_slice(matrix, self.source.shape, self._whole_shape, offset)
        return matrix

    def field_of_view_in_voxels(self) -> tuple[np.ndarray, Triple] | None:
        """Return the field of view rounded to whole source voxels, in the axis order of the output.

        Returns:
            Map from these voxels to the source, [B, 4, 4], and their number along each axis; None
            if rounding would change the field of view too much, or samples differ in shape.
        """
        ends = self._field_of_view()
        if ends is None:
            return None
        matrix = self._to_source(_product(self.matrix, self.space.affine))
        to_source, size = np.zeros_like(matrix), np.empty((len(matrix), 3))
        to_source[:, 3, 3] = 1
        for axis in range(3):
            source_axis = abs(matrix[:, :3, axis]).argmax(1)  # [B]
            each = np.arange(len(matrix))
            low, high = ends[0][each, source_axis], ends[1][each, source_axis]
            forward = matrix[each, source_axis, axis] > 0
            to_source[each, source_axis, axis] = np.where(forward, 1, -1)
            first = np.where(forward, np.rint(low + 0.5), np.rint(high - 0.5))
            to_source[each, source_axis, 3] = first
            size[:, axis] = high - low
        whole = np.rint(size).clip(1)
        # each end moves by half a voxel at most, which matters in a small field of view
        too_coarse = abs(whole - size) > _STATISTICS_TOLERANCE * whole
        if np.ptp(whole, axis=0).any() or too_coarse.any():
            return None
        i, j, k = whole[0].astype(int).tolist()
        return to_source, (i, j, k)

    def crop_to_field_of_view(self, images: ImagesBatch) -> ImagesBatch:
        """Crop the source to :meth:`field_of_view_in_voxels`, and fill what was padded.

        For statistics of the field of view before it is sampled.
        """
        found = self.field_of_view_in_voxels()
        assert found is not None
        to_source, size = found
        unchanged = size == self.source.shape and (to_source == np.eye(4)).all()
        if not self.fields_of_view and unchanged:
            return images
        fields = self.resolved_fields(images)
        data = warp_volume(images.data, to_source, size=size, mode="nearest", fields=fields)
        self.source, self.fields_of_view = Space(size, self.source.affine @ to_source), []
        return images.with_data(data, self.source.affine)

    @property
    def moves_whole_voxels(self) -> bool:
        """True if the maps so far only move whole voxels."""
        if self.off_axis:
            return False
        return F.is_exact(self._to_source(_product(self.matrix, self.space.affine)))

    def resolved_fields(self, images: ImagesBatch) -> list[FieldOfView]:
        """Return the fields of view, with fills computed from the voxels of the source."""
        fields: list[FieldOfView] = []
        # per sample, everything that its next fill depends on
        keys = [b""] * len(images)
        for low, high, rule in self.fields_of_view:
            ends = zip(keys, low, high, strict=True)
            keys = [k + str(rule).encode() + a.tobytes() + b.tobytes() for k, a, b in ends]
            fill: Any = rule
            if isinstance(rule, str):
                field = FieldOfView(low, high, 0.0)
                fill = images.known(keys, partial(_fill, images, field, rule, tuple(fields)))
            fields.append(FieldOfView(low, high, fill))
        return fields

    @property
    def interpolation_and_fill(self) -> tuple[str, str | float]:
        """Interpolation, and fill outside the source or the rule for it."""
        mode, rule = _DEFAULT.of(self.kind)
        return self.mode or mode, rule if self.rule is None else self.rule

    @property
    def source_field_of_view(self) -> PendingFieldOfView | None:
        """Only field of view, if it is the whole source; its fill is then that of the source."""
        only = self.fields_of_view[0] if len(self.fields_of_view) == 1 else None
        return only if only is not None and _is_whole_source(only, self.source) else None

    def crop_to_patch(self, first: np.ndarray, size: Triple) -> None:
        """Crop the output to a patch; no map can be added after that.

        Args:
            first: First voxel of the patch, [B, 3].
            size: Voxels of the patch along I, J, K.
        """
        self.patch = View(self.space.shape, first)
        self.space = windowed(self.space, first, size)

    @property
    def _whole_shape(self) -> Triple:
        """Shape of the output before it was cropped to a patch."""
        return self.space.shape if self.patch is None else self.patch.whole

    def origin_of(self, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
        """Return the source voxels that are mapped to a cuboid of output voxels.

        Args:
            low, high: First and last voxel of the cuboid, [3].

        Returns:
            First and last voxel in the source, [B, 2, 3]; None if they may form no cuboid there.
        """
        maps = self.voxel_map()
        if self.off_axis or maps.control_points is not None or not F.is_parallel(maps.matrix):
            return None
        ends = np.sort(apply_affine(host(maps.matrix), np.stack([low, high])), axis=1)
        inside = np.stack(
            [np.ceil(ends[:, 0] - _EDGE_ROUNDING), np.floor(ends[:, 1] + _EDGE_ROUNDING)], 1
        )
        return inside.clip(0, np.array(self.source.shape) - 1).astype(np.int64)

    def where(self, voxel: np.ndarray) -> np.ndarray:
        """Return the place in the output of the content of a source voxel, [B, 3].

        Args:
            voxel: Voxel of the source, [B, 3].
        """
        maps = self.voxel_map()
        at = apply_affine(invert(host(maps.matrix)), voxel[:, None])
        if self.elastic is None or maps.control_points is None or maps.lattice is None:
            return at[:, 0]
        points, lattice = host(maps.control_points), host(maps.lattice)

        def displacement(p: np.ndarray) -> np.ndarray:
            at = apply_affine(lattice, p)[:, 0]  # [B, 3]
            i, j, k = (spline_weights(at[:, a], n) for a, n in enumerate(points.shape[2:]))
            return np.einsum("bdijk,bi,bj,bk->bd", points, i, j, k, optimize=True)[:, None]

        if self.elastic.inverse:
            return (at + displacement(at))[:, 0]
        out, previous = at, at + 1
        for _ in range(_MAX_ITERATIONS):  # solve v + u(v) = at as a fixed point
            if abs(out - previous).max() < _CONVERGED:
                break
            out, previous = at - displacement(out), out
        return out[:, 0]

    def voxel_map(self) -> VoxelMap:
        """Return all maps as one, from output voxels to source voxels.

        The result is kept until a map is added or a grid changes.
        """
        state = (
            self.matrix,
            self.elastic,
            self.output_to_elastic,
            self.source,
            self.space,
            self.patch,
        )
        if self._known is None or any(
            a is not b for a, b in zip(self._known[0], state, strict=True)
        ):
            self._known = state, self._voxel_map()
        return self._known[1]

    def _voxel_map(self) -> VoxelMap:
        grid = _product(self.output_to_elastic, self.space.affine)
        matrix = self._to_source(grid if self.matrix is None else _product(self.matrix, grid))
        points = lattice = None
        if self.elastic is not None:
            lattice = _product(self.elastic.lattice, grid)
            to_voxel, before = self.space.to_voxel, self.elastic_to_output
            inverse = to_voxel if before is None else _product(to_voxel, before)
            points = displace(self.elastic.control_points, inverse[:, :3, :3])
            if 1 in self.source.shape:
                free = np.array([n > 1 for n in self._whole_shape], dtype=np.float64)
                _, points, free = common(points, free)
                points = points * free[:, None, None, None]
        inverted = self.elastic is not None and self.elastic.inverse
        return VoxelMap(matrix, points, lattice, self.space.shape, inverted)


def _fill(images: ImagesBatch, field: FieldOfView, rule: str, fields: Sequence[FieldOfView]) -> Any:
    """Return the fill that a rule gives for the voxels within a field of view, [B, C].

    Args:
        images: The source.
        field: Field of view before the step that fills.
        rule: See :func:`torchio_gpu.functional.fill_value`.
        fields: Fields of view of earlier steps, whose fills may lie within ``field``.
    """
    first, last = np.ceil(field.low - _EDGE_ROUNDING), np.floor(field.high + _EDGE_ROUNDING)
    size = (last - first + 1).clip(1)  # [B, 3]
    if np.ptp(size, axis=0).any():  # samples differ in shape: one after another
        fills = []
        for n in range(len(size)):
            earlier = [one.select([n]) for one in fields]
            fills.append(_fill(images.rows([n]), field.select([n]), rule, earlier))
        return torch.cat(fills)
    i, j, k = size[0].astype(int).tolist()
    if not fields and not first.any() and (i, j, k) == images.spatial_shape:
        return images.fill_value(rule)
    shift = np.eye(4)[None].repeat(len(first), 0)
    shift[:, :3, 3] = first
    visible = warp_volume(images.data, shift, size=(i, j, k), mode="nearest", fields=fields)
    return F.fill_value(visible, rule)


def _same_ends(one: PendingFieldOfView, other: PendingFieldOfView) -> bool:
    ends = (one.low, other.low), (one.high, other.high)
    return all(np.allclose(a, b, atol=1e-6) for a, b in ends)


def _is_whole_source(field: PendingFieldOfView, source: Space) -> bool:
    ends = (field.low, -0.5), (field.high, np.array(source.shape) - 0.5)
    return all(np.allclose(a, b, atol=1e-6) for a, b in ends)


def _product(left: Array | None, right: Array) -> Any:
    """Return the product of two matrices; None on the left stands for the identity."""
    if left is None:
        return right
    _, left, right = common(left, right)
    return left @ right
