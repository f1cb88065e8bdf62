"""Affine augmentation: scale, rotate and move the content.

Parameters speak of the content and of millimetres along RAS+; :mod:`torchio_gpu.geometry` says
how they become matrices. All images of a subject follow one motion in the world, about the centre
of the first, so images of different spacing or field of view stay aligned.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import geometry
from ...arrays import Array, host, on_host, per_sample
from ...data import SpatialMap
from ...functional.maps import check_mode
from ...functional.statistics import FILLS
from ...geometry import Space
from ...signature import is_number
from ..base import Context
from ..kinds import RandomTransform, SpatialTransform
from ..parameters.params import Params
from ..parameters.ranges import Range
from ..parameters.types import PerSample, RangesLike
from ..pipeline.maps import Interpolation


@dataclass(frozen=True)
class AffineParams(Params):
    """Motion of the content: see :func:`torchio_gpu.geometry.affine_motion`."""

    neutral: ClassVar[dict[str, float]] = {"scales": 1.0, "degrees": 0.0, "translation": 0.0}
    scales: Annotated[Array, "B 3"]
    degrees: Annotated[Array, "B 3"]
    translation: Annotated[Array, "B 3"]  # mm
    centre: Annotated[np.ndarray, "B 3"]  # mm
    inverse: bool = False

    def pull_back(self, space: Space) -> Array:
        """Return the map from output world to input world, [B, 4, 4]."""
        values = self.scales, self.degrees, self.translation, self.centre
        matrix: Array = geometry.motion_in(space, *values, inverse=not self.inverse)
        return matrix


def _affine_params(
    scales: Array, degrees: Array, translation: Array, center: str, space: Space
) -> AffineParams:
    centre = space.centre if center == "image" else np.zeros_like(space.centre)
    return AffineParams(scales, degrees, translation, centre)


#: Interpolation of scalar images, and of label maps, whose labels are never mixed.
IMAGE_MODES = ("linear", "nearest", "bspline")
LABEL_MODES = ("nearest", "label")


class Resampling(SpatialTransform):
    """Spatial transform that interpolates. Not for use by itself."""

    _image_modes: ClassVar[tuple[str, ...]] = IMAGE_MODES

    def _set_interpolation(
        self,
        image_interpolation: str,
        label_interpolation: str,
        default_pad_value: str | float,
        default_pad_label: float,
    ) -> None:
        self.image_interpolation = check_mode(
            image_interpolation, "image_interpolation", self._image_modes
        )
        self.label_interpolation = check_mode(
            label_interpolation, "label_interpolation", LABEL_MODES
        )
        if not is_number(default_pad_value) and default_pad_value not in FILLS:
            raise ValueError(
                f"default_pad_value must be a number or one of {', '.join(FILLS)}, "
                f"got {default_pad_value!r}"
            )
        if not math.isfinite(default_pad_label):  # integer label maps cannot hold it
            raise ValueError(f"default_pad_label must be finite, got {default_pad_label!r}")
        self.default_pad_value = default_pad_value
        self.default_pad_label = default_pad_label

    def with_interpolation(self, mode: str) -> Any:
        """Return a copy with another interpolation of scalar images."""
        new = copy.copy(self)
        new.__dict__.pop("_plan", None)
        known = self._image_modes
        new.__dict__["image_interpolation"] = check_mode(mode, "image_interpolation", known)
        return new

    def interpolation(self) -> Interpolation:
        return Interpolation(
            self.image_interpolation,
            self.label_interpolation,
            self.default_pad_value,
            self.default_pad_label,
        )


def _check_center(center: str) -> str:
    if center not in ("image", "origin"):
        raise ValueError(f"center must be 'image' or 'origin', got {center!r}")
    return center


class _Affine(Resampling):
    """Affine motion of the content."""

    def maps(self, params: AffineParams, context: Context) -> tuple[SpatialMap, ...]:
        return (SpatialMap(params.pull_back(context.space)),)

    def invert(self, params: AffineParams) -> AffineParams:
        return AffineParams(**{**vars(params), "inverse": not params.inverse})


class Affine(_Affine):
    """Scale, rotate and move the content by given amounts.

    The content is rotated about the centre, moved, then scaled about the centre, as in TorchIO
    1.x; unlike there, all images of a subject share the centre of the first. Single-slice images
    move within their plane only.

    Args:
        scales: Size of the result relative to the original along x, y, z of the world.
        degrees: Angles about x, y, z of the world, right-handed; about y first, then x, then z.
        translation: Millimetres along x, y, z of the world (right, anterior, superior).
        center: 'image' for the centre of the first image, 'origin' for that of the world.
        default_pad_value: Value outside scalar images: 'minimum', 'mean' (of the border), 'otsu'
            (mean of the border under its Otsu threshold), or a number.
        default_pad_label: Value outside label maps.
        image_interpolation: 'linear', 'nearest', or 'bspline' (cubic, through all voxels; slow).
        label_interpolation: 'nearest', or 'label' for smoother outlines: the label whose
            membership, interpolated linearly, is largest. Labels are never mixed.
        check_shape: Refuse images that share an affine but not a shape.
        kwargs: See :class:`Transform`.

    Each amount is a triple (a number stands for three), or one per sample, (B, 3); tensors may
    require a gradient and live on any device.

    Raises:
        ValueError: A shape, name or interpolation is not as above, or a scale is not positive.

    >>> x = torch.zeros(1, 9, 9, 9)
    >>> x[0, 4, 4, 4] = 1
    >>> Affine(scales=1, degrees=0, translation=(2, 0, 0))(x).nonzero()
    tensor([[0, 6, 4, 4]])
    """

    def __init__(
        self,
        scales: PerSample = 1.0,
        degrees: PerSample = 0.0,
        translation: PerSample = 0.0,
        center: str = "image",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        check_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scales, self.degrees, self.translation = scales, degrees, translation
        values = {"scales": scales, "degrees": degrees, "translation": translation}
        self._values = {name: per_sample(v, (3,), name) for name, v in values.items()}
        if on_host(self._values["scales"]) and not (host(self._values["scales"]) > 0).all():
            raise ValueError(f"scales must be > 0, got {scales!r}")
        self.center = _check_center(center)
        self.check_shape = check_shape
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, context: Context, u: np.ndarray) -> AffineParams:
        params = _affine_params(**self._values, center=self.center, space=context.space)
        return params.expand(context.batch)


class RandomAffine(RandomTransform, _Affine):
    """Scale, rotate and move the content by random amounts.

    Args:
        scales: Range of the scale along each axis of the world; d means (1 - d, 1 + d).
        degrees: Range of the angle about each axis.
        translation: Range of the motion along each axis, mm.
        isotropic: Use one scale for the three axes, but for those with the range (1, 1).
        center, check_shape: See :class:`Affine`.
        default_pad_value, default_pad_label, image_interpolation, label_interpolation: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Ranges are a number, a pair, three numbers, six numbers (three pairs), a distribution or a
    :class:`Choice`; see :mod:`torchio_gpu.transforms.parameters.ranges`.

    Raises:
        ValueError: A range is empty or reaches a scale of 0, or an argument is not as above.

    >>> transform = RandomAffine(scales=(0.9, 1.2), degrees=15)
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        scales: RangesLike = 0.1,
        degrees: RangesLike = 10,
        translation: RangesLike = 0,
        isotropic: bool = False,
        center: str = "image",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        check_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scales, self.degrees, self.translation = scales, degrees, translation
        self.isotropic = isotropic
        self._scales = Range(scales, "scales", axes=3, around=1, minimum=0, exclusive=True)
        if isotropic and not self._scales.is_common:
            raise ValueError(
                "scales must be a number or a pair when isotropic is True, or (1, 1) and the same "
                f"pair for the other axes, got {scales!r}"
            )
        self._degrees = Range(degrees, "degrees", axes=3)
        self._translation = Range(translation, "translation", axes=3)
        self._all = Range.side_by_side(self._scales, self._degrees, self._translation)
        self.center = _check_center(center)
        self.check_shape = check_shape
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return 9

    def draw(self, context: Context, u: np.ndarray) -> AffineParams:
        if self.isotropic:
            u = u[:, [0, 0, 0, *range(3, 9)]]
        drawn = self._all(u)
        scales, degrees, translation = drawn[:, :3], drawn[:, 3:6], drawn[:, 6:]
        return _affine_params(scales, degrees, translation, self.center, context.space)
