"""Reading the voxels of an image through all the maps that wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ... import functional as F
from ...arrays import Array, host, on_host
from ...data import ImagesBatch
from ...functional.operations import Operation
from ...functional.spatial import Frame
from ...geometry import apply_affine
from ...shapes import Triple

if TYPE_CHECKING:
    from .warp import PendingWarp

#: Voxels around those that coordinates fall on which are looked at as well.
_MARGIN = 1
#: As a share of the source, up to how large a part is worth being cut out before it is read.
_WORTH = 0.7


def sample(warp: PendingWarp, images: ImagesBatch, program: Sequence[Operation]) -> ImagesBatch:
    """Read the voxels through all maps at once, and apply what follows to each."""
    matrix, points, lattice = warp.voxel_map()
    mode, rule = warp.reads
    warp.exact = not warp.turned and F.is_exact(matrix)
    if warp.exact:
        mode = "nearest"  # values are moved, whatever was asked for
    if warp.outer_box is None:
        frames = warp.frames(images)
    else:
        rule, frames = warp.outer_box.rule, []
    # What is outside costs a look at all voxels, which a mere permutation can do without.
    unseen = warp.exact and _stays_inside(host(matrix), warp.space.shape, warp.source.shape)
    fill = 0.0 if frames or unseen else images.fill_value(rule)
    parallel = not warp.turned and not warp.exact and F.is_parallel(matrix)
    region = None if warp.view is None else _region(warp, matrix, points, mode)
    if region is None:
        data = images.data
    else:
        first, size = region
        frames = [Frame(low - first, high - first, value) for low, high, value in frames]
        data, matrix = images.part(first, size), _shift(-first) @ matrix
    if parallel:
        data = F.resample(data, warp.space.shape, matrix, mode=mode, fill=fill, frames=frames)
        data = F.pointwise(data, program, warp.view) if program else data
        return images.with_data(data, warp.space.affine)
    data = F.warp(
        data,
        matrix,
        points,
        lattice=lattice,
        size=warp.space.shape,
        mode=mode,
        fill=fill,
        inverse=warp.elastic is not None and warp.elastic.inverse,
        operations=program,
        frames=frames,
        view=warp.view,
    )
    return images.with_data(data, warp.space.affine)


def sample_pair(
    warp: PendingWarp,
    images: ImagesBatch,
    program: Sequence[Operation],
    other: PendingWarp,
    labels: ImagesBatch,
) -> tuple[ImagesBatch, ImagesBatch] | None:
    """:func:`sample` of an image and of a label map that moves with it, in one pass.

    Args:
        images: The image; its maps are these.
        program: What follows, for the image.
        other: The maps of the label map.
        labels: The label map.

    Returns:
        Both; None where they do not move alike, or are read in another way.
    """
    maps = warp.voxel_map()
    grids = (warp.source.shape, warp.space.shape), (other.source.shape, other.space.shape)
    special = [c.boxes or c.view or (c.elastic and c.elastic.inverse) for c in (warp, other)]
    modes, rules = zip(warp.reads, other.reads, strict=True)
    if any(special) or modes != ("linear", "nearest") or grids[0] != grids[1]:
        return None
    if not warp.turned and (F.is_exact(maps.matrix) or F.is_parallel(maps.matrix)):
        return None
    if not all(map(_equal, maps, other.voxel_map())):
        return None
    data, moved = F.warp_pair(
        images.data,
        labels.data,
        maps.matrix,
        maps.points,
        lattice=maps.lattice,
        size=warp.space.shape,
        fill=images.fill_value(rules[0]),
        labels_fill=labels.fill_value(rules[1]),
        operations=program,
    )
    warp.exact = other.exact = False
    affines = warp.space.affine, other.space.affine
    return images.with_data(data, affines[0]), labels.with_data(moved, affines[1])


def _stays_inside(matrix: np.ndarray, size: Triple, source: Triple) -> bool:
    """Whether all voxels of an output of this size are voxels of the source."""
    last = matrix[:, :3, :3] * (np.array(size) - 1)  # [B, 3, 3]: what each output axis adds
    low = matrix[:, :3, 3] + np.minimum(last, 0).sum(-1)
    high = matrix[:, :3, 3] + np.maximum(last, 0).sum(-1)
    return bool((low > -0.5).all() and (high < np.array(source) - 0.5).all())


def _region(
    warp: PendingWarp, matrix: Array, points: Array | None, mode: str
) -> tuple[np.ndarray, Triple] | None:
    """The voxels of the source that are looked at: the first of them, [B, 3], and how many.

    None where that cannot be told, or where all are.
    """
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


__all__ = ["sample", "sample_pair"]
