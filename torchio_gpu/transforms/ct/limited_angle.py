"""Limited angle: CT images reconstructed from the views of a range of angles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.ct.projection import check_views
from ...functional.ct.views import check_degrees
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike
from .planes import check_plane_axis, plane_axes


@dataclass(frozen=True)
class LimitedAngleParams(Params):
    """Range of angles that is left, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"degrees": 180.0}

    degrees: Annotated[Array, "B M"]
    start: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _LimitedAngle(VolumeTransform):
    """Reconstruction from a range of angles."""

    views: int

    def voxels(self, images: Images, name: str, params: LimitedAngleParams) -> Volume:
        image = images[name]
        return F.limited_angle(
            image.data,
            params.degrees,
            params.start,
            params.axis,
            self.views,
            spacing=spacing(image.affine),
        )


class LimitedAngle(_LimitedAngle):
    """Reconstruct axial planes of CT images from the views of a given range of angles.

    Edges along the rays that are lacking disappear, and what is left is smeared along the others.
    See :func:`torchio_gpu.functional.limited_angle`.

    Args:
        degrees: Range of angles that is left, from 0.5 to 180, which changes nothing; the least one
            is the angle between two views, 180 / ``views``.
        start: First angle in degrees: at 0, rays run along the second voxel axis of the plane.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        views: Number of simulated views over 180 degrees, as a rule from 90 to 720: more cost more
            time and show fewer streaks.
        kwargs: See :class:`Transform`.

    All but ``views`` may also be given for every sample, (B,), or as a dict with one entry per
    image name.

    Raises:
        ValueError: A value is not as above, or voxels are not in HU.

    >>> LimitedAngle(150, start=20, views=90)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        degrees: ByImage[PerSample],
        start: ByImage[PerSample] = 0,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.start = degrees, start
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        for value in values_of(degrees):
            check_degrees(as_array(value, "degrees"), self.views)

    def draw(self, context: Context, u: np.ndarray) -> LimitedAngleParams:
        return LimitedAngleParams(
            per_image(self.degrees, (), "degrees", context.names),
            per_image(self.start, (), "start", context.names),
            plane_axes(self.axis, context),
        ).expand(context.batch)


class RandomLimitedAngle(RandomTransform, _LimitedAngle):
    """Reconstruct axial planes of CT images from the views of a random range of angles.

    See :class:`LimitedAngle`.

    Args:
        degrees: Range of the angles that are left, from 0.5 to 180; the least one is the angle
            between two views, 180 / ``views``.
        start: Range of the first angle in degrees; d means (-d, d).
        axis, views: See :class:`LimitedAngle`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, an axis is unknown, or voxels are not in
            HU.

    >>> RandomLimitedAngle(degrees=(150, 170), views=90)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        degrees: RangeLike = (120, 170),
        start: RangeLike = (0, 180),
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.start = degrees, start
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        least = 180 / self.views
        self._degrees = Range(degrees, "degrees", around=None, minimum=least, maximum=180)
        self._start = Range(start, "start")

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> LimitedAngleParams:
        return LimitedAngleParams(
            self._degrees(u[..., :1])[..., 0],
            self._start(u[..., 1:])[..., 0],
            plane_axes(self.axis, context),
        )
