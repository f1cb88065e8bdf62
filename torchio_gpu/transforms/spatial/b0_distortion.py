"""Distortion of echo-planar images by an inhomogeneous main field."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import random
from ...arrays import Array, common, host, on_host, per_sample
from ...data import SpatialMap
from ...geometry import DenseField, Space, anatomical_axes, spacing
from ...shapes import AffineLike
from ..base import Context
from ..kinds import RandomTransform
from ..parameters.axes import check_axes, check_axis, draw_axis, voxel_axis
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, AxisLike, PerSample, RangeLike, VectorsLike
from ..pipeline.maps import SpatialTraits
from .displacement import Displacing, FieldParams, Given
from .random_displacement import SPLINE_WIDTH, at_half_steps, check_smoothness, white_noise

#: Largest derivative of random displacements: below 1 the map does not fold.
_STEEPEST = 0.8


class _B0Distortion(Displacing):
    """Displacements along the phase-encode axis, with the Jacobian determinant as a factor."""

    traits = SpatialTraits(bends=True, modulates=True)

    def maps(self, params: FieldParams, context: Context) -> tuple[SpatialMap, ...]:
        (move,) = super().maps(params, context)
        if isinstance(move.elastic, DenseField):  # a field does not end where its map does
            move = move._replace(elastic=move.elastic._replace(extends=True))
        return (move,)


def _directions(axis: np.ndarray, space: Space) -> np.ndarray:
    """Return unit vectors along a voxel axis of each sample, towards R, A or S, [B, 3]."""
    samples = np.arange(len(axis))
    forward = anatomical_axes(space.affine)[1][samples, axis]
    towards = space.affine[samples, :3, axis] / spacing(space.affine)[samples, axis][:, None]
    return np.where(forward[:, None], towards, -towards)


def _in_mm(bandwidth: Array | None, axis: np.ndarray, space: Space) -> Any:
    """Return the displacement in mm of one unit of a field, mm or Hz, [B]."""
    if bandwidth is None:
        return np.ones(len(axis))
    if len(bandwidth) not in (1, len(axis)):
        raise ValueError(
            f"bandwidth must hold one number, or one per sample, {len(axis)}, got {len(bandwidth)}"
        )
    side = spacing(space.affine)[np.arange(len(axis)), axis]
    _, side, bandwidth = common(side, bandwidth)
    return side / bandwidth


def _check_bandwidth(bandwidth: PerSample | None) -> Array | None:
    """Return a bandwidth in Hz per voxel, [1 or B], or None; raise if it is 0."""
    if bandwidth is None:
        return None
    known = per_sample(bandwidth, (), "bandwidth")
    if not len(known):
        raise ValueError("bandwidth must hold one number, or one per sample, got none")
    if on_host(known) and not host(known).all():
        raise ValueError(f"bandwidth must not be 0, in Hz per voxel, got {bandwidth!r}")
    return known


class B0Distortion(_B0Distortion):
    """Distort the content along the phase-encode axis, as a given field map does to an EPI scan.

    ``y(r) = x(r - d(r) e) (1 - dd/dr)``: content moves by d along the phase-encode axis e, and
    signal adds up where it is squeezed, so that its sum is kept. See Jezzard and Balaban 1995
    (doi:10.1002/mrm.1910340111) and :func:`torchio_gpu.functional.b0_distortion`. Label maps and
    points move in the same way. The factor is for signal, whose background is 0: normalize
    intensities later. Nothing is composed with the map after it.

    Args:
        field: Field at each voxel of a grid, of what is seen there after the distortion: (I, J, K),
            or (B, I, J, K) for one per sample; or an :class:`Image` of one channel. Positive values
            move content towards right, anterior or superior. Outside the grid, values of its
            outermost voxels are repeated. Tensors may require a gradient. That of air in tissue is
            given by :func:`torchio_gpu.functional.susceptibility_field`.
        axis: The phase-encode axis of the first image: 0, 1, 2 or an anatomical name; or one of
            0, 1, 2 for each sample.
        bandwidth: None for a field in mm. For one in Hz, the difference of the frequency from that
            of the scanner: Hz per voxel of the first image along the phase-encode axis, which is
            the inverse of the number of lines times the echo spacing in seconds. Negative where
            lines are acquired in the other direction. One number, or one per sample.
        affine: Voxel of the field's grid to world, (4, 4); by default, the field has the grid of
            the first image.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: An argument is not as above, or the field is on another grid than the images and
            its affine is not given.

    >>> x = torch.tensor([0., 1, 2, 0]).view(1, 1, 4, 1)
    >>> B0Distortion(torch.full((1, 4, 1), 25.0), bandwidth=25)(x).flatten()
    tensor([0., 0., 1., 2.])
    """

    def __init__(
        self,
        field: VectorsLike,
        axis: AxisLike = "AP",
        bandwidth: PerSample | None = None,
        affine: AffineLike | None = None,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._field = Given(field, affine, "mm", "field", scalars=True)
        self.field, self.affine = self._field.vectors, self._field.affine
        self.axis, self.bandwidth = check_axis(axis), bandwidth
        self._bandwidth = _check_bandwidth(bandwidth)
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, context: Context, u: np.ndarray) -> FieldParams:
        given, space = self._field.params(context), context.space
        axis = voxel_axis(self.axis, space)
        millimetres = _in_mm(self._bandwidth, axis, space)
        _, back, millimetres = common(-_directions(axis, space), millimetres)
        back = back * millimetres[:, None]
        _, values, back = common(given.vectors, back)
        return FieldParams(values * back[:, :, None, None, None], given.affine)


class RandomB0Distortion(RandomTransform, _B0Distortion):
    """Distort the content along the phase-encode axis, as an inhomogeneous main field does.

    Displacements are white noise through a smooth filter, a cubic B-spline along each voxel axis of
    the first image, scaled so that the largest within it is as drawn. Where their
    derivative would exceed 0.8 they are smaller, so that the map does not fold. See
    :class:`B0Distortion`.

    Args:
        max_displacement: Range of the largest displacement, in mm, or in Hz if there is a
            bandwidth; d means (0, d).
        smoothness: Standard deviation of the filter, mm: at least half a voxel of the first image.
        axes: Phase-encode axes to choose from: voxel axes of the first image or anatomical names.
        bandwidth: Hz per voxel of the first image along the phase-encode axis; None for mm.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or negative, the smoothness too small, or a name unknown.

    >>> RandomB0Distortion(max_displacement=2, smoothness=5)(torch.rand(1, 16, 16, 16)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(
        self,
        max_displacement: RangeLike = (3.0, 10.0),
        smoothness: float = 15.0,
        axes: AxesLike = ("AP",),
        bandwidth: float | None = None,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_displacement, self.smoothness = max_displacement, smoothness
        self.axes, self.bandwidth = check_axes(axes), bandwidth
        self._bandwidth = _check_bandwidth(bandwidth)
        self._largest = Range(max_displacement, "max_displacement", around=None, minimum=0)
        self._smoothness = check_smoothness(smoothness)
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return 4

    def draw(self, context: Context, u: np.ndarray) -> FieldParams:
        space = context.space
        axis = draw_axis(self.axes, u[:, 1], space)
        largest = self._largest(u[:, :1])[:, 0] * _in_mm(self._bandwidth, axis, space)
        seeds = random.to_seeds(u[:, 2:])
        noise, to_world, ends = white_noise(space, self._smoothness, seeds, 1)
        per_mm, scale = SPLINE_WIDTH / self._smoothness, np.empty(len(u))
        for n, along in enumerate(axis.tolist()):
            inside = ends[0][n], ends[1][n]
            values, slopes = (at_half_steps(noise[n], d, inside) for d in (None, along))
            bound = _STEEPEST / (per_mm * abs(slopes).max())
            scale[n] = np.clip(largest[n] / abs(values).max(), -bound, bound)
        back = -_directions(axis, space) * scale[:, None]
        return FieldParams(noise * back[:, :, None, None, None], to_world, spline=True)
