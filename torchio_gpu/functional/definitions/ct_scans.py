"""Formulas of artifacts of CT images that arise in line integrals, ray by ray."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import Volume
from . import projection

#: Values that an image can have.
HU = -10240, 30710


def low_dose(x: Volume, dose: Tensor, photons: Tensor, electronic: Tensor,
             noise: Sequence[Tensor], axis: Sequence[int], spacing: Tensor) -> Volume:  # fmt: skip
    """Noise by which the logarithms of counts with and without all photons differ.

    Args:
        x: HU, [B, C, I, J, K].
        dose, photons, electronic: Share of the dose, photons and electronic noise of a ray, [B].
        noise: Normal numbers of each ray, [C, A, D, S] of each sample.
        axis: Axis across the planes, of each sample.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for b, volume in enumerate(x):
        views = noise[b].shape[1]
        full = photons[b] * (-line_integrals(mu(volume), axis[b], spacing[b], views)).exp()
        low, square = (dose[b] * full).clamp(min=1), electronic[b] ** 2
        std = ((1 - dose[b]) / low + square * (1 - dose[b] ** 2) / low**2).sqrt()
        change = reconstruction(std * noise[b], volume.shape[1:], axis[b], spacing[b])
        out.append((volume + 1000 / 0.0193 * change).clamp(*HU))
    return torch.stack(out)


def streaks(x: Volume, photons: Tensor, electronic: Tensor, threshold: Tensor,
            noise: Sequence[Tensor], axis: Sequence[int], spacing: Tensor) -> Volume:  # fmt: skip
    """Logarithms of the counts of rays of few photons.

    Args:
        x, noise, axis, spacing: As for :func:`low_dose`.
        photons: Photons of the most attenuated ray, [B].
        electronic, threshold: Electronic noise, and least photons of other rays, [B].
    """
    out = []
    for b, volume in enumerate(x):
        p = line_integrals(mu(volume), axis[b], spacing[b], noise[b].shape[1])
        most = p.amax((1, 2, 3), keepdim=True)
        expected = (photons[b] * most.exp()).clamp(min=threshold[b]) * (-p).exp()
        counts = expected + (expected + electronic[b] ** 2).sqrt() * noise[b]
        change = -(counts.clamp(min=1) / expected).log() * (expected < threshold[b])
        change = reconstruction(change, volume.shape[1:], axis[b], spacing[b])
        out.append((volume + 1000 / 0.0193 * change).clamp(*HU))
    return torch.stack(out)


def beam_hardening(x: Volume, strength: Tensor, least: Tensor, corrected: bool, views: int,
                   axis: Sequence[int], spacing: Tensor) -> Volume:  # fmt: skip
    """Logarithm of a beam of 50 and 100 keV behind water and bone.

    Args:
        x, axis, spacing: As for :func:`low_dose`.
        strength, least: Factor of the change, and least HU of bone, [B].
        corrected: Replace the logarithm by the thickness of water that has it.
        views: Number of views.
    """
    out = []
    for b, volume in enumerate(x):
        water, bone = (
            line_integrals(mu(volume) * part, axis[b], spacing[b], views)
            for part in (volume < least[b], volume >= least[b])
        )
        p = behind(water, bone)
        if corrected:
            p = thickness(p)
        change = reconstruction(p - water - bone, volume.shape[1:], axis[b], spacing[b])
        out.append((volume + strength[b] * 1000 / 0.0193 * change).clamp(*HU))
    return torch.stack(out)


def behind(water: Tensor, bone: Tensor | float) -> Tensor:
    """Return the line integral that two energies measure; mass attenuation is that of NIST."""
    place = math.log(0.193 / 0.2059) / math.log(0.1837 / 0.2059)
    cortical = 0.3148 * (0.2229 / 0.3148) ** place  # at the energy where water has 0.193
    low = (0.193 - 0.1707) / (0.2269 - 0.1707)
    counts = low * (-(0.2269 / 0.193 * water + 0.4242 / cortical * bone)).exp()
    counts = counts + (1 - low) * (-(0.1707 / 0.193 * water + 0.1855 / cortical * bone)).exp()
    return -counts.log()


def thickness(measured: Tensor) -> Tensor:
    """Return the line integrals of water that are measured as these, by bisection."""
    low, high = 0 * measured, 2 * measured + 1
    for _ in range(60):
        middle = (low + high) / 2
        less = behind(middle, 0) < measured
        low, high = middle.where(less, low), high.where(less, middle)
    return (low + high) / 2


def mu(x: Tensor) -> Tensor:
    """Return attenuation in 1/mm."""
    return (1 + x / 1000).clamp(min=0) * 0.0193


def line_integrals(x: Tensor, axis: int, spacing: Tensor, views: int) -> Tensor:
    """Return line integrals of planes, [C, A, D, S], of x, [C, I, J, K]."""
    planes, sides = x.movedim(1 + axis, 3)[None], in_plane(axis, spacing)
    across = math.hypot(planes.shape[2] * sides[0], planes.shape[3] * sides[1])
    detectors = math.ceil(across / min(sides) - 1e-3) + 1
    return projection.project(planes, angles(views), sides, detectors)[0]


def reconstruction(p: Tensor, size: Sequence[int], axis: int, spacing: Tensor) -> Tensor:
    """Return the volume, [C, I, J, K], of line integrals."""
    first, second = (n for a, n in enumerate(size) if a != axis)
    sides = in_plane(axis, spacing)
    out = projection.filtered_back_projection(p[None], angles(p.shape[1]), (first, second), sides)
    return out[0].movedim(3, 1 + axis)


def in_plane(axis: int, spacing: Tensor) -> tuple[float, float]:
    """Return the sides of voxels within planes, mm."""
    first, second = (float(spacing[n]) for n in range(3) if n != axis)
    return first, second


def angles(views: int) -> list[float]:
    """Return angles of views, in radians."""
    return [math.pi * view / views for view in range(views)]
