"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, per_sample
from ...functional.dispatch.arguments import at_least
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangesLike


@dataclass(frozen=True)
class BlurParams(Params):
    """Width of the Gaussian for each sample and image."""

    std: Annotated[Array, "B M 3"]  # mm along I, J, K


class _Blur(VolumeTransform):
    """Gaussian blur."""

    def voxels(self, images: Images, name: str, params: BlurParams) -> Volume:
        return F.blur(images[name].data, params.std, spacing(images[name].affine))


class Blur(_Blur):
    """Blur scalar images by a Gaussian of given width.

    Args:
        std: Standard deviation along I, J, K in mm: a number, (3,), or (B, 3) for one set per
            sample; or a dict with one entry per image name. Tensors may require a gradient.
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
            at_least(per_sample(value, (3,), "std"), 0, "std")

    def draw(self, context: Context, u: np.ndarray) -> BlurParams:
        return BlurParams(per_image(self.std, (3,), "std", context.names)).expand(context.batch)


class RandomBlur(RandomTransform, _Blur):
    """Blur scalar images by a Gaussian of random width.

    Args:
        std: Range of the standard deviation along each axis in mm; d means (0, d). Three values
            are one for each axis, six are three pairs.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative.

    >>> RandomBlur(std=(0, 2))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, std: RangesLike = (0, 2), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.std = std
        self._std = Range(std, "std", axes=3, around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> BlurParams:
        return BlurParams(self._std(u))
