"""Brightness: intensities times a factor, plus an offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array
from ...functional import operations
from ..base import Context
from ..kinds import PointwiseTransform
from ..parameters.params import Params
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .channels import ByChannel, check_positive, of_images, where_changed


@dataclass(frozen=True)
class BrightnessParams(Params):
    """Factor and offset, for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"factor": 1.0, "offset": 0.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("factor", "offset")
    factor: Annotated[Array, "B M K"]
    offset: Annotated[Array, "B M K"]


class _Brightness(PointwiseTransform):
    """Linear map of the intensities."""

    def operation(
        self, params: BrightnessParams, active: np.ndarray | None
    ) -> operations.Operation:
        return operations.Linear(params.factor, params.offset, np.zeros(1))

    def is_invertible(self) -> bool:
        return True

    def invert(self, params: BrightnessParams) -> BrightnessParams:
        return BrightnessParams(1 / params.factor, -params.offset / params.factor)


class Brightness(_Brightness):
    """Change the brightness by a given factor and offset: ``factor x + offset``.

    Args:
        factor: The factor, > 0: a number for all, (B, 1) for one per sample, (C,) or (B, C) for one
            per channel; or a dict with one entry per image name. Tensors may require a gradient.
        offset: Added after that, in the image's own units; shaped likewise.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A factor is not positive.

    >>> Brightness(2, offset=1)(torch.full((1, 1, 1, 1), 3.)).item()
    7.0
    """

    def __init__(
        self,
        factor: ByImage[PerSample],
        offset: ByImage[PerSample] = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.factor, self.offset = factor, offset
        check_positive(factor, "factor")

    def draw(self, context: Context, u: np.ndarray) -> BrightnessParams:
        factor, offset = (
            of_images(v, (), name, context, leading=True)
            for v, name in ((self.factor, "factor"), (self.offset, "offset"))
        )
        return BrightnessParams(factor, offset).expand(context.batch)


class RandomBrightness(ByChannel, _Brightness):
    """Change the brightness at random: ``factor x + offset``.

    Args:
        factor: Range of the factor, > 0; d means (1 - d, 1 + d).
        offset: Range of the offset, in the image's own units; d means (-d, d).
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty, or a factor not positive.

    >>> RandomBrightness(factor=(0.75, 1.25))(torch.rand(2, 4, 4, 4)).shape
    torch.Size([2, 4, 4, 4])
    """

    _numbers = 2

    def __init__(
        self,
        factor: RangeLike = (0.75, 1.25),
        offset: RangeLike = 0.0,
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.factor, self.offset = factor, offset
        self._factor = Range(factor, "factor", around=1, minimum=0, exclusive=True)
        self._offset = Range(offset, "offset")
        self._set_channels(by_channel, channel_p)

    def draw(self, context: Context, u: np.ndarray) -> BrightnessParams:
        numbers, changes = self._draw_channels(context, u)
        factor, offset = self._factor(numbers[..., :1]), self._offset(numbers[..., 1:])
        return BrightnessParams(
            where_changed(changes, factor[..., 0], 1.0), where_changed(changes, offset[..., 0], 0.0)
        )
