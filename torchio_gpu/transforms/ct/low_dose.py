"""Low dose: CT images with the noise of fewer photons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.ct.low_dose import check_dose
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
class LowDoseParams(Params):
    """Share of the dose, photons and electronic noise of a ray, axis across planes, and seed."""

    dose: Annotated[Array, "B M"]
    photons: Annotated[Array, "B M"]
    electronic: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    seed: Annotated[np.ndarray, "B M", int]


class _LowDose(VolumeTransform):
    """Scan with fewer photons."""

    views: int

    def voxels(self, images: Images, name: str, params: LowDoseParams) -> Volume:
        image = images[name]
        return F.low_dose(
            image.data,
            params.dose,
            params.photons,
            params.electronic,
            params.seed,
            params.axis,
            self.views,
            spacing=spacing(image.affine),
        )


class LowDose(_LowDose):
    """Add the noise by which a CT scan with a given share of the photons differs from the full one.

    Images are in HU. Noise is added to the line integrals of their planes, so that it is streaked
    along the directions in which the patient attenuates most, and fine-grained: Yu et al. 2012,
    doi:10.1097/RCT.0b013e318258e891. See :func:`torchio_gpu.functional.low_dose` for the model and
    what it leaves out.

    Args:
        dose: Share of the dose, > 0 and at most 1, which changes nothing; plausible from 0.05 to 1.
        photons: Photons of a ray without the patient at full dose, > 0. The noise goes as
            ``1 / sqrt(photons views)``, and with the inverse of the side of voxels. Give more for
            large patients, as scanners do, lest noise hides them.
        electronic: Standard deviation of the electronic noise of a ray, in photons.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        views: Number of simulated views over 180 degrees, >= 1. More cost more time.
        seed: Integer that decides the noise.
        kwargs: See :class:`Transform`.

    ``dose``, ``photons``, ``electronic``, ``axis`` and ``seed`` may also be given for every sample,
    (B,), or as a dict with one entry per image name. ``dose``, ``photons`` and ``electronic`` that
    are tensors may require a gradient.

    Raises:
        ValueError: A value is not as above; or, when called, voxels are complex or not in HU.

    >>> LowDose(0.25)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        dose: ByImage[PerSample],
        photons: ByImage[PerSample] = 1e6,
        electronic: ByImage[PerSample] = 10.0,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        self.dose, self.photons, self.electronic, self.seed = dose, photons, electronic, seed
        for value in values_of(dose):
            check_dose(as_array(value, "dose"))
        for value in values_of(photons):
            positive(as_array(value, "photons"), "photons")
        for value in values_of(electronic):
            at_least(as_array(value, "electronic"), 0, "electronic")

    def draw(self, context: Context, u: np.ndarray) -> LowDoseParams:
        names, batch = context.names, context.batch
        return LowDoseParams(
            per_image(self.dose, (), "dose", names),
            per_image(self.photons, (), "photons", names),
            per_image(self.electronic, (), "electronic", names),
            plane_axes(self.axis, context),
            seeds_per_image(self.seed, names, batch),
        ).expand(batch)


class RandomLowDose(RandomTransform, _LowDose):
    """Add the noise of a CT scan with a random share of the photons: see :class:`LowDose`.

    Args:
        dose: Range of the share of the dose, > 0 and <= 1; a number is that share. Plausible are
            shares from 0.05 to 1.
        photons: Range of the photons of a ray without the patient at full dose, > 0; a number is
            that number.
        electronic: Range of the standard deviation of the electronic noise of a ray, in photons; a
            number is that noise.
        axis, views: See :class:`LowDose`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds.

    >>> RandomLowDose(dose=(0.2, 0.4))(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        dose: RangeLike = (0.1, 0.5),
        photons: RangeLike = 1e6,
        electronic: RangeLike = 10.0,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        self.dose, self.photons, self.electronic = dose, photons, electronic
        self._dose = fixed_or_range(dose, "dose", exclusive=True, maximum=1)
        self._photons = fixed_or_range(photons, "photons", exclusive=True)
        self._electronic = fixed_or_range(electronic, "electronic")

    @property
    def draws(self) -> int:
        return 5

    def draw(self, context: Context, u: np.ndarray) -> LowDoseParams:
        return LowDoseParams(
            self._dose(u[..., :1])[..., 0],
            self._photons(u[..., 1:2])[..., 0],
            self._electronic(u[..., 2:3])[..., 0],
            plane_axes(self.axis, context),
            random.to_seeds(u[..., 3:]),
        )
