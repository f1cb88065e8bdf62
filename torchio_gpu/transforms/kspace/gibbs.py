"""Gibbs ringing: k-space whose outer lines were not acquired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array
from ...functional.kspace_lines import check_share, gibbs_lines
from ...functional.line_operations import LineOperation
from ..base import Context
from ..kinds import LineTransform, RandomTransform
from ..parameters.axes import check_axes
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangeLike
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class GibbsParams(Params):
    """Lines of k-space that are kept, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"cutoff": 1.0}

    cutoff: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    softness: Annotated[Array, "B M"]


class _Gibbs(LineTransform):
    """Gibbs ringing along an axis."""

    def lines(self, params: GibbsParams) -> LineOperation:
        return gibbs_lines(params.cutoff, params.softness, params.axis)


class Gibbs(_Gibbs):
    """Keep the central lines of k-space alone, as given, so that edges overshoot and ring.

    Truncation artifact, or Gibbs ringing: Czervionke et al. 1988, Characteristic features of MR
    truncation artifacts, AJR 151:1219.

    Args:
        cutoff: Share of the lines that is kept, about the central one, from 0 to 1: 0 keeps the
            central line alone, 1 all of them, which leaves the image as it is.
        axis: Axis along which lines are cut off: 0, 1, 2 or an anatomical name.
        softness: Share of the kept lines, from 0 to 1, over which their weight falls to 0 as a
            raised cosine; 0 for a hard edge.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, (B,), or as a dict with one entry per image name. No
    gradient flows to ``cutoff`` and ``softness``. Nothing happens along an axis of a single voxel.

    Raises:
        ValueError: A value is not as above.

    >>> Gibbs(cutoff=0.6, axis="AP")(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        cutoff: ByImage[PerSample],
        axis: ByImage[AxisLike],
        softness: ByImage[PerSample] = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cutoff, self.softness = cutoff, softness
        self.axis = check_phase_encoding(axis)
        for value in values_of(cutoff):
            check_share(value, "cutoff")
        for value in values_of(softness):
            check_share(value, "softness")

    def draw(self, context: Context, u: np.ndarray) -> GibbsParams:
        return GibbsParams(
            per_image(self.cutoff, (), "cutoff", context.names),
            axes_of(self.axis, context),
            per_image(self.softness, (), "softness", context.names),
        ).expand(context.batch)


class RandomGibbs(RandomTransform, _Gibbs):
    """Let edges overshoot and ring at random, outer lines of k-space being cut off.

    See :class:`Gibbs`. By default as many lines are kept as where 128 to 192 of 256 are acquired.

    Args:
        cutoff: Range of the share of the lines that is kept; d means (0, d).
        axes: Axes to choose from: voxel axes or anatomical names.
        softness: Range of the share of the kept lines over which their weight falls to 0; d means
            (0, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, or an axis is unknown.

    >>> RandomGibbs(cutoff=(0.4, 0.8), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        cutoff: RangeLike = (0.5, 0.75),
        axes: AxesLike = (0, 1, 2),
        softness: RangeLike = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cutoff, self.softness = cutoff, softness
        self.axes = check_axes(axes)
        self._cutoff = Range(cutoff, "cutoff", around=None, minimum=0, maximum=1)
        self._softness = Range(softness, "softness", around=None, minimum=0, maximum=1)

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> GibbsParams:
        return GibbsParams(
            self._cutoff(u[..., :1])[..., 0],
            draw_axes(self.axes, u[..., 1], context),
            self._softness(u[..., 2:])[..., 0],
        )
