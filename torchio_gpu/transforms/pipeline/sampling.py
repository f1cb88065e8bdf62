"""Sampling of images through their pending maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ... import functional as F
from ...arrays import Array, host, on_host
from ...data import ImagesBatch
from ...functional.fields_of_view import FieldOfView
from ...functional.maps import Reading, VoxelMap
from ...functional.operations import Operation
from ...functional.resample import resample_volume
from ...functional.warping import warp_volumes
from ...geometry import apply_affine
from ...shapes import Triple
from .warp import PendingWarp

#: Voxels around those that coordinates fall on which are looked at as well.
_MARGIN = 1
#: As a share of the source, up to how large a part is worth being cut out before it is read.
_WORTH = 0.7


class Part(NamedTuple):
    """Image with its pending maps and operations."""

    warp: PendingWarp
    images: ImagesBatch
    operations: Sequence[Operation] = ()


def sample(
    warp: PendingWarp, images: ImagesBatch, operations: Sequence[Operation] = ()
) -> ImagesBatch:
    """Sample an image through all its pending maps at once, and apply operations to the result."""
    voxel_map, (mode, rule) = warp.voxel_map(), warp.reads
    matrix = voxel_map.matrix
    warp.exact = not warp.turned and F.is_exact(matrix)
    if warp.exact:
        mode = "nearest"  # values are moved, whatever was asked for
    if warp.outer_box is None:
        fields = warp.fields(images)
    else:
        rule, fields = warp.outer_box.rule, []
    # What is outside costs a look at all voxels, which a mere permutation can do without.
    unseen = warp.exact and _stays_inside(host(matrix), warp.space.shape, warp.source.shape)
    fill = 0.0 if fields or unseen else images.fill_value(rule)
    parallel = not warp.turned and not warp.exact and F.is_parallel(matrix)
    region = None if warp.view is None else _region(warp, voxel_map, mode)
    if region is None:
        data = images.data
    else:
        first, size = region
        fields = [FieldOfView(low - first, high - first, value) for low, high, value in fields]
        data, matrix = images.part(first, size), _shift(-first) @ matrix
        voxel_map = voxel_map._replace(matrix=matrix)
    if parallel:
        data = resample_volume(Reading(data, mode, fill, fields), warp.space.shape, matrix)
        data = F.pointwise(data, operations, warp.view) if operations else data
    else:
        reading = Reading(data, mode, fill, fields, operations)
        data = warp_volumes([reading], *voxel_map, warp.view)[0]
    return images.with_data(data, warp.space.affine)


def sample_together(parts: Sequence[Part]) -> list[ImagesBatch]:
    """Sample images that move alike, for which :func:`together_with` is true, in one pass."""
    readings = [
        Reading(p.images.data, mode, p.images.fill_value(rule), (), p.operations)
        for p in parts
        for mode, rule in [p.warp.reads]
    ]
    data = warp_volumes(readings, *parts[0].warp.voxel_map())
    for part in parts:
        part.warp.exact = False
    return [p.images.with_data(x, p.warp.space.affine) for p, x in zip(parts, data, strict=True)]


def together_with(warp: PendingWarp, other: PendingWarp) -> bool:
    """Return True if the voxels of two images are read at the same places."""
    grids = (warp.source.shape, warp.space.shape), (other.source.shape, other.space.shape)
    if grids[0] != grids[1] or any(w.boxes or w.view is not None for w in (warp, other)):
        return False
    one = warp.voxel_map()
    apart = not warp.turned and (F.is_exact(one.matrix) or F.is_parallel(one.matrix))
    if one.inverse or apart:  # which are not sampled point by point, or with no pass to share
        return False
    return all(map(_equal, one[:3], other.voxel_map()[:3]))


def _stays_inside(matrix: np.ndarray, size: Triple, source: Triple) -> bool:
    """Whether all voxels of an output of this size are voxels of the source."""
    last = matrix[:, :3, :3] * (np.array(size) - 1)  # [B, 3, 3]: what each output axis adds
    low = matrix[:, :3, 3] + np.minimum(last, 0).sum(-1)
    high = matrix[:, :3, 3] + np.maximum(last, 0).sum(-1)
    return bool((low > -0.5).all() and (high < np.array(source) - 0.5).all())


def _region(warp: PendingWarp, voxel_map: VoxelMap, mode: str) -> tuple[np.ndarray, Triple] | None:
    """The voxels of the source that are looked at: the first of them, [B, 3], and how many.

    None where that cannot be told, or where all are.
    """
    matrix, points = voxel_map.matrix, voxel_map.control_points
    known = on_host(matrix) and (points is None or on_host(points))
    if not known or mode == "bspline":  # whose every value depends on all voxels
        return None
    linear = host(matrix)[:, :3, :3]
    ends = np.meshgrid(*[(0, n - 1) for n in warp.space.shape], indexing="ij")
    corners = apply_affine(host(matrix), np.stack(ends, -1).reshape(-1, 3))  # [B, 8, 3]
    slack = np.zeros_like(corners[:, 0])
    if points is not None:  # a spline stays within the range of its coefficients
        bound = abs(host(points)).max((2, 3, 4))[..., None]  # [B, 3, 1]
        slack = (abs(linear) @ bound)[..., 0]
    limit = np.array(warp.source.shape) - 1
    low = np.floor(corners.min(1) - slack - _MARGIN).clip(0, limit)
    high = np.ceil(corners.max(1) + slack + _MARGIN).clip(0, limit)
    size = (high - low).max(0) + 1
    if size.prod() > _WORTH * np.prod(warp.source.shape):
        return None
    i, j, k = size.astype(int).tolist()
    return np.minimum(low, limit + 1 - size).astype(np.int64), (i, j, k)


def _equal(one: Array | None, other: Array | None) -> bool:
    """Whether two arrays are known to be the same."""
    if one is None or other is None:
        return one is other
    return on_host(one) and on_host(other) and np.array_equal(host(one), host(other))


def _shift(first: np.ndarray) -> np.ndarray:
    """The translation by some voxels, [B, 4, 4]."""
    matrix = np.eye(4)[None].repeat(len(first), 0)
    matrix[:, :3, 3] = first
    return matrix


__all__ = ["Part", "sample", "sample_together", "together_with"]
