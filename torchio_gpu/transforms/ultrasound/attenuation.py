"""Attenuation of ultrasound with depth, and time-gain compensation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.ultrasound.geometry import GeometryLike
from ...shapes import Volume, check_count
from ..base import Context
from ..kinds import Images, RandomTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .base import Ultrasound


@dataclass(frozen=True)
class AttenuationParams(Params):
    """Attenuation in dB per cm, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"attenuation": 0.0}
    attenuation: Annotated[Array, "B M"]
    geometry: Annotated[np.ndarray, "B M 7"]


class _Attenuation(Ultrasound):
    """Attenuation in proportion to depth."""

    def voxels(self, images: Images, name: str, params: AttenuationParams) -> Volume:
        image = images[name]
        return F.attenuate(image.data, params.attenuation, **self._beams(image, params.geometry))


class Attenuation(_Attenuation):
    """Let the level of B-mode images fall in proportion to the depth along the beams.

    See :func:`torchio_gpu.functional.attenuate`.

    Args:
        geometry: :class:`BeamGeometry` of the array as it is, a dict of its arguments, the name of
            a probe, or the name of metadata of the images that hold one of these for each sample.
            It does not follow the image: ultrasound transforms come before spatial ones, such as
            Flip, Crop and ToCanonical, or ``center`` is given anew.
        attenuation: Attenuation in dB per cm of depth, there and back, twice the coefficient of
            the tissue: a number, or (B,) for one per sample; negative values amplify; or a dict
            with one entry per image name. Tensors may require a gradient.
        axes: Lateral and axial voxel axis; depth grows with the index along the axial one.
        dynamic_range: Difference of white and black in dB, > 0.
        white: Value of white, > 0; black is 0.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> Attenuation("linear", 2)(torch.full((1, 1, 20, 1), 90.)).flatten()[[0, -1]]
    tensor([89.5750, 73.4250])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        attenuation: ByImage[PerSample],
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.attenuation = attenuation
        for value in values_of(attenuation):
            as_array(value, "attenuation")

    def draw(self, context: Context, u: np.ndarray) -> AttenuationParams:
        rate = per_image(self.attenuation, (), "attenuation", context.names)
        return AttenuationParams(rate, self._geometries(context)).expand(context.batch)


class RandomAttenuation(RandomTransform, _Attenuation):
    """Let the level of B-mode images fall, or rise, at random in proportion to the depth.

    See :class:`Attenuation`.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        attenuation: Range of the attenuation in dB per cm of depth, there and back; d means
            (-d, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> RandomAttenuation(BeamGeometry("phased", depth=30))(255 * torch.rand(1, 40, 40, 1)).shape
    torch.Size([1, 40, 40, 1])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        attenuation: RangeLike = (-1, 2),
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.attenuation = attenuation
        self._attenuation = Range(attenuation, "attenuation")

    @property
    def draws(self) -> int:
        return 1

    def draw(self, context: Context, u: np.ndarray) -> AttenuationParams:
        return AttenuationParams(self._attenuation(u)[..., 0], self._geometries(context))


@dataclass(frozen=True)
class TimeGainParams(Params):
    """Gains in dB at depths that are equally spaced, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"gains": 0.0}
    gains: Annotated[Array, "B M N"]
    geometry: Annotated[np.ndarray, "B M 7"]


class _TimeGain(Ultrasound):
    """Gain that depends on depth."""

    def voxels(self, images: Images, name: str, params: TimeGainParams) -> Volume:
        image = images[name]
        return F.time_gain(image.data, params.gains, **self._beams(image, params.geometry))


class TimeGain(_TimeGain):
    """Change the level of B-mode images by given gains at some depths.

    As the sliders of time-gain compensation do: see :func:`torchio_gpu.functional.time_gain`.

    Args:
        geometry: See :class:`Attenuation`.
        gains: Gains in dB at N equally spaced depths, from the surface of the probe to the end of
            the beams, (N,), or (B, N) for those of each sample; a number is the gain at all
            depths; or a dict with one entry per image name. Tensors may require a gradient.
        axes, dynamic_range, white, kwargs: See :class:`Attenuation`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> TimeGain("linear", [0, 6])(torch.full((1, 1, 20, 1), 90.)).flatten()[[0, -1]]
    tensor([ 90.6538, 115.5000])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        gains: ByImage[PerSample],
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.gains = gains
        counts = {np.shape(as_array(value, "gains"))[-1:] or (1,) for value in values_of(gains)}
        if len(counts) != 1 or counts == {(0,)}:
            raise ValueError(f"gains must be as many for each image, at least one, got {gains!r}")
        (self._count,) = counts.pop()

    def draw(self, context: Context, u: np.ndarray) -> TimeGainParams:
        gains = per_image(self.gains, (self._count,), "gains", context.names)
        return TimeGainParams(gains, self._geometries(context)).expand(context.batch)


class RandomTimeGain(RandomTransform, _TimeGain):
    """Change the level of B-mode images by random gains at some depths.

    As badly set sliders of time-gain compensation do: see :class:`TimeGain`.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        gain: Range of the gain at each depth in dB; d means (-d, d).
        num_gains: Number of depths with a gain of their own.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> RandomTimeGain(BeamGeometry("phased", depth=30))(255 * torch.rand(1, 40, 40, 1)).shape
    torch.Size([1, 40, 40, 1])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        gain: RangeLike = 6,
        num_gains: int = 8,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.gain, self.num_gains = gain, check_count(num_gains, "num_gains", 1, 1000)
        self._gain = Range(gain, "gain")

    @property
    def draws(self) -> int:
        return self.num_gains

    def draw(self, context: Context, u: np.ndarray) -> TimeGainParams:
        return TimeGainParams(self._gain(u[..., None])[..., 0], self._geometries(context))
