"""Noise of several receive coils: noncentral chi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.coil_noise import MOST_COILS, WIDTHS
from ...functional.dispatch.arguments import at_least
from ...functional.dispatch.launch import to_device
from ...shapes import Volume, check_count, with_voxel_axes
from ...signature import is_number
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike, WholePerSample
from .phase_encoding import axes_of, check_phase_encoding


@dataclass(frozen=True)
class CoilNoiseParams(Params):
    """Standard deviation and seed of the noise, and the axis that the coils are around."""

    std: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    seed: Annotated[np.ndarray, "B M", int]


class _CoilNoise(VolumeTransform):
    """Noise of several coils."""

    def _set_coils(self, num_coils: int, axis: Any, width: float, uniform: bool) -> None:
        check_count(num_coils, "num_coils", 1, MOST_COILS)
        if not is_number(width) or not WIDTHS[0] <= width <= WIDTHS[1]:
            raise ValueError(f"width must be a number from 0.3 to 100, got {width!r}")
        self.num_coils, self.width, self.uniform = num_coils, width, uniform
        self.axis = check_phase_encoding(axis)

    def voxels(self, images: Images, name: str, params: CoilNoiseParams) -> Volume:
        x = images[name].data
        out = F.coil_noise(
            x, params.std, self.num_coils, params.seed, params.axis, self.width, self.uniform
        )
        if not self.uniform:
            return out
        (std,) = to_device(x.device, params.std)  # the magnitude is taken even without noise
        return torch.where(with_voxel_axes(std == 0), x.to(out.dtype), out)


class CoilNoise(_CoilNoise):
    """Add the noise of several receive coils, of a given standard deviation.

    The images of coils around the patient, each with complex noise, are joined as the root of the
    sum of their squares: the noise has a noncentral chi distribution, and the background is the
    brighter, the more coils there are (Constantinides et al. 1997, doi:10.1002/mrm.1910380524). One
    coil gives the Rician noise of :class:`Noise`. See :func:`torchio_gpu.functional.coil_noise`.

    Args:
        std: Standard deviation of both parts of the noise of each coil, in the image's own units,
            >= 0. Where it is 0 and ``uniform``, nothing changes.
        num_coils: Number of coils, from 1 to 128.
        axis: Axis that the coils are around: 0, 1, 2 or an anatomical name.
        width: Width of the sensitivities, in halves of the extent of the image, from 0.3
            to 100.
        uniform: Divide the sensitivities by the root of the sum of their squares. If False, the
            image is brighter near the coils.
        seed: Integer that decides the noise.
        kwargs: See :class:`Transform`.

    ``std``, ``axis`` and ``seed`` may also be given for every sample, (B,), or as a dict with one
    entry per image name. A ``std`` that is a tensor may require a gradient.

    Raises:
        ValueError: A value is not as above; or, when called, the image is complex.

    >>> CoilNoise(std=0.1, num_coils=4, axis=2)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        std: ByImage[PerSample],
        num_coils: int = 8,
        axis: ByImage[AxisLike] = "IS",
        width: float = 0.8,
        uniform: bool = True,
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.std, self.seed = std, seed
        self._set_coils(num_coils, axis, width, uniform)
        for value in values_of(std):
            at_least(as_array(value, "std"), 0, "std")

    def draw(self, context: Context, u: np.ndarray) -> CoilNoiseParams:
        names, batch = context.names, context.batch
        seeds = seeds_per_image(self.seed, names, batch)
        std = per_image(self.std, (), "std", names)
        return CoilNoiseParams(std, axes_of(self.axis, context), seeds).expand(batch)


class RandomCoilNoise(RandomTransform, _CoilNoise):
    """Add the noise of several receive coils, of a random standard deviation.

    See :class:`CoilNoise`.

    Args:
        std: Range of the standard deviation, in the image's own units; d means (0, d).
        num_coils, axis, width, uniform: See :class:`CoilNoise`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative, or as for :class:`CoilNoise`.

    >>> RandomCoilNoise(std=(0, 0.1), num_coils=4)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        std: RangeLike = (0, 0.1),
        num_coils: int = 8,
        axis: ByImage[AxisLike] = "IS",
        width: float = 0.8,
        uniform: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.std = std
        self._std = Range(std, "std", around=None, minimum=0)
        self._set_coils(num_coils, axis, width, uniform)

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> CoilNoiseParams:
        axis = np.broadcast_to(axes_of(self.axis, context), u.shape[:2])
        return CoilNoiseParams(self._std(u[..., :1])[..., 0], axis, random.to_seeds(u[..., 1:]))
