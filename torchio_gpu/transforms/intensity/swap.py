"""Swap: exchange of pairs of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import as_array, host
from ...shapes import Triple, TripleLike, Volume, check_count, check_triple
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.types import ByImage, PointsLike


@dataclass(frozen=True)
class SwapParams(Params):
    """First voxels of both patches of each exchange, for each sample and image."""

    locations: Annotated[np.ndarray, "B M T 2 3", int]


class _Swap(VolumeTransform):
    """Exchange of patches."""

    @property
    def computes(self) -> bool:
        return False

    def _set_patch(self, patch_size: TripleLike) -> None:
        self.patch_size, self._patch = patch_size, check_triple(patch_size, "patch_size")

    def voxels(self, images: Images, name: str, params: SwapParams) -> Volume:
        return F.swap(images[name].data, params.locations, self._patch)

    def invert(self, params: SwapParams) -> SwapParams:
        return SwapParams(params.locations[:, :, ::-1])


class Swap(_Swap):
    """Exchange given pairs of patches, one pair after another. Values are moved, not changed.

    Args:
        patch_size: Voxels of a patch along I, J, K; one number stands for three.
        locations: First voxels of both patches of each pair, (T, 2, 3), or (B, T, 2, 3) for one
            set per sample; or a dict with one entry per image name.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A shape is not as above, or a patch does not fit or overlaps its partner.

    >>> swap = Swap(patch_size=(1, 1, 2), locations=[[(0, 0, 0), (0, 0, 4)]])
    >>> swap(torch.arange(6).view(1, 1, 1, 6)).flatten()
    tensor([4, 5, 2, 3, 0, 1])
    """

    def __init__(
        self, patch_size: TripleLike, locations: ByImage[PointsLike], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._set_patch(patch_size)
        self.locations = locations
        for value in values_of(locations) or [()]:
            shape = tuple(as_array(value, "locations").shape)
            if len(shape) not in (3, 4) or shape[-2:] != (2, 3):
                raise ValueError(
                    f"locations must have shape (T, 2, 3) or (B, T, 2, 3), got {shape}"
                )

    def draw(self, context: Context, u: np.ndarray) -> SwapParams:
        first = values_of(self.locations)[0]
        shape = tuple(as_array(first, "locations").shape[-3:])
        locations = per_image(self.locations, shape, "locations", context.names)
        return SwapParams(host(locations).astype(np.int64)).expand(context.batch)


class RandomSwap(RandomTransform, _Swap):
    """Exchange pairs of patches at random places, as for context restoration (Chen et al. 2019).

    See https://doi.org/10.1016/j.media.2019.101539. Values are moved, not changed.

    Args:
        patch_size: Voxels of a patch along I, J, K; one number stands for three.
        num_iterations: Number of pairs that are exchanged, one after another.
        kwargs: See :class:`Transform`.

    The patches of a pair never overlap.

    Raises:
        ValueError: A size or number is not positive, or, when called, there is no room for two
            patches side by side.

    >>> RandomSwap(patch_size=2, num_iterations=5)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self, patch_size: TripleLike = 15, num_iterations: int = 100, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._set_patch(patch_size)
        self.num_iterations = check_count(num_iterations, "num_iterations", 0, 10**6)

    @property
    def draws(self) -> int:
        return 4 * self.num_iterations

    def draw(self, context: Context, u: np.ndarray) -> SwapParams:
        pairs = u.reshape(*u.shape[:2], -1, 4)
        columns = [_pairs(pairs[:, m], s.shape, self._patch) for m, s in enumerate(context.spaces)]
        return SwapParams(np.stack(columns, 1))


def _pairs(u: np.ndarray, size: Triple, patch: Triple) -> np.ndarray:
    """Choose pairs of patches that do not overlap, [..., 2, 3], by uniform numbers [..., 4].

    The first is anywhere, the second anywhere but over the first: places that overlap it form a
    cuboid, and the remaining places are three cuboids.
    """
    places = np.array(size) - patch + 1  # of a patch along each axis
    if (places < 1).any() or (places <= patch).all():
        raise ValueError(
            f"patch_size must leave room for two patches side by side in an image {size}, "
            f"got {patch}"
        )
    first = (u[..., :3] * places).astype(np.int64)
    low, high = np.maximum(first - patch + 1, 0), np.minimum(first + patch, places)
    # In a small image, a first patch in the middle leaves no room for a second: move it to the end.
    stuck = (high - low == places).all(-1)
    if stuck.any():
        axis = int(np.argmax(places - patch))
        first[stuck, axis] = 0
        low, high = np.maximum(first - patch + 1, 0), np.minimum(first + patch, places)
    overlap = high - low  # along each axis, the places that overlap the first
    n, o = places, overlap
    counts = np.stack(
        (
            (n[0] - o[..., 0]) * n[1] * n[2],
            o[..., 0] * (n[1] - o[..., 1]) * n[2],
            o[..., 0] * o[..., 1] * (n[2] - o[..., 2]),
        ),
        -1,
    )
    ends = counts.cumsum(-1)
    rank = (u[..., 3] * ends[..., -1]).astype(np.int64)
    part = (rank[..., None] >= ends).sum(-1)  # 0, 1, 2: the axis along which they are disjoint
    rank = rank - np.take_along_axis(ends - counts, part[..., None], -1)[..., 0]
    second = np.empty_like(first)
    for axis in (2, 1, 0):
        around, over = n[axis] - o[..., axis], o[..., axis]
        count = np.where(part == axis, around, np.where(part > axis, over, n[axis]))
        rank, at = np.divmod(rank, count)
        beside = at + np.where(at >= low[..., axis], over, 0)
        second[..., axis] = np.where(
            part == axis, beside, np.where(part > axis, at + low[..., axis], at)
        )
    return np.stack((first, second), -2)
