"""Projection of the planes of volumes (B, C, I, J, K) along parallel rays, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...arrays import Array, Number, host
from ...shapes import Volume, check_count, check_triple, rectangular
from ...signature import is_number
from ..compiled import traceable
from ..dispatch.arguments import as_given, check_spacing, real
from .beams import ParallelBeam, beams_of, equal_angles

#: Most views that may be simulated: more are a mistake, and need their memory.
MOST_VIEWS = 36000
#: Error of angles that are equally spaced, in degrees.
_TOLERANCE = 1e-6 * 180


@traceable
def project(
    x: Volume,
    angles: int | Sequence[float] | Array,
    spacing: Number | Sequence[Number],
    axis: int = 2,
) -> Tensor:
    """Return the line integrals of the planes of a volume along parallel rays.

    Rays are followed voxel by voxel across the axis that they cross more steeply, with linear
    interpolation along the other: Joseph 1982, IEEE Trans Med Imaging 1:192.

    Args:
        x: Volume, (B, C, I, J, K).
        angles: Angles of the views in degrees, (A), on the host; a number A of views stands for
            180 / A degrees from one to the next, from 0. At 0, detectors are placed along the
            first axis of the plane and rays run along the second.
        spacing: Distance of voxels along I, J, K in mm; a number stands for three. No tensor, as
            it decides how many detectors there are.
        axis: Axis that the planes are stacked along: 0, 1 or 2.

    Returns:
        Line integrals in the unit of ``x`` times mm, (B, C, A, D, S): D detectors across the
        diagonal of the plane, at a distance of the smaller spacing, and S planes. Integers become
        float32. Gradients reach the voxels.

    Raises:
        ValueError: A shape is not as above, a spacing is not > 0, or the volume is complex.
        TypeError: ``spacing`` is a tensor.

    >>> x = torch.ones(1, 1, 4, 4, 1)
    >>> project(x, [0, 90], spacing=0.5).sum(3).flatten()  # 4 rays through 4 voxels of 0.5 mm
    tensor([8., 8.])
    """
    y = real(x)
    return as_given(_beam(x, angles, spacing, axis).project(y), x)


@traceable
def filtered_back_projection(
    projections: Tensor,
    angles: int | Sequence[float] | Array,
    shape: Sequence[int],
    spacing: Number | Sequence[Number],
    axis: int = 2,
) -> Volume:
    """Return the volume whose planes have some line integrals; the inverse of :func:`project`.

    Projections are convolved with the band-limited ramp along the detectors, and summed where
    voxels project to: Kak and Slaney 1988, Principles of Computerized Tomographic Imaging,
    section 3.3.

    Args:
        projections: Line integrals as of :func:`project`, (B, C, A, D, S).
        angles: Angles of the views in degrees, (A), equally spaced over 180 degrees, or their
            number; as for :func:`project`.
        shape: Voxels of the volume along I, J, K.
        spacing: Distance of voxels in mm, as for :func:`project`.
        axis: Axis that the planes are stacked along: 0, 1 or 2.

    Returns:
        Volume, (B, C, I, J, K), in the unit of the line integrals per mm. Gradients reach the
        projections.

    Raises:
        ValueError: A shape is not as above, angles are not equally spaced, or the number of views
            or detectors is not that of the projections.
        TypeError: ``spacing`` is a tensor.

    >>> x = torch.zeros(1, 1, 32, 32, 1)
    >>> x[:, :, 12:20, 12:20] = 1
    >>> y = filtered_back_projection(project(x, 60, 1.0), 60, (32, 32, 1), 1.0)
    >>> round(y[0, 0, 14:18, 14:18].mean().item(), 1)
    1.0
    """
    if projections.ndim != 5 or projections.is_complex():
        raise ValueError(
            "projections must be real and have shape (B, C, A, D, S), "
            f"got {projections.dtype} {tuple(projections.shape)}"
        )
    y = real(projections)
    size = check_triple(shape, "shape")
    planes = y.new_empty(1, device="meta").expand(len(y), y.shape[1], *size)
    beam = _beam(planes, angles, spacing, axis)
    check_equal_angles(beam.angles)
    wanted = (len(beam.angles), beam.detectors, size[axis])
    if tuple(y.shape[2:]) != wanted:
        raise ValueError(
            f"projections must have (views, detectors, planes) = {wanted} by angles, shape {size}, "
            f"spacing and axis, got {tuple(y.shape[2:])}"
        )
    return as_given(beam.reconstruct(y), projections)


def _beam(x: Volume, angles: Any, spacing: Any, axis: int) -> ParallelBeam:
    """Return the geometry of the planes of all samples."""
    if isinstance(spacing, Tensor):
        raise TypeError(f"spacing must be one number or three, got a tensor: {spacing}")
    sides = host(check_spacing(spacing, x))
    if len(sides) != 1:
        raise ValueError(f"spacing must be one number or three, got {sides.tolist()}")
    return next(iter(beams_of(x, axis, sides, check_angles(angles))))


def check_angles(angles: Any) -> tuple[float, ...]:
    """Return angles of views in degrees, from a sequence or a number of views; raise if invalid."""
    if is_number(angles):
        return equal_angles(check_count(angles, "angles", 1, MOST_VIEWS))
    array = rectangular(angles, "angles")
    usable = array.ndim == 1 and array.size and array.dtype.kind in "iuf"
    if not usable or not np.isfinite(array.astype(float)).all():
        raise ValueError(f"angles must be finite numbers (A) or a number of views, got {angles!r}")
    return tuple(array.astype(float).tolist())


def check_equal_angles(angles: tuple[float, ...]) -> None:
    """Raise a ValueError unless angles in degrees are equally spaced over 180, in any order."""
    places = np.sort(np.remainder(angles, 180))
    gaps = np.diff(places, append=places[0] + 180)
    if (np.abs(gaps - 180 / len(angles)) > _TOLERANCE).any():
        raise ValueError(
            f"angles must be equally spaced over 180 degrees, {180 / len(angles):g} from one to "
            f"the next, got distances from {gaps.min():g} to {gaps.max():g}"
        )


def check_views(views: Any) -> int:
    """Return a number of views if it is whole, >= 1 and not too large; raise otherwise."""
    return check_count(views, "views", 1, MOST_VIEWS)


__all__ = [
    "check_angles",
    "check_equal_angles",
    "check_views",
    "filtered_back_projection",
    "project",
]
