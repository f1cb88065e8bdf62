"""Speckle of ultrasound: interference of echoes of many scatterers, on volumes (B, C, I, J, K)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, Number
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, check_seeds, per_item, real, within
from ..dispatch.launch import to_device
from ..operations import Noise
from ..pointwise import pointwise
from .compression import amplified, check_compression
from .geometry import Fan, GeometriesLike, by_fans
from .pulse import blurred, kept, pulses


@traceable
def speckle(
    x: Volume,
    strength: Number | Array,
    geometry: GeometriesLike,
    axial: Number | Array = 0.8,
    lateral: Number | Array = 2.0,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    seeds: Array | None = None,
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Multiply the echoes of B-mode images by speckle along the beams.

    Echoes of many scatterers of random phase add up to a complex number z with a circular Gaussian
    distribution, whose magnitude has a Rayleigh distribution: fully developed speckle (Burckhardt
    1978, IEEE Transactions on Sonics and Ultrasonics 25(1); Wagner et al. 1983, 30(3)). The mean of
    ``|z|`` is 1.91 times its standard deviation, and its level ``20 log10 |z|`` has a standard
    deviation of 5.57 dB. The level of the image is changed by ``strength`` times that of z above
    its mean, so that the mean level in dB stays, as far as nothing is clipped to black or white.
    What lies outside of the fan stays.

    z is correlated as by a Gaussian pulse of width ``axial`` along the beams and ``lateral`` across
    them: the correlation of ``|z|^2`` falls to a half at half of these distances. Beams of convex
    and phased probes diverge, so that speckle widens with depth. Interpolation widens pulses of few
    voxels, that of 2.5 voxels by a tenth at most; the variance stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB. Channels,
            as of a sequence of a probe at rest, have the same speckle; planes have their own.
        strength: Share of the level of z that is added, from 0 to 1: 0 changes nothing, 1 is fully
            developed speckle; a number, or (B).
        geometry: See :func:`attenuate`.
        axial: Full width at half maximum of the pulse along the beams, in mm: a number, or (B).
        lateral: The same across the beams, halfway along them.
        spacing, axes, dynamic_range, white: See :func:`attenuate`.
        seeds: int64 seeds, (B): speckle of a sample depends on its seed alone, up to rounding. By
            default drawn from torch's CPU generator.

    Returns:
        Volume, clipped to black and white; integers become float32. Gradients reach voxels and
        strength.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.full((1, 1, 64, 64, 1), 120.0)
    >>> level = speckle(x, 1, BeamGeometry("linear"), seeds=np.array([3])) * 60 / 255  # dB
    >>> bool(5 < level.std() < 6)
    True
    """
    y = real(x)
    compression = check_compression(dynamic_range, white)
    power = within(per_item(strength, x, "strength"), 0, 1, "strength")
    widths = [
        at_least(per_item(value, x, name), 0, name)
        for value, name in ((axial, "axial"), (lateral, "lateral"))
    ]
    seed = check_seeds(seeds, x)

    def run(
        part: Volume, fan: Fan, power: Array, axial: Array, lateral: Array, seed: Array
    ) -> Volume:
        value, along, across = to_device(part.device, power, axial, lateral)
        level = 10 * intensity(part, fan, along, across, seed).log10() + _BELOW
        return amplified(part, value.to(part.dtype).view(-1, 1, 1, 1, 1) * level, *compression)

    return as_given(by_fans(y, geometry, spacing, axes, run, power, *widths, seed), x)


#: Mean of the intensity 1 above the mean level of fully developed speckle, in dB.
_BELOW = 10 / math.log(10) * float(np.euler_gamma)


@torch.no_grad()
def intensity(x: Volume, fan: Fan, axial: Tensor, lateral: Tensor, seeds: Array) -> Tensor:
    """Return the intensity of fully developed speckle, whose mean is 1, (B, 1, I, J, K).

    Args:
        x: Volume, whose samples, shape and dtype are looked at.
        fan: Its beams.
        axial, lateral: Widths in mm, [1 or B] each; see :func:`speckle`.
        seeds: [B].
    """
    count = x.shape[2 + fan.plane_axis]
    zeros = x.new_zeros(len(x), 2, fan.beams, fan.points, count)  # real and imaginary part
    z = pointwise(zeros, [Noise(np.zeros(1), np.ones(1), seeds)])
    across, along = (matrix.to(x.dtype) for matrix in pulses(fan, axial, lateral))
    z = blurred(z, across, along)
    found = fan.from_beams(z).square().mean(1, keepdim=True)
    # not 0, whose logarithm is not finite
    return (found / kept(fan, across, along)).clamp(min=torch.finfo(x.dtype).tiny)


__all__ = ["intensity", "speckle"]
