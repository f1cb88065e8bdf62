"""Anisotropy: thick slices along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, per_sample
from ...data.keys import INTENSITY, KINDS, LABEL
from ...functional.dispatch.arguments import at_least
from ...functional.maps import check_mode
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, WholeVolume
from ..parameters.axes import check_axes, check_axis, draw_axis, voxel_axis
from ..parameters.params import Params, per_image
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, PerSample, RangeLike


@dataclass(frozen=True)
class AnisotropyParams(Params):
    """Thickness of slices in voxels, and the axis across them, for each sample and image."""

    axis: Annotated[np.ndarray, "B M", int]
    downsampling: Annotated[Array, "B M"]


def check_interpolation(mode: str, antialias: bool) -> str:
    """Return the interpolation between slices; raise a ValueError if it cannot be smoothed."""
    check_mode(mode, "image_interpolation")
    if antialias and mode == "nearest":
        raise ValueError(
            "antialias must be False with image_interpolation='nearest', which does not mix voxels"
        )
    return mode


class _Anisotropy(WholeVolume):
    """Acquisition of thick slices."""

    @property
    def shares(self) -> bool:
        return True

    def _set_interpolation(self, mode: str, scalars_only: bool, antialias: bool) -> None:
        self.image_interpolation = check_interpolation(mode, antialias)
        self.scalars_only, self.antialias = scalars_only, antialias

    @property
    def kinds(self) -> tuple[str, ...]:
        return (INTENSITY,) if self.scalars_only else KINDS

    @property
    def computes(self) -> bool:
        return self.image_interpolation != "nearest"

    def voxels(self, images: Images, name: str, params: AnisotropyParams) -> Volume:
        image = images[name]
        scalar = image.kind != LABEL
        return F.anisotropy(
            image.data,
            params.downsampling,
            params.axis,
            mode=self.image_interpolation if scalar else "nearest",
            antialias=self.antialias and scalar,
        )


class Anisotropy(_Anisotropy):
    """Acquire given thick slices along an axis, and interpolate back to the voxels there were.

    Args:
        axis: Axis across the slices: 0, 1, 2 or an anatomical name; or one per sample.
        downsampling: Thickness of a slice in voxels, >= 1; a number, or (B,) for one per sample.
            Tensors may require a gradient.
        image_interpolation: Interpolation between slices: 'linear' or 'nearest'.
        scalars_only: Leave label maps alone; otherwise theirs are the nearest slices.
        antialias: Let a slice be a Gaussian mean over its thickness (Cardoso et al. 2015,
            doi:10.1007/978-3-319-24571-3_81), as partial volumes are, rather than the voxel
            nearest to its middle, as in TorchIO.
        kwargs: See :class:`Transform`.

    Slices share the centre of the image. All images of a subject lose resolution along the same
    axis, which for an anatomical name need not be the same voxel axis, by the same factor.

    Raises:
        ValueError: ``downsampling`` is below 1, or an axis or name unknown.

    >>> Anisotropy(axis=2, downsampling=3)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        axis: AxisLike,
        downsampling: PerSample,
        image_interpolation: str = "linear",
        scalars_only: bool = True,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.downsampling = axis, downsampling
        check_axis(axis)
        at_least(per_sample(downsampling, (), "downsampling"), 1, "downsampling")
        self._set_interpolation(image_interpolation, scalars_only, antialias)

    def draw(self, context: Context, u: np.ndarray) -> AnisotropyParams:
        downsampling = per_image(self.downsampling, (), "downsampling", context.names)
        axis = np.stack([voxel_axis(self.axis, space) for space in context.spaces], 1)
        return AnisotropyParams(axis, downsampling).expand(context.batch)


class RandomAnisotropy(RandomTransform, _Anisotropy):
    """Acquire thick slices along a random axis, and interpolate back: see :class:`Anisotropy`.

    Args:
        axes: Axes to choose from: voxel axes or anatomical names.
        downsampling: Range of the thickness in voxels; d means (1, d).
        image_interpolation, scalars_only, antialias: See :class:`Anisotropy`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or goes below 1, or an axis or name is unknown.

    >>> RandomAnisotropy(axes=(0, 1, 2), downsampling=(2, 5))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        axes: AxesLike = (0, 1, 2),
        downsampling: RangeLike = (1.5, 5),
        image_interpolation: str = "linear",
        scalars_only: bool = True,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axes, self.downsampling = check_axes(axes), downsampling
        self._downsampling = Range(downsampling, "downsampling", around=None, minimum=1)
        self._set_interpolation(image_interpolation, scalars_only, antialias)

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> AnisotropyParams:
        axis = np.stack([draw_axis(self.axes, u[:, 0], space) for space in context.spaces], 1)
        return AnisotropyParams(axis, self._downsampling(u[:, 1:]).repeat(axis.shape[1], 1))
