"""Filters: blur, loss of resolution along an axis, swapped patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..arrays import Array, as_array, host, per_sample
from ..data import ImagesBatch
from ..data.image import INTENSITY, LABEL
from ..functional.arguments import at_least
from ..functional.spatial import check_mode
from ..geometry import spacing
from ..shapes import Triple, Volume, check_count, check_triple
from .axes import check_axes, check_axis, draw_axis, voxel_axis
from .base import Scene, Transform
from .params import Params, per_image, values_of
from .ranges import Range

Images = Mapping[str, ImagesBatch]


@dataclass(frozen=True)
class BlurParams(Params):
    """Width of the Gaussian for each sample and image."""

    std: Array  # [B, M, 3], mm along I, J, K


@dataclass(frozen=True)
class AnisotropyParams(Params):
    """Thickness of slices in voxels, and the axis across them, for each sample and image."""

    axis: np.ndarray  # [B, M]
    downsampling: Array  # [B, M]


@dataclass(frozen=True)
class SwapParams(Params):
    """First voxels of both patches of each exchange, for each sample and image."""

    locations: np.ndarray  # [B, M, T, 2, 3] int64


class Blur(Transform):
    """Blur scalar images by a Gaussian of given width.

    Args:
        std: Standard deviation along I, J, K in mm: a number, (3,), or (B, 3) for one set per
            sample; or a dict with one entry per image name. Tensors may require a gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``std`` is negative or of another shape.

    >>> Blur(std=(1, 0, 2))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(self, std: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.std = std
        for value in values_of(std):
            at_least(per_sample(value, (3,), "std"), 0, "std")

    def draw(self, scene: Scene, u: np.ndarray) -> BlurParams:
        return BlurParams(per_image(self.std, (3,), "std", scene.names)).expand(scene.batch)

    def voxels(self, images: Images, name: str, params: BlurParams) -> Volume:
        return F.blur(images[name].data, params.std, spacing(images[name].affine))


class RandomBlur(Transform):
    """Blur scalar images by a Gaussian of random width.

    Args:
        std: Range of the standard deviation along each axis in mm; d means (0, d). Three values
            are one for each axis, six are three pairs.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative.

    >>> RandomBlur(std=(0, 2))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(self, std: Any = (0, 2), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.std = std
        self._std = Range(std, "std", axes=3, around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 3

    def draw(self, scene: Scene, u: np.ndarray) -> BlurParams:
        return BlurParams(self._std(u))

    voxels = Blur.voxels


class _ThickSlices(Transform):
    """What both anisotropy transforms share."""

    role = "volume"
    shares = True

    def _set_reading(self, mode: str, scalars_only: bool, antialias: bool) -> None:
        self.image_interpolation = check_mode(mode, "image_interpolation")
        self.scalars_only, self.antialias = scalars_only, antialias
        if antialias and mode == "nearest":
            raise ValueError(
                "antialias must be False with image_interpolation='nearest', which does not mix "
                "voxels"
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        return (INTENSITY,) if self.scalars_only else (INTENSITY, LABEL)

    @property
    def computes(self) -> bool:
        return self.image_interpolation != "nearest"

    def voxels(self, images: Images, name: str, params: AnisotropyParams) -> Volume:
        image = images[name]
        scalar = image.kind == INTENSITY
        return F.anisotropy(
            image.data,
            params.downsampling,
            params.axis,
            mode=self.image_interpolation if scalar else "nearest",
            antialias=self.antialias and scalar,
        )


class Anisotropy(_ThickSlices):
    """Acquire given thick slices along an axis, and interpolate back to the voxels there were.

    Args:
        axis: Axis across the slices: 0, 1, 2 or an anatomical name; or one per sample.
        downsampling: Thickness of a slice in voxels, >= 1; a number, or (B,) for one per sample.
            Tensors may require a gradient.
        image_interpolation: How voxels are read from slices: 'linear' or 'nearest'.
        scalars_only: Leave label maps alone; otherwise theirs are the nearest slices.
        antialias: Let a slice be a Gaussian mean over its thickness (Cardoso et al. 2015,
            doi:10.1007/978-3-319-24571-3_81), as partial volumes are, rather than the voxel
            nearest to its middle, as in TorchIO.
        kwargs: See :class:`Transform`.

    Slices share the centre of the image. All images of a subject lose resolution along the same
    axis, which for an anatomical name need not be the same voxel axis, by the same factor.

    Raises:
        ValueError: ``downsampling`` is below 1, or an axis or name unknown.

    >>> Anisotropy(axis=2, downsampling=3)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        axis: Any,
        downsampling: Any,
        image_interpolation: str = "linear",
        scalars_only: bool = True,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.downsampling = axis, downsampling
        check_axis(axis)
        at_least(per_sample(downsampling, (), "downsampling"), 1, "downsampling")
        self._set_reading(image_interpolation, scalars_only, antialias)

    def draw(self, scene: Scene, u: np.ndarray) -> AnisotropyParams:
        downsampling = per_image(self.downsampling, (), "downsampling", scene.names)
        axis = np.stack([voxel_axis(self.axis, space) for space in scene.spaces], 1)
        return AnisotropyParams(axis, downsampling).expand(scene.batch)


class RandomAnisotropy(_ThickSlices):
    """Acquire thick slices along a random axis, and interpolate back: see :class:`Anisotropy`.

    Args:
        axes: Axes to choose from: voxel axes or anatomical names.
        downsampling: Range of the thickness in voxels; d means (1, d).
        image_interpolation, scalars_only, antialias: See :class:`Anisotropy`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or goes below 1, or an axis or name is unknown.

    >>> RandomAnisotropy(axes=(0, 1, 2), downsampling=(2, 5))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        axes: Any = (0, 1, 2),
        downsampling: Any = (1.5, 5),
        image_interpolation: str = "linear",
        scalars_only: bool = True,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axes, self.downsampling = check_axes(axes), downsampling
        self._downsampling = Range(downsampling, "downsampling", around=None, minimum=1)
        self._set_reading(image_interpolation, scalars_only, antialias)

    @property
    def draws(self) -> int:
        return 2

    def draw(self, scene: Scene, u: np.ndarray) -> AnisotropyParams:
        axis = np.stack([draw_axis(self.axes, u[:, 0], space) for space in scene.spaces], 1)
        return AnisotropyParams(axis, self._downsampling(u[:, 1:]).repeat(axis.shape[1], 1))


class _Exchange(Transform):
    """What both swap transforms share."""

    role = "volume"
    computes = False

    def _set_patch(self, patch_size: Any) -> None:
        self.patch_size, self._patch = patch_size, check_triple(patch_size, "patch_size")

    def voxels(self, images: Images, name: str, params: SwapParams) -> Volume:
        return F.swap(images[name].data, params.locations, self._patch)

    def invert(self, params: SwapParams) -> SwapParams:
        return SwapParams(params.locations[:, :, ::-1])


class Swap(_Exchange):
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

    def __init__(self, patch_size: Any, locations: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_patch(patch_size)
        self.locations = locations
        for value in values_of(locations) or [()]:
            shape = tuple(as_array(value, "locations").shape)
            if len(shape) not in (3, 4) or shape[-2:] != (2, 3):
                raise ValueError(
                    f"locations must have shape (T, 2, 3) or (B, T, 2, 3), got {shape}"
                )

    def draw(self, scene: Scene, u: np.ndarray) -> SwapParams:
        first = values_of(self.locations)[0]
        shape = tuple(as_array(first, "locations").shape[-3:])
        known = per_image(self.locations, shape, "locations", scene.names)
        return SwapParams(host(known).astype(np.int64)).expand(scene.batch)


class RandomSwap(_Exchange):
    """Exchange pairs of patches at random places, as for context restoration (Chen et al. 2019).

    See https://doi.org/10.1016/j.media.2019.101539. Values are moved, not changed.

    Args:
        patch_size: Voxels of a patch along I, J, K; one number stands for three.
        num_iterations: How many pairs are exchanged, one after another.
        kwargs: See :class:`Transform`.

    The patches of a pair never overlap.

    Raises:
        ValueError: A size or number is not positive, or, when called, there is no room for two
            patches side by side.

    >>> RandomSwap(patch_size=2, num_iterations=5)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, patch_size: Any = 15, num_iterations: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_patch(patch_size)
        self.num_iterations = check_count(num_iterations, "num_iterations", 0, 10**6)

    @property
    def draws(self) -> int:
        return 4 * self.num_iterations

    def draw(self, scene: Scene, u: np.ndarray) -> SwapParams:
        pairs = u.reshape(*u.shape[:2], -1, 4)
        columns = [_pairs(pairs[:, m], s.shape, self._patch) for m, s in enumerate(scene.spaces)]
        return SwapParams(np.stack(columns, 1))


def _pairs(u: np.ndarray, size: Triple, patch: Triple) -> np.ndarray:
    """Pairs of patches that do not overlap, [..., 2, 3], from uniform numbers [..., 4].

    The first is anywhere, the second anywhere but over the first: places that overlap it form a
    box, and what is left of all places is three boxes.
    """
    places = np.array(size) - patch + 1  # of a patch along each axis
    if (places < 1).any() or (places <= patch).all():
        raise ValueError(
            f"patch_size must leave room for two patches side by side in an image {size}, "
            f"got {patch}"
        )
    first = (u[..., :3] * places).astype(np.int64)
    low, high = np.maximum(first - patch + 1, 0), np.minimum(first + patch, places)
    # In a tight image, places in its middle leave none for a partner: move these to its end.
    stuck = (high - low == places).all(-1)
    if stuck.any():
        axis = int(np.argmax(places - patch))
        first[stuck, axis] = 0
        low, high = np.maximum(first - patch + 1, 0), np.minimum(first + patch, places)
    inside = high - low  # along each axis, the places that overlap the first
    n, o = places, inside
    boxes = np.stack(
        (
            (n[0] - o[..., 0]) * n[1] * n[2],
            o[..., 0] * (n[1] - o[..., 1]) * n[2],
            o[..., 0] * o[..., 1] * (n[2] - o[..., 2]),
        ),
        -1,
    )
    ends = boxes.cumsum(-1)
    rank = (u[..., 3] * ends[..., -1]).astype(np.int64)
    box = (rank[..., None] >= ends).sum(-1)  # 0, 1, 2: the axis along which they lie apart
    rank = rank - np.take_along_axis(ends - boxes, box[..., None], -1)[..., 0]
    second = np.empty_like(first)
    for axis in (2, 1, 0):
        around, over = n[axis] - o[..., axis], o[..., axis]
        count = np.where(box == axis, around, np.where(box > axis, over, n[axis]))
        rank, at = np.divmod(rank, count)
        beside = at + np.where(at >= low[..., axis], over, 0)
        second[..., axis] = np.where(
            box == axis, beside, np.where(box > axis, at + low[..., axis], at)
        )
    return np.stack((first, second), -2)


__all__ = ["Anisotropy", "Blur", "RandomAnisotropy", "RandomBlur", "RandomSwap", "Swap"]
