"""Haze of ultrasound: clutter near the probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least, positive, within
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
_NUMBERS = ("brightness", "decay", "texture", "size")


@dataclass(frozen=True)
class HazeParams(Params):
    """Brightness, decay and patches of haze, its seed, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"brightness": 0.0}
    brightness: Annotated[Array, "B M"]
    decay: Annotated[Array, "B M"]
    texture: Annotated[Array, "B M"]
    size: Annotated[np.ndarray, "B M"]
    seed: Annotated[np.ndarray, "B M", int]
    geometry: Annotated[np.ndarray, "B M 7"]


class _Haze(Ultrasound):
    """Haze that fades along the beams."""

    def voxels(self, images: Images, name: str, params: HazeParams) -> Volume:
        image = images[name]
        return F.haze(
            image.data,
            params.brightness,
            decay=params.decay,
            texture=params.texture,
            size=params.size,
            seeds=params.seed,
            **self._beams(image, params.geometry),
        )


class Haze(_Haze):
    """Add the haze of clutter to B-mode images, brightest near the probe.

    See :func:`torchio_gpu.functional.haze`.

    Args:
        geometry: See :class:`Attenuation`.
        brightness: Grey value that the haze gives to black at the surface of the probe, as a
            share of ``white``, from 0 to 1; 0 changes nothing.
        axes, dynamic_range, white: See :class:`Attenuation`.
        decay: Depth in mm over which the amplitude of the haze falls to 1/e, > 0.
        texture: Share of the intensity of the haze that varies in coarse patches, from 0 to 1.
        size: Width of the patches in mm, halfway along the beams, >= 0.
        seed: Integer that decides the patches.
        kwargs: See :class:`Transform`.

    ``brightness``, ``decay``, ``texture``, ``size`` and ``seed`` may also be given for every
    sample, (B,), or as a dict with one entry per image name. The first three may be tensors that
    require a gradient.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> haze = Haze("linear", 0.5, decay=10, texture=0)
    >>> haze(torch.zeros(1, 1, 30, 1)).flatten()[::10]
    tensor([125.6562,  88.8710,  52.8882])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        brightness: ByImage[PerSample],
        decay: ByImage[PerSample] = 30.0,
        texture: ByImage[PerSample] = 0.5,
        size: ByImage[PerSample] = 8.0,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.brightness, self.decay, self.texture, self.size = brightness, decay, texture, size
        self.seed = seed
        for shares, name in ((brightness, "brightness"), (texture, "texture")):
            for value in values_of(shares):
                within(as_array(value, name), 0, 1, name)
        for value in values_of(decay):
            positive(as_array(value, "decay"), "decay")
        for value in values_of(size):
            at_least(as_array(value, "size"), 0, "size")

    def draw(self, context: Context, u: np.ndarray) -> HazeParams:
        numbers, batch = self._per_image(_NUMBERS, context), context.batch
        seeds = seeds_per_image(self.seed, context.names, batch)
        return HazeParams(**numbers, seed=seeds, geometry=self._geometries(context)).expand(batch)


class RandomHaze(RandomTransform, _Haze):
    """Add random haze of clutter to B-mode images, brightest near the probe.

    See :class:`Haze`.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        brightness: Range of the grey value that the haze gives to black at the surface of the
            probe, as a share of ``white``, from 0 to 1; d means (0, d).
        decay: Range of the depth in mm over which its amplitude falls to 1/e, > 0; a
            number is that number.
        texture: Range of the share of its intensity that varies in coarse patches, from 0 to 1;
            d means (0, d).
        size: Range of the width of the patches in mm, halfway along the beams, >= 0; a
            number is that number.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> RandomHaze(BeamGeometry("phased", depth=30))(255 * torch.rand(1, 40, 40, 1)).shape
    torch.Size([1, 40, 40, 1])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        brightness: RangeLike = (0.2, 0.7),
        decay: RangeLike = (10, 50),
        texture: RangeLike = (0, 1),
        size: RangeLike = (4, 12),
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.brightness, self.decay, self.texture, self.size = brightness, decay, texture, size
        self._ranges = Range.side_by_side(
            Range(brightness, "brightness", around=None, minimum=0, maximum=1),
            fixed_or_range(decay, "decay", exclusive=True),
            Range(texture, "texture", around=None, minimum=0, maximum=1),
            fixed_or_range(size, "size"),
        )

    @property
    def draws(self) -> int:
        return 6

    def draw(self, context: Context, u: np.ndarray) -> HazeParams:
        numbers: dict[str, Any] = drawn(_NUMBERS, self._ranges, u)
        seeds = random.to_seeds(u[..., len(numbers) :])
        return HazeParams(**numbers, seed=seeds, geometry=self._geometries(context))
