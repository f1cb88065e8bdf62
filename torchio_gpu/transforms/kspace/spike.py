"""Spikes in k-space, which appear as stripes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array, per_sample
from ...functional.kspace import check_positions
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, value_per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike


@dataclass(frozen=True)
class SpikeParams(Params):
    """Spikes for each sample and image; a spike of intensity 0 has no effect."""

    positions: Annotated[Array, "B M P 3"]
    intensity: Annotated[Array, "B M P"]


class _Spike(VolumeTransform):
    """Spikes in k-space."""

    def voxels(self, images: Images, name: str, params: SpikeParams) -> Volume:
        return F.spike(images[name].data, params.positions, params.intensity)


class Spike(_Spike):
    """Add given bright points to k-space: stripes across the image.

    Args:
        spikes_positions: Positions in centred k-space, relative to its size: from 0 to 1, frequency
            0 at 1/2; (P, 3).
        intensity: Intensity of the spikes, relative to the largest magnitude in k-space: a number
            or (P,).
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, with a leading B, or as a dict with one entry per
    image name. Tensors may require a gradient.

    Raises:
        ValueError: A shape or position is not as above.

    >>> spike = Spike(spikes_positions=[(0.5, 0.6, 0.7)], intensity=0.5)
    >>> spike(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        spikes_positions: ByImage[PerSample],
        intensity: ByImage[PerSample],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spikes_positions, self.intensity = spikes_positions, intensity
        for value in values_of(spikes_positions):
            count = check_positions(value, "spikes_positions").shape[-2]
            for heights in values_of(intensity):
                per_sample(heights, (count,), "intensity")

    def draw(self, context: Context, u: np.ndarray) -> SpikeParams:
        names = context.names
        first = as_array(value_per_image(self.spikes_positions, "spikes_positions", names)[0])
        count = first.shape[-2]
        return SpikeParams(
            per_image(self.spikes_positions, (count, 3), "spikes_positions", names),
            per_image(self.intensity, (count,), "intensity", names),
        ).expand(context.batch)


class RandomSpike(RandomTransform, _Spike):
    """Add bright points to k-space at random: see :class:`Spike`.

    Args:
        num_spikes: Range of their number, ends included; d means (0, d).
        intensity: Range of their intensity, relative to the largest magnitude in k-space; d
            means (-d, d). All spikes of an image share it.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty, or ``num_spikes`` is negative or has no upper end.

    >>> RandomSpike(num_spikes=(1, 3), intensity=(0.5, 1))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self, num_spikes: RangeLike = (1, 1), intensity: RangeLike = (1, 3), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_spikes, self.intensity = num_spikes, intensity
        self._num_spikes = Range(num_spikes, "num_spikes", around=None, minimum=0, whole=True)
        self._intensity = Range(intensity, "intensity")
        if not self._num_spikes.greatest <= 10**4:
            raise ValueError(
                f"num_spikes must have an upper end: a number, a pair or a Choice, "
                f"got {num_spikes!r}"
            )

    @property
    def _max_count(self) -> int:
        return int(self._num_spikes.greatest)

    @property
    def draws(self) -> int:
        return 2 + 3 * self._max_count

    def draw(self, context: Context, u: np.ndarray) -> SpikeParams:
        number, intensity = self._num_spikes(u[..., :1]), self._intensity(u[..., 1:2])
        present = np.arange(self._max_count) < number
        return SpikeParams(u[..., 2:].reshape(*u.shape[:2], -1, 3), intensity * present)
