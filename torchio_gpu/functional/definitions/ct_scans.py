"""Formulas of artefacts of CT images that arise in line integrals, ray by ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...shapes import Volume

Change = Callable[..., Tensor]


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
        out.append(volume + 1000 / 0.0193 * change)
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
        out.append(volume + 1000 / 0.0193 * change)
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
        out.append(volume + strength[b] * 1000 / 0.0193 * change)
    return torch.stack(out)


def behind(water: Tensor, bone: Tensor | float) -> Tensor:
    """Return the line integral that two energies measure; mass attenuation is that of NIST."""
    place = math.log(0.193 / 0.2059) / math.log(0.1837 / 0.2059)
    cortical = 0.3148 * (0.2229 / 0.3148) ** place  # at the energy where water has 0.193
    slow = (0.193 - 0.1707) / (0.2269 - 0.1707)
    counts = slow * (-(0.2269 / 0.193 * water + 0.4242 / cortical * bone)).exp()
    counts = counts + (1 - slow) * (-(0.1707 / 0.193 * water + 0.1855 / cortical * bone)).exp()
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
    """Return line integrals of planes, [C, A, D, S], by steps across the axis that rays cross most.

    Args:
        x: [C, I, J, K].
    """
    planes, (p, q) = _planes(x, axis, spacing)
    rays = _detectors(planes.shape[2:], p, q)
    out = np.zeros((*planes.shape[:2], views, len(rays)))
    for c, s, a in np.ndindex(out.shape[:3]):
        plane, main, other = planes[c, s].numpy(), *_direction(a, views)
        step, side = q, p
        if abs(main) * p < abs(other) * q:
            plane, main, other, step, side = plane.T, other, main, p, q
        across, steps = (np.arange(n) - (n - 1) / 2 for n in plane.shape)
        where = np.array([-1, *range(len(across)), len(across)]) - (len(across) - 1) / 2
        for row, n in zip(plane.T, steps, strict=True):
            at = (rays - n * step * other) / main / side
            out[c, s, a] += np.interp(at, where, [0, *row, 0]) * step / abs(main)
    return torch.from_numpy(out).permute(0, 2, 3, 1)


def reconstruction(p: Tensor, size: Sequence[int], axis: int, spacing: Tensor) -> Tensor:
    """Return the volume of line integrals, [C, I, J, K]: ramp, and back-projection."""
    planes, (mm_p, mm_q) = _planes(torch.zeros(len(p), *size), axis, spacing)
    rays, views = _detectors(planes.shape[2:], mm_p, mm_q), p.shape[1]
    n, pitch = np.arange(1 - len(rays), len(rays)), min(mm_p, mm_q)
    ramp = np.where(n % 2, -1 / (math.pi * np.where(n, n, 1)) ** 2, 0) + np.where(n, 0, 0.25)
    out = np.zeros(planes.shape)
    u, v = (np.arange(n) - (n - 1) / 2 for n in out.shape[2:])
    for c, s, a in np.ndindex(*out.shape[:2], views):
        filtered = np.convolve(p[c, a, :, s], ramp)
        filtered = filtered[len(rays) - 1 :][: len(rays)] / pitch
        main, other = _direction(a, views)
        at = u[:, None] * mm_p * main + v * mm_q * other
        out[c, s] += np.interp(at, rays, filtered) * math.pi / views
    return torch.from_numpy(out).movedim(1, 1 + axis)


def _planes(x: Tensor, axis: int, spacing: Tensor) -> tuple[Tensor, list[float]]:
    return x.movedim(1 + axis, 1), [float(spacing[n]) for n in range(3) if n != axis]


def _detectors(size: Sequence[int], p: float, q: float) -> np.ndarray:
    count = math.ceil(math.hypot(size[0] * p, size[1] * q) / min(p, q) - 1e-3) + 1
    return (np.arange(count) - (count - 1) / 2) * min(p, q)


def _direction(view: int, views: int) -> tuple[float, float]:
    return math.cos(math.pi * view / views), math.sin(math.pi * view / views)
