"""Images of ultrasound made from label maps (B, 1, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import random
from ...arrays import Array, Number, as_array
from ...shapes import Volume, check_volume
from ..compiled import traceable
from ..dispatch.arguments import at_least, check_seeds, per_item, positive, within
from ..dispatch.launch import to_device
from .compression import NEPERS, check_compression
from .geometry import Fan, GeometriesLike, by_fans
from .labels import check_label_map, columns_of, entries, sequence_of_values
from .pulse import blurred, kept, pulses

#: Acoustic impedance of water in MRayl, which voxels of no label have.
WATER = 1.48
#: Least power whose logarithm is taken.
_DARK = 1e-30


@traceable
def labels_to_ultrasound(
    labels: Volume,
    mean: Number | Array,
    std: Number | Array,
    density: Number | Array,
    attenuation: Number | Array,
    impedance: Number | Array,
    geometry: GeometriesLike,
    values: Sequence[int] | None = None,
    axial: Number | Array = 0.8,
    lateral: Number | Array = 2.0,
    gain_per_cm: Number | Array = 0.0,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    seeds: Array | None = None,
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Make B-mode images of label maps, by scatterers and boundaries along the beams of a probe.

    After Burger et al. 2013, Real-time GPU-based ultrasound simulation using deformable mesh
    models, IEEE Transactions on Medical Imaging. Each point of a beam may have a scatterer of
    random phase. Amplitudes fall by the attenuation on the way, and at a boundary of impedances
    Z1 and Z2 by the factor 1 - r^2, r = (Z2 - Z1) / (Z2 + Z1): the boundary reflects the share r^2
    of the intensity, as if it were normal to the beam. A Gaussian pulse blurs scatterers and
    boundaries alike, as complex amplitudes: a wide boundary that reflects r has the amplitude r,
    and a region of scatterers the mean intensity density (mean^2 + std^2), where white is 1. Then
    come envelope, gain and logarithm.

    Args:
        labels: Label map of whole numbers, (B, 1, I, J, K).
        mean, std: Mean and standard deviation of the amplitudes of the scatterers of each label,
            (L,) or (B, L); a number is for all labels.
        density: Chance of a point to have a scatterer, from 0 to 1; as ``mean``. Points lie a voxel
            apart, so that smaller voxels have more scatterers in a mm^2. Speckle is fully
            developed where the pulse covers ten of them.
        attenuation: Attenuation in dB per cm of depth, there and back, twice the coefficient of
            the tissue; as ``mean``.
        impedance: Acoustic impedance in MRayl, > 0, or another unit for all; as ``mean``. Soft
            tissue has 1.6, bone 6, air 0.0004.
        geometry: See :func:`attenuate`.
        values: Label of each of the L columns; 0, 1, ... by default. Other labels, and what
            lies outside of the image, are as water: nothing scatters or attenuates, and the
            impedance is 1.48.
        axial: Full width at half maximum of the pulse along the beams in mm, >= 0; (B) or one.
        lateral: The same across the beams, halfway along them; (B) or one. It widens with depth as
            the beams do.
        gain_per_cm: Gain in dB per cm of depth, (B) or one.
        spacing, axes, dynamic_range, white: See :func:`attenuate`.
        seeds: int64 seeds, (B): the scatterers of a sample are a function of its seed. By default
            drawn from torch's CPU generator.

    Returns:
        Images, (B, 1, I, J, K), 0 outside of the fan; float64 if the labels are, and float32
        otherwise. Gradients reach all parameters but density.

    Raises:
        ValueError: A parameter is not as above.

    >>> labels = torch.zeros(1, 1, 30, 40, 1).int()
    >>> labels[..., 20:, :] = 1
    >>> image = labels_to_ultrasound(labels, [0.1, 0.2], 0, 1, [0.5, 1], [1.5, 1.6], "convex")
    >>> image.shape, bool(image.max() < 255)
    (torch.Size([1, 1, 30, 40, 1]), True)
    """
    compression = check_compression(dynamic_range, white)
    check_volume(labels, "labels")
    given = as_array(mean, "mean")
    count = given.shape[-1] if given.ndim else 1
    if not count:
        raise ValueError(f"mean must have an entry for at least one label, got {mean!r}")
    columns = sequence_of_values(values, count)
    tissue = [
        per_item(value, labels, name, (len(columns),))
        for value, name in (
            (given, "mean"), (std, "std"), (density, "density"), (attenuation, "attenuation"),
            (impedance, "impedance"),
        )
    ]  # fmt: skip
    at_least(tissue[1], 0, "std")
    within(tissue[2], 0, 1, "density")
    positive(tissue[4], "impedance")
    pulse = [
        at_least(per_item(axial, labels, "axial"), 0, "axial"),
        at_least(per_item(lateral, labels, "lateral"), 0, "lateral"),
        per_item(gain_per_cm, labels, "gain_per_cm"),
    ]
    seeds = check_seeds(seeds, labels)
    dtype = torch.float64 if labels.dtype == torch.float64 else torch.float32
    empty = torch.zeros(labels.shape, dtype=dtype, device=labels.device)
    check_label_map(labels, empty)

    def run(part: Volume, fan: Fan, maps: Tensor, seeds: Array, *some: Array) -> Volume:
        *tables, along, across, gains = to_device(part.device, *some)
        found = fan.nearest_on_beams(maps, len(columns))
        none = (0.0, 0.0, 0.0, 0.0, WATER)
        on_beams = [
            entries(F.pad(table, (0, 1), value=other).to(dtype), found)
            for table, other in zip(tables, none, strict=True)
        ]
        field = _echoes(on_beams, _scatterers(seeds, found, dtype), fan, along, across)
        power = field.square().sum(1, keepdim=True)  # (B, 1, I, J, K)
        depth = fan.over_volume(fan.places(part.device)[1]) / 10  # cm
        amplified = gains.view(-1, 1, 1, 1, 1) * depth
        level = power.clamp(min=_DARK).log() / (2 * NEPERS) + amplified.to(dtype)
        return (level / compression[0] + 1).clamp(0, 1) * compression[1]

    maps = columns_of(labels, columns)
    return by_fans(empty, geometry, spacing, axes, run, maps, seeds, *tissue, *pulse)


