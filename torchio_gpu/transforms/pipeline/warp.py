"""Pending maps of one image, composed as they come, and its field of view."""

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
from ...geometry import Space, apply_affine, cubic_bspline, displace, invert, windowed, within_slice
from ...shapes import Triple
from .maps import BSplineField, Interpolation, SpatialMap, SpatialTraits

_DEFAULT = Interpolation()
#: Rounding of where a box ends, in voxels.
_EDGE = 1e-4
#: As a share of the field of view, how far off whole voxels may be for statistics.
_COARSE = 0.05
#: Of the fixed-point iteration that inverts a bending map at a point: steps at most, and voxels
#: between the last two that are near enough.
_STEPS = 30
_NEAR = 1e-3


class Box(NamedTuple):
    """What was in view when a step added to it: ends in voxels of the source, [B, 3] each."""

    low: np.ndarray
    high: np.ndarray
    rule: str | float  # of the value that the step gives to what is outside


@dataclass
class PendingWarp:
    """The maps of one image that wait to be sampled.

    Until a step turns them, voxel axes of source and output are parallel, and what is in view is a
    box in the source. Each step that may bring something else into view, a step that pads or that
    moves the content of a grid, leaves the box that was in view before it: voxels that are read
    from outside it hold the value of that step.
    """

    source: Space
    space: Space  # of the output so far
    kind: str
    matrix: Array | None = None  # towards the source, from where the elastic map is evaluated
    elastic: BSplineField | None = None
    after: Array | None = None  # from the output to where the elastic map is evaluated
    before: Array | None = None  # the inverse of that
    mode: str | None = None  # interpolation, where a step asked for one
    rule: str | float | None = None  # for what is outside the source, where there is no box
    boxes: list[Box] = field(default_factory=list)
    header: np.ndarray | None = None  # the part of the matrix that only puts headers right
    regridded: bool = False  # whether a step may have changed the grid
    slid: bool = False  # whether content may have moved on the grid of the source
    turned: bool = False  # whether a step may have turned voxel axes
    exact: bool = False  # whether voxels were only moved when the warp was sampled
    view: View | None = None  # which voxels of the output are wanted, where not all are

    def add(self, move: SpatialMap) -> None:
        """Follow one more map: outputs of the warp become its inputs."""
        if move.elastic is not None:
            assert self.elastic is None  # a run holds one bending map: the plan sees to it
            self.elastic = move.elastic
        if move.matrix is not None:
            # a pull-back: the maps before this one act on its result
            if self.elastic is None or move.elastic is not None:
                self.matrix = _times(self.matrix, move.matrix)
            else:
                self.after = _times(self.after, move.matrix)
                inverse = invert(move.matrix) if move.inverse is None else move.inverse
                self.before = inverse if self.before is None else _times(inverse, self.before)
        if move.space is not None:
            self.space = move.space
            if move.matrix is not None:
                self.header = _times(self.header, move.matrix)

    def follow(self, wish: Interpolation, traits: SpatialTraits) -> None:
        """Note how a step reads voxels and what it may do to the grid, whether it maps or not."""
        self.mode = self.mode or wish.of(self.kind)[0]
        self.turned = self.turned or not traits.parallel
        self.regridded = self.regridded or traits.regrids

    @property
    def moved(self) -> bool:
        """Whether any map was added."""
        maps = (self.matrix, self.elastic, self.after)
        return self.space is not self.source or any(m is not None for m in maps)

    def enclose(self, rule: str | float | None, regrids: bool) -> bool:
        """Leave the box that is in view before a step that may bring something else into view.

        Args:
            rule: Of the value of what is outside.
            regrids: Whether the step changes the grid, rather than move content on it. As long as
                only content moves, the source is all that there is, and blends with the value.

        Returns:
            False if it is no box: the warp must be sampled first.
        """
        default = _DEFAULT.of(self.kind)[1]
        before, self.rule = self.rule, rule if self.rule is None else self.rule
        if self.turned:
            return True
        if not (self.regridded or regrids or self.boxes):
            self.slid = True
            return True
        view = self._view()
        if view is None:
            return False
        if self.slid and not self.boxes:
            end = np.broadcast_to(np.array(self.source.shape) - 0.5, view[0].shape)
            whole = np.full(view[0].shape, -0.5), end
            self.boxes.append(Box(*whole, default if before is None else before))
        box = Box(*view, default if rule is None else rule)
        if self.boxes and _same(self.boxes[-1], box):
            self.boxes.pop()  # what is outside is the same, and holds the later value
        self.boxes.append(box)
        return True

    def _view(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The field of view of the output so far in voxels of the source, if it is a box there."""
        matrix = self._to_source(_times(self.matrix, self.space.affine))
        if self.turned or not F.is_parallel(matrix):
            return None
        ends = np.array([[-0.5] * 3, [n - 0.5 for n in self.space.shape]])
        edges = np.sort(apply_affine(matrix, ends), axis=1)  # [B, 2, 3]
        return edges[:, 0], edges[:, 1]

    def _to_source(self, world: Array) -> Any:
        """From output voxels to those of the source, by way of the world."""
        matrix = _times(self.source.to_voxel, world)
        if 1 in self.source.shape:
            offset = None
            if self.space is not self.source:  # as it would be if nothing moved on the grids
                still = self.source.to_voxel @ _times(self.header, self.space.affine)
                offset = still[:, :3, 3]
            matrix = within_slice(matrix, self.source.shape, self._whole, offset)
        return matrix

    def whole_view(self) -> tuple[np.ndarray, Triple] | None:
        """What is in view in whole voxels of the source, in the order of the output's axes.

        Returns:
            The map from these to the source, [B, 4, 4], and how many there are; None where whole
            voxels are too coarse for that, or differ in number between samples.
        """
        view = self._view()
        if view is None:
            return None
        matrix = self._to_source(_times(self.matrix, self.space.affine))
        turn, size = np.zeros_like(matrix), np.empty((len(matrix), 3))
        turn[:, 3, 3] = 1
        for axis in range(3):
            row = abs(matrix[:, :3, axis]).argmax(1)  # the source's axis
            each = np.arange(len(matrix))
            low, high = view[0][each, row], view[1][each, row]
            forward = matrix[each, row, axis] > 0
            turn[each, row, axis] = np.where(forward, 1, -1)
            turn[each, row, 3] = np.where(forward, np.rint(low + 0.5), np.rint(high - 0.5))
            size[:, axis] = high - low
        whole = np.rint(size).clip(1)
        # off by half a voxel at each end at most, which must not be much
        if np.ptp(whole, axis=0).any() or (abs(whole - size) > _COARSE * whole).any():
            return None
        i, j, k = whole[0].astype(int).tolist()
        return turn, (i, j, k)

    def cut_to_view(self, images: ImagesBatch) -> ImagesBatch:
        """Cut the source to :meth:`whole_view`, and add to it what was added.

        For statistics of what is in view, before it is sampled.
        """
        view = self.whole_view()
        assert view is not None
        turn, size = view
        if not self.boxes and size == self.source.shape and (turn == np.eye(4)).all():
            return images
        fields = self.fields(images)
        data = warp_volume(images.data, turn, size=size, mode="nearest", fields=fields)
        self.source, self.boxes = Space(size, self.source.affine @ turn), []
        return images.with_data(data, self.source.affine)

    @property
    def moves_voxels(self) -> bool:
        """Whether the maps so far only move whole voxels."""
        if self.turned:
            return False
        return F.is_exact(self._to_source(_times(self.matrix, self.space.affine)))

    def fields(self, images: ImagesBatch) -> list[FieldOfView]:
        """The boxes, each with its value for these voxels."""
        fields: list[FieldOfView] = []
        keys = [b""] * len(images)  # of each sample, all that its next value depends on
        for low, high, rule in self.boxes:
            ends = zip(keys, low, high, strict=True)
            keys = [k + str(rule).encode() + a.tobytes() + b.tobytes() for k, a, b in ends]
            value: Any = rule
            if isinstance(rule, str):
                field = FieldOfView(low, high, 0.0)
                value = images.known(keys, partial(_value, images, field, rule, tuple(fields)))
            fields.append(FieldOfView(low, high, value))
        return fields

    @property
    def reads(self) -> tuple[str, str | float]:
        """Interpolation, and the value of what is outside or the rule for it."""
        mode, rule = _DEFAULT.of(self.kind)
        return self.mode or mode, rule if self.rule is None else self.rule

    @property
    def outer_box(self) -> Box | None:
        """The only box, if that is all of the source."""
        only = self.boxes[0] if len(self.boxes) == 1 else None
        return only if only is not None and _is_whole(only, self.source) else None

    def cut(self, first: np.ndarray, size: Triple) -> None:
        """Want a window of the output alone, as the last thing that happens to it.

        Args:
            first: Its first voxel, [B, 3].
            size: Its voxels.
        """
        self.view = View(self.space.shape, first)
        self.space = windowed(self.space, first, size)

    @property
    def _whole(self) -> Triple:
        """Voxels of the output, of which a window may be wanted."""
        return self.space.shape if self.view is None else self.view.whole

    def origin_of(self, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
        """The voxels of the source that become those between two of the output.

        Args:
            low, high: The two, both included, [3].

        Returns:
            The first and the last, [B, 2, 3], or None if they may be no box.
        """
        maps = self.voxel_map()
        if self.turned or maps.control_points is not None or not F.is_parallel(maps.matrix):
            return None
        ends = np.sort(apply_affine(host(maps.matrix), np.stack([low, high])), axis=1)
        inside = np.stack([np.ceil(ends[:, 0] - _EDGE), np.floor(ends[:, 1] + _EDGE)], 1)
        return inside.clip(0, np.array(self.source.shape) - 1).astype(np.int64)

    def where(self, voxel: np.ndarray) -> np.ndarray:
        """Where a voxel of the source ends up in the output, [B, 3]."""
        maps = self.voxel_map()
        at = apply_affine(invert(host(maps.matrix)), voxel[:, None])
        if self.elastic is None or maps.control_points is None or maps.lattice is None:
            return at[:, 0]
        points, lattice = host(maps.control_points), host(maps.lattice)

        def displacement(p: np.ndarray) -> np.ndarray:
            along = np.moveaxis(apply_affine(lattice, p), -1, 0)[..., None]  # 3 of [B, 1, 1]
            i, j, k = (
                cubic_bspline(at - np.arange(n))[:, 0]
                for at, n in zip(along, points.shape[2:], strict=True)
            )
            return np.einsum("bdijk,bi,bj,bk->bd", points, i, j, k, optimize=True)[:, None]

        if self.elastic.inverse:
            return (at + displacement(at))[:, 0]
        out, last = at, at + 1
        for _ in range(_STEPS):  # v + u(v) = at, as a fixed point
            if abs(out - last).max() < _NEAR:
                break
            out, last = at - displacement(out), out
        return out[:, 0]

    def voxel_map(self) -> VoxelMap:
        """Return all maps as one, between voxels."""
        grid = _times(self.after, self.space.affine)
        matrix = self._to_source(grid if self.matrix is None else _times(self.matrix, grid))
        points = lattice = None
        if self.elastic is not None:
            lattice = _times(self.elastic.lattice, grid)
            to_voxel = self.space.to_voxel
            inverse = to_voxel if self.before is None else _times(to_voxel, self.before)
            points = displace(self.elastic.control_points, inverse[:, :3, :3])
            if 1 in self.source.shape:
                free = np.array([n > 1 for n in self._whole], dtype=np.float64)
                _, points, free = common(points, free)
                points = points * free[:, None, None, None]
        undone = self.elastic is not None and self.elastic.inverse
        return VoxelMap(matrix, points, lattice, self.space.shape, undone)


def _value(
    images: ImagesBatch, field: FieldOfView, rule: str, fields: Sequence[FieldOfView]
) -> Any:
    """The number that a step asks for, of what it saw: the voxels within its box, [B, C]."""
    first, last = np.ceil(field.low - _EDGE), np.floor(field.high + _EDGE)
    size = (last - first + 1).clip(1)  # [B, 3]
    if np.ptp(size, axis=0).any():  # one by one, where samples saw different numbers of voxels
        each = []
        for n in range(len(size)):
            known = [one.select([n]) for one in fields]
            each.append(_value(images.rows([n]), field.select([n]), rule, known))
        return torch.cat(each)
    i, j, k = size[0].astype(int).tolist()
    if not fields and not first.any() and (i, j, k) == images.spatial_shape:
        return images.fill_value(rule)
    shift = np.eye(4)[None].repeat(len(first), 0)
    shift[:, :3, 3] = first
    seen = warp_volume(images.data, shift, size=(i, j, k), mode="nearest", fields=fields)
    return F.fill_value(seen, rule)


def _same(one: Box, other: Box) -> bool:
    ends = (one.low, other.low), (one.high, other.high)
    return all(np.allclose(a, b, atol=1e-6) for a, b in ends)


def _is_whole(box: Box, space: Space) -> bool:
    ends = (box.low, -0.5), (box.high, np.array(space.shape) - 0.5)
    return all(np.allclose(a, b, atol=1e-6) for a, b in ends)


def _times(left: Array | None, right: Array) -> Any:
    """Product of matrices, of which the left one may be missing."""
    if left is None:
        return right
    _, left, right = common(left, right)
    return left @ right
