"""Smoothing of label maps by a vote of the voxels about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, per_sample
from ...functional.dispatch.arguments import at_least
from ...functional.labels import check_labels
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, LabelTransform, RandomTransform
from ..parameters.params import Params, per_image
from ..parameters.ranges import Range
from ..parameters.types import PerSample, RangeLike


@dataclass(frozen=True)
class SmoothParams(Params):
    """Standard deviation of the Gaussian for each sample and image, in mm."""

    neutral: ClassVar[dict[str, float]] = {"std": 0.0}
    std: Annotated[Array, "B M"]


class _SmoothLabels(LabelTransform):
    """Vote under a Gaussian."""

    labels: tuple[int, ...] | None

    def new_labels(self, images: Images, name: str, params: SmoothParams) -> Volume:
        image = images[name]
        return F.smooth_labels(image.data, params.std, spacing(image.affine), self.labels)


class SmoothLabels(_SmoothLabels):
    """Smooth the regions of label maps: each voxel gets the label with most weight around it.

    Weights are those of a Gaussian. Corners are rounded, and what is small is removed or filled.
    Each channel is a label map of its own.

    Args:
        std: Standard deviation of the Gaussian in mm, >= 0: a number, or (B,) for one per sample.
        labels: Labels that vote, beside 0: only voxels with one of these change. By default all,
            which are looked up: this waits for the device.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``std`` is negative, or ``labels`` are no whole numbers.

    >>> labels = LabelMap(torch.tensor([1, 1, 1, 2, 1, 2, 2]).view(1, 1, 1, 7))
    >>> SmoothLabels(std=1)(labels).data.flatten()
    tensor([1, 1, 1, 1, 2, 2, 2])
    """

    def __init__(self, std: PerSample, labels: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.std, self.labels = std, check_labels(labels)
        at_least(per_sample(std, (), "std"), 0, "std")

    def draw(self, context: Context, u: np.ndarray) -> SmoothParams:
        std = per_image(self.std, (), "std", context.names)
        return SmoothParams(std).expand(context.batch)


class RandomSmoothLabels(RandomTransform, _SmoothLabels):
    """Smooth the regions of label maps by a Gaussian of random width: see :class:`SmoothLabels`.

    Args:
        std: Range of the standard deviation of the Gaussian in mm; d means (0, d).
        labels: See :class:`SmoothLabels`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative, or ``labels`` are no whole numbers.

    >>> labels = LabelMap(torch.ones(1, 8, 8, 8, dtype=torch.uint8))
    >>> RandomSmoothLabels(std=(1, 3))(labels).data.shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self, std: RangeLike = (0, 2), labels: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.std, self.labels = std, check_labels(labels)
        self._std = Range(std, "std", around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 1

    def draw(self, context: Context, u: np.ndarray) -> SmoothParams:
        return SmoothParams(self._std(u).repeat(len(context.names), 1))
