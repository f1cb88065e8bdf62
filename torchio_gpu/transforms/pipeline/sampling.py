"""Sampling of images through their pending maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ... import functional as F
from ...arrays import Array, host, on_host
from ...data import ImagesBatch
from ...functional.fields_of_view import FieldOfView
from ...functional.maps import WINDOW_RADIUS, WINDOWED, Reading
from ...functional.operations import Operation
from ...functional.resample import resample_volume
from ...functional.warping import warp_volumes
from ...geometry import apply_affine
from ...shapes import Triple
from .composed import ComposedMaps
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


def sample(
    warp: PendingWarp, images: ImagesBatch, operations: Sequence[Operation] = ()
) -> ImagesBatch:
    """Sample an image through all its pending maps at once, and apply operations to the result."""
    maps, (mode, rule) = warp.maps, warp.interpolation_and_fill
    voxel_map = maps.voxel_map
    matrix = voxel_map.matrix
    warp.sampled_exactly = not warp.off_axis and F.is_exact(matrix)
    if warp.sampled_exactly:
        mode = "nearest"  # whole voxels move: no interpolation is needed
    if warp.source_field_of_view is None:
        fields = warp.resolved_fields(images)
    else:
        rule, fields = warp.source_field_of_view.rule, []
    # A fill may be a statistic of all voxels: skip it if nothing outside is sampled.
    inside = warp.sampled_exactly and _stays_inside(
        host(matrix), warp.space.shape, maps.source.shape
    )
    fill = 0.0 if fields or inside else images.fill_value(rule)
    # a step that may rotate axes, such as one onto another image's grid, may also leave them
    may_keep_axes = not warp.off_axis or (mode in WINDOWED and voxel_map.vectors is None)
    parallel = may_keep_axes and not warp.sampled_exactly and F.is_parallel(matrix)
    region = None if maps.patch is None else _source_region(maps, mode)
    if region is None:
        data = images.data
    else:
        first, size = region
        fields = [FieldOfView(low - first, high - first, value) for low, high, value in fields]
        data, matrix = images.part(first, size), _translation(-first) @ matrix
        voxel_map = voxel_map._replace(matrix=matrix)
    if parallel:
        data = resample_volume(Reading(data, mode, fill, fields), warp.space.shape, matrix)
        data = F.pointwise(data, operations, maps.patch) if operations else data
    else:
        reading = Reading(data, mode, fill, fields, operations)
        data = warp_volumes([reading], voxel_map, maps.patch)[0]
    # one to one, as a flip or another order of axes is: the minimum stays what it is
    one_to_one = inside and data.numel() == images.shape.numel()
    if one_to_one and not fields and not operations:
        return images.with_same_values(data, warp.space.affine)
    return images.with_data(data, warp.space.affine)


def sample_together(parts: Sequence[Part]) -> list[ImagesBatch]:
    """Sample images in one pass; :func:`can_sample_together` must be True for each pair."""
    readings = [
        Reading(p.images.data, mode, p.images.fill_value(rule), (), p.operations)
        for p in parts
        for mode, rule in [p.warp.interpolation_and_fill]
    ]
    data = warp_volumes(readings, parts[0].warp.maps.voxel_map)
    for part in parts:
        part.warp.sampled_exactly = False
    return [p.images.with_data(x, p.warp.space.affine) for p, x in zip(parts, data, strict=True)]


def can_sample_together(warp: PendingWarp, other: PendingWarp) -> bool:
    """Return True if two images are sampled at the same places, by a pass that they can share."""
    maps, others = warp.maps, other.maps
    if (maps.source.shape, maps.space.shape) != (others.source.shape, others.space.shape):
        return False
    if any(w.fields_of_view or w.maps.patch is not None for w in (warp, other)):
        return False
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


def _source_region(maps: ComposedMaps, mode: str) -> tuple[np.ndarray, Triple] | None:
    """Return the first, [B, 3], and the number of the source voxels that sampling reads.

    None if they are all or most voxels, or if the map is on a device, which would have to wait.
    """
    matrix, vectors = maps.voxel_map.matrix, maps.voxel_map.vectors
    available = on_host(matrix) and (vectors is None or on_host(vectors))
    if not available or mode == "bspline":  # each coefficient depends on all voxels
        return None
    linear = host(matrix)[:, :3, :3]
    ends = np.meshgrid(*[(0, n - 1) for n in maps.space.shape], indexing="ij")
    corners = apply_affine(host(matrix), np.stack(ends, -1).reshape(-1, 3))  # [B, 8, 3]
    slack = np.zeros_like(corners[:, 0])
    if vectors is not None:  # a spline stays within the range of its coefficients
        bound = abs(host(vectors)).max((2, 3, 4))[..., None]  # [B, 3, 1]
        slack = (abs(linear) @ bound)[..., 0]
    limit = np.array(maps.source.shape) - 1
    slack += WINDOW_RADIUS if mode in WINDOWED else _MARGIN
    low = np.floor(corners.min(1) - slack).clip(0, limit)
    high = np.ceil(corners.max(1) + slack).clip(0, limit)
    size = (high - low).max(0) + 1
    if size.prod() > _MAX_SHARE * np.prod(maps.source.shape):
        return None
    i, j, k = size.astype(int).tolist()
    return np.minimum(low, limit + 1 - size).astype(np.int64), (i, j, k)


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


__all__ = ["Part", "can_sample_together", "sample", "sample_together"]
