"""Beam hardening of CT images (B, C, I, J, K): cupping of water, dark bands between bones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...arrays import Array
from ...shapes import Volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, check_real, per_item, within
from ..dispatch.launch import to_device
from .attenuation import HU_RANGE, MU_WATER, attenuation
from .beams import ParallelBeam
from .scans import change_scan, keep

#: Mass attenuation of water and of cortical bone, cm^2/g, by energy in keV: NIST Standard Reference
#: Database 126, table 4, doi:10.18434/T4D01F.
_TABLE = {
    50: (0.2269, 0.4242),
    60: (0.2059, 0.3148),
    80: (0.1837, 0.2229),
    100: (0.1707, 0.1855),
}


def _effective() -> tuple[float, float]:
    """Return the mass attenuation of water in the images, and of bone at the same energy.

    Between energies of the table, both are powers of the energy.
    """
    (water, bone), (next_water, next_bone) = _TABLE[60], _TABLE[80]
    part = math.log(10 * MU_WATER / water) / math.log(next_water / water)
    return 10 * MU_WATER, bone * (next_bone / bone) ** part


#: Attenuation at 50 and 100 keV, over that at the energy of the images.
WATER, BONE = (
    tuple(_TABLE[energy][n] / each for energy in (50, 100)) for n, each in enumerate(_effective())
)
#: Share of photons of 50 keV, by which thin water attenuates as the images say.
SHARE = (1 - WATER[1]) / (WATER[0] - WATER[1])
#: Newton steps that invert the curve of water.
_STEPS = 3


@traceable
def beam_hardening(
    x: Volume,
    strength: float | Array = 1.0,
    bone_threshold: float | Array = 300.0,
    water_corrected: bool = True,
    axis: int | Sequence[int] | Array = 2,
    views: int = 360,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Add the artifacts of a beam whose low-energy photons the patient absorbs first.

    Voxels are bone from a threshold on, and water below it. Of their line integrals W and B, a
    beam of photons of 50 and of 100 keV measures

        ``p = -ln(s exp(-w1 W - b1 B) + (1 - s) exp(-w2 W - b2 B))``

    with the attenuation w and b of water and of cortical bone at each energy, relative to that in
    the image, at an effective energy of 71 keV, where water attenuates by 0.0193 per mm.
    The share s = 0.4 of low-energy photons is that by which thin water is measured as the image has
    it; thick water is measured as less, bone of some millimetres as more. The filtered
    back-projection of ``strength (p - W - B)`` is added to the image: water cups, and dark bands
    join bones. Scanners replace p by the thickness of water that is measured so; then water does
    not cup, and what bone does is left.

    Brooks and Di Chiro 1976, doi:10.1088/0031-9155/21/3/004; for two materials in an image Joseph
    and Spital 1978, doi:10.1097/00004728-197801000-00017. Attenuation is that of the tables of
    NIST, doi:10.18434/T4D01F. Left out are the whole spectrum, the bow-tie filter, scatter,
    fans of rays, and what a scanner does about bone.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        strength: Factor of the artifacts, >= 0: 0 changes nothing, 1 is the model.
        bone_threshold: Least HU of bone. It has no gradient.
        water_corrected: Correct for water, as scanners do; if False, water cups.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        views: Number of simulated views over 180 degrees, >= 1. More cost more time and show fewer
            streaks.
        spacing: Distance of voxels along I, J, K in mm, on the host: a number, (3,) or (B, 3).

    Where no shape is said, a number or one per sample (B).

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach voxels and
        ``strength``.

    Raises:
        ValueError: A parameter is not as above, the volume is complex, or has voxels that are not
            in HU.

    >>> x = torch.full((1, 1, 9, 9, 1), -1000.0)
    >>> x[:, :, 1:8, 1:8] = 0  # a block of water, 21 mm wide
    >>> y = beam_hardening(x, water_corrected=False, views=30, spacing=3)
    >>> bool(y[0, 0, 4, 4] < 0), bool((beam_hardening(x, 0) == x).all())
    (True, True)
    """
    check_real(x)
    factor, threshold = to_device(
        x.device,
        at_least(per_item(strength, x, "strength"), 0, "strength"),
        within(per_item(bone_threshold, x, "bone_threshold"), *HU_RANGE, "bone_threshold"),
    )

    def change(part: Volume, beam: ParallelBeam, factor: Tensor, threshold: Tensor) -> Tensor:
        is_bone = part.detach() >= with_voxel_axes(threshold.detach())
        whole = attenuation(part)
        parts = torch.cat([whole.where(~is_bone, 0), whole.where(is_bone, 0)], 1)
        water, bone = beam.project(parts).chunk(2, 1)
        return with_voxel_axes(factor).to(part.dtype) * hardening(water, bone, water_corrected)

    out = change_scan(x, change, axis, spacing, views, factor, threshold)
    return as_given(out if factor.requires_grad else keep(factor == 0, x, out), x)


def hardening(water: Tensor, bone: Tensor, water_corrected: bool) -> Tensor:
    """Return the change of line integrals of water and of bone.

    Args:
        water, bone: Line integrals, of one shape.
        water_corrected: Invert the curve of water.
    """
    measured = _excess(water, bone)[0]
    if not water_corrected:
        return measured
    total, change = water + bone, measured
    # the curve of water is concave, so that Newton's steps from below rise to the solution
    for _ in range(_STEPS):
        excess, slope = _excess(total + change)
        change = change + (measured - change - excess) / (1 + slope)
    return change


def _excess(water: Tensor, bone: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the measured minus the true line integrals, and the slope of that along water.

    Args:
        water, bone: Line integrals.
    """
    high, spread = WATER[1] - 1, WATER[0] - WATER[1]
    hard, soft = high * water, spread * water
    if bone is not None:
        hard = hard + (BONE[1] - 1) * bone
        soft = soft + (BONE[0] - BONE[1]) * bone
    left = SHARE * torch.exp(-soft)  # low-energy photons behind the patient
    slope = high + spread * left / (1 - SHARE + left)
    return hard - torch.log1p(SHARE * torch.expm1(-soft)), slope


__all__ = ["BONE", "SHARE", "WATER", "beam_hardening", "hardening"]
