"""Metal: dark bands and streaks of objects of metal in CT images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from ... import functional as F
from ...arrays import Array, as_array
from ...data.keys import LABEL
from ...functional.ct.attenuation import HU_RANGE
from ...functional.ct.metal import LEAST_RATIO, LEAST_SCATTER, check_maximum
from ...functional.ct.projection import check_views
from ...functional.dispatch.arguments import check_real, within
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import fixed_or_range
from ..parameters.types import AxisLike, ByImage, PerSample, RangeLike
from .planes import check_plane_axis, plane_axes


@dataclass(frozen=True)
class MetalParams(Params):
    """Kind of metal and share of scattered photons, for each sample and image."""

    hu: Annotated[Array, "B M"]
    ratio: Annotated[Array, "B M"]
    scatter: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _Metal(VolumeTransform):
    """Metal where a label map or a threshold says."""

    metal: str | None
    threshold: float
    views: int
    maximum: float

    def _set_metal(
        self, metal: str | None, threshold: float, axis: Any, views: int, maximum: float
    ) -> None:
        within(as_array(threshold, "threshold"), *HU_RANGE, "threshold")
        self.metal, self.threshold, self.maximum = metal, threshold, check_maximum(maximum)
        self.axis, self.views = check_plane_axis(axis), check_views(views)

    def voxels(self, images: Images, name: str, params: MetalParams) -> Volume:
        image = images[name]
        return F.metal(
            image.data,
            self._mask(images, name),
            params.hu,
            params.ratio,
            params.scatter,
            params.axis,
            self.views,
            self.maximum,
            spacing=spacing(image.affine),
        )

    def _mask(self, images: Images, name: str) -> Tensor:
        """Return voxels of metal of an image, [B, 1 or C, I, J, K] bool."""
        image = images[name]
        if self.metal is None:
            return check_real(image.data) > float(self.threshold)
        if self.metal not in images or images[self.metal].kind != LABEL:
            known = [n for n, each in images.items() if each.kind == LABEL]
            raise KeyError(
                f"metal must name a label map of the subject, which has {known}, got {self.metal!r}"
            )
        labels = images[self.metal]
        if not labels.space.is_same(image.space):
            raise ValueError(
                f"metal must name a label map on the grid of {name!r}, "
                f"{tuple(image.spatial_shape)} voxels, got {self.metal!r} on another grid of "
                f"{tuple(labels.spatial_shape)}: resample it onto {name!r}"
            )
        return (labels.data != 0).any(1, keepdim=True)


class Metal(_Metal):
    """Turn voxels of CT images into metal, with the dark bands and streaks that it makes.

    See :func:`torchio_gpu.functional.metal`. Images without metal are left as they are.

    Args:
        metal: Name of the label map of the subject whose voxels other than 0 are of metal, on the
            grid of the image; None for voxels above ``threshold``.
        hu: HU of thin metal, from 0 to 30710: about 12000 for titanium, 30000 for
            steel.
        ratio: Attenuation at 100 keV over that at 50 keV, from 0.001 to 1: 0.22 for titanium, 0.19
            for iron. 1 is a beam of one energy.
        scatter: Scattered photons over those where there is no object, from 0.000001 to 1.
        threshold: Value above which voxels are of metal, in HU, where no label map is named.
        axis: Axis that the planes are stacked along: 0, 1, 2 or an anatomical name; by default
            that from inferior to superior.
        views: Number of simulated views over 180 degrees, as a rule from 90 to 720: more cost more
            time and show fewer streaks.
        maximum: Largest value that the scanner stores, in HU.
        kwargs: See :class:`Transform`.

    ``hu``, ``ratio``, ``scatter`` and ``axis`` may also be given for every sample, (B,), or as a
    dict with one entry per image name. ``hu``, ``ratio`` and ``scatter`` that are tensors may
    require a gradient.

    Raises:
        KeyError: There is no such label map.
        ValueError: The label map is on another grid, a value is not as above, or voxels are not in
            HU.

    >>> x = torch.zeros(1, 8, 8, 8)
    >>> x[:, 4, 4, 4] = 3000
    >>> Metal(hu=12000, views=90)(x)[0, 4, 4, 4]
    tensor(3071.)
    """

    def __init__(
        self,
        metal: str | None = None,
        hu: ByImage[PerSample] = 8000,
        ratio: ByImage[PerSample] = 0.2,
        scatter: ByImage[PerSample] = 1e-3,
        threshold: float = 2500,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        maximum: float = 3071,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_metal(metal, threshold, axis, views, maximum)
        self.hu, self.ratio, self.scatter = hu, ratio, scatter
        for values, name, low, high in (
            (hu, "hu", 0, HU_RANGE[1]),
            (ratio, "ratio", LEAST_RATIO, 1),
            (scatter, "scatter", LEAST_SCATTER, 1),
        ):
            for value in values_of(values):
                within(as_array(value, name), low, high, name)

    def draw(self, context: Context, u: np.ndarray) -> MetalParams:
        names = context.names
        return MetalParams(
            per_image(self.hu, (), "hu", names),
            per_image(self.ratio, (), "ratio", names),
            per_image(self.scatter, (), "scatter", names),
            plane_axes(self.axis, context),
        ).expand(context.batch)


class RandomMetal(RandomTransform, _Metal):
    """Turn voxels of CT images into random metal, with dark bands and streaks: see :class:`Metal`.

    Args:
        metal: Name of the label map of the subject whose voxels other than 0 are of metal; None
            for voxels above ``threshold``.
        hu: Range of the HU of thin metal, from 0 to 30710; a number is that value.
        ratio: Range of the attenuation at 100 keV over that at 50 keV, from 0.001 to 1; a number
            is that ratio.
        scatter: Range of scattered photons over those where there is no object, from 0.000001 to 1;
            a number is that share.
        threshold, axis, views, maximum: See :class:`Metal`.
        kwargs: See :class:`Transform`.

    Raises:
        KeyError: There is no such label map.
        ValueError: The label map is on another grid, a range is empty or leaves its bounds, or
            voxels are not in HU.

    >>> RandomMetal(hu=(8000, 12000), threshold=2000, views=90)(torch.zeros(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        metal: str | None = None,
        hu: RangeLike = (4000, 12000),
        ratio: RangeLike = (0.18, 0.25),
        scatter: RangeLike = (1e-4, 2e-3),
        threshold: float = 2500,
        axis: ByImage[AxisLike] = "IS",
        views: int = 360,
        maximum: float = 3071,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_metal(metal, threshold, axis, views, maximum)
        self.hu, self.ratio, self.scatter = hu, ratio, scatter
        self._hu = fixed_or_range(hu, "hu", maximum=HU_RANGE[1])
        self._ratio = fixed_or_range(ratio, "ratio", minimum=LEAST_RATIO, maximum=1)
        self._scatter = fixed_or_range(scatter, "scatter", minimum=LEAST_SCATTER, maximum=1)

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> MetalParams:
        return MetalParams(
            self._hu(u[..., :1])[..., 0],
            self._ratio(u[..., 1:2])[..., 0],
            self._scatter(u[..., 2:])[..., 0],
            plane_axes(self.axis, context),
        )
