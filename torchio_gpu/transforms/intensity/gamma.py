"""Gamma: change of contrast by a power of the intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, common
from ...functional import operations
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, PointwiseTransform, VolumeTransform
from ..parameters.params import Params
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .channels import ByChannel, check_positive, of_images, where_changed


@dataclass(frozen=True)
class GammaParams(Params):
    """Logarithm of the exponent, for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"log_gamma": 0.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("log_gamma",)
    log_gamma: Annotated[Array, "B M K"]


class _Gamma(PointwiseTransform, VolumeTransform):
    """Power of the intensity."""

    rescale: bool
    invert_image: bool
    retain_stats: bool

    def _set_statistics(self, rescale: bool, invert_image: bool, retain_stats: bool) -> None:
        if invert_image and not rescale:
            raise ValueError(
                "invert_image must come with rescale=True, got False: without, x and -x change "
                "alike"
            )
        self.rescale, self.invert_image, self.retain_stats = rescale, invert_image, retain_stats

    @property
    def role(self) -> str:  # type: ignore[override]
        """Pointwise, unless statistics of the volume are needed."""
        return "volume" if self.rescale or self.retain_stats else "pointwise"

    def voxels(self, images: Images, name: str, params: GammaParams) -> Volume:
        return F.gamma(
            images[name].data,
            params.log_gamma,
            rescale=self.rescale,
            invert=self.invert_image,
            retain_stats=self.retain_stats,
        )

    def is_invertible(self) -> bool:
        # statistics of an image that was cropped or moved since are others
        return not (self.rescale or self.retain_stats)

    def operation(self, params: GammaParams, active: np.ndarray | None) -> operations.Operation:
        return operations.Gamma(params.log_gamma)

    def invert(self, params: GammaParams) -> GammaParams:
        return GammaParams(-params.log_gamma)


class Gamma(_Gamma):
    """Change the contrast by a given exponent: ``sign(x) |x| ** gamma``.

    Args:
        gamma: The exponent: a number for all, (B, 1) for one per sample, (C,) or (B, C) for one
            per channel; or a dict with one entry per image name. Tensors may require a gradient.
        rescale: Raise intensities scaled to [0, 1], by the minimum and the maximum of the channel,
            to the power, and scale the result back. The transform cannot be undone then.
        invert_image: With ``rescale``, do so to the inverted image, so that bright intensities
            change as dark ones do otherwise.
        retain_stats: Restore mean and standard deviation of each channel. It cannot be undone then
            either.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: An exponent is not positive, or ``invert_image`` is given without ``rescale``.

    >>> Gamma(2)(torch.full((1, 1, 1, 1), -3.)).item()
    -9.0
    """

    def __init__(
        self,
        gamma: ByImage[PerSample],
        rescale: bool = False,
        invert_image: bool = False,
        retain_stats: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma
        self._set_statistics(rescale, invert_image, retain_stats)
        check_positive(gamma, "gamma")

    def draw(self, context: Context, u: np.ndarray) -> GammaParams:
        xp, gamma = common(of_images(self.gamma, (), "gamma", context, leading=True))
        return GammaParams(xp.log(gamma)).expand(context.batch)


class RandomGamma(ByChannel, _Gamma):
    """Change the contrast at random: ``sign(x) |x| ** exp(log_gamma)``.

    Args:
        log_gamma: Range of the exponent's logarithm; d means (-d, d). Negative values brighten,
            positive ones darken an image scaled to [0, 1].
        rescale, invert_image, retain_stats: See :class:`Gamma`.
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty, or ``invert_image`` is given without ``rescale``.

    >>> RandomGamma(log_gamma=(-0.3, 0.3))(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    _numbers = 1

    def __init__(
        self,
        log_gamma: RangeLike = (-0.3, 0.3),
        rescale: bool = False,
        invert_image: bool = False,
        retain_stats: bool = False,
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.log_gamma = log_gamma
        self._log_gamma = Range(log_gamma, "log_gamma")
        self._set_statistics(rescale, invert_image, retain_stats)
        self._set_channels(by_channel, channel_p)

    def draw(self, context: Context, u: np.ndarray) -> GammaParams:
        numbers, changes = self._draw_channels(context, u)
        return GammaParams(where_changed(changes, self._log_gamma(numbers)[..., 0], 0.0))
