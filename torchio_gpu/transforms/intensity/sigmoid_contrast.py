"""Sigmoid contrast: a curve of intensity that is steep about a cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least, within
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, VolumeTransform
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .channels import ByChannel, of_images, where_changed


@dataclass(frozen=True)
class SigmoidContrastParams(Params):
    """Curve for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"gain": 0.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("gain", "cutoff")
    gain: Annotated[Array, "B M K"]
    cutoff: Annotated[Array, "B M K"]


class _SigmoidContrast(VolumeTransform):
    """Sigmoid curve of intensity that keeps the range."""

    def voxels(self, images: Images, name: str, params: SigmoidContrastParams) -> Volume:
        return F.sigmoid_contrast(images[name].data, params.gain, params.cutoff)


class SigmoidContrast(_SigmoidContrast):
    """Raise the contrast about an intensity, and lower it elsewhere, by a given sigmoid.

    ``s(t) = 1 / (1 + exp(gain (cutoff - t)))`` of intensities t scaled to [0, 1], scaled so that
    minimum and maximum of each channel are kept (Braun & Fairchild 1999, J Electron Imaging 8:380).
    scikit-image and imgaug, which have the same arguments, do not keep them.

    Args:
        gain: Steepness, >= 0; 0 changes nothing: a number for all, (B, 1) for one per sample, (C,)
            or (B, C) for one per channel; or a dict with one entry per image name. Tensors may
            require a gradient.
        cutoff: Place of the steepest slope, as a share of the range, from 0 to 1; shaped likewise.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A gain is negative, or a cutoff not in [0, 1].

    >>> SigmoidContrast(gain=10)(torch.tensor([0., 1, 2, 3, 4]).view(1, 1, 1, 5)).flatten()
    tensor([0.0000, 0.2804, 2.0000, 3.7196, 4.0000])
    """

    def __init__(
        self,
        gain: ByImage[PerSample],
        cutoff: ByImage[PerSample] = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gain, self.cutoff = gain, cutoff
        for value in values_of(gain):
            at_least(as_array(value, "gain"), 0, "gain")
        for value in values_of(cutoff):
            within(as_array(value, "cutoff"), 0, 1, "cutoff")

    def draw(self, context: Context, u: np.ndarray) -> SigmoidContrastParams:
        gain = of_images(self.gain, (), "gain", context, leading=True)
        cutoff = of_images(self.cutoff, (), "cutoff", context, leading=True)
        return SigmoidContrastParams(gain, cutoff).expand(context.batch)


class RandomSigmoidContrast(ByChannel, _SigmoidContrast):
    """Raise the contrast about a random intensity, and lower it elsewhere.

    See :class:`SigmoidContrast`.

    Args:
        gain: Range of the steepness, >= 0; d means (0, d).
        cutoff: Range of the place of the steepest slope, as a share of the range of intensities,
            from 0 to 1; d means (0, d).
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds.

    >>> RandomSigmoidContrast(gain=(1, 5), cutoff=(0.3, 0.7))(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    _numbers = 2

    def __init__(
        self,
        gain: RangeLike = (1, 6),
        cutoff: RangeLike = (0.25, 0.75),
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gain, self.cutoff = gain, cutoff
        self._gain = Range(gain, "gain", around=None, minimum=0)
        self._cutoff = Range(cutoff, "cutoff", around=None, minimum=0, maximum=1)
        self._set_channels(by_channel, channel_p)

    def draw(self, context: Context, u: np.ndarray) -> SigmoidContrastParams:
        numbers, changes = self._draw_channels(context, u)
        gain, cutoff = self._gain(numbers[..., :1])[..., 0], self._cutoff(numbers[..., 1:])[..., 0]
        return SigmoidContrastParams(where_changed(changes, gain, 0.0), cutoff)
