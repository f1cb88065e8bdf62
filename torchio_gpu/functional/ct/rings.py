"""Rings on CT images (B, C, I, J, K), by errors of the gain of single detectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...arrays import Array
from ...random import normals
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, check_real, check_seeds, per_item, within
from ..dispatch.launch import indices, to_device
from ..eager.separable import full_precision
from ..eager.sums import centred
from .beams import ParallelBeam
from .scans import changed, scanned

#: Radii for each detector, between which the image of its error is interpolated. It bends like
#: ``(r - t)^(3/2)`` beyond each detector, so that fewer would leave errors of percents.
_RADII = 8


@traceable
def rings(
    x: Volume,
    strength: float | Array = 0.003,
    share: float | Array = 0.2,
    planes: float | Array = 1,
    seeds: Array | None = None,
    axis: int | Sequence[int] | Array = 2,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Add rings about the centre of each plane of a CT image, by detectors of a wrong gain.

    A detector whose gain is ``exp(e)`` times the one that it was calibrated for sees a line
    integral that is e too small, in each view: its error depends on its distance from the centre
    of rotation alone, as does the image of the errors, the filtered back-projection of a sinogram
    that is constant in angle (Kak and Slaney 1988, Principles of Computerized Tomographic Imaging,
    chapter 3). It is added to the image: ``2 int_0^r q(t) / sqrt(r^2 - t^2) dt`` at a distance r
    from the centre, where q are the filtered errors. The integral is exact for q that are linear
    between detectors, without views, at eight radii a detector, and interpolated between them.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        strength: Standard deviation of the errors e of bad detectors, >= 0: a number or one per
            sample (B). Real scanners are calibrated to about 0.001.
        share: Share of bad detectors, from 0 to 1, given likewise; the gain of others is right. It
            has no gradient.
        planes: Number of neighbouring planes that one row of detectors sees, which have the same
            rings, >= 1, given likewise. It has no gradient.
        seeds: int64 seeds, (B): a sample's errors are a function of its seed. By default drawn
            from torch's CPU generator.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3), on the host.
            Detectors are at a distance of the smaller spacing within the plane.

    Detectors lie on either side of the centre, at the same distances, and go round by a full turn:
    the two of a distance draw one ring, and e is the mean of their errors. Errors that drift during
    a scan, which make arcs, and rows that a helical scan mixes, are left out. All channels have the
    same rings.

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach voxels and
        strength.

    Raises:
        ValueError: A parameter is not as above, or voxels are not in HU.

    >>> x = torch.zeros(1, 1, 64, 64, 1)
    >>> y = rings(x, 0.003, seeds=np.array([1]))
    >>> bool((y != 0).all()), torch.equal(y, y.transpose(2, 3))  # rings are round
    (True, True)
    """
    check_real(x)
    arrays = (
        at_least(per_item(strength, x, "strength"), 0, "strength"),
        within(per_item(share, x, "share"), 0, 1, "share"),
        at_least(per_item(planes, x, "planes"), 1, "planes"),
        check_seeds(seeds, x),
    )

    def add(part: Volume, beam: ParallelBeam, *each: Array) -> Volume:
        return changed(part, _rotated(-_errors(part, beam, *each), beam))

    return as_given(scanned(x, add, axis, spacing, 1, *arrays), x)


def _errors(
    x: Volume, beam: ParallelBeam, strength: Array, share: Array, planes: Array, seeds: Array
) -> Tensor:
    """Return errors of the logarithm of the gain of the detectors, [B, S, D].

    Row n of the detectors, of K distances from the centre, has the numbers 2 n K to 2 (n + 1) K of
    the stream of a sample: those that say which are bad before those of the errors.
    """
    slices, detectors = x.shape[2 + beam.axis], beam.detectors
    count = (detectors + 1) // 2
    known = seeds if isinstance(seeds, Tensor) else indices(seeds, x.device)
    drawn = normals(known, slices * 2 * count, x.device).view(len(seeds), slices, 2, count)
    spread, bad, rows = to_device(x.device, strength, share, planes)
    plane = torch.arange(slices, device=x.device)
    row = (plane / rows.detach()[:, None]).floor().long()  # [1 or B, S]
    drawn = drawn.gather(1, row[:, :, None, None].expand(len(x), -1, 2, count))
    chosen, error = drawn.unbind(2)
    error = error.where(torch.special.ndtr(chosen) <= bad.detach()[:, None, None], 0)
    both = torch.cat([error.flip(2), error[:, :, detectors % 2 :]], 2)
    return both.to(x.dtype) * spread.to(x.dtype)[:, None, None]


def _rotated(errors: Tensor, beam: ParallelBeam) -> Volume:
    """Return the filtered back-projection of a sinogram that is constant in angle.

    Args:
        errors: Line integrals of each plane, the same on both sides of the centre, [B, S, D].
        beam: Geometry.

    Returns:
        [B, 1, I, J, K].
    """
    with full_precision(errors.device):
        weights = (_back_projection(beam, errors.device) @ beam.ramp(errors.device)).to(errors)
        # a product for each sample, so that it depends on no other one; of two planes at least, as
        # BLAS adds the terms of a single vector in another order
        both = errors if errors.shape[1] > 1 else errors.expand(-1, 2, -1)
        profile = torch.bmm(weights.expand(len(errors), -1, -1), both.mT)[..., : errors.shape[1]]
    sides = zip(beam.size, beam.spacing, strict=True)
    p, q = (centred(count, step, errors.device) for count, step in sides)
    place = torch.hypot(p[:, None], q).flatten() * (_RADII / beam.pitch)
    low = place.long().clamp(max=profile.shape[1] - 2)
    part = (place - low).to(profile.dtype)[:, None]
    planes = torch.lerp(profile[:, low], profile[:, low + 1], part)  # [B, P Q, S]
    return planes.view(len(errors), 1, *beam.size, -1).movedim(4, 2 + beam.axis)


def _back_projection(beam: ParallelBeam, device: torch.device) -> Tensor:
    """Return weights of detectors at radii of multiples of an eighth of one, [radii, D] float64.

    They are the integrals of ``f(t) / sqrt(r^2 - t^2)`` from -r to r, for functions f that are 1 at
    a detector and fall linearly to 0 at its neighbours.
    """
    at = beam.positions(device)
    count = _RADII * len(at) // 2 + 1  # detectors cover the diagonal
    radius = torch.arange(count, dtype=torch.float64, device=device)[:, None]
    radius = radius * (beam.pitch / _RADII)
    radius = radius.clamp(min=1e-9 * beam.pitch)  # the limit in the centre
    ends = torch.minimum(torch.maximum(at, -radius), radius)
    root = (radius**2 - ends**2).clamp(min=0).sqrt()
    constant = torch.asin(ends / radius).diff()  # [radii, D - 1], between detectors
    rising = -root.diff() - at[:-1] * constant
    rising = rising / beam.pitch
    nothing = radius * 0
    return torch.cat([constant - rising, nothing], 1) + torch.cat([nothing, rising], 1)


__all__ = ["rings"]
