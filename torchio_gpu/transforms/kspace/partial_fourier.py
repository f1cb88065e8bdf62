"""Partial Fourier acquisition: k-space of which lines on one side are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array
from ...functional.kspace import check_output
from ...functional.kspace_lines import (
    check_acquired,
    check_reconstruction,
    partial_fourier_lines,
)
from ...functional.line_operations import LineOperation
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, LineTransform, RandomTransform
from ..parameters.axes import check_axes
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangeLike
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class PartialFourierParams(Params):
    """Share of the lines of k-space that is acquired, for each sample and image."""

    share: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _PartialFourier(LineTransform):
    """Partial Fourier acquisition along the phase-encode axis."""

    reconstruction: str
    output: str
    ends_lines = True

    @property
    def changes_lines(self) -> bool:  # type: ignore[override]
        return self.reconstruction == "zero"

    def lines(self, params: PartialFourierParams) -> LineOperation:
        return partial_fourier_lines(params.share, params.axis, self.output)

    def voxels(self, images: Images, name: str, params: PartialFourierParams) -> Volume:
        data = images[name].data
        return F.partial_fourier(data, params.share, params.axis, self.reconstruction, self.output)


class PartialFourier(_PartialFourier):
    """Acquire a share of the lines of k-space, as given, from one side past the central line.

    McGibney et al. 1993, Quantitative evaluation of several partial Fourier reconstruction
    algorithms used in MRI, doi:10.1002/mrm.1910300109. Zero-filled, the image loses sharpness along
    the axis.

    Args:
        share: Share of the lines that is acquired, from 0.5 to 1, which is all of them.
        axis: The phase-encode axis: 0, 1, 2 or an anatomical name.
        reconstruction: 'zero' leaves missing lines 0. 'conjugate' fills them by the conjugate
            symmetry of the k-space of real images: real images stay as they are, complex ones show
            where their phase varies.
        output: 'magnitude' of the image, or 'real' for its real part. Complex images stay complex.
        kwargs: See :class:`Transform`.

    ``share`` and ``axis`` may also be given for every sample, (B,), or as a dict with one entry per
    image name. No gradient flows to ``share``.

    Raises:
        ValueError: A value is not as above.

    >>> PartialFourier(share=0.75, axis="AP")(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        share: ByImage[PerSample],
        axis: ByImage[AxisLike],
        reconstruction: str = "zero",
        output: str = "magnitude",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.share = share
        self.axis = check_phase_encoding(axis)
        self.reconstruction = check_reconstruction(reconstruction)
        self.output = check_output(output)
        for value in values_of(share):
            check_acquired(value, "share")

    def draw(self, context: Context, u: np.ndarray) -> PartialFourierParams:
        return PartialFourierParams(
            per_image(self.share, (), "share", context.names), axes_of(self.axis, context)
        ).expand(context.batch)


class RandomPartialFourier(RandomTransform, _PartialFourier):
    """Acquire a random share of the lines of k-space, from one side past the central line.

    See :class:`PartialFourier`. By default from 5 eighths of the lines, as scanners offer, to 7.

    Args:
        share: Range of the share of the lines that is acquired, from 0.5 to 1; d means (0.5, d).
        axes: Axes to choose from: voxel axes or anatomical names.
        reconstruction: 'zero' or 'conjugate'; see :class:`PartialFourier`.
        output: 'magnitude' or 'real'; see :class:`PartialFourier`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, or a name is unknown.

    >>> RandomPartialFourier(share=(0.6, 0.7), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        share: RangeLike = (0.625, 0.875),
        axes: AxesLike = (0, 1, 2),
        reconstruction: str = "zero",
        output: str = "magnitude",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.share = share
        self.axes = check_axes(axes)
        self.reconstruction = check_reconstruction(reconstruction)
        self.output = check_output(output)
        self._share = Range(share, "share", around=None, minimum=0.5, maximum=1)

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> PartialFourierParams:
        return PartialFourierParams(
            self._share(u[..., :1])[..., 0], draw_axes(self.axes, u[..., 1], context)
        )
