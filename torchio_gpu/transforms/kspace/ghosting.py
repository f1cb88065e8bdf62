"""Ghosts along the phase-encode axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ...arrays import Array, as_array, per_sample
from ...functional.dispatch.arguments import at_least, within
from ...functional.kspace_lines import check_ghosts, ghosting_lines
from ...functional.line_operations import LineOperation
from ...signature import is_number
from ..base import Context
from ..kinds import LineTransform, RandomTransform
from ..parameters.axes import check_axes
from ..parameters.params import Params, per_image, stack_images, value_per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangeLike
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class GhostingParams(Params):
    """Number, axis and strength of ghosts, for each sample and image."""

    num_ghosts: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    intensity: Annotated[Array, "B M"]
    restore: Annotated[Array, "B M"]


class _Ghosting(LineTransform):
    """Ghosts along the phase-encode axis."""

    def lines(self, params: GhostingParams) -> LineOperation:
        return ghosting_lines(params.num_ghosts, params.intensity, params.restore, params.axis)


class Ghosting(_Ghosting):
    """Weaken every n-th plane of k-space, as given: n copies of the content along an axis.

    Args:
        num_ghosts: Number n of copies, the content included; a whole number >= 2, or 0 for no
            ghosts.
        axis: Axis along which copies are shifted: 0, 1, 2 or an anatomical name.
        intensity: Share of each n-th plane that is removed: 0 for nothing, 1 for all of it; above 1
            the planes change their sign.
        restore: Share of k-space, about its centre, that is kept, from 0 to 1; None, as 0, keeps
            the central plane alone.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, (B,), or as a dict with one entry per image name.
    Planes are counted from the central one, so the image's mean is kept; TorchIO 1.x counts from
    the edge and restores half of what is asked for.

    Raises:
        ValueError: A value is not as above.

    >>> ghosting = Ghosting(num_ghosts=4, axis=1, intensity=0.5, restore=0.02)
    >>> ghosting(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        num_ghosts: ByImage[PerSample],
        axis: ByImage[AxisLike],
        intensity: ByImage[PerSample],
        restore: ByImage[PerSample | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_ghosts, self.intensity, self.restore = num_ghosts, intensity, restore
        self.axis = check_phase_encoding(axis)
        for value in values_of(num_ghosts):
            check_ghosts(value)
        for value in values_of(intensity):
            at_least(as_array(value, "intensity"), 0, "intensity")
        for value in values_of(restore):
            within(as_array(0.0 if value is None else value, "restore"), 0, 1, "restore")

    def draw(self, context: Context, u: np.ndarray) -> GhostingParams:
        names = context.names
        given = value_per_image(self.restore, "restore", names)
        restore = [0.0 if value is None else value for value in given]
        return GhostingParams(
            per_image(self.num_ghosts, (), "num_ghosts", names),
            axes_of(self.axis, context),
            per_image(self.intensity, (), "intensity", names),
            stack_images([per_sample(value, (), "restore") for value in restore]),
        ).expand(context.batch)


class RandomGhosting(RandomTransform, _Ghosting):
    """Weaken every n-th plane of k-space at random: see :class:`Ghosting`.

    Args:
        num_ghosts: Range of the number of copies, ends included; d means (2, d), and 0 no ghosts.
        axes: Axes to choose from: voxel axes or anatomical names.
        intensity: Range of the share of each n-th plane that is removed; d means (0, d).
        restore: Range of the share of k-space that is kept; d means (0, d). None keeps the
            central plane alone.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, or an axis is unknown.

    >>> RandomGhosting(num_ghosts=(4, 10), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        num_ghosts: RangeLike = (4, 10),
        axes: AxesLike = (0, 1, 2),
        intensity: RangeLike = (0.5, 1),
        restore: RangeLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_ghosts, self.intensity, self.restore = num_ghosts, intensity, restore
        self.axes = check_axes(axes)
        none = is_number(num_ghosts) and num_ghosts == 0
        self._num_ghosts = Range(
            num_ghosts, "num_ghosts", around=None, minimum=0 if none else 2, whole=True
        )
        self._intensity = Range(intensity, "intensity", around=None, minimum=0)
        kept = (0, 0) if restore is None else restore
        self._restore = Range(kept, "restore", around=None, minimum=0, maximum=1)

    @property
    def draws(self) -> int:
        return 4

    def draw(self, context: Context, u: np.ndarray) -> GhostingParams:
        return GhostingParams(
            self._num_ghosts(u[..., :1])[..., 0],
            draw_axes(self.axes, u[..., 1], context),
            self._intensity(u[..., 2:3])[..., 0],
            self._restore(u[..., 3:])[..., 0],
        )
