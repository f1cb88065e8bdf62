"""Slice thickness: axial slices of CT images, averaged on the same grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ...arrays import Array, as_array
from ...functional.ct.planes import slice_axes
from ...functional.dispatch.arguments import at_least
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike


@dataclass(frozen=True)
class SliceThicknessParams(Params):
    """Thickness in mm, for each sample and image."""

    thickness: Annotated[Array, "B M"]


class _SliceThickness(VolumeTransform):
    """Means over thick slices."""

    def voxels(self, images: Images, name: str, params: SliceThicknessParams) -> Volume:
        image = images[name]
        return F.slice_thickness(
            image.data, params.thickness, slice_axes(image.affine), spacing=spacing(image.affine)
        )


class SliceThickness(_SliceThickness):
    """Average axial slices over a given thickness, on the same grid.

    Thick slices of a CT scan that overlap: noise and structures shorter than a slice fade. Slices
    are axial: across the voxel axis nearest to that of the world from inferior to superior, in each
    sample. See :func:`torchio_gpu.functional.slice_thickness`, and :class:`Anisotropy` for slices
    that do not overlap.

    Args:
        thickness: Length in mm over which slices are averaged, >= 0: a number, or (B,) for one per
            sample; or a dict with one entry per image name. It is added to the thickness that they
            have; one up to the distance of slices changes nothing. Tensors may require a gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``thickness`` is negative.

    >>> SliceThickness(thickness=5)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, thickness: ByImage[PerSample], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thickness = thickness
        for value in values_of(thickness):
            at_least(as_array(value, "thickness"), 0, "thickness")

    def draw(self, context: Context, u: np.ndarray) -> SliceThicknessParams:
        thickness = per_image(self.thickness, (), "thickness", context.names)
        return SliceThicknessParams(thickness).expand(context.batch)


class RandomSliceThickness(RandomTransform, _SliceThickness):
    """Average axial slices over a random thickness, on the same grid: see :class:`SliceThickness`.

    Args:
        thickness: Range of the thickness in mm, >= 0; d means (0, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or negative.

    >>> RandomSliceThickness(thickness=(2, 8))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, thickness: RangeLike = (1, 6), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thickness = thickness
        self._thickness = Range(thickness, "thickness", around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 1

    def draw(self, context: Context, u: np.ndarray) -> SliceThicknessParams:
        return SliceThicknessParams(self._thickness(u)[..., 0])
