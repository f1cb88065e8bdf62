"""Streaks of CT images (B, C, I, J, K) along rays that too few photons pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...arrays import Array
from ...shapes import Volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, check_real, check_seeds, per_item, positive
from ..dispatch.launch import to_device
from .attenuation import attenuation
from .beams import ParallelBeam
from .scans import change_scan, normals

#: Least count of photons whose logarithm is taken.
FLOOR = 1.0


@traceable
def streaks(
    x: Volume,
    photons: float | Array,
    electronic: float | Array = 30.0,
    threshold: float | Array = 1000.0,
    seeds: Array | None = None,
    axis: int | Sequence[int] | Array = 2,
    views: int = 360,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Add the streaks of photon starvation, along the rays that the patient attenuates most.

    Behind a ray with the line integral p, ``n = photons exp(P - p)`` photons are expected, P the
    largest line integral of the sample's planes, each channel by itself: the tube is set for the
    patient, whose size therefore does not matter. Where n is below ``threshold``, the count
    ``y = n + sqrt(n + e^2) z``, z normal, is drawn, and the logarithm of ``max(y, 1)`` is taken:
    the line integral changes by ``-ln(max(y, 1) / n)``. The filtered back-projection of these
    changes is added to the image. Behind few photons their mean is not 0, so that streaks come with
    bands that are too dark or too bright. Other rays do not change.

    Photon starvation is described by Barrett and Keat 2004, doi:10.1148/rg.246045065. Left out are
    the adaptive filters by which scanners suppress it, the modulation of the tube current from view
    to view, fans and cones of rays, and the skewness of small counts.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        photons: Photons that are expected behind the most attenuated ray, > 0: fewer mean more
            streaks. From ``threshold`` on, nothing changes.
        electronic: Standard deviation e of the electronic noise of a ray, in photons, >= 0.
        threshold: Photons below which a ray is starved, >= 0; rays through air never are. A ray
            here stands for some ten of a scanner, which has more views, more detectors and several
            rows for each slice: photons and noise are those of all ten. It has no gradient.
        seeds: int64 seeds, (B): a sample's noise is a function of its seed, the same on all devices
            up to rounding. By default drawn from torch's CPU generator.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees, >= 1. More cost more time, and each
            streak is weaker.
        spacing: Distance of voxels along I, J, K in mm, on the host: a number, (3,) or (B, 3).

    Where no shape is said, a number or one per sample (B).

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. A channel without a starved
        ray keeps its bits. Gradients reach voxels, ``photons`` and ``electronic``; the choice of
        rays has none.

    Raises:
        ValueError: A parameter is not as above, the volume is complex, or has voxels that are not
            in HU.

    >>> x = torch.zeros(1, 1, 32, 64, 1)  # water, through which the longest rays run along J
    >>> y = streaks(x, 600, seeds=np.array([1]))
    >>> bool((y != x).any()), bool((streaks(x, 1000) == x).all())
    (True, True)
    """
    check_real(x)
    numbers = to_device(
        x.device,
        positive(per_item(photons, x, "photons"), "photons"),
        at_least(per_item(electronic, x, "electronic"), 0, "electronic"),
        at_least(per_item(threshold, x, "threshold"), 0, "threshold"),
    )
    seeds = check_seeds(seeds, x)

    def change(part: Volume, beam: ParallelBeam, *some: Tensor) -> Tensor:
        *parameters, own = some
        integrals = beam.project(attenuation(part))
        return starvation(integrals, normals(integrals, own), *parameters)

    return as_given(change_scan(x, change, axis, spacing, views, *numbers, seeds), x)


def starvation(
    integrals: Tensor, noise: Tensor, photons: Tensor, electronic: Tensor, threshold: Tensor
) -> Tensor:
    """Return the change of line integrals, (B, C, A, D, S), 0 where rays are not starved.

    Args:
        integrals: (B, C, A, D, S).
        noise: Normal numbers, shaped likewise.
        photons, electronic, threshold: [1 or B].
    """
    photons, electronic, threshold = (
        with_voxel_axes(each.to(integrals.dtype)) for each in (photons, electronic, threshold)
    )
    enough = threshold.detach().log() - photons.log()  # -inf without a threshold
    most = integrals.amax((2, 3, 4), keepdim=True).maximum(enough)
    starved = most - integrals < enough
    expected = photons * (most - integrals).where(starved, 0).exp()
    counts = expected + (expected + electronic**2).sqrt() * noise
    return (expected.log() - counts.clamp(min=FLOOR).log()).where(starved, 0)


__all__ = ["FLOOR", "starvation", "streaks"]
