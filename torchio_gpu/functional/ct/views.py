"""Few views of CT images (B, C, I, J, K): sparse ones, and those of a limited range of angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arrays import Array, common, host
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, check_real, check_spacing, per_item, within
from ..dispatch.launch import to_device
from .attenuation import attenuation, hounsfield, hounsfield_change
from .beams import ParallelBeam, by_beams, equal_angles
from .projection import check_views


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
        x: Volume in Hounsfield units, (B, C, I, J, K).
        count: Number of views that are left, from 1 to ``views``: a number or one per sample (B).
            They are spread evenly; all of them leave the image as it is. It has no gradient.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3), on the host.

    Beams are parallel, without noise, and the object ends where the image does.

    Returns:
        Volume; integers become float32. Gradients reach the voxels.

    Raises:
        ValueError: A parameter is not as above, or voxels are not in Hounsfield units.

    >>> x = torch.full((2, 1, 32, 32, 1), -1000.0)
    >>> x[:, :, 12:20, 12:20] = 0
    >>> y = sparse_views(x, [8, 60], views=60)
    >>> bool((y[0] - x[0]).abs().max() > 50), torch.equal(y[1], x[1])
    (True, True)
    """
    check_real(x)
    total = check_views(views)
    left = within(per_item(count, x, "count"), 1, total, "count")
    xp, left, view = common(left, np.arange(total))
    number = xp.floor(view * left[:, None] / total)  # views left before each, [1 or B, A]
    this, after, before = (xp.ceil((number + n) * total / left[:, None]) for n in (0, 1, -1))
    weights = (this == view) * (after - before) / 2
    return _reweighted(x, weights, axis, total, spacing)


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
        x: Volume in Hounsfield units, (B, C, I, J, K).
        degrees: Range of angles that is left, from the angle between two views to 180: a number or
            one per sample (B). 180 leaves the image as it is. It has no gradient.
        start: First angle, in degrees, given likewise. At 0, detectors are along the first axis of
            the plane and rays run along the second, see :func:`project`. It has no gradient.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3), on the host.

    Beams are parallel, without noise, and the object ends where the image does.

    Returns:
        Volume; integers become float32. Gradients reach the voxels.

    Raises:
        ValueError: A parameter is not as above, or voxels are not in Hounsfield units.

    >>> x = torch.full((2, 1, 32, 32, 1), -1000.0)
    >>> x[:, :, 12:20, 12:20] = 0
    >>> y = limited_angle(x, [120, 180], views=60)
    >>> bool((y[0] - x[0]).abs().max() > 50), torch.equal(y[1], x[1])
    (True, True)
    """
    check_real(x)
    total = check_views(views)
    width = within(per_item(degrees, x, "degrees"), 180 / total, 180, "degrees")
    first = per_item(start, x, "start")
    xp, width, first, angles = common(width, first, np.array(equal_angles(total)))
    past = xp.remainder(angles - first[:, None], 180)  # [1 or B, A]
    # the remainder of a tiny negative number is 180 itself
    left = ((past < width[:, None]) | (width[:, None] >= 180)) * 1.0
    weights = left * total / left.sum(1)[:, None]
    return _reweighted(x, weights, axis, total, spacing, anew=True)


def _reweighted(
    x: Volume,
    weights: Array,
    axis: int | Sequence[int] | Array,
    views: int,
    spacing: float | Array,
    anew: bool = False,
) -> Volume:
    """Reconstruct planes from views of other weights than 1.

    Args:
        x: Volume in Hounsfield units.
        weights: Of the views, [1 or B, A]; those of a sample that are all 1 leave it as it is.
        axis: Axis that the planes are stacked along.
        views: Number A of views.
        spacing: Distance of voxels in mm.
        anew: Return the reconstruction, instead of its difference to that of all views, added.
    """
    y = hounsfield(x)

    def change(part: Volume, beam: ParallelBeam, weights: Array) -> Volume:
        (factor,) = to_device(part.device, weights)
        factor = factor.detach().to(part.dtype)[:, None, :, None, None]
        lines = beam.project(attenuation(part))
        if not anew:
            return part + hounsfield_change(beam.reconstruct(lines * (factor - 1)))
        image = hounsfield_change(beam.reconstruct(lines * factor)) - 1000
        return part.where((factor == 1).all(2, keepdim=True), image)

    sides = host(check_spacing(spacing, x))
    return as_given(by_beams(y, axis, sides, views, change, weights), x)


__all__ = ["limited_angle", "sparse_views"]
