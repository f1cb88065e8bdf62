"""Wrap-around: k-space of which every n-th line is acquired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array, as_array
from ...functional.dispatch.arguments import within
from ...functional.kspace_lines import check_acceleration, wrap_lines
from ...functional.line_operations import LineOperation
from ..base import Context
from ..kinds import LineTransform, RandomTransform
from ..parameters.axes import check_axes
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangeLike
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class WrapParams(Params):
    """Lines of k-space that are left out, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"intensity": 0.0}

    acceleration: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    intensity: Annotated[Array, "B M"]
    restore: Annotated[Array, "B M"]


class _Wrap(LineTransform):
    """Wrap-around along the phase-encode axis."""

    def lines(self, params: WrapParams) -> LineOperation:
        return wrap_lines(params.acceleration, params.intensity, params.restore, params.axis)


class Wrap(_Wrap):
    """Acquire every n-th line of k-space, as given, so that content folds over along an axis.

    Wrap-around, or aliasing, of content beyond a small field of view, and of an accelerated
    acquisition whose lines are not filled in: Pruessmann et al. 1999, SENSE: sensitivity encoding
    for fast MRI, Magn Reson Med 42:952. Lines are counted from the central one, so the mean of the
    image is kept: n = 2 is the mean of the image and of itself moved by half the axis.

    Args:
        acceleration: Whole number n >= 1; 1 for no change.
        axis: The phase-encode axis: 0, 1, 2 or an anatomical name.
        intensity: Share that is removed from each line left out, from 0 to 1: 1 for all of it, and
            less for what an imperfect reconstruction leaves.
        restore: Share of k-space, about its centre, of which all lines are acquired, from 0 to 1,
            as for calibration: smooth parts of the content do not fold.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, (B,), or as a dict with one entry per image name.

    Raises:
        ValueError: A value is not as above.

    >>> Wrap(acceleration=2, axis="AP", restore=0.1)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        acceleration: ByImage[PerSample],
        axis: ByImage[AxisLike],
        intensity: ByImage[PerSample] = 1.0,
        restore: ByImage[PerSample] = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.acceleration, self.intensity, self.restore = acceleration, intensity, restore
        self.axis = check_phase_encoding(axis)
        for value in values_of(acceleration):
            check_acceleration(value)
        for values, name in ((intensity, "intensity"), (restore, "restore")):
            for value in values_of(values):
                within(as_array(value, name), 0, 1, name)

    def draw(self, context: Context, u: np.ndarray) -> WrapParams:
        names = context.names
        return WrapParams(
            per_image(self.acceleration, (), "acceleration", names),
            axes_of(self.axis, context),
            per_image(self.intensity, (), "intensity", names),
            per_image(self.restore, (), "restore", names),
        ).expand(context.batch)


class RandomWrap(RandomTransform, _Wrap):
    """Let content fold over at random, as in a field of view that is too small.

    See :class:`Wrap`.

    Args:
        acceleration: Range of the whole number n of which every n-th line is acquired, ends
            included; d means (1, d).
        axes: Axes to choose from: voxel axes or anatomical names.
        intensity: Range of the share that is removed from each line left out, from 0 to 1; d means
            (0, d).
        restore: Range of the share of k-space, about its centre, of which all lines are acquired,
            from 0 to 1; d means (0, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, or an axis is unknown.

    >>> RandomWrap(acceleration=(2, 3), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        acceleration: RangeLike = (2, 3),
        axes: AxesLike = (0, 1, 2),
        intensity: RangeLike = (0.2, 0.8),
        restore: RangeLike = (0, 0.1),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.acceleration, self.intensity, self.restore = acceleration, intensity, restore
        self.axes = check_axes(axes)
        self._acceleration = Range(acceleration, "acceleration", around=None, minimum=1, whole=True)
        self._intensity = Range(intensity, "intensity", around=None, minimum=0, maximum=1)
        self._restore = Range(restore, "restore", around=None, minimum=0, maximum=1)

    @property
    def draws(self) -> int:
        return 4

    def draw(self, context: Context, u: np.ndarray) -> WrapParams:
        return WrapParams(
            self._acceleration(u[..., :1])[..., 0],
            draw_axes(self.axes, u[..., 1], context),
            self._intensity(u[..., 2:3])[..., 0],
            self._restore(u[..., 3:])[..., 0],
        )
