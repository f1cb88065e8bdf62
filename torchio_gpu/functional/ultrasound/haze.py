"""Haze of ultrasound: clutter near the probe, on volumes (B, C, I, J, K)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...arrays import Array, Number
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, check_seeds, per_item, positive, real, within
from ..dispatch.launch import to_device
from .compression import NEPERS, amplified, check_compression, decibels
from .geometry import Fan, GeometriesLike, by_fans
from .speckle import intensity


@traceable
def haze(
    x: Volume,
    brightness: Number | Array,
    geometry: GeometriesLike,
    decay: Number | Array = 30.0,
    texture: Number | Array = 0.5,
    size: Number | Array = 8.0,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    seeds: Array | None = None,
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Add the haze of clutter, which is brightest near the probe and fades with depth.

    Echoes from off the beam and reverberations between layers of tissue lie over the image, and
    hide what is dark (Lediju et al. 2008, Ultrasonic Imaging 30(3)). They have random phases, so
    that intensities, which are squares of amplitudes, add: ``sqrt(a^2 + h^2)``. At the surface,
    black becomes ``brightness`` times white; the amplitude h falls to 1/e over ``decay`` mm. What
    lies outside of the fan stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB. Channels,
            as of a sequence of a probe at rest, have the same haze; planes have textures of their
            own.
        brightness: Grey value that the haze gives to black at the surface, as a share of
            ``white``, from 0 to 1: a number, or (B); 0 changes nothing.
        geometry: See :func:`attenuate`.
        decay: Depth in mm over which amplitudes fall to 1/e, > 0, shaped likewise.
        texture: Share of the intensity that varies as that of speckle does, with coarse patches,
            from 0 to 1, shaped likewise. 0 is haze that depends on depth alone; the mean over
            many patches is the same.
        size: Width of the patches in mm, along the beams and halfway along them across, >= 0,
            shaped likewise; as ``axial`` of :func:`speckle`.
        spacing, axes, dynamic_range, white: See :func:`attenuate`.
        seeds: int64 seeds, (B): the patches of a sample depend on its seed alone, up to rounding.
            By default drawn from torch's CPU generator.

    Returns:
        Volume, clipped to black and white; integers become float32. Gradients reach voxels,
        brightness, decay and texture.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.tensor([0, 102.0]).view(1, 1, 2, 1, 1)
    >>> haze(x, 0.5, BeamGeometry("linear"), decay=1e6, texture=0).flatten()
    tensor([127.5000, 131.6214])
    """
    y = real(x)
    compression = check_compression(dynamic_range, white)
    numbers = [
        within(per_item(brightness, x, "brightness"), 0, 1, "brightness"),
        positive(per_item(decay, x, "decay"), "decay"),
        within(per_item(texture, x, "texture"), 0, 1, "texture"),
        at_least(per_item(size, x, "size"), 0, "size"),
    ]
    full = 2 * NEPERS * compression[0]  # logarithm of the ratio of intensities of white and black

    def run(part: Volume, fan: Fan, *arrays: Array) -> Volume:
        values = to_device(part.device, *arrays[:-1])
        bright, fall, share = (each.view(-1, 1, 1, 1, 1) for each in values[:3])
        depth = fan.over_volume(fan.places(part.device)[1]).clamp(min=0)
        patches = intensity(part, fan, values[3], values[3], arrays[-1])
        # above black, so that none is exactly none
        added = torch.expm1(bright * full) * math.exp(-full) * torch.exp(-2 * depth / fall)
        added = added.to(part.dtype) * torch.lerp(
            torch.ones_like(patches), patches, share.to(part.dtype)
        )
        above = added * torch.exp(-2 * NEPERS * decibels(part.clamp(min=0), *compression))
        return amplified(part, 10 / math.log(10) * torch.log1p(above), *compression)

    seed = check_seeds(seeds, x)
    return as_given(by_fans(y, geometry, spacing, axes, run, *numbers, seed), x)


__all__ = ["haze"]
