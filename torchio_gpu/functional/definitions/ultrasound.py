"""Formulas of attenuation, gain, speckle and haze of B-mode images along beams."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...shapes import Volume


def places(shape: tuple[int, int], spacing: Tensor, probe: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Angle in radians, or mm across, and depth in mm of the pixels of a plane, and those inside.

    Args:
        shape: Pixels across and down.
        spacing: mm across and down, [2].
        probe: :class:`.BeamGeometry` without None.
    """
    across, down = (torch.arange(n).double() + 0.5 for n in shape)
    across = ((across - shape[0] / 2) * spacing[0] - probe.center[0])[:, None]
    down = down * spacing[1] - probe.center[1]
    behind = probe.radius if probe.probe == "convex" else 0.0
    beam, depth, half = (
        torch.arctan2(across, down + behind),
        (across**2 + (down + behind) ** 2) ** 0.5,
        math.radians(probe.angle) / 2,
    )
    if probe.probe == "linear":
        beam, depth, half, behind = across + 0 * down, down + 0 * across, probe.width / 2, 0.0
    inside = (abs(beam) <= half) & (depth >= behind) & (depth <= behind + probe.depth)
    return beam, depth - behind, inside


def grey(x: Volume, gain: Tensor, inside: Tensor, dynamic_range: float, white: float) -> Volume:
    """Grey values whose level in dB is changed within the fan, black and white at the ends.

    Args:
        x: Planes from black to white, [..., P, Q].
        gain: dB, [P, Q].
        inside: Mask of the fan, [P, Q].
        dynamic_range: dB between black and white.
        white: Its value.
    """
    level = (x / white - 1) * dynamic_range + gain
    new = (level.clamp(-dynamic_range, 0) / dynamic_range + 1) * white
    return torch.where(inside, new, x)


def attenuate(depth: Tensor, attenuation: Tensor) -> Tensor:
    """Gain in dB at depths in mm of an attenuation in dB per cm."""
    return -attenuation * depth / 10


def time_gain(depth: Tensor, gains: Tensor, longest: float) -> Tensor:
    """Gain in dB at depths in mm, linear between equally spaced depths up to the longest."""
    knots = torch.linspace(0, longest, len(gains)).double()
    out = torch.full_like(depth, float(gains[-1]))
    for n in range(len(gains) - 1):
        share = (depth - knots[n]) / (knots[n + 1] - knots[n])
        inside = (share >= 0) & (share < 1)
        out[inside] = (gains[n] + share * (gains[n + 1] - gains[n]))[inside]
    return out


def intensity(noise: Tensor, beam: Tensor, point: Tensor, widths: tuple[float, float]) -> Tensor:
    """Intensity of speckle at places between points on beams, with mean 1, [P, Q].

    Args:
        noise: Standard normal numbers: real and imaginary part, beams, points, [2, N, R].
        beam, point: Places, [P, Q].
        widths: Full widths at half maximum of the pulse in beams and in points.
    """
    out = torch.empty_like(beam)
    for at in torch.cartesian_prod(*(torch.arange(n) for n in beam.shape)).tolist():
        weights = []
        for place, width, count in zip((beam, point), widths, noise.shape[1:], strict=True):
            centre, total = min(max(float(place[tuple(at)]), 0), count - 1), torch.zeros(())
            for knot, share in (
                (math.floor(centre), 1 - centre % 1),
                (math.ceil(centre), centre % 1),
            ):
                pulse = 0.5 ** ((2 * (torch.arange(count).double() - knot) / width) ** 2)
                total = total + share * pulse / pulse.norm()
            weights.append(total / total.norm())
        out[tuple(at)] = sum((weights[0] @ part @ weights[1]) ** 2 for part in noise) / 2
    return out


def speckle(intensity: Tensor, strength: Tensor) -> Tensor:
    """Gain in dB of speckle: that of its intensity above its mean level, which is -2.507 dB."""
    return strength * 10 * (torch.log10(intensity) + 0.5772156649015329 / math.log(10))


def haze(
    x: Volume,
    intensity: Tensor,
    depth: Tensor,
    numbers: tuple[float, float, float],
    ends: tuple[float, float],
) -> Volume:
    """Gain in dB where the intensity of haze is added to that of the image.

    Args:
        x: Planes, [..., P, Q].
        intensity: That of the patches, [P, Q].
        depth: mm, [P, Q].
        numbers: Brightness, decay in mm, texture.
        ends: Dynamic range in dB, and value of white.
    """
    brightness, decay, texture = numbers
    echo = 10 ** ((x / ends[1] - 1) * ends[0] / 10)
    surface = 10 ** ((brightness - 1) * ends[0] / 10) - 10 ** (-ends[0] / 10)
    added = surface * torch.exp(-depth / decay) ** 2 * (1 + texture * (intensity - 1))
    return 10 * torch.log10((echo + added) / echo)
