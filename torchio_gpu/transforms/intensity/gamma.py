"""Gamma: change of contrast by a power of the intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array, as_array, common, host, on_host, per_sample
from ...functional import operations
from ..base import Context
from ..kinds import PointwiseTransform, RandomTransform
from ..parameters.params import Params, stack_images, value_per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike


@dataclass(frozen=True)
class GammaParams(Params):
    """Logarithm of the exponent, for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"log_gamma": 0.0}
    log_gamma: Annotated[Array, "B M K"]


class _Gamma(PointwiseTransform):
    """Power of the intensity."""

    def operation(self, params: GammaParams, active: np.ndarray | None) -> operations.Operation:
        return operations.Gamma(params.log_gamma)

    def invert(self, params: GammaParams) -> GammaParams:
        return GammaParams(-params.log_gamma)


class Gamma(_Gamma):
    """Change the contrast by a given exponent: ``sign(x) |x| ** gamma``.

    Args:
        gamma: The exponent: a number for all, (B, 1) for one per sample, (C,) or (B, C) for one
            per channel; or a dict with one entry per image name. Tensors may require a gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: An exponent is not positive.

    >>> Gamma(2)(torch.full((1, 1, 1, 1), -3.)).item()
    -9.0
    """

    def __init__(self, gamma: ByImage[PerSample], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma
        for value in values_of(gamma):
            array = as_array(value, "gamma")
            if array.ndim > 2:
                raise ValueError(f"gamma must be a number, (C,) or (B, C), got {array.shape}")
            if on_host(array) and not (host(array) > 0).all():
                raise ValueError(f"gamma must be > 0, got {value!r}")

    def draw(self, context: Context, u: np.ndarray) -> GammaParams:
        def log(value: Any) -> Any:
            array = as_array(value, "gamma")
            channels = array.shape[-1] if array.ndim else 1
            xp, gamma = common(per_sample(array, (channels,), "gamma"))
            return xp.log(gamma)

        values = [log(value) for value in value_per_image(self.gamma, "gamma", context.names)]
        return GammaParams(stack_images(values)).expand(context.batch)


class RandomGamma(RandomTransform, _Gamma):
    """Change the contrast at random: ``sign(x) |x| ** exp(log_gamma)``.

    Args:
        log_gamma: Range of the exponent's logarithm; d means (-d, d). Negative values brighten,
            positive ones darken an image scaled to [0, 1].
        kwargs: See :class:`Transform`.

    All channels of an image share the exponent.

    Raises:
        ValueError: The range is empty.

    >>> RandomGamma(log_gamma=(-0.3, 0.3))(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    def __init__(self, log_gamma: RangeLike = (-0.3, 0.3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log_gamma = log_gamma
        self._log_gamma = Range(log_gamma, "log_gamma")

    @property
    def draws(self) -> int:
        return 1

    def draw(self, context: Context, u: np.ndarray) -> GammaParams:
        return GammaParams(self._log_gamma(u))
