"""Pending spatial maps of one image, and the fields of view that limit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ... import functional as F
from ...data import ImagesBatch
from ...functional.fields_of_view import FieldOfView
from ...functional.statistics import fill_value_of_parts
from ...functional.warping import warp_volume
from ...geometry import Space
from ...shapes import Triple, Volume
from .composed import EDGE_ROUNDING, ComposedMaps
from .maps import Interpolation, SpatialTraits

_DEFAULT = Interpolation()
#: Difference between a field of view and whole voxels that statistics tolerate, as a share of it.
_STATISTICS_TOLERANCE = 0.05


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

    maps: ComposedMaps
    kind: str
    mode: str | None = None  # interpolation, if a step asked for one
    rule: str | float | None = None  # fill outside the source, if there is no field of view
    fields_of_view: list[PendingFieldOfView] = field(default_factory=list)
    regridded: bool = False  # a step may have changed the grid
    moved_content: bool = False  # content may have moved on the grid of the source
    off_axis: bool = False  # a step may have rotated, sheared or bent voxel axes
    sampled_exactly: bool = False  # the latest sampling only moved voxels
    modulates: bool = False  # voxels are multiplied by the Jacobian determinant

    @property
    def space(self) -> Space:
        """Space of the output so far."""
        return self.maps.space

    def note_step(self, interpolation: Interpolation, traits: SpatialTraits) -> None:
        """Record the interpolation and the traits of a step, even if no sample is active in it."""
        self.mode = self.mode or interpolation.of(self.kind)[0]
        self.off_axis = self.off_axis or not traits.parallel
        self.regridded = self.regridded or traits.regrids

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
        ends = self._ends()
        if ends is None:
            return False
        if self.moved_content and not self.fields_of_view:
            last = np.broadcast_to(np.array(self.maps.source.shape) - 0.5, ends[0].shape)
            whole = np.full(ends[0].shape, -0.5), last
            fill = default if before is None else before
            self.fields_of_view.append(PendingFieldOfView(*whole, fill))
        new = PendingFieldOfView(*ends, default if rule is None else rule)
        if self.fields_of_view and _same_ends(self.fields_of_view[-1], new):
            self.fields_of_view.pop()  # the later step fills the same voxels
        self.fields_of_view.append(new)
        return True

    def _ends(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the ends of the output in source voxels, [B, 3]; None if it is no cuboid there."""
        return None if self.off_axis else self.maps.field_of_view

    def field_of_view_in_voxels(self) -> tuple[np.ndarray, Triple] | None:
        """Return the field of view rounded to whole source voxels, in the axis order of the output.

        Returns:
            Map from these voxels to the source, [B, 4, 4], and their number along each axis; None
            if rounding would change the field of view too much, or samples differ in shape.
        """
        ends = self._ends()
        if ends is None:
            return None
        matrix = self.maps.affine_map
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
        source = self.maps.source
        unchanged = size == source.shape and (to_source == np.eye(4)).all()
        if not self.fields_of_view and unchanged:
            return images
        fields = self.resolved_fields(images)
        data = warp_volume(images.data, to_source, size=size, mode="nearest", fields=fields)
        cropped, self.fields_of_view = Space(size, source.affine @ to_source), []
        self.maps = replace(self.maps, source=cropped)
        return images.with_data(data, cropped.affine)

    @property
    def moves_whole_voxels(self) -> bool:
        """True if the maps so far only move whole voxels."""
        return not self.off_axis and F.is_exact(self.maps.affine_map)

    def resolved_fields(self, images: ImagesBatch) -> list[FieldOfView]:
        """Return the fields of view, with fills computed from the voxels of the source."""
        fields: list[FieldOfView] = []
        # per sample, everything that its next fill depends on
        keys = [b""] * len(images)
        for low, high, rule in self.fields_of_view:
            # a flip changes the last bits of ends; adding 0 makes -0 equal to it
            ends = np.stack([low, high], axis=1).round(6) + 0.0
            keys = [
                k + str(rule).encode() + each.tobytes() for k, each in zip(keys, ends, strict=True)
            ]
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
        return only if only is not None and _is_whole_source(only, self.maps.source) else None

    def origin_of(self, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
        """Return the source voxels that are mapped to a cuboid of output voxels.

        Args:
            low, high: First and last voxel of the cuboid, [3].

        Returns:
            First and last voxel in the source, [B, 2, 3]; None if they may form no cuboid there.
        """
        return None if self.off_axis else self.maps.origin_of(low, high)


def _fill(images: ImagesBatch, field: FieldOfView, rule: str, fields: Sequence[FieldOfView]) -> Any:
    """Return the fill that a rule gives for the voxels within a field of view, [B, C].

    Args:
        images: The source.
        field: Field of view before the step that fills.
        rule: See :func:`torchio_gpu.functional.fill_value`.
        fields: Fields of view of earlier steps, whose fills may lie within ``field``.
    """
    first, last = np.ceil(field.low - EDGE_ROUNDING), np.floor(field.high + EDGE_ROUNDING)
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
    if images.unread:

        def part(start: Triple, size: Triple) -> Volume:
            """Return the visible voxels of a box, which begins at a voxel of the field of view."""
            low = first.astype(np.int64) + start
            ends = [FieldOfView(f.low - low, f.high - low, f.fill) for f in fields]
            still = np.eye(4)[None].repeat(len(low), 0)
            return warp_volume(
                images.part(low, size), still, size=size, mode="nearest", fields=ends
            )

        return fill_value_of_parts(part, (i, j, k), rule, images.box_at_a_time)
    shift = np.eye(4)[None].repeat(len(first), 0)
    shift[:, :3, 3] = first
    visible = warp_volume(images.data, shift, size=(i, j, k), mode="nearest", fields=fields)
    return F.fill_value(visible, rule)


def _same_ends(one: PendingFieldOfView, other: PendingFieldOfView) -> bool:
    return _close(one.low, other.low) and _close(one.high, other.high)


def _is_whole_source(field: PendingFieldOfView, source: Space) -> bool:
    return _close(field.low, -0.5) and _close(field.high, np.array(source.shape) - 0.5)


def _close(ends: np.ndarray, others: Any) -> bool:
    """Return True if ends of fields of view agree to rounding; a quarter of allclose's time."""
    return bool((abs(ends - others) <= 1e-6 + 1e-5 * abs(others)).all())
