"""Low dose of CT images (B, C, I, J, K): the noise of a scan with fewer photons."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...arrays import Array, host, on_host
from ...shapes import Volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, check_real, check_seeds, per_item, positive
from ..dispatch.launch import to_device
from .attenuation import attenuation
from .beams import ParallelBeam
from .scans import change_scan, keep, normals


@traceable
def low_dose(
    x: Volume,
    dose: float | Array,
    photons: float | Array = 1e6,
    electronic: float | Array = 10.0,
    seeds: Array | None = None,
    axis: int | Sequence[int] | Array = 2,
    views: int = 360,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Add the noise by which a CT scan with a share of the photons differs from the full one.

    The planes are projected to line integrals p, to which Gaussian noise of zero mean is added,
    and its filtered back-projection is added to the image. Behind the patient, a ray of the full
    scan has ``n = photons exp(-p)`` photons on average, and that of a share a of the dose ``a n``.
    The logarithm of Poisson counts with electronic noise of standard deviation e has the variance
    ``1 / n + e^2 / n^2`` to first order, so that what is missing from full to low dose is

        ``(1 - a) / (a n) + e^2 (1 - a^2) / (a n)^2``

    as of Yu et al. 2012, doi:10.1097/RCT.0b013e318258e891. It is the variance of a simulation of
    counts, as of Zeng et al. 2015, doi:10.1109/TNS.2015.2467219, where rays have many photons, and
    too large where ``a n`` approaches e: see :func:`streaks` for such rays. ``a n`` counts as at
    least 1 photon.

    Left out are the bow-tie filter and the modulation of the tube current, the bias of the
    logarithm, fans and cones of rays and their helix, correlations between detectors, and the
    scanner's own filter: noise has the spectrum of the ramp, of an unsmoothed reconstruction.
    The noise that the image has already is that of the full dose, and stays.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        dose: Share a of the dose, > 0 and at most 1, which changes nothing.
        photons: Photons of a ray without the patient at full dose, > 0. Give more for large
            patients, as scanners do, lest noise hides them. Rays are as far apart as
            voxels of a plane along its finer axis, the pitch, and there are ``views`` times as many
            as detectors: the standard deviation of the noise goes as
            ``1 / (pitch sqrt(photons views))``, and does not depend on the thickness of slices.
        electronic: Standard deviation e of the electronic noise of a ray, in photons, >= 0.
        seeds: int64 seeds, (B): a sample's noise is a function of its seed, the same on all devices
            up to rounding. By default drawn from torch's CPU generator.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees, >= 1. More cost more time.
        spacing: Distance of voxels along I, J, K in mm, on the host: a number, (3,) or (B, 3).

    Where no shape is said, a number or one per sample (B).

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach voxels,
        through the number of photons behind them, ``dose`` below 1, ``photons`` and ``electronic``.

    Raises:
        ValueError: A parameter is not as above, the volume is complex, or has voxels that are not
            in HU.

    >>> y = low_dose(torch.zeros(1, 1, 48, 48, 1), 0.25, photons=1e5, seeds=np.array([1]))
    >>> 10 < y.std() < 30
    tensor(True)
    """
    check_real(x)
    share = check_dose(per_item(dose, x, "dose"))
    numbers = to_device(
        x.device,
        share,
        positive(per_item(photons, x, "photons"), "photons"),
        at_least(per_item(electronic, x, "electronic"), 0, "electronic"),
    )
    seeds = check_seeds(seeds, x)

    def change(part: Volume, beam: ParallelBeam, *some: Tensor) -> Tensor:
        *parameters, own = some
        integrals = beam.project(attenuation(part))
        return noise_std(integrals, *parameters) * normals(integrals, own)

    out = change_scan(x, change, axis, spacing, views, *numbers, seeds)
    return as_given(keep(numbers[0] == 1, x, out), x)


def noise_std(integrals: Tensor, dose: Tensor, photons: Tensor, electronic: Tensor) -> Tensor:
    """Return the standard deviation of the noise to add to line integrals, (B, C, A, D, S).

    Args:
        integrals: (B, C, A, D, S).
        dose, photons, electronic: [1 or B].
    """
    dose, photons, electronic = (
        with_voxel_axes(each.to(integrals.dtype)) for each in (dose, photons, electronic)
    )
    expected = (dose * photons * torch.exp(-integrals)).clamp(min=1)
    variance = (1 - dose) / expected * (1 + electronic**2 * (1 + dose) / expected)
    some = variance > 0  # the root has no slope at 0
    return variance.where(some, 1).sqrt().where(some, 0)


def check_dose(dose: Array) -> Array:
    """Return shares of the dose; raise unless they are > 0 and at most 1, or on a device."""
    if on_host(dose) and not ((host(dose) > 0) & (host(dose) <= 1)).all():
        raise ValueError(f"dose must be > 0 and at most 1, got {host(dose).tolist()}")
    return dose


__all__ = ["check_dose", "low_dose", "noise_std"]
