"""Formulas of artifacts of ultrasound along beams, and of images made of labels.

Beams are the columns along J of voxels, of a linear probe whose surface lies on the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...shapes import Volume


def acoustic_shadow(
    x: Volume,
    loss: float,
    position: float,
    width: float,
    depth: float,
    length: float,
    edge: float,
    step: float,
) -> Volume:
    """Ramp across the beams times ramp along them, as a gain in dB below 0.

    Args:
        x: Grey values from 0 at -60 dB to 255 at 0 dB, [B, C, I, J, K].
        loss: Largest loss in dB.
        position, width, edge: Middle, width, and width of each side, as shares of the fan.
        depth, length: Where the ramp begins, and its length, in mm.
        step: Distance of voxels in mm.
    """
    out = torch.empty_like(x)
    for i in range(x.shape[2]):
        away = abs(i / (x.shape[2] - 1) - position)
        across = min(max((width / 2 + edge / 2 - away) / edge, 0), 1)
        for j in range(x.shape[3]):
            along = min(max((j * step - depth) / length, 0), 1)
            gain = -loss * across * along
            out[:, :, i, j] = (x[:, :, i, j] + gain / 60 * 255).clamp(0, 255)
    return out


def label_attenuation(
    x: Volume, labels: Volume, attenuation: Mapping[int, float], step: float
) -> Volume:
    """Integrate the attenuation of labels along beams, by the trapezoidal rule.

    Args:
        x: Grey values from 0 at -60 dB to 255 at 0 dB, [B, C, I, J, K].
        labels: [B, 1, I, J, K].
        attenuation: Attenuation of labels, in dB per cm; 0 for others.
        step: Distance of voxels in mm.
    """
    rate = torch.zeros(labels.shape, dtype=torch.float64)
    for label, value in attenuation.items():
        rate[labels == label] = value
    out = x.clone()
    path = torch.zeros_like(rate[:, :, :, 0])
    for j in range(1, x.shape[3]):
        path = path + (rate[:, :, :, j - 1] + rate[:, :, :, j]) / 2 * step / 10
        out[:, :, :, j] = (x[:, :, :, j] - path / 60 * 255).clamp(0, 255)
    return out


def reverberation(x: Volume, strength: float, distance: float, echoes: int, step: float) -> Volume:
    """Sum of shifted amplitudes, above that of black, each weaker by the same factor.

    Args:
        x: Grey values from 0 at -60 dB to 255 at 0 dB, [B, C, I, J, K].
        strength: Amplitude of each echo relative to that before.
        distance: Distance of echoes in mm.
        echoes: Number of echoes.
        step: Distance of voxels in mm.
    """
    black = 10 ** (-60 / 20)
    amplitude = 10 ** ((x / 255 - 1) * 60 / 20) - black
    total = amplitude + black
    for n in range(1, echoes + 1):
        whole, share = divmod(n * distance / step, 1)
        for j in range(x.shape[3]):
            for k, weight in ((j - int(whole), 1 - share), (j - int(whole) - 1, share)):
                if k >= 0:
                    total[:, :, :, j] += strength**n * weight * amplitude[:, :, :, k]
    return ((20 * total.log10() / 60 + 1) * 255).clamp(0, 255)


def scattered(
    labels: Tensor, tissue: Mapping[int, Sequence[float]], drawn: Tensor, step: float
) -> tuple[Tensor, Tensor]:
    """Complex amplitudes of the scatterers and boundaries of one beam, before they are blurred.

    Args:
        labels: Labels of the points, [R].
        tissue: Mean and spread of amplitudes, density, attenuation in dB per cm, and impedance.
        drawn: Standard normal numbers, [3, R].
        step: Distance of points in mm.
    """
    points, walls = torch.zeros(2, len(labels), dtype=torch.complex128)
    at = [tissue.get(label, (0, 0, 0, 0, 1.48)) for label in labels.tolist()]
    arriving, path = 1.0, 0.0
    for r, (mean, spread, density, attenuation, impedance) in enumerate(at):
        path += 0.0 if r == 0 else (at[r - 1][3] + attenuation) / 2 * step / 10
        before = at[max(r - 1, 0)][4]
        reflected = (impedance - before) / (impedance + before)
        walls[r] = reflected * arriving * 10 ** (-path / 20)
        arriving *= 1 - reflected**2
        phase = torch.complex(drawn[0, r], drawn[1, r])
        if torch.exp(-(abs(phase) ** 2) / 2) < density:
            size = mean + spread * drawn[2, r]
            points[r] = size * phase / abs(phase) * arriving * 10 ** (-path / 20)
    return points, walls


def labels_to_ultrasound(points: Tensor, walls: Tensor, axial: float, lateral: float) -> Tensor:
    """Grey values of scatterers and boundaries, blurred by Gaussians, of one plane.

    Args:
        points, walls: See :func:`scattered`, [N, R] each.
        axial, lateral: Widths of the Gaussians along R and along N, in points.
    """
    field = torch.zeros_like(points)
    place = torch.arange(max(points.shape), dtype=torch.float64)
    for n in range(points.shape[0]):
        across = torch.exp(-((place[: points.shape[0]] - n) ** 2) / (2 * lateral**2))
        for r in range(points.shape[1]):
            along = torch.exp(-((place[: points.shape[1]] - r) ** 2) / (2 * axial**2))
            pulse = across[:, None] * along
            field[n, r] = (pulse * points).sum() / pulse.square().sum().sqrt()
            field[n, r] += (pulse * walls).sum() / across.sum()
    return ((20 * field.abs().log10() / 60 + 1) * 255).clamp(0, 255)


__all__ = [
    "acoustic_shadow",
    "label_attenuation",
    "labels_to_ultrasound",
    "reverberation",
    "scattered",
]