def _scatterers(seeds: Array, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return random phases, chances and sizes of the scatterers of the points on beams.

    Args:
        seeds: [B] int64.
        like: (B, 1, N, R, S).
        dtype: Dtype of the numbers.

    Returns:
        Real and imaginary part of a number of modulus 1, (B, 2, N, R, S); a uniform number from 0
        to 1 and a standard normal one, (B, 1, N, R, S). The angle of a complex normal number and
        its modulus, whose exponential is uniform, are independent.
    """
    batch, _, *size = like.shape
    drawn = random.normals(seeds, 3 * like[0].numel(), like.device).to(dtype)
    normal = drawn.view(batch, 3, *size)
    squared = normal[:, :2].square().sum(1, keepdim=True)
    return normal[:, :2] * squared.clamp(min=_DARK).rsqrt(), (-squared / 2).exp(), normal[:, 2:]


def _echoes(
    on_beams: Sequence[Tensor],
    scatterers: tuple[Tensor, Tensor, Tensor],
    fan: Fan,
    axial: Tensor,
    lateral: Tensor,
) -> Tensor:
    """Return real and imaginary part of the echoes at voxels, (B, 2, I, J, K).

    Args:
        on_beams: Mean and standard deviation of amplitudes, density, attenuation in dB per cm and
            impedance, (B, 1, N, R, S) each.
        scatterers: See :func:`_scatterers`.
        fan: The beams.
        axial, lateral: Widths of the pulse in mm, [1 or B]; see :func:`.pulses`.
    """
    mean, std, density, attenuation, impedance = on_beams
    phase, chance, normal = scatterers
    path = torch.cumulative_trapezoid(attenuation, dx=fan.step / 10, dim=3)  # dB
    arriving = torch.exp(F.pad(path, (0, 0, 1, 0)) * -NEPERS)
    step, total = impedance.diff(dim=3), impedance[..., 1:, :] + impedance[..., :-1, :]
    reflected = F.pad(step / total, (0, 0, 1, 0))  # at the first point behind a boundary
    reflected = reflected * fan.in_image(mean.device)  # the end of the image is none
    passed = (1 - reflected.square()).cumprod(3)
    before = F.pad(passed[..., :-1, :], (0, 0, 1, 0), value=1)
    scattered = phase * ((mean + std * normal) * (chance < density) * arriving * passed)
    across, along = (matrix.to(mean.dtype) for matrix in pulses(fan, axial, lateral))
    scattered = blurred(scattered, across, along)
    # a wall is as wide as the pulse, and has the largest amplitude of the pulse along the beam
    flat, peak = across / across.sum(2, keepdim=True), along / along.amax(2, keepdim=True)
    walls = blurred(reflected * arriving * before, flat, peak)
    speckle = fan.from_beams(scattered) * kept(fan, across, along).rsqrt()
    return torch.cat([speckle[:, :1] + fan.from_beams(walls), speckle[:, 1:]], 1)


__all__ = ["labels_to_ultrasound"]
