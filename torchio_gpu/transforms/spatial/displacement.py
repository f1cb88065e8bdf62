"""Deformation of the content by given displacements or velocities of each voxel of a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, as_array, host, on_host, send
from ...data import Image, SpatialMap, VelocityField
from ...geometry import BSplineField, DenseField, Space, check_affine, displace, invert, spacing
from ...shapes import AffineLike
from ..base import Context
from ..parameters.params import Params
from ..parameters.types import VectorsLike
from ..pipeline.maps import SpatialTraits
from .affine import Resampling

UNITS = ("mm", "voxels")
_SHAPES = "(3, I, J, K) or (B, 3, I, J, K)"
#: Nodes, for each control point of a velocity, at which its flow is computed.
_NODES = 4


@dataclass(frozen=True)
class FieldParams(Params):
    """Vectors on a grid: displacements of the pull-back, or its velocity.

    ``spline``: the vectors are coefficients of a cubic B-spline, not values of the field.
    """

    neutral: ClassVar[dict[str, float]] = {"vectors": 0.0}
    vectors: Annotated[Array, "B 3 N0 N1 N2"]  # mm along RAS+
    affine: Annotated[np.ndarray, "B 4 4"]  # index to world
    spline: bool = False
    inverse: bool = False

    def field(self) -> BSplineField | DenseField:
        """Return the field of the vectors, whichever the direction of the map."""
        if self.spline:
            return BSplineField(self.vectors, invert(self.affine))
        return DenseField(torch.as_tensor(self.vectors), self.affine)

    def to(self, device: torch.device | None) -> FieldParams:
        """Return parameters whose vectors are on a device, or where they are."""
        if device is None:
            return self
        return replace(self, vectors=send(torch.as_tensor(self.vectors), device))

    def check(self) -> None:
        for affine in self.affine:
            check_affine(affine)


class _Field(Resampling):
    """Deformation of the content by a field."""

    traits = SpatialTraits(bends=True)

    def invert(self, params: FieldParams) -> FieldParams:
        return replace(params, inverse=not params.inverse)


class Displacing(_Field):
    """Deformation of the content by displacements. Not for use by itself."""

    def maps(self, params: FieldParams, context: Context) -> tuple[SpatialMap, ...]:
        if not params.spline:  # control points stay on the host, where kernels take them from
            params = params.to(context.device)
        field = params.field()
        return (SpatialMap(elastic=field.inverted() if params.inverse else field),)


class Flowing(_Field):
    """Deformation of the content by the flow of a velocity field. Not for use by itself."""

    def maps(self, params: FieldParams, context: Context) -> tuple[SpatialMap, ...]:
        i, j, k = params.vectors.shape[2:]
        grid, every = Space((i, j, k), params.affine), None
        if params.spline:
            grid = context.space
            every = spacing(params.affine) / (_NODES * spacing(grid.affine))  # [B, 3]
        field = params.to(context.device).field()
        return (SpatialMap(elastic=VelocityField(field, grid, params.inverse, every=every)),)


class Given:
    """Field that was given as an argument: vectors, and the grid that they are on.

    Args:
        vectors: Image of 3 channels, or (3, I, J, K), or (B, 3, I, J, K).
        affine: Voxel of the grid to world, (4, 4); that of the first image by default.
        unit: 'mm' along RAS+, or 'voxels' along I, J, K of the grid.
        name: Name of the argument.
        scalars: The field has one component: (I, J, K), (B, I, J, K), or an image of 1 channel;
            its unit does not matter here.
    """

    def __init__(
        self,
        vectors: VectorsLike,
        affine: AffineLike | None,
        unit: str,
        name: str,
        scalars: bool = False,
    ) -> None:
        if isinstance(vectors, Image):
            if affine is not None:
                raise ValueError(f"affine must be None where {name} is an Image, which has its own")
            affine = vectors.affine
        values = as_array(vectors.data if isinstance(vectors, Image) else vectors, name)
        #: As they were given, of an Image its parts: nothing holds on to an image.
        self.vectors = values if isinstance(vectors, Image) else vectors
        self.affine = affine
        got = tuple(values.shape)
        if scalars and not isinstance(vectors, Image) and values.ndim in (3, 4):
            values = values[..., None, :, :, :]
        count, wish = (1, "(I, J, K) or (B, I, J, K)") if scalars else (3, _SHAPES)
        if values.ndim not in (4, 5) or values.shape[-4] != count or 0 in values.shape:
            raise ValueError(f"{name} must have shape {wish}, got {got}")
        if isinstance(values, Tensor) and not values.is_floating_point():
            raise ValueError(f"{name} must be of a floating dtype, got {values.dtype}")
        if on_host(values) and not np.isfinite(host(values)).all():
            where = np.argwhere(~np.isfinite(host(values)))[0].tolist()
            raise ValueError(f"{name} must be finite, got {host(values)[tuple(where)]} at {where}")
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
        self._values = values if values.ndim == 5 else values[None]
        self._affine = None if affine is None else check_affine(affine)
        self._unit, self._name = unit, name

    def params(self, context: Context) -> FieldParams:
        """Return the field for the samples of a batch, on the grid of their first image."""
        values, space, shape = self._values, context.space, tuple(self._values.shape[2:])
        if self._affine is not None:
            affine = self._affine[None].repeat(context.batch, 0)
        elif shape == space.shape:
            affine = space.affine
        else:
            raise ValueError(
                f"{self._name} must have the grid of the first image, {space.shape}, or be given "
                f"with its affine, got {shape} without one"
            )
        if len(values) not in (1, context.batch):
            raise ValueError(
                f"{self._name} must be of 1 or {context.batch} samples, as the images, got "
                f"{len(values)}"
            )
        if self._unit == "voxels":
            values = displace(values, affine[:, :3, :3])
        return FieldParams(values, affine).expand(context.batch)


class Displacement(Displacing):
    """Move the content by a given displacement of each voxel of a grid.

    An output point p shows what lies at p + d(p), where d is interpolated linearly between the
    voxel centres of its grid and is 0 outside, as in ITK's DisplacementFieldTransform. Its inverse
    is the inverse of that map, by fixed-point iteration.

    Args:
        displacement: Displacements d, (3, I, J, K), or (B, 3, I, J, K) for one field per sample; or
            an :class:`Image` of 3 channels. Tensors may require a gradient. Fields in files of ITK
            and ANTs are along LPS+: negate their first two channels.
        affine: Voxel of the field's grid to world, (4, 4); by default, the field has the grid of
            the first image.
        unit: 'mm', along RAS+, or 'voxels', along the axes of the field's grid.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: An argument is not as above, or the field is on another grid than the images and
            its affine is not given.

    >>> x = torch.arange(4.).view(1, 4, 1, 1)
    >>> field = torch.zeros(3, 4, 1, 1)
    >>> field[0] = 1  # mm to the right
    >>> Displacement(field)(x).flatten()
    tensor([1., 2., 3., 0.])
    """

    def __init__(
        self,
        displacement: VectorsLike,
        affine: AffineLike | None = None,
        unit: str = "mm",
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._field = Given(displacement, affine, unit, "displacement")
        self.displacement, self.affine, self.unit = self._field.vectors, self._field.affine, unit
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, context: Context, u: np.ndarray) -> FieldParams:
        return self._field.params(context)


class Diffeomorphism(Flowing):
    """Move the content by the flow of a given velocity field over unit time.

    An output point p shows what lies at phi(p), where phi is the flow of the velocity, by scaling
    and squaring: see :func:`torchio_gpu.functional.exponentiate`. The map is smooth and invertible;
    outside the grid of the velocity, displacements of its outermost voxels are repeated.

    Args:
        velocity: Velocities, as the displacements of :class:`Displacement`.
        affine, unit: See :class:`Displacement`.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: As for :class:`Displacement`.

    >>> Diffeomorphism(torch.zeros(3, 8, 8, 8))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        velocity: VectorsLike,
        affine: AffineLike | None = None,
        unit: str = "mm",
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._field = Given(velocity, affine, unit, "velocity")
        self.velocity, self.affine, self.unit = self._field.vectors, self._field.affine, unit
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, context: Context, u: np.ndarray) -> FieldParams:
        return self._field.params(context)
