"""Reconstruction kernel: sharper or softer axial planes of CT images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import positive
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import fixed_or_range
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike
from .planes import check_plane_axis, plane_axes


@dataclass(frozen=True)
class ReconstructionKernelParams(Params):
    """Ratio of transfer functions at a frequency in cycles per mm, and axis across planes."""

    ratio: Annotated[Array, "B M"]
    frequency: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _ReconstructionKernel(VolumeTransform):
    """Reconstruction by another kernel."""

    def voxels(self, images: Images, name: str, params: ReconstructionKernelParams) -> Volume:
        image = images[name]
        return F.reconstruction_kernel(
            image.data,
            params.ratio,
            params.frequency,
            params.axis,
            spacing=spacing(image.affine),
        )


class ReconstructionKernel(_ReconstructionKernel):
    """Turn the axial planes of CT images into those of a sharper or softer reconstruction kernel.

    The spectrum of each plane is multiplied by the ratio of the modulation transfer functions of
    two Gaussian kernels up to a frequency, and by a constant beyond it: see
    :func:`torchio_gpu.functional.reconstruction_kernel`.

    Args:
        ratio: Modulation transfer function of the new kernel over that of the old one at
            ``frequency``, > 0: below 1 is softer, above 1 sharper, and 1 changes nothing.
        frequency: Frequency in cycles per mm, > 0, beyond which the ratio is constant.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior. It may also be given for every sample, (B,), or by
            image name.
        kwargs: See :class:`Transform`.

    Ratio and frequency are a number, or (B,) for one per sample; or a dict with one entry per image
    name; as tensors they may require a gradient.

    Raises:
        ValueError: A value is not positive.

    >>> ReconstructionKernel(ratio=2.5)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        ratio: ByImage[PerSample],
        frequency: ByImage[PerSample] = 0.5,
        axis: ByImage[AxisLike] = "IS",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = check_plane_axis(axis)
        self.ratio, self.frequency = ratio, frequency
        for values, name in ((ratio, "ratio"), (frequency, "frequency")):
            for value in values_of(values):
                positive(as_array(value, name), name)

    def draw(self, context: Context, u: np.ndarray) -> ReconstructionKernelParams:
        return ReconstructionKernelParams(
            per_image(self.ratio, (), "ratio", context.names),
            per_image(self.frequency, (), "frequency", context.names),
            plane_axes(self.axis, context),
        ).expand(context.batch)


class RandomReconstructionKernel(RandomTransform, _ReconstructionKernel):
    """Turn axial planes of CT images into those of a random, sharper or softer, kernel.

    See :class:`ReconstructionKernel`.

    Args:
        ratio: Range of the ratio of modulation transfer functions at ``frequency``, > 0, which is
            drawn log-uniformly, so that softer and sharper kernels are as frequent in (1 / d, d);
            a number is that ratio.
        frequency: Range of the frequency in cycles per mm, > 0, beyond which the ratio is
            constant; a number is that frequency.
        axis: See :class:`ReconstructionKernel`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or not positive.

    >>> RandomReconstructionKernel(ratio=(0.5, 2))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        ratio: RangeLike = (0.3, 3),
        frequency: RangeLike = 0.5,
        axis: ByImage[AxisLike] = "IS",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = check_plane_axis(axis)
        self.ratio, self.frequency = ratio, frequency
        self._ratio = fixed_or_range(ratio, "ratio", exclusive=True)
        self._frequency = fixed_or_range(frequency, "frequency", exclusive=True)

    @property
    def draws(self) -> int:
        return 2

    def _log_uniform(self, u: np.ndarray) -> np.ndarray:
        """Return ratios for uniform numbers, for which 1 / 2 is as far from 1 as 2 is."""
        if self._ratio.parts[0] is not None:  # a choice or a distribution is what it is
            return self._ratio(u[..., None])[..., 0]
        return self._ratio.low * (1 + self._ratio.span / self._ratio.low) ** u

    def draw(self, context: Context, u: np.ndarray) -> ReconstructionKernelParams:
        return ReconstructionKernelParams(
            self._log_uniform(u[..., 0]),
            self._frequency(u[..., 1:])[..., 0],
            plane_axes(self.axis, context),
        )
