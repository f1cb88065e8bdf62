"""Gaussian and Rician noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import random
from ...arrays import Array, as_array, host, on_host
from ...functional import operations
from ..base import Context
from ..kinds import PointwiseTransform
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import ByImage, PerSample, RangeLike, WholePerSample
from .channels import ByChannel, of_images, where_changed


@dataclass(frozen=True)
class NoiseParams(Params):
    """Distribution, by channel (or for all channels), and seed of the noise of each image."""

    neutral: ClassVar[dict[str, float]] = {"mean": 0.0, "std": 0.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("mean", "std")
    mean: Annotated[Array, "B M K"]
    std: Annotated[Array, "B M K"]
    seed: Annotated[np.ndarray, "B M", int]


class _Noise(PointwiseTransform):
    """Gaussian or Rician noise."""

    rician: bool

    def operation(self, params: NoiseParams, active: np.ndarray | None) -> operations.Operation:
        mean, std = params.mean, params.std
        changes: Array | None = active
        if self.rician:  # the formula takes the magnitude even where there is no noise
            changes = (std != 0) | (mean != 0)
        return operations.Noise(mean, std, params.seed, self.rician, changes)

    def is_invertible(self) -> bool:
        return not self.rician

    def invert(self, params: NoiseParams) -> NoiseParams:
        if self.rician:
            raise NotImplementedError("Rician noise cannot be undone")
        return NoiseParams(-params.mean, -params.std, params.seed)


class Noise(_Noise):
    """Add noise of a given distribution and seed.

    Args:
        mean, std: In the image's own units: a number, one per sample (B,) or one per channel
            (B, C); or a dict with one entry per image name. Tensors may require a gradient. Where
            both are 0, nothing changes.
        seed: Integer that decides the noise, or one per sample (B,), or a dict.
        rician: Noise of a magnitude image, ``sqrt((x + n1)^2 + n2^2)`` (Gudbjartsson & Patz 1995,
            doi:10.1002/mrm.1910340618), instead of Gaussian noise ``x + n``.
        kwargs: See :class:`Transform`.

    Gaussian noise can be undone, Rician noise cannot.

    Raises:
        ValueError: ``std`` is negative.

    >>> Noise(mean=0, std=1, seed=42)(torch.zeros(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    def __init__(
        self,
        mean: ByImage[PerSample] = 0.0,
        std: ByImage[PerSample] = 1.0,
        seed: ByImage[WholePerSample] = 0,
        rician: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mean, self.std, self.seed, self.rician = mean, std, seed, rician
        for value in values_of(std):
            array = as_array(value, "std")
            if on_host(array) and not (host(array) >= 0).all():
                raise ValueError(f"std must be >= 0, got {value!r}")

    def draw(self, context: Context, u: np.ndarray) -> NoiseParams:
        names, batch = context.names, context.batch
        mean = of_images(self.mean, (), "mean", context)
        std = of_images(self.std, (), "std", context)
        return NoiseParams(mean, std, seeds_per_image(self.seed, names, batch)).expand(batch)


class RandomNoise(ByChannel, _Noise):
    """Add noise whose mean and standard deviation are random.

    Args:
        mean: Range of the mean, in the image's own units; d means (-d, d).
        std: Range of the standard deviation, in the image's own units; d means (0, d).
        rician: See :class:`Noise`.
        by_channel: Draw mean and standard deviation for each channel, rather than for the image.
            The noise itself differs between channels either way.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty, or a standard deviation negative.

    >>> RandomNoise(std=(0, 0.1))(torch.zeros(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    _numbers = 2

    def __init__(
        self,
        mean: RangeLike = 0.0,
        std: RangeLike = (0, 0.25),
        rician: bool = False,
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mean, self.std, self.rician = mean, std, rician
        self._set_channels(by_channel, channel_p)
        self._mean = Range(mean, "mean")
        self._std = Range(std, "std", around=None, minimum=0)

    @property
    def draws(self) -> int:
        return super().draws + 2

    def draw(self, context: Context, u: np.ndarray) -> NoiseParams:
        own = super().draws
        numbers, changes = self._draw_channels(context, u[..., :own])
        mean, std = self._mean(numbers[..., :1])[..., 0], self._std(numbers[..., 1:])[..., 0]
        mean, std = where_changed(changes, mean, 0.0), where_changed(changes, std, 0.0)
        return NoiseParams(mean, std, random.to_seeds(u[..., own:]))
