"""Attenuation of ultrasound with depth, and its compensation, on volumes (B, C, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...arrays import Array, Number, as_array
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, per_item, real
from ..dispatch.launch import to_device
from .compression import amplified, check_compression
from .geometry import Fan, GeometriesLike, by_fans


@traceable
def attenuate(
    x: Volume,
    attenuation: Number | Array,
    geometry: GeometriesLike,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Lower the level of B-mode images in proportion to the depth along the beams.

    Amplitudes fall by ``attenuation`` dB for each cm of depth, there and back. Tissue attenuates
    by about 0.5 dB per cm and MHz one way, so that an echo loses 1 dB per cm of depth and MHz:
    Szabo 2014, Diagnostic Ultrasound Imaging, chapter 4. What lies
    outside of the fan stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB.
        attenuation: Attenuation in dB per cm of depth, there and back, twice the coefficient of
            the tissue: a number, or (B); negative values amplify.
        geometry: :class:`BeamGeometry`, its arguments, or a list of one for each sample.
        spacing: Distance of voxels along I, J, K in mm, (3,) or (B, 3) on the host; a number
            stands for three.
        axes: Lateral and axial voxel axis; depth grows with the index along the axial one.
        dynamic_range: Difference of white and black in dB.
        white: Value of white.

    Returns:
        Volume, clipped to black and white; integers become float32. Gradients reach voxels and
        attenuation.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.full((1, 1, 1, 3, 1), 200.0)
    >>> attenuate(x, 20, BeamGeometry("linear"), spacing=10.0).flatten()  # at 0.5, 1.5, 2.5 cm
    tensor([157.5000,  72.5000,   0.0000])
    """
    y = real(x)
    compression = check_compression(dynamic_range, white)
    rate = per_item(attenuation, x, "attenuation")

    def run(part: Volume, fan: Fan, rate: Array) -> Volume:
        (value,) = to_device(part.device, rate)
        depth = fan.over_volume(fan.places(part.device)[1]) / 10  # cm
        return amplified(part, -value.view(-1, 1, 1, 1, 1) * depth, *compression)

    return as_given(by_fans(y, geometry, spacing, axes, run, rate), x)


@traceable
def time_gain(
    x: Volume,
    gains: Number | Array,
    geometry: GeometriesLike,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Change the level of B-mode images by gains at some depths, as time-gain compensation does.

    Gains are those of the sliders of a scanner: of equally spaced depths from the surface of the
    probe to the end of the beams, and linear between these. What lies outside of the fan stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB.
        gains: Gains in dB at N depths, (N,) or (B, N); a number is the gain at all depths.
        geometry, spacing, axes, dynamic_range, white: See :func:`attenuate`.

    Returns:
        Volume, clipped to black and white; integers become float32. Gradients reach voxels and
        gains.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.full((1, 1, 1, 3, 1), 102.0)
    >>> time_gain(x, np.array([0.0, 12]), BeamGeometry("linear", depth=2.5)).flatten()
    tensor([112.2000, 132.6000, 153.0000])
    """
    y = real(x)
    compression = check_compression(dynamic_range, white)
    array = as_array(gains, "gains")
    count = array.shape[-1] if array.ndim else 1
    if not count:
        raise ValueError(f"gains must be at least one, got {gains!r}")
    values = per_item(array, x, "gains", (count,))

    def run(part: Volume, fan: Fan, values: Array) -> Volume:
        (value,) = to_device(part.device, values)  # [1 or B, N]
        place = (fan.places(part.device)[1] / fan.depth).clamp(0, 1) * (count - 1)
        low = place.floor().clamp(max=max(count - 2, 0)).long()
        gain = torch.lerp(value[:, low], value[:, (low + 1).clamp(max=count - 1)], place - low)
        return amplified(part, fan.over_volume(gain)[:, None], *compression)

    return as_given(by_fans(y, geometry, spacing, axes, run, values), x)


__all__ = ["attenuate", "time_gain"]
