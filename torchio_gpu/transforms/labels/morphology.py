"""Erosion and dilation of labels by a radius in mm."""

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
class RadiusParams(Params):
    """Radius for each sample and image, in mm."""

    neutral: ClassVar[dict[str, float]] = {"radius": 0.0}
    radius: Annotated[Array, "B M"]


class _ByRadius(LabelTransform):
    """Transform of label maps by a radius that is given."""

    labels: tuple[int, ...] | None

    def __init__(
        self, radius: PerSample, labels: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.radius, self.labels = radius, check_labels(labels)
        at_least(per_sample(radius, (), "radius"), 0, "radius")

    def draw(self, context: Context, u: np.ndarray) -> RadiusParams:
        radius = per_image(self.radius, (), "radius", context.names)
        return RadiusParams(radius).expand(context.batch)


class _ByRandomRadius(RandomTransform, LabelTransform):
    """Transform of label maps by a radius that is drawn."""

    labels: tuple[int, ...] | None

    def __init__(
        self, radius: RangeLike = (0, 1), labels: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.radius, self.labels = radius, check_labels(labels)
        self._radius = Range(radius, "radius", around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 1

    def draw(self, context: Context, u: np.ndarray) -> RadiusParams:
        return RadiusParams(self._radius(u).repeat(len(context.names), 1))


class _Erode(LabelTransform):
    labels: tuple[int, ...] | None

    def new_labels(self, images: Images, name: str, params: RadiusParams) -> Volume:
        image = images[name]
        return F.erode_labels(image.data, params.radius, spacing(image.affine), self.labels)


class _Dilate(LabelTransform):
    labels: tuple[int, ...] | None

    def new_labels(self, images: Images, name: str, params: RadiusParams) -> Volume:
        image = images[name]
        return F.dilate_labels(image.data, params.radius, spacing(image.affine), self.labels)


class ErodeLabels(_Erode, _ByRadius):
    """Erode the regions of label maps by a ball of a given radius.

    Voxels that have another label within the radius, background included, become 0. A region is not
    eroded where it leaves the image, as by ITK. Each channel is a label map of its own.

    Args:
        radius: Radius of the ball in mm, >= 0: a number, or (B,) for one per sample.
        labels: Labels to erode; all by default.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``radius`` is negative, or ``labels`` are no whole numbers.

    >>> labels = LabelMap(torch.tensor([0, 1, 1, 1, 0]).view(1, 1, 1, 5))
    >>> ErodeLabels(radius=1)(labels).data.flatten()
    tensor([0, 0, 1, 0, 0])
    """


class RandomErodeLabels(_Erode, _ByRandomRadius):
    """Erode the regions of label maps by a ball of random radius: see :class:`ErodeLabels`.

    Args:
        radius: Range of the radius in mm; d means (0, d).
        labels: Labels to erode; all by default.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative, or ``labels`` are no whole numbers.

    >>> labels = LabelMap(torch.ones(1, 8, 8, 8, dtype=torch.uint8))
    >>> RandomErodeLabels(radius=(1, 3))(labels).data.shape
    torch.Size([1, 8, 8, 8])
    """


class DilateLabels(_Dilate, _ByRadius):
    """Dilate the regions of label maps by a ball of a given radius, into the background alone.

    Voxels that are 0 get the label of the nearest other voxel within the radius, and the smallest
    label of equally near ones: no label covers another. Each channel is a label map of its own.

    Args:
        radius: Radius of the ball in mm, >= 0: a number, or (B,) for one per sample.
        labels: Labels that spread; all but 0 by default.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``radius`` is negative, or ``labels`` are no whole numbers.

    >>> labels = LabelMap(torch.tensor([0, 0, 1, 0, 2]).view(1, 1, 1, 5))
    >>> DilateLabels(radius=1)(labels).data.flatten()
    tensor([0, 1, 1, 1, 2])
    """


class RandomDilateLabels(_Dilate, _ByRandomRadius):
    """Dilate the regions of label maps by a ball of random radius: see :class:`DilateLabels`.

    Args:
        radius: Range of the radius in mm; d means (0, d).
        labels: Labels that spread; all but 0 by default.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative, or ``labels`` are no whole numbers.

    >>> labels = LabelMap(torch.ones(1, 8, 8, 8, dtype=torch.uint8))
    >>> RandomDilateLabels(radius=(1, 3))(labels).data.shape
    torch.Size([1, 8, 8, 8])
    """
