"""Rings: errors of the gain of single detectors of a CT scanner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least, within
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike, WholePerSample
from .planes import check_plane_axis, plane_axes


@dataclass(frozen=True)
class RingsParams(Params):
    """Errors of detectors, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"strength": 0.0}

    strength: Annotated[Array, "B M"]
    share: Annotated[Array, "B M"]
    planes: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    seed: Annotated[np.ndarray, "B M", int]


class _Rings(VolumeTransform):
    """Rings about the centre of each plane."""

    def voxels(self, images: Images, name: str, params: RingsParams) -> Volume:
        image = images[name]
        return F.rings(
            image.data,
            params.strength,
            params.share,
            params.planes,
            params.seed,
            params.axis,
            spacing=spacing(image.affine),
        )


class Rings(_Rings):
    """Add rings about the centre of axial planes of CT images, by detectors of a wrong gain.

    See :func:`torchio_gpu.functional.rings`.

    Args:
        strength: Standard deviation of the logarithm of the gain of bad detectors, >= 0.
        share: Share of bad detectors, from 0 to 1.
        planes: Number of neighbouring planes that have the same rings, >= 1.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        seed: Integer that decides which detectors are bad, and their errors.
        kwargs: See :class:`Transform`.

    All may also be given for every sample, (B,), or as a dict with one entry per image name. A
    ``strength`` that is a tensor may require a gradient.

    Raises:
        ValueError: A value is not as above, or voxels are not in HU.

    >>> Rings(0.003)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        strength: ByImage[PerSample],
        share: ByImage[PerSample] = 0.2,
        planes: ByImage[PerSample] = 1,
        axis: ByImage[AxisLike] = "IS",
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.strength, self.share, self.planes, self.seed = strength, share, planes, seed
        self.axis = check_plane_axis(axis)
        for value in values_of(strength):
            at_least(as_array(value, "strength"), 0, "strength")
        for value in values_of(share):
            within(as_array(value, "share"), 0, 1, "share")
        for value in values_of(planes):
            at_least(as_array(value, "planes"), 1, "planes")

    def draw(self, context: Context, u: np.ndarray) -> RingsParams:
        names, batch = context.names, context.batch
        return RingsParams(
            per_image(self.strength, (), "strength", names),
            per_image(self.share, (), "share", names),
            per_image(self.planes, (), "planes", names),
            plane_axes(self.axis, context),
            seeds_per_image(self.seed, names, batch),
        ).expand(batch)


class RandomRings(RandomTransform, _Rings):
    """Add rings about the centre of axial planes of CT images, by random detectors: :class:`Rings`.

    Args:
        strength: Range of the standard deviation of the logarithm of the gain of bad detectors,
            >= 0; d means (0, d).
        share: Range of the share of bad detectors, from 0 to 1; d means (0, d).
        planes: Range of the number of neighbouring planes that have the same rings, >= 1; d means
            (1, d).
        axis: See :class:`Rings`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, an axis is unknown, or voxels are not in
            HU.

    >>> RandomRings(strength=(0.005, 0.01))(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        strength: RangeLike = (0.002, 0.01),
        share: RangeLike = (0.05, 0.3),
        planes: RangeLike = (1, 4),
        axis: ByImage[AxisLike] = "IS",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.strength, self.share, self.planes = strength, share, planes
        self.axis = check_plane_axis(axis)
        self._strength = Range(strength, "strength", around=None, minimum=0)
        self._share = Range(share, "share", around=None, minimum=0, maximum=1)
        self._planes = Range(planes, "planes", around=None, minimum=1, whole=True)

    @property
    def draws(self) -> int:
        return 5

    def draw(self, context: Context, u: np.ndarray) -> RingsParams:
        return RingsParams(
            self._strength(u[..., :1])[..., 0],
            self._share(u[..., 1:2])[..., 0],
            self._planes(u[..., 2:3])[..., 0],
            plane_axes(self.axis, context),
            random.to_seeds(u[..., 3:]),
        )
