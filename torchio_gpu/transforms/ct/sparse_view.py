"""Sparse views: CT images reconstructed from few views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.ct.projection import check_views
from ...functional.ct.views import check_counts
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike
from .planes import check_plane_axis, plane_axes

#: Range of the number of views that are left, by default.
_COUNT = (30, 90)


@dataclass(frozen=True)
class SparseViewParams(Params):
    """Number of views that are left, for each sample and image."""

    count: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _SparseView(VolumeTransform):
    """Reconstruction from few views."""

    views: int

    def voxels(self, images: Images, name: str, params: SparseViewParams) -> Volume:
        image = images[name]
        sides = spacing(image.affine)
        return F.sparse_views(image.data, params.count, params.axis, self.views, spacing=sides)


class SparseView(_SparseView):
    """Reconstruct axial planes of CT images from a given number of views, which leaves streaks.

    See :func:`torchio_gpu.functional.sparse_views`.

    Args:
        count: Number of views that are left, whole, as a rule from 1 to 90; all ``views`` change
            nothing.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        views: Number of simulated views over 180 degrees, as a rule from 90 to 720: more cost more
            time, and make the full scan that the image stands for a better one.
        kwargs: See :class:`Transform`.

    All but ``views`` may also be given for every sample, (B,), or as a dict with one entry per
    image name.

    Raises:
        ValueError: A value is not as above, or voxels are not in HU.

    >>> SparseView(30, views=90)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        count: ByImage[PerSample],
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.count, self.axis, self.views = count, check_plane_axis(axis), check_views(views)
        for value in values_of(count):
            check_counts(as_array(value, "count"), self.views)

    def draw(self, context: Context, u: np.ndarray) -> SparseViewParams:
        count = per_image(self.count, (), "count", context.names)
        return SparseViewParams(count, plane_axes(self.axis, context)).expand(context.batch)


class RandomSparseView(RandomTransform, _SparseView):
    """Reconstruct axial planes of CT images from few views, which leaves streaks.

    See :class:`SparseView`.

    Args:
        count: Range of the number of views that are left, as a rule from 1 to 90, up to ``views``;
            d means (1, d), and None (30, 90), or what there is of it up to ``views``.
        axis, views: See :class:`SparseView`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, an axis is unknown, or voxels are not in
            HU.

    >>> RandomSparseView(count=(20, 40), views=90)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        count: RangeLike | None = None,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.count, self.axis, self.views = count, check_plane_axis(axis), check_views(views)
        given = tuple(min(n, self.views) for n in _COUNT) if count is None else count
        self._count = Range(given, "count", around=None, minimum=1, maximum=self.views, whole=True)

    @property
    def draws(self) -> int:
        return 1

    def draw(self, context: Context, u: np.ndarray) -> SparseViewParams:
        return SparseViewParams(self._count(u)[..., 0], plane_axes(self.axis, context))
