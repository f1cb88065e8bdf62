"""Histogram shift: control points of the curve of intensities are moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.curves import check_shift
from ...shapes import Volume, check_count
from ..base import Context
from ..kinds import Images, VolumeTransform
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike
from .channels import ByChannel, of_images, where_changed


@dataclass(frozen=True)
class HistogramShiftParams(Params):
    """Shifts of N control points for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"shift": 0.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("shift",)
    shift: Annotated[Array, "B M K N"]


class _HistogramShift(VolumeTransform):
    """Increasing, piecewise linear curve of intensity that keeps the range."""

    def voxels(self, images: Images, name: str, params: HistogramShiftParams) -> Volume:
        return F.histogram_shift(images[name].data, params.shift)


class HistogramShift(_HistogramShift):
    """Move control points of the histogram as given.

    Control points divide the range of each channel evenly, from minimum to maximum. Those between
    the ends are moved, and intensities between them are mapped by straight lines: the range and the
    order of intensities are kept. After the histogram warping of Tustison et al. 2021,
    doi:10.1038/s41598-021-87564-6.

    Args:
        shift: Shift of the control points between the ends, in distances between neighbours: (N,),
            (B, N) for one set per sample, or (B, C, N) for one per channel; or a dict with one
            entry per image name. Tensors may require a gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A control point passes its neighbour, or a shape is not as above.

    >>> HistogramShift([0.5])(torch.tensor([0., 2, 4, 6, 8]).view(1, 1, 1, 5)).flatten()
    tensor([0., 3., 6., 7., 8.])
    """

    def __init__(self, shift: ByImage[PerSample], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shift = shift
        counts = {check_shift(value).shape[-1] for value in values_of(shift)}
        if len(counts) != 1:
            raise ValueError(f"shift must have as many points for each image, got {counts}")

    def draw(self, context: Context, u: np.ndarray) -> HistogramShiftParams:
        count = as_array(values_of(self.shift)[0], "shift").shape[-1]
        shift = of_images(self.shift, (count,), "shift", context)
        return HistogramShiftParams(shift).expand(context.batch)


class RandomHistogramShift(ByChannel, _HistogramShift):
    """Move control points of the histogram at random: see :class:`HistogramShift`.

    Args:
        num_control_points: Number of control points, of which the two ends are fixed; >= 3.
        shift: Range of the shift of each of the others, in distances between neighbours, from -0.5
            to 0.5, so that none passes another; d means (-d, d).
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: There are fewer than 3 control points, or the range is empty or leaves its
            bounds.

    >>> RandomHistogramShift(num_control_points=6, shift=0.4)(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    def __init__(
        self,
        num_control_points: int = 6,
        shift: RangeLike = (-0.5, 0.5),
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_control_points = check_count(num_control_points, "num_control_points", 3, 100)
        self.shift = shift
        self._shift = Range(shift, "shift", minimum=-0.5, maximum=0.5)
        self._set_channels(by_channel, channel_p)

    @property
    def _numbers(self) -> int:  # type: ignore[override]
        return self.num_control_points - 2

    def draw(self, context: Context, u: np.ndarray) -> HistogramShiftParams:
        numbers, changes = self._draw_channels(context, u)
        shift = self._shift(numbers[..., None])[..., 0]
        changes = None if changes is None else changes[..., None]
        return HistogramShiftParams(where_changed(changes, shift, 0.0))
