"""Contrast: differences from the mean, times a factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, VolumeTransform
from ..parameters.params import Params
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .channels import ByChannel, check_positive, of_images, where_changed


@dataclass(frozen=True)
class ContrastParams(Params):
    """Factor for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"factor": 1.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("factor",)
    factor: Annotated[Array, "B M K"]


class _Contrast(VolumeTransform):
    """Differences from the mean of each channel, times a factor."""

    preserve_range: bool

    def voxels(self, images: Images, name: str, params: ContrastParams) -> Volume:
        return F.contrast(images[name].data, params.factor, self.preserve_range)


class Contrast(_Contrast):
    """Change the contrast by a given factor: ``mean + factor (x - mean)``, for each channel.

    Args:
        factor: The factor, > 0: a number for all, (B, 1) for one per sample, (C,) or (B, C) for one
            per channel; or a dict with one entry per image name. Tensors may require a gradient.
        preserve_range: Clamp to the minimum and maximum that the channel had.
        kwargs: See :class:`Transform`.

    It cannot be undone: the mean of an image that was cropped or moved since is another one.

    Raises:
        ValueError: A factor is not positive.

    >>> Contrast(2, preserve_range=False)(torch.tensor([0., 1, 2]).view(1, 1, 1, 3)).flatten()
    tensor([-1.,  1.,  3.])
    """

    def __init__(
        self, factor: ByImage[PerSample], preserve_range: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.factor, self.preserve_range = factor, preserve_range
        check_positive(factor, "factor")

    def draw(self, context: Context, u: np.ndarray) -> ContrastParams:
        factor = of_images(self.factor, (), "factor", context, leading=True)
        return ContrastParams(factor).expand(context.batch)


class RandomContrast(ByChannel, _Contrast):
    """Change the contrast at random: ``mean + factor (x - mean)``, for each channel.

    Args:
        factor: Range of the factor, > 0; d means (1 - d, 1 + d).
        preserve_range: See :class:`Contrast`.
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty, or a factor not positive.

    >>> RandomContrast(factor=(0.75, 1.25))(torch.rand(2, 4, 4, 4)).shape
    torch.Size([2, 4, 4, 4])
    """

    _numbers = 1

    def __init__(
        self,
        factor: RangeLike = (0.75, 1.25),
        preserve_range: bool = True,
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.factor, self.preserve_range = factor, preserve_range
        self._factor = Range(factor, "factor", around=1, minimum=0, exclusive=True)
        self._set_channels(by_channel, channel_p)

    def draw(self, context: Context, u: np.ndarray) -> ContrastParams:
        numbers, changes = self._draw_channels(context, u)
        return ContrastParams(where_changed(changes, self._factor(numbers)[..., 0], 1.0))
