"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array
from ...functional.dispatch.arguments import at_least
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, VolumeTransform
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangesLike
from .channels import ByChannel, of_images, value_by_channel, where_changed


@dataclass(frozen=True)
class BlurParams(Params):
    """Width of the Gaussian for each sample, image and channel (or all channels)."""

    channel_arrays: ClassVar[tuple[str, ...]] = ("std",)
    std: Annotated[Array, "B M K 3"]  # mm along I, J, K


class _Blur(VolumeTransform):
    """Gaussian blur."""

    def voxels(self, images: Images, name: str, params: BlurParams) -> Volume:
        return F.blur(images[name].data, params.std, spacing(images[name].affine))


class Blur(_Blur):
    """Blur scalar images by a Gaussian of given width.

    Args:
        std: Standard deviation along I, J, K in mm: a number, (3,), (B, 3) for one set per sample
            or (B, C, 3) for one per channel; or a dict with one entry per image name. Tensors may
            require a gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``std`` is negative or of another shape.

    >>> Blur(std=(1, 0, 2))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, std: ByImage[PerSample], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.std = std
        for value in values_of(std):
            at_least(value_by_channel(value, (3,), "std"), 0, "std")

    def draw(self, context: Context, u: np.ndarray) -> BlurParams:
        return BlurParams(of_images(self.std, (3,), "std", context)).expand(context.batch)


class RandomBlur(ByChannel, _Blur):
    """Blur scalar images by a Gaussian of random width.

    Args:
        std: Range of the standard deviation along each axis in mm; d means (0, d). Three values
            are one for each axis, six are three pairs.
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative.

    >>> RandomBlur(std=(0, 2))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    _numbers = 3

    def __init__(
        self,
        std: RangesLike = (0, 2),
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.std = std
        self._std = Range(std, "std", axes=3, around=None, minimum=0)
        self._set_channels(by_channel, channel_p)

    def draw(self, context: Context, u: np.ndarray) -> BlurParams:
        numbers, changes = self._draw_channels(context, u)
        each = None if changes is None else changes[..., None]
        return BlurParams(where_changed(each, self._std(numbers), 0.0))
