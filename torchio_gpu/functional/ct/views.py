"""Few views of CT images (B, C, I, J, K): sparse ones, and those of a limited range of angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ...arrays import Array, common, host, on_host
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, check_real, per_item, within
from ..dispatch.launch import to_device
from .attenuation import attenuation, hounsfield_change
from .beams import ParallelBeam
from .projection import check_views
from .scans import change_scan, scanned

#: Decimals of angles in views: float32 has as many for a thousand views.
_DIGITS = 3


@traceable
def sparse_views(
    x: Volume,
    count: float | Array = 60,
    axis: int | Sequence[int] | Array = 2,
    views: int = 360,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Reconstruct the planes of a CT image from few of its views, which leaves streaks.

    Line integrals are simulated for ``views`` equally spaced angles, and the views that are left
    weighed by the half of the angles to their neighbours: the filtered back-projection of these
    minus that of all is added to the image (Kak and Slaney 1988, Principles of Computerized
    Tomographic Imaging, sections 3.3 and 5.1).

    Args:
        x: Volume in HU, (B, C, I, J, K).
        count: Number of views that are left, whole, from 1 to ``views``: a number or one per
            sample (B). They are spread evenly; all of them leave the image as it is.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3), on the host.

    Beams are parallel, without noise, and the object ends where the image does.

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach the voxels.

    Raises:
        ValueError: A parameter is not as above, or voxels are not in HU.

    >>> x = torch.full((2, 1, 32, 32, 1), -1000.0)
    >>> x[:, :, 12:20, 12:20] = 0
    >>> y = sparse_views(x, [8, 60], views=60)
    >>> bool((y[0] - x[0]).abs().max() > 50), torch.equal(y[1], x[1])
    (True, True)
    """
    check_real(x)
    total = check_views(views)
    weights = weights_of_some(check_counts(per_item(count, x, "count"), total), total)

    def change(part: Volume, beam: ParallelBeam, weights: Array) -> Tensor:
        return beam.project(attenuation(part)) * (_factors(weights, part) - 1)

    return as_given(change_scan(x, change, axis, spacing, total, weights), x)


def check_counts(count: Array, views: int) -> Array:
    """Return numbers of views if they are whole, from 1 to all, or on a device; raise otherwise."""
    within(count, 1, views, "count")
    if on_host(count) and (host(count) % 1).any():
        raise ValueError(f"count must be whole, got {host(count).tolist()}")
    return count


def weights_of_some(count: Array, views: int) -> Array:
    """Return the weights of all views, [1 or B, A], of which some are left, evenly spread.

    Args:
        count: Number of views that are left, [1 or B].
        views: Number A of all views, which is the sum of the weights.

    >>> weights_of_some(np.array([2.0]), 5).tolist()
    [[2.5, 0.0, 0.0, 2.5, 0.0]]
    """
    xp, left, view = common(count, np.arange(views))
    left, total = xp.round(left), views
    number = xp.floor(view * left[:, None] / total)  # views left before each, [1 or B, A]
    this, after, before = (xp.ceil((number + n) * total / left[:, None]) for n in (0, 1, -1))
    return (this == view) * (after - before) / 2


@traceable
def limited_angle(
    x: Volume,
    degrees: float | Array = 150,
    start: float | Array = 0,
    axis: int | Sequence[int] | Array = 2,
    views: int = 360,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Reconstruct the planes of a CT image from the views of a limited range of angles.

    Views of other angles are left out, and those that are left weigh 180 degrees together, so that
    round objects keep their Hounsfield units. The image is their filtered back-projection, not a
    change of the image that was given, whose finest details would stay where views are lacking. Its
    spectrum is 0 along the directions of the detectors of views left out, so that edges along their
    rays are lost: Quinto 1993, Singularities of the X-ray transform and limited data
    tomography in R2 and R3.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        degrees: Range of angles that is left, from the angle between two views to 180: a number or
            one per sample (B). 180 leaves the image as it is. It has no gradient.
        start: First angle, in degrees, given likewise. At 0, detectors are along the first axis of
            the plane and rays run along the second, see :func:`project`. It has no gradient.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3), on the host.

    Beams are parallel, without noise, and the object ends where the image does.

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach the voxels.

    Raises:
        ValueError: A parameter is not as above, or voxels are not in HU.

    >>> x = torch.full((2, 1, 32, 32, 1), -1000.0)
    >>> x[:, :, 12:20, 12:20] = 0
    >>> y = limited_angle(x, [120, 180], views=60)
    >>> bool((y[0] - x[0]).abs().max() > 50), torch.equal(y[1], x[1])
    (True, True)
    """
    check_real(x)
    total = check_views(views)
    width = check_degrees(per_item(degrees, x, "degrees"), total)
    weights = weights_of_range(width, per_item(start, x, "start"), total)

    def anew(part: Volume, beam: ParallelBeam, weights: Array) -> Volume:
        factor = _factors(weights, part)
        lines = beam.project(attenuation(part)) * factor
        image = hounsfield_change(beam.reconstruct(lines)) - 1000
        return part.where((factor == 1).all(2, keepdim=True), image)

    return as_given(scanned(x, anew, axis, spacing, total, weights), x)


def check_degrees(degrees: Array, views: int) -> Array:
    """Return ranges of angles if they have a view, or are on a device; raise otherwise."""
    if on_host(degrees):
        least, given = 180 / views, host(degrees)
        near = np.isclose(given, least, rtol=1e-6, atol=0)  # float32 may be less than it
        within(np.where(near, least, given), least, 180, "degrees")
    return degrees


def weights_of_range(degrees: Array, start: Array, views: int) -> Array:
    """Return the weights of all views, [1 or B, A], of which those of a range of angles are left.

    Args:
        degrees: Range of angles that is left, [1 or B].
        start: First angle, in degrees, [1 or B].
        views: Number A of all views, which is the sum of the weights.

    >>> weights_of_range(np.array([72.0]), np.array([36.0]), 5).tolist()
    [[0.0, 2.5, 2.5, 0.0, 0.0]]
    """
    xp, width, first, view = common(degrees, start, np.arange(views))
    # views at an end of the range are within it or not, whatever rounding does
    width, first = (xp.round(each * views / 180, decimals=_DIGITS) for each in (width, first))
    past = xp.round(xp.remainder(view - first[:, None], views), decimals=_DIGITS) % views
    left = (past < width[:, None].clip(1)) * 1.0
    return left * views / left.sum(1)[:, None]


def _factors(weights: Array, x: Volume) -> Tensor:
    """Return the weights of views, [1 or B, A], as factors of line integrals, without gradient."""
    (factors,) = to_device(x.device, weights)
    return factors.detach().to(x.dtype)[:, None, :, None, None]


__all__ = [
    "check_counts",
    "check_degrees",
    "limited_angle",
    "sparse_views",
    "weights_of_range",
    "weights_of_some",
]
