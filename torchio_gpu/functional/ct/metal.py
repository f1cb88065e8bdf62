"""Metal in CT images (B, C, I, J, K): dark bands and streaks by what it does to the beam."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...arrays import Array, as_array
from ...shapes import Volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, check_real, per_item, within
from ..dispatch.launch import to_device
from ..statistics import check_mask
from .attenuation import HU_RANGE, attenuation
from .beams import ParallelBeam
from .scans import changed, scanned

#: Lowest value of a CT image of 12 bits.
_LOWEST = -1024
#: Least scatter: one photon of a million.
LEAST_SCATTER = 1e-6
#: Least ratio of attenuations at two energies.
LEAST_RATIO = 1e-3


@traceable
def metal(
    x: Volume,
    mask: Tensor,
    hu: float | Array = 8000,
    ratio: float | Array = 0.2,
    scatter: float | Array = 1e-3,
    axis: int | Sequence[int] | Array = 2,
    views: int = 360,
    maximum: float = 3071,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Turn voxels of a CT image into metal, with the dark bands and streaks that it makes.

    Metal takes soft photons out of the beam, so that it seems thinner the more of it there is, and
    leaves so few photons that scattered ones are many among them: along rays through metal, line
    integrals are too small, which no image fits. De Man et al. 1999, Metal streak artifacts in
    X-ray computed tomography: a simulation study, doi:10.1109/23.775600.

    With the line integrals m of the metal and b of all else, a detector sees half of its photons at
    either of two energies, ``h = (exp(-m l) + exp(-m u)) / 2``, ``u / l`` being ``ratio`` and
    ``l + u = 2``, and a share s of scattered ones: ``-log((h exp(-b) + s) / (exp(-b) + s))``
    instead of m. The filtered back-projection of the difference is added to the image with metal.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        mask: Voxels of metal, (B, 1 or C, I, J, K) bool.
        hu: HU of thin metal, from 0 to 30710: a number or one per sample (B).
            Titanium has about 12000 at 71 keV, steel 30000.
        ratio: Attenuation of the metal at the higher energy over that at the lower one, from
            0.001 to 1, given likewise: 0.22 for titanium and 0.19 for iron at 100 and
            50 keV (NIST XCOM), 1 for a beam of one energy.
        scatter: Scattered photons that reach a detector, as a share of the photons where there is
            no object, from 1e-6 to 1, given likewise.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees.
        maximum: Largest value that the scanner stores, in HU, from 0 to 30710; by default that of
            12 bits. The lowest one is -1024. Larger and lower values of ``x`` stay.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3), on the host.

    Other tissue is taken to be corrected for hardening and scatter; noise, which few photons add,
    and metal beside the plane are left out. Planes without metal are left as they are, bit for bit.

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach voxels and
        parameters.

    Raises:
        ValueError: A parameter is not as above, the mask is of another shape, or voxels are not in
            HU.

    >>> x = torch.zeros(1, 1, 48, 48, 1)
    >>> mask = x > 0
    >>> mask[:, :, 10:14, 22:26] = mask[:, :, 34:38, 22:26] = True  # two rods
    >>> y = metal(x, mask, hu=12000, views=90)
    >>> bool(y[0, 0, 24, 24] < -50), torch.equal(metal(x, mask & False), x)
    (True, True)
    """
    check_real(x)
    check_mask(mask, x)
    check_maximum(maximum)
    arrays = (
        mask,
        within(per_item(hu, x, "hu"), 0, HU_RANGE[1], "hu"),
        within(per_item(ratio, x, "ratio"), LEAST_RATIO, 1, "ratio"),
        within(per_item(scatter, x, "scatter"), LEAST_SCATTER, 1, "scatter"),
    )

    def change(part: Volume, beam: ParallelBeam, mask: Tensor, *each: Array) -> Volume:
        value, ratio, scatter = (
            with_voxel_axes(each).to(part.dtype) for each in to_device(part.device, *each)
        )
        body = attenuation(part).masked_fill(mask, 0)
        lines = beam.project(torch.cat([body, (mask * attenuation(value)).expand_as(part)], 1))
        body, thick = lines.chunk(2, 1)
        delta = _seen(body, thick, 2 / (1 + ratio), ratio, scatter) - thick
        out = changed(torch.where(mask, value, part), beam.reconstruct(delta))
        low, high = part.clamp(max=_LOWEST), part.clamp(min=float(maximum))
        return torch.minimum(torch.maximum(out, low), high)

    return as_given(scanned(x, change, axis, spacing, views, *arrays), x)


def check_maximum(maximum: float) -> float:
    """Return the largest value that a scanner stores if it can be one; raise otherwise."""
    within(as_array(maximum, "maximum"), 0, HU_RANGE[1], "maximum")
    return maximum


def _seen(body: Tensor, thick: Tensor, soft: Tensor, ratio: Tensor, scatter: Tensor) -> Tensor:
    """Return what a detector sees of line integrals of metal, 0 where there is none."""
    # e^60 is less than a photon of any beam, and more overflows
    passed = (torch.expm1(-thick * soft) + torch.expm1(-thick * (soft * ratio))) / 2
    return -torch.log1p(passed / (1 + scatter * body.clamp(max=60).exp()))


__all__ = ["LEAST_RATIO", "LEAST_SCATTER", "check_maximum", "metal"]
