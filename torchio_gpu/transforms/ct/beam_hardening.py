"""Beam hardening: dark bands between bones of CT images, and cupping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.ct.attenuation import HU_RANGE
from ...functional.ct.projection import check_views
from ...functional.dispatch.arguments import at_least, within
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range, fixed_or_range
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike
from .planes import check_plane_axis, plane_axes


@dataclass(frozen=True)
class BeamHardeningParams(Params):
    """Strength, least HU of bone, and axis across planes."""

    strength: Annotated[Array, "B M"]
    bone_threshold: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _BeamHardening(VolumeTransform):
    """Absorption of low-energy photons."""

    water_corrected: bool
    views: int

    def voxels(self, images: Images, name: str, params: BeamHardeningParams) -> Volume:
        image = images[name]
        return F.beam_hardening(
            image.data,
            params.strength,
            params.bone_threshold,
            self.water_corrected,
            params.axis,
            self.views,
            spacing=spacing(image.affine),
        )


class BeamHardening(_BeamHardening):
    """Add the artifacts of beam hardening to CT images: dark bands between bones, cupping.

    Images are in HU. Of a beam of photons of two energies, bone and water absorb those of the
    lower one first, so that the patient attenuates less than the sum of its parts (Brooks and Di
    Chiro 1976, doi:10.1088/0031-9155/21/3/004; Joseph and Spital 1978,
    doi:10.1097/00004728-197801000-00017). See :func:`torchio_gpu.functional.beam_hardening` for the
    model and what it leaves out.

    Args:
        strength: Factor of the artifacts, >= 0: 0 changes nothing, 1 is the model.
        bone_threshold: Least HU of bone.
        water_corrected: Correct for water, as scanners do; if False, water cups.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        views: Number of simulated views over 180 degrees, >= 1. More cost more time and show fewer
            streaks.
        kwargs: See :class:`Transform`.

    ``strength``, ``bone_threshold`` and ``axis`` may also be given for every sample, (B,), or as a
    dict with one entry per image name. A ``strength`` that is a tensor may require a gradient.

    Raises:
        ValueError: A value is not as above; or, when called, voxels are complex or not in HU.

    >>> BeamHardening(0.5)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        strength: ByImage[PerSample] = 1.0,
        bone_threshold: ByImage[PerSample] = 300.0,
        water_corrected: bool = True,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        self.strength, self.bone_threshold = strength, bone_threshold
        self.water_corrected = water_corrected
        for value in values_of(strength):
            at_least(as_array(value, "strength"), 0, "strength")
        for value in values_of(bone_threshold):
            within(as_array(value, "bone_threshold"), *HU_RANGE, "bone_threshold")

    def draw(self, context: Context, u: np.ndarray) -> BeamHardeningParams:
        return BeamHardeningParams(
            per_image(self.strength, (), "strength", context.names),
            per_image(self.bone_threshold, (), "bone_threshold", context.names),
            plane_axes(self.axis, context),
        ).expand(context.batch)


class RandomBeamHardening(RandomTransform, _BeamHardening):
    """Add the artifacts of beam hardening to CT images, of a random strength.

    See :class:`BeamHardening`.

    Args:
        strength: Range of the factor of the artifacts; d means (0, d).
        bone_threshold: Range of the least HU of bone; a number is that threshold.
        water_corrected, axis, views: See :class:`BeamHardening`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or negative.

    >>> RandomBeamHardening(strength=(0, 0.5))(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        strength: RangeLike = (0.2, 0.8),
        bone_threshold: RangeLike = 300.0,
        water_corrected: bool = True,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.views = check_plane_axis(axis), check_views(views)
        self.strength, self.bone_threshold = strength, bone_threshold
        self.water_corrected = water_corrected
        self._strength = Range(strength, "strength", around=None, minimum=0)
        self._bone_threshold = fixed_or_range(
            bone_threshold, "bone_threshold", minimum=HU_RANGE[0], maximum=HU_RANGE[1]
        )

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> BeamHardeningParams:
        return BeamHardeningParams(
            self._strength(u[..., :1])[..., 0],
            self._bone_threshold(u[..., 1:])[..., 0],
            plane_axes(self.axis, context),
        )
