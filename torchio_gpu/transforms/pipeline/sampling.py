"""Sampling of images through their pending maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ... import functional as F
from ...arrays import Array, host, on_host
from ...data import ImagesBatch
from ...functional.distortion import modulate, modulation, modulation_dtype
from ...functional.fields_of_view import FieldOfView
from ...functional.maps import WINDOW_RADIUS, WINDOWED, Reading, VoxelMap
from ...functional.operations import Operation, View
from ...functional.resample import resample_volume
from ...functional.warping import warp_volumes
from ...geometry import apply_affine
from ...shapes import Triple, Volume
from .warp import PendingWarp

#: Voxels that linear interpolation reads beyond those that coordinates fall on.
_MARGIN = 1
#: Largest part to copy before sampling, as a share of the source: a larger one saves no time.
_MAX_SHARE = 0.7


class Part(NamedTuple):
    """Image with its pending maps and operations."""

    warp: PendingWarp
    images: ImagesBatch
    operations: Sequence[Operation] = ()


class Source(NamedTuple):
    """Image that a pass reads, and how.

    Args:
        images: The image.
        mode: Interpolation.
        rule: Fill outside the image or the rule for it; of no effect if there are ``fields``.
        fields: Fields of view, in voxels of the image.
        operations: Pointwise operations on the result.
        modulated: Multiply the result by the Jacobian determinant of the map.
    """

    images: ImagesBatch
    mode: str
    rule: str | float
    fields: Sequence[FieldOfView]
    operations: Sequence[Operation]
    modulated: bool = False


@dataclass
class Pass:
    """One pass over images on one grid, which are read through one map.

    Args:
        sources: The images.
        voxel_map: Map from output voxels to those of the images.
        shape: Shape of the images, or of each sample of them, [B, 3].
        affine: Affines of the output, [B, 4, 4].
        exact: Voxels are only moved.
        inside: True if all output voxels lie within the images, where ``exact``.
        parallel: The map keeps axes parallel: one axis is sampled after the other.
        patch: Position of the output in a larger volume, if only a patch of it is wanted.
    """

    sources: list[Source]
    voxel_map: VoxelMap
    shape: Triple | np.ndarray
    affine: np.ndarray
    exact: bool = False
    inside: bool = False
    parallel: bool = False
    patch: View | None = None

    @staticmethod
    def of(parts: Sequence[Part]) -> Pass:
        """Plan the pass over images for each pair of which :func:`can_sample_together` is True."""
        warp = parts[0].warp
        maps, voxel_map = warp.maps, warp.maps.voxel_map
        matrix, source = voxel_map.matrix, maps.source.shape
        exact = not warp.off_axis and F.is_exact(matrix)
        # a step that may rotate axes, such as one onto another image's grid, may also leave them
        mode = warp.interpolation_and_fill[0]
        may_keep_axes = not warp.off_axis or (mode in WINDOWED and voxel_map.vectors is None)
        parallel = len(parts) == 1 and may_keep_axes and not exact and F.is_parallel(matrix)
        # A fill may be a statistic of all voxels: skip it if nothing outside is sampled.
        inside = exact and _stays_inside(host(matrix), warp.space.shape, source)
        sources = [_source(part, exact, inside) for part in parts]
        affine = warp.space.affine
        return Pass(sources, voxel_map, source, affine, exact, inside, parallel, maps.patch)

    def run(self) -> list[ImagesBatch]:
        """Read the images."""
        region = self.region()
        if region is not None and self._copies(*region):
            volumes = [self._copy(source, *region) for source in self.sources]
        else:
            if region is not None and not self._unread and self._reads_most(region[1]):
                region = None
            volumes = self._modulated(self._sample(region))
        pairs = zip(self.sources, volumes, strict=True)
        return [self._result(source, volume) for source, volume in pairs]

    def _modulated(self, volumes: list[Volume]) -> list[Volume]:
        """Return volumes multiplied by the determinant of the map, where they are to be."""
        if not any(source.modulated for source in self.sources):
            return volumes
        dtype = max(map(modulation_dtype, volumes), key=lambda each: each.itemsize)
        factor, out = modulation(self.voxel_map, volumes[0].device, dtype), []
        for source, volume in zip(self.sources, volumes, strict=True):
            if source.modulated:
                volume = modulate(volume, factor)
                if source.operations:
                    volume = F.pointwise(volume, source.operations, self.patch)
            out.append(volume)
        return out

    def _result(self, source: Source, volume: Volume) -> ImagesBatch:
        images = source.images
        changed = source.fields or source.operations or self.patch is not None
        if self.inside and not changed and volume.numel() == math.prod(images.shape):
            # one to one, as a flip or another order of axes is: the minimum stays what it is
            return images.with_same_values(volume, self.affine)
        return images.with_data(volume, self.affine)

    def region(self) -> tuple[np.ndarray, Triple] | None:
        """Return the first, [B, 3], and the number of the voxels of the images that are read.

        None if a whole volume is wanted, or if the map is on a device, which would have to wait;
        for images that are unread, it does.
        """
        matrix, vectors = self.voxel_map.matrix, self.voxel_map.vectors
        available = (on_host(matrix) and (vectors is None or on_host(vectors))) or self._unread
        # each coefficient of a B-spline depends on all voxels
        if self.patch is None or not available or "bspline" in self._modes:
            return None
        low, high = self._reach()
        limit = np.array(self.shape) - 1
        low, high = low.clip(0, limit), high.clip(0, limit)
        size = (high - low).max(0) + 1
        i, j, k = size.astype(int).tolist()
        return np.minimum(low, limit + 1 - size).astype(np.int64), (i, j, k)

    def _reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last voxel that are read, also of those outside, [B, 3]."""
        matrix, vectors, modes = self.voxel_map.matrix, self.voxel_map.vectors, self._modes
        linear = host(matrix)[:, :3, :3]
        ends = np.meshgrid(*[(0, n - 1) for n in self.voxel_map.size], indexing="ij")
        corners = apply_affine(host(matrix), np.stack(ends, -1).reshape(-1, 3))  # [B, 8, 3]
        slack = np.zeros_like(corners[:, 0])
        if vectors is not None:  # a spline stays within the range of its coefficients
            bound = abs(host(vectors)).max((2, 3, 4))[..., None]  # [B, 3, 1]
            slack = (abs(linear) @ bound)[..., 0]
        if self.exact:
            corners = np.rint(corners)
        else:
            slack += WINDOW_RADIUS if modes & set(WINDOWED) else _MARGIN
        return np.floor(corners.min(1) - slack), np.ceil(corners.max(1) + slack)

    @property
    def _modes(self) -> set[str]:
        return {source.mode for source in self.sources}

    def _reads_inside(self, region: tuple[np.ndarray, Triple] | None) -> bool:
        """Return True if a region is known and nothing outside the images is sampled."""
        if region is None:
            return False
        low, high = self._reach()
        return bool((low >= 0).all() and (high < self.shape).all())

    @property
    def _unread(self) -> bool:
        return any(source.images.unread for source in self.sources)

    def _reads_most(self, size: Triple) -> bool:
        """Return True if a region is most of the images, which are then read where they are."""
        one_shape = isinstance(self.shape, tuple)
        return one_shape and bool(np.prod(size) > _MAX_SHARE * np.prod(self.shape))

    def _copies(self, first: np.ndarray, size: Triple) -> bool:
        """Return True if the voxels of a region are the output as they are."""
        if not self.exact or size != self.voxel_map.size or any(s.fields for s in self.sources):
            return False
        return bool((np.rint(host(self.voxel_map.matrix)) == _translation(first)).all())

    def _copy(self, source: Source, first: np.ndarray, size: Triple) -> Volume:
        data = source.images.part(first, size)
        return F.pointwise(data, source.operations, self.patch) if source.operations else data

    def _sample(self, region: tuple[np.ndarray, Triple] | None) -> list[Volume]:
        voxel_map, readings = self.voxel_map, []
        if region is not None:
            voxel_map = voxel_map._replace(matrix=_translation(-region[0]) @ voxel_map.matrix)
        for images, mode, rule, fields, operations, modulated in self.sources:
            # a fill of an unread image may take long: skip it if nothing outside is sampled
            unused = bool(fields) or (images.unread and self._reads_inside(region))
            fill = 0.0 if unused else images.fill_value(rule)
            if region is None:
                data = images.data
            else:
                first, size = region
                data = images.part(first, size)
                ends = [(f.low - first, f.high - first, f.fill) for f in fields]
                fields = [FieldOfView(*each) for each in ends]
            within = () if modulated else operations
            readings.append(Reading(data, mode, fill, fields, within))
        if not self.parallel:
            return warp_volumes(readings, voxel_map, self.patch)
        ((data, mode, fill, fields, operations),) = readings
        reading = Reading(data, mode, fill, fields)
        data = resample_volume(reading, voxel_map.size, voxel_map.matrix)
        return [F.pointwise(data, operations, self.patch) if operations else data]


