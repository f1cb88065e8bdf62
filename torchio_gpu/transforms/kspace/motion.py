"""Motion during the acquisition of k-space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array, per_sample
from ...functional.kspace import check_output, check_times
from ...functional.maps import check_mode
from ...shapes import Volume, check_count
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.axes import check_axes
from ..parameters.params import Params, per_image, value_per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangesLike
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class MotionParams(Params):
    """Poses of the content, their times, and the phase-encode axis, for each sample and image."""

    degrees: Annotated[Array, "B M P 3"]
    translation: Annotated[Array, "B M P 3"]  # mm
    times: Annotated[Array, "B M P"]
    axis: Annotated[np.ndarray, "B M", int]
    output: str


class _Motion(VolumeTransform):
    """Motion of the content between lines of k-space."""

    image_interpolation: str

    def voxels(self, images: Images, name: str, params: MotionParams) -> Volume:
        return F.motion(
            images[name].data,
            params.degrees,
            params.translation,
            params.times,
            params.axis,
            affine=images[name].affine,
            output=params.output,
            mode=self.image_interpolation,
        )


class Motion(_Motion):
    """Let the content move during the acquisition, as given: Shaw et al. 2019.

    k-space is filled line by line along the phase-encode axis; at each of the times the content
    takes another rigid pose. The pose in which the central line is acquired is that of the input,
    so the image does not drift; the others are given in order of time. Unlike TorchIO 1.x, poses
    rotate about the centre of the image, and lines are along any axis.

    Args:
        degrees: Angles about x, y, z of the world for each pose, (P, 3).
        translation: Millimetres along x, y, z of the world for each pose, (P, 3).
        times: When the content moves, increasing and between 0 and 1, (P,).
        image_interpolation: Interpolation of the poses: 'linear' or 'nearest'.
        axis: The phase-encode axis: 0, 1, 2 or an anatomical name.
        output: 'real' for the real part of the image, as TorchIO 1.x, or 'magnitude'.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, with a leading B, or as a dict with one entry per
    image name. Angles and translations may be tensors that require a gradient.

    Raises:
        ValueError: A shape, time, axis or name is not as above.

    >>> motion = Motion(degrees=[(5, 0, 0)], translation=[(0, 3, 0)], times=[0.3])
    >>> motion(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        degrees: ByImage[PerSample],
        translation: ByImage[PerSample],
        times: ByImage[PerSample],
        image_interpolation: str = "linear",
        axis: ByImage[AxisLike] = 2,
        output: str = "real",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.translation, self.times = degrees, translation, times
        self.axis, self.output = check_phase_encoding(axis), check_output(output)
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        for value in values_of(times):
            moments = check_times(value)
            for other, name in ((degrees, "degrees"), (translation, "translation")):
                for poses in values_of(other):
                    per_sample(poses, (moments.shape[-1], 3), name)

    def draw(self, context: Context, u: np.ndarray) -> MotionParams:
        names = context.names
        first = as_array(value_per_image(self.times, "times", names)[0], "times")
        poses = first.shape[-1]
        return MotionParams(
            per_image(self.degrees, (poses, 3), "degrees", names),
            per_image(self.translation, (poses, 3), "translation", names),
            per_image(self.times, (poses,), "times", names),
            axes_of(self.axis, context),
            self.output,
        ).expand(context.batch)


class RandomMotion(RandomTransform, _Motion):
    """Let the content move at random during the acquisition: see :class:`Motion`.

    Args:
        degrees: Range of the angles; d means (-d, d).
        translation: Range of the translations in mm; d means (-d, d).
        num_transforms: Number of times that the content moves.
        image_interpolation: Interpolation of the poses: 'linear' or 'nearest'.
        axes: Phase-encode axes to choose from; TorchIO 1.x knows the last one only.
        output: 'real' or 'magnitude'; see :class:`Motion`.
        kwargs: See :class:`Transform`.

    Times are about equally far apart: each is moved by up to 30 % of their distance.

    Raises:
        ValueError: A range is empty, ``num_transforms`` is no positive integer, or a name unknown.

    >>> RandomMotion(degrees=5, num_transforms=3)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        degrees: RangesLike = 10,
        translation: RangesLike = 10,
        num_transforms: int = 2,
        image_interpolation: str = "linear",
        axes: AxesLike = (0, 1, 2),
        output: str = "real",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.translation = degrees, translation
        self.num_transforms = check_count(num_transforms, "num_transforms", 1, 10**4)
        self._degrees = Range(degrees, "degrees", axes=3)
        self._translation = Range(translation, "translation", axes=3)
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        self.axes, self.output = check_axes(axes), check_output(output)

    @property
    def draws(self) -> int:
        return 1 + 7 * self.num_transforms

    def draw(self, context: Context, u: np.ndarray) -> MotionParams:
        poses = self.num_transforms
        triples = u[..., 1 + poses :].reshape(*u.shape[:2], 2, poses, 3)
        moved = np.arange(1, poses + 1) + 0.3 * (2 * u[..., 1 : 1 + poses] - 1)
        return MotionParams(
            self._degrees(triples[:, :, 0]),
            self._translation(triples[:, :, 1]),
            moved / (poses + 1),
            draw_axes(self.axes, u[..., 0], context),
            self.output,
        )
