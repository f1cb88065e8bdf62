"""Streaks: CT images of patients through whom too few photons pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.ct.projection import check_views
from ...functional.dispatch.arguments import at_least, positive
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import fixed_or_range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike, WholePerSample
from .planes import check_plane_axis, plane_axes


@dataclass(frozen=True)
class StreaksParams(Params):
    """Photons and electronic noise of a ray, least photons, axis across planes, and seed."""

    photons: Annotated[Array, "B M"]
    electronic: Annotated[Array, "B M"]
    threshold: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    seed: Annotated[np.ndarray, "B M", int]


class _Streaks(VolumeTransform):
    """Starvation of photons."""

    views: int

    def voxels(self, images: Images, name: str, params: StreaksParams) -> Volume:
        image = images[name]
        return F.streaks(
            image.data,
            params.photons,
            params.electronic,
            params.threshold,
            params.seed,
            params.axis,
            self.views,
            spacing=spacing(image.affine),
        )


class Streaks(_Streaks):
    """Add the streaks of a CT scan of which a given number of photons pass the patient.

    Images are in HU. Rays behind which few photons are expected, along the directions in which the
    patient attenuates most, as from shoulder to shoulder, get the noise of such counts; the rest of
    the image stays (photon starvation: Barrett and Keat 2004, doi:10.1148/rg.246045065). See
    :func:`torchio_gpu.functional.streaks` for the model and what it leaves out.

    Args:
        photons: Photons that are expected behind the most attenuated ray of the image, > 0: fewer
            mean more streaks. From ``threshold`` on, nothing changes. As it is relative to that
            ray, the size of the patient does not matter.
        electronic: Standard deviation of the electronic noise of a ray, in photons.
        threshold: Photons below which a ray is starved, >= 0.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        views: Number of simulated views over 180 degrees, >= 1. More cost more time, and each
            streak is weaker.
        seed: Integer that decides the noise.
        kwargs: See :class:`Transform`.

    ``photons``, ``electronic``, ``threshold``, ``axis`` and ``seed`` may also be given for every
    sample, (B,), or as a dict with one entry per image name. ``photons`` and ``electronic`` that
    are tensors may require a gradient.

    Raises:
        ValueError: A value is not as above; or, when called, voxels are complex or not in HU.

    >>> Streaks(photons=600)(torch.zeros(1, 8, 16, 8)).shape
    torch.Size([1, 8, 16, 8])
    """

    def __init__(
        self,
        photons: ByImage[PerSample],
        electronic: ByImage[PerSample] = 30.0,
        threshold: ByImage[PerSample] = 1000.0,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        self.photons, self.electronic = photons, electronic
        self.threshold, self.seed = threshold, seed
        for value in values_of(photons):
            positive(as_array(value, "photons"), "photons")
        for name in ("electronic", "threshold"):
            for value in values_of(getattr(self, name)):
                at_least(as_array(value, name), 0, name)

    def draw(self, context: Context, u: np.ndarray) -> StreaksParams:
        names, batch = context.names, context.batch
        return StreaksParams(
            per_image(self.photons, (), "photons", names),
            per_image(self.electronic, (), "electronic", names),
            per_image(self.threshold, (), "threshold", names),
            plane_axes(self.axis, context),
            seeds_per_image(self.seed, names, batch),
        ).expand(batch)


class RandomStreaks(RandomTransform, _Streaks):
    """Add the streaks of a CT scan of which a random number of photons pass the patient.

    See :class:`Streaks`.

    Args:
        photons: Range of the photons that are expected behind the most attenuated ray of the image,
            > 0; a number is that number. Fewer mean more streaks.
        electronic: Range of the standard deviation of the electronic noise of a ray, in photons; a
            number is that noise.
        threshold: Range of the photons below which a ray is starved, >= 0; a number is that
            number.
        axis, views: See :class:`Streaks`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds.

    >>> RandomStreaks(photons=(400, 800))(torch.zeros(1, 8, 16, 8)).shape
    torch.Size([1, 8, 16, 8])
    """

    def __init__(
        self,
        photons: RangeLike = (500, 900),
        electronic: RangeLike = 30.0,
        threshold: RangeLike = 1000.0,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        self.photons, self.electronic, self.threshold = photons, electronic, threshold
        self._photons = fixed_or_range(photons, "photons", exclusive=True)
        self._electronic = fixed_or_range(electronic, "electronic")
        self._threshold = fixed_or_range(threshold, "threshold")

    @property
    def draws(self) -> int:
        return 5

    def draw(self, context: Context, u: np.ndarray) -> StreaksParams:
        return StreaksParams(
            self._photons(u[..., :1])[..., 0],
            self._electronic(u[..., 1:2])[..., 0],
            self._threshold(u[..., 2:3])[..., 0],
            plane_axes(self.axis, context),
            random.to_seeds(u[..., 3:]),
        )
