"""Acoustic shadows behind objects of ultrasound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least
from ...functional.ultrasound.geometry import GeometryLike
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .base import Ultrasound, drawn

#: Parameters that are numbers.
_NUMBERS = ("loss", "position", "width", "depth", "length", "edge")


@dataclass(frozen=True)
class AcousticShadowParams(Params):
    """Loss in dB, place and size of a shadow, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"loss": 0.0}
    loss: Annotated[Array, "B M"]
    position: Annotated[Array, "B M"]  # shares of the fan, as width and edge
    width: Annotated[Array, "B M"]
    depth: Annotated[Array, "B M"]  # mm, as length
    length: Annotated[Array, "B M"]
    edge: Annotated[Array, "B M"]
    geometry: Annotated[np.ndarray, "B M 7"]


class _AcousticShadow(Ultrasound):
    """Shadow between two beams, from a depth on."""

    def voxels(self, images: Images, name: str, params: AcousticShadowParams) -> Volume:
        image = images[name]
        return F.acoustic_shadow(
            image.data,
            params.loss,
            position=params.position,
            width=params.width,
            depth=params.depth,
            length=params.length,
            edge=params.edge,
            **self._beams(image, params.geometry),
        )


class AcousticShadow(_AcousticShadow):
    """Cast an acoustic shadow: let the level of B-mode images fall behind an object.

    As bone, stones and bubbles do: see :func:`torchio_gpu.functional.acoustic_shadow`.

    Args:
        geometry: See :class:`Attenuation`.
        loss: Loss of level behind the object in dB: a number, or (B,) for one per sample;
            negative values are the enhancement behind a cyst; or a dict with one entry per image
            name. Tensors may require a gradient.
        position: Middle of the shadow, from 0 at the first beam to 1 at the last one; given as
            ``loss``, as all that follow.
        width: Width of the shadow as a share of the fan, >= 0.
        depth: Depth in mm where the shadow begins.
        length: Length in mm over which the loss is reached, >= 0.
        edge: Width of each of the two soft sides as a share of the fan, >= 0.
        axes, dynamic_range, white, kwargs: See :class:`Attenuation`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> shadow = AcousticShadow("linear", 12, depth=4, width=0.4)
    >>> shadow(torch.full((1, 5, 20, 1), 90.))[0, :, -1, 0]
    tensor([90.0000, 64.5000, 39.0000, 64.5000, 90.0000])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        loss: ByImage[PerSample],
        position: ByImage[PerSample] = 0.5,
        width: ByImage[PerSample] = 0.1,
        depth: ByImage[PerSample] = 0.0,
        length: ByImage[PerSample] = 5.0,
        edge: ByImage[PerSample] = 0.02,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.loss, self.position, self.width = loss, position, width
        self.depth, self.length, self.edge = depth, length, edge
        for name in _NUMBERS:
            for value in values_of(getattr(self, name)):
                array = as_array(value, name)
                if name in ("width", "length", "edge"):
                    at_least(array, 0, name)

    def draw(self, context: Context, u: np.ndarray) -> AcousticShadowParams:
        numbers = self._per_image(_NUMBERS, context)
        params = AcousticShadowParams(**numbers, geometry=self._geometries(context))
        return params.expand(context.batch)


class RandomAcousticShadow(RandomTransform, _AcousticShadow):
    """Cast an acoustic shadow at a random place: B-mode images become dark behind an object.

    See :class:`AcousticShadow`.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        loss: Range of the loss of level behind the object in dB; d means (0, d).
        position: Range of the middle of the shadow, from 0 to 1 across the fan; d means (0, d).
        width: Range of the width as a share of the fan, >= 0; d means (0, d).
        depth: Range of the depth in mm where the shadow begins; d means (0, d).
        length: Range of the length in mm over which the loss is reached; d means (0, d).
        edge: Range of the width of each of the soft sides as a share of the fan; d means (0, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above.
        KeyError: When called, a sample lacks the metadata.

    >>> RandomAcousticShadow(BeamGeometry("phased", depth=30))(255 * torch.rand(1, 40, 40, 1)).shape
    torch.Size([1, 40, 40, 1])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        loss: RangeLike = (6, 30),
        position: RangeLike = (0, 1),
        width: RangeLike = (0.03, 0.2),
        depth: RangeLike = (5, 60),
        length: RangeLike = (1, 10),
        edge: RangeLike = (0.005, 0.03),
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.loss, self.position, self.width = loss, position, width
        self.depth, self.length, self.edge = depth, length, edge
        self._ranges = Range.side_by_side(
            Range(loss, "loss", around=None),
            Range(position, "position", around=None, minimum=0, maximum=1),
            *(
                Range(value, name, around=None, minimum=0)
                for value, name in (
                    (width, "width"), (depth, "depth"), (length, "length"), (edge, "edge")
                )
            ),
        )  # fmt: skip

    @property
    def draws(self) -> int:
        return 6

    def draw(self, context: Context, u: np.ndarray) -> AcousticShadowParams:
        numbers: dict[str, Any] = drawn(_NUMBERS, self._ranges, u)
        return AcousticShadowParams(**numbers, geometry=self._geometries(context))


__all__ = ["AcousticShadow", "RandomAcousticShadow"]
