"""Echoes between the probe and a reflector of ultrasound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import positive, within
from ...functional.ultrasound.geometry import GeometryLike
from ...functional.ultrasound.reverberation import MOST
from ...shapes import Volume, check_count
from ..base import Context
from ..kinds import Images, RandomTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range, fixed_or_range
from ..parameters.types import ByImage, PerSample, RangeLike
from .base import Ultrasound


@dataclass(frozen=True)
class ReverberationParams(Params):
    """Relative amplitude of each echo, distance of echoes in mm, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"strength": 0.0}
    strength: Annotated[Array, "B M"]
    distance: Annotated[Array, "B M"]
    geometry: Annotated[np.ndarray, "B M 7"]


class _Reverberation(Ultrasound):
    """Echoes at equal distances, each weaker than the last one."""

    echoes: int

    def voxels(self, images: Images, name: str, params: ReverberationParams) -> Volume:
        image = images[name]
        return F.reverberation(
            image.data,
            params.strength,
            params.distance,
            echoes=self.echoes,
            **self._beams(image, params.geometry),
        )


class Reverberation(_Reverberation):
    """Add echoes to B-mode images: copies further down the beams, each weaker than the last one.

    As sound between the probe and a strong reflector makes them: see
    :func:`torchio_gpu.functional.reverberation`.

    Args:
        geometry: See :class:`Attenuation`.
        strength: Amplitude of each echo relative to that before it, from 0 to 1: a number, or
            (B,) for one per sample; or a dict with one entry per image name. Tensors may require a
            gradient.
        distance: Distance of one echo from the next in mm of depth, > 0; as ``strength``.
        echoes: Number of echoes.
        axes, dynamic_range, white, kwargs: See :class:`Attenuation`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> x = torch.zeros(1, 1, 7, 1)
    >>> x[:, :, 1] = 255
    >>> Reverberation(BeamGeometry("linear", center=(0, 0.5)), 0.1, 2)(x).flatten()
    tensor([  0.0000, 255.0000,   0.0000, 170.3307,   0.0000,  88.4848,   0.0000])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        strength: ByImage[PerSample],
        distance: ByImage[PerSample],
        echoes: int = 4,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.strength, self.distance = strength, distance
        self.echoes = check_count(echoes, "echoes", 0, MOST)
        for value in values_of(strength):
            within(as_array(value, "strength"), 0, 1, "strength")
        for value in values_of(distance):
            positive(as_array(value, "distance"), "distance")

    def draw(self, context: Context, u: np.ndarray) -> ReverberationParams:
        strength = per_image(self.strength, (), "strength", context.names)
        distance = per_image(self.distance, (), "distance", context.names)
        geometry = self._geometries(context)
        return ReverberationParams(strength, distance, geometry).expand(context.batch)


class RandomReverberation(RandomTransform, _Reverberation):
    """Add echoes of random strength and distance to B-mode images, further down the beams.

    See :class:`Reverberation`.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        strength: Range of the amplitude of each echo relative to that before it, from 0 to 1; d
            means (0, d).
        distance: Range of the distance of one echo from the next in mm of depth, > 0; a number is
            that number.
        echoes: Number of echoes.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> RandomReverberation(BeamGeometry("phased", depth=30))(255 * torch.rand(1, 40, 40, 1)).shape
    torch.Size([1, 40, 40, 1])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        strength: RangeLike = (0.1, 0.5),
        distance: RangeLike = (5, 30),
        echoes: int = 4,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.strength, self.distance = strength, distance
        self.echoes = check_count(echoes, "echoes", 0, MOST)
        self._ranges = Range.side_by_side(
            Range(strength, "strength", around=None, minimum=0, maximum=1),
            fixed_or_range(distance, "distance", exclusive=True),
        )

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> ReverberationParams:
        strength, distance = np.moveaxis(self._ranges(u), -1, 0)
        return ReverberationParams(strength, distance, self._geometries(context))


__all__ = ["RandomReverberation", "Reverberation"]
