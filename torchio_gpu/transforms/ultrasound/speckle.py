"""Speckle of ultrasound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least, within
from ...functional.ultrasound.geometry import GeometryLike
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range, fixed_or_range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import ByImage, PerSample, RangeLike, WholePerSample
from .base import Ultrasound, drawn

#: Parameters that are numbers of each sample.
_NUMBERS = ("strength", "axial", "lateral")


@dataclass(frozen=True)
class SpeckleParams(Params):
    """Strength, widths in mm and seed of speckle, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"strength": 0.0}
    strength: Annotated[Array, "B M"]
    axial: Annotated[np.ndarray, "B M"]
    lateral: Annotated[np.ndarray, "B M"]
    seed: Annotated[np.ndarray, "B M", int]
    geometry: Annotated[np.ndarray, "B M 7"]


class _Speckle(Ultrasound):
    """Speckle along the beams."""

    def voxels(self, images: Images, name: str, params: SpeckleParams) -> Volume:
        image = images[name]
        return F.speckle(
            image.data,
            params.strength,
            axial=params.axial,
            lateral=params.lateral,
            seeds=params.seed,
            **self._beams(image, params.geometry),
        )


class Speckle(_Speckle):
    """Multiply the echoes of B-mode images by speckle of a given strength.

    See :func:`torchio_gpu.functional.speckle`.

    Args:
        geometry: See :class:`Attenuation`.
        strength: Share of the level of speckle in dB that is added, from 0 to 1: 0 changes nothing,
            1 is fully developed speckle.
        axes, dynamic_range, white: See :class:`Attenuation`.
        axial: Full width at half maximum of the pulse along the beams, in mm, >= 0.
        lateral: Full width at half maximum across the beams, halfway along them, in mm, >= 0.
        seed: Integer that decides the speckle.
        kwargs: See :class:`Transform`.

    ``strength``, ``axial``, ``lateral`` and ``seed`` may also be given for every sample, (B,), or
    as a dict with one entry per image name. A ``strength`` that is a tensor may require a gradient.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> x = torch.full((1, 40, 60, 1), 120.0)
    >>> bool(5 < Speckle("linear", 1)(x).std() * 60 / 255 < 6)  # dB
    True
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        strength: ByImage[PerSample],
        axial: ByImage[PerSample] = 0.8,
        lateral: ByImage[PerSample] = 2.0,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.strength, self.axial, self.lateral, self.seed = strength, axial, lateral, seed
        for value in values_of(strength):
            within(as_array(value, "strength"), 0, 1, "strength")
        for widths, name in ((axial, "axial"), (lateral, "lateral")):
            for value in values_of(widths):
                at_least(as_array(value, name), 0, name)

    def draw(self, context: Context, u: np.ndarray) -> SpeckleParams:
        numbers, batch = self._per_image(_NUMBERS, context), context.batch
        seeds = seeds_per_image(self.seed, context.names, batch)
        return SpeckleParams(**numbers, seed=seeds, geometry=self._geometries(context)).expand(
            batch
        )


class RandomSpeckle(RandomTransform, _Speckle):
    """Multiply the echoes of B-mode images by random speckle.

    See :class:`Speckle`. Images of a scanner have speckle already: there, a strength below 1 adds
    some.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        strength: Range of the share of the level of speckle that is added, from 0 to 1; d means
            (0, d).
        axial: Range of the full width at half maximum along the beams, in mm, >= 0; a number is
            that number.
        lateral: Range of that across the beams, halfway along them, in mm, >= 0; likewise.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> RandomSpeckle(BeamGeometry("phased", depth=30))(255 * torch.rand(1, 40, 40, 1)).shape
    torch.Size([1, 40, 40, 1])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        strength: RangeLike = (0.2, 1),
        axial: RangeLike = (0.5, 1.2),
        lateral: RangeLike = (1, 4),
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.strength, self.axial, self.lateral = strength, axial, lateral
        self._ranges = Range.side_by_side(
            Range(strength, "strength", around=None, minimum=0, maximum=1),
            fixed_or_range(axial, "axial"),
            fixed_or_range(lateral, "lateral"),
        )

    @property
    def draws(self) -> int:
        return 5

    def draw(self, context: Context, u: np.ndarray) -> SpeckleParams:
        numbers: dict[str, Any] = drawn(_NUMBERS, self._ranges, u)
        seeds = random.to_seeds(u[..., len(numbers) :])
        return SpeckleParams(**numbers, seed=seeds, geometry=self._geometries(context))
