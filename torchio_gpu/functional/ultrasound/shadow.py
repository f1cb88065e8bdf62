"""Acoustic shadows of objects, and attenuation by tissue, on volumes (B, C, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...arrays import Array, Number
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, per_item, real
from ..dispatch.launch import to_device
from .compression import amplified, check_compression
from .geometry import Fan, GeometriesLike, by_fans
from .labels import check_label_map, check_values, columns_of, entries

#: Least length of a slope, so that no division is by 0; far below a voxel.
_STEEP = 1e-6


@traceable
def acoustic_shadow(
    x: Volume,
    loss: Number | Array,
    geometry: GeometriesLike,
    position: Number | Array = 0.5,
    width: Number | Array = 0.1,
    depth: Number | Array = 0.0,
    length: Number | Array = 5.0,
    edge: Number | Array = 0.02,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Lower the level of B-mode images behind an object, along the beams that meet it.

    The gain in dB is -``loss`` times two ramps from 0 to 1: one across the beams, which is
    1/2 at the two sides of the shadow, ``edge`` wide; and one along them, from ``depth`` on,
    ``length`` long. What lies outside of the fan stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB.
        loss: Loss of level behind the object in dB: a number, or (B); negative values are the
            enhancement behind a cyst.
        geometry: See :func:`attenuate`.
        position: Middle of the shadow, from 0 at the first beam to 1 at the last one; (B) or one.
        width: Width of the shadow as a share of the fan, >= 0; (B) or one.
        depth: Depth in mm where the shadow begins; (B) or one.
        length: Length in mm over which the loss is reached, >= 0; (B) or one.
        edge: Width of each of the two soft sides as a share of the fan, >= 0; (B) or one.
        spacing, axes, dynamic_range, white: See :func:`attenuate`.

    Returns:
        Volume, clipped to black and white; integers become float32. Gradients reach voxels and
        all parameters, but for the length of a slope that is 0.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.full((1, 1, 5, 3, 1), 100.0)
    >>> acoustic_shadow(x, 20, BeamGeometry("linear"), width=0.3, depth=1, edge=0)[0, 0, :, :, 0]
    tensor([[100.0000, 100.0000, 100.0000],
            [100.0000, 100.0000, 100.0000],
            [100.0000,  91.5000,  74.5000],
            [100.0000, 100.0000, 100.0000],
            [100.0000, 100.0000, 100.0000]])
    """
    compression = check_compression(dynamic_range, white)
    voxels = real(x)
    values = [
        per_item(loss, x, "loss"),
        per_item(position, x, "position"),
        at_least(per_item(width, x, "width"), 0, "width"),
        per_item(depth, x, "depth"),
        at_least(per_item(length, x, "length"), 0, "length"),
        at_least(per_item(edge, x, "edge"), 0, "edge"),
    ]

    def run(part: Volume, fan: Fan, *some: Array) -> Volume:
        level, middle, size, start, slope, side = (
            value.view(-1, 1, 1) for value in to_device(part.device, *some)
        )
        beam, deep = fan.places(part.device)  # [P, Q]
        away = (beam / (fan.beams - 1) - middle).abs()
        across = ((size / 2 - away) / side.clamp(min=_STEEP) + 0.5).clamp(0, 1)
        along = ((deep - start) / slope.clamp(min=_STEEP)).clamp(0, 1)
        gain = fan.over_volume(-level * across * along)
        return amplified(part, gain[:, None], *compression)

    return as_given(by_fans(voxels, geometry, spacing, axes, run, *values), x)


@traceable
def label_attenuation(
    x: Volume,
    labels: Volume,
    attenuation: Number | Array,
    values: Sequence[int],
    geometry: GeometriesLike,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Lower the level of B-mode images by the attenuation of the tissue that beams come through.

    Each label of a map attenuates by so many dB per cm, and nothing else does. The gain in a voxel
    is the integral of these from the surface of the probe on, along its beam, so that a strong
    label casts a shadow. Nothing attenuates outside of the image. What lies outside of the fan
    stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB.
        labels: Label map of whole numbers on the same grid, (B, 1, I, J, K).
        attenuation: Attenuation of each of the ``values`` in dB per cm of depth, there and back,
            twice the coefficient of the tissue: a number, (L,) or (B, L); negative values amplify.
        values: L labels that attenuate.
        geometry, spacing, axes, dynamic_range, white: See :func:`attenuate`.

    Returns:
        Volume, clipped to black and white; integers become float32. Gradients reach voxels and
        attenuation.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x, labels = torch.full((1, 1, 2, 30, 1), 200.0), torch.ones(1, 1, 2, 30, 1).int()
    >>> labels[..., 15:, :] = 2
    >>> label_attenuation(x, labels, np.array([0.0, 10]), [1, 2], "linear")[0, 0, 0, ::7, 0]
    tensor([200.0000, 200.0000, 199.4688, 172.3750, 142.6250])
    """
    compression = check_compression(dynamic_range, white)
    voxels = real(x)
    check_label_map(labels, x)
    columns = check_values(values)
    rates = per_item(attenuation, x, "attenuation", (len(columns),))

    def run(part: Volume, fan: Fan, maps: Tensor, rates: Array) -> Volume:
        (table,) = to_device(part.device, rates)
        rate = entries(F.pad(table, (0, 1)).to(part.dtype), maps)  # dB per cm, (B, 1, I, J, K)
        on_beams = fan.to_beams(rate)
        path = torch.cumulative_trapezoid(on_beams, dx=fan.step / 10, dim=3)
        return amplified(part, -fan.from_beams(F.pad(path, (0, 0, 1, 0))), *compression)

    maps = columns_of(labels, columns)
    return as_given(by_fans(voxels, geometry, spacing, axes, run, maps, rates), x)


__all__ = ["acoustic_shadow", "label_attenuation"]