def _source(part: Part, exact: bool, inside: bool) -> Source:
    """Return the image of a part, and how it is read."""
    warp, images = part.warp, part.images
    warp.sampled_exactly = exact
    mode, rule = warp.interpolation_and_fill
    fields: Sequence[FieldOfView] = ()
    only = warp.source_field_of_view
    if only is None:
        fields = warp.resolved_fields(images)
    else:
        rule = only.rule
    # whole voxels move: no interpolation is needed
    return Source(
        images, "nearest" if exact else mode, 0.0 if inside else rule, fields, part.operations,
        warp.modulates,
    )  # fmt: skip


def sample(
    warp: PendingWarp, images: ImagesBatch, operations: Sequence[Operation] = ()
) -> ImagesBatch:
    """Sample an image through all its pending maps at once, and apply operations to the result."""
    return Pass.of([Part(warp, images, operations)]).run()[0]


def can_sample_together(warp: PendingWarp, other: PendingWarp) -> bool:
    """Return True if two images are sampled at the same places, by a pass that they can share."""
    maps, others = warp.maps, other.maps
    if (maps.source.shape, maps.space.shape) != (others.source.shape, others.space.shape):
        return False
    if warp.fields_of_view or other.fields_of_view:
        return False
    modes = {each.interpolation_and_fill[0] for each in (warp, other)}
    if maps.patch is not None and (maps is not others or modes & {"bspline", *WINDOWED}):
        return False  # they may need different parts of the volumes
    one = maps.voxel_map
    if one.displacement is not None and maps is not others:
        return False
    by_axis = not warp.off_axis and (F.is_exact(one.matrix) or F.is_parallel(one.matrix))
    if one.inverse or by_axis:  # passes of these take one image
        return False
    return maps is others or all(map(_same_array, one[:3], others.voxel_map[:3]))


def _stays_inside(matrix: np.ndarray, size: Triple, source: Triple) -> bool:
    """Return True if all output voxels lie within the source."""
    last = matrix[:, :3, :3] * (np.array(size) - 1)  # [B, 3, 3], offset along each output axis
    low = matrix[:, :3, 3] + np.minimum(last, 0).sum(-1)
    high = matrix[:, :3, 3] + np.maximum(last, 0).sum(-1)
    return bool((low > -0.5).all() and (high < np.array(source) - 0.5).all())


def _same_array(one: Array | None, other: Array | None) -> bool:
    """Return True if two arrays on the host are equal, or both are None."""
    if one is None or other is None:
        return one is other
    return on_host(one) and on_host(other) and np.array_equal(host(one), host(other))


def _translation(first: np.ndarray) -> np.ndarray:
    """Return the translation by ``first`` voxels, [B, 4, 4]."""
    matrix = np.eye(4)[None].repeat(len(first), 0)
    matrix[:, :3, 3] = first
    return matrix


__all__ = ["Part", "Pass", "Source", "can_sample_together", "sample"]
