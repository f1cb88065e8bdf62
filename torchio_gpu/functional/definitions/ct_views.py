"""Formulas of rings, sparse views, limited angles and metal in CT images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...shapes import Volume
from .projection import filtered_back_projection, project

#: 1/mm.
WATER = 0.0193
#: Values that an image can have, HU.
ENDS = -10240, 30710


def centred(count: int, step: float) -> Tensor:
    """Positions of voxels about their middle."""
    return step * torch.tensor([n - (count - 1) / 2 for n in range(count)], dtype=torch.float64)


def detectors(planes: Tensor, sides: Sequence[float]) -> Tensor:
    """Positions of detectors across the diagonal of planes [C, P, Q, S]."""
    across = math.hypot(planes.shape[1] * sides[0], planes.shape[2] * sides[1])
    return centred(math.ceil(across / min(sides) - 1e-3) + 1, min(sides))


def angles(views: int) -> list[float]:
    """Radians of views."""
    return [math.pi * view / views for view in range(views)]


def line_integrals(planes: Tensor, sides: Sequence[float], views: int) -> Tensor:
    """Attenuation along the rays through planes [C, P, Q, S], [C, A, D, S]."""
    count = len(detectors(planes, sides))
    return project(planes[None], angles(views), (sides[0], sides[1]), count)[0]


def reconstruction(lines: Tensor, planes: Tensor, sides: Sequence[float]) -> Tensor:
    """Planes of line integrals [C, A, D, S], of the shape of others."""
    size = planes.shape[1], planes.shape[2]
    turns = angles(lines.shape[1])
    return filtered_back_projection(lines[None], turns, size, (sides[0], sides[1]))[0]


def filtered(errors: Tensor, pitch: float) -> Tensor:
    """Convolve errors of detectors, [S, D], with the band-limited ramp."""
    out = torch.zeros_like(errors)
    for k in range(errors.shape[1]):
        for j in range(errors.shape[1]):
            if k == j:
                out[:, k] += errors[:, j] / (4 * pitch)
            elif (k - j) % 2:
                out[:, k] -= errors[:, j] / (math.pi**2 * (k - j) ** 2 * pitch)
    return out


def across(volume: Tensor, axis: int, spacing: Tensor) -> tuple[Tensor, list[float]]:
    """Planes of a sample, [C, P, Q, S], and the distances of voxels along P and Q."""
    return volume.movedim(1 + axis, 3), [float(spacing[n]) for n in range(3) if n != axis]


def rings(x: Volume, errors: Sequence[Tensor], axis: Sequence[int], spacing: Tensor) -> Volume:
    """Add the mean over all angles of filtered errors, interpolated between eighths of them.

    Args:
        x: [B, C, I, J, K].
        errors: Of the logarithm of the gain, [S, D] for each sample.
        axis: Axis across the planes, of each sample.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for volume, error, a, mm in zip(x, errors, axis, spacing, strict=True):
        planes, sides = across(volume, a, mm)
        t, pitch = detectors(planes, sides).numpy(), min(sides)
        sizes = zip(planes.shape[1:3], sides, strict=True)
        p, q = (centred(count, side) for count, side in sizes)
        place = ((p[:, None] ** 2 + q**2).sqrt() / (pitch / 8)).numpy()
        turns, changes = (np.arange(20000) + 0.5) * math.pi / 20000, []
        for line in filtered(-error, pitch).numpy():
            radii = np.arange(4 * len(t) + 1) * pitch / 8
            profile = [math.pi * np.interp(r * np.cos(turns), t, line).mean() for r in radii]
            changes.append(torch.from_numpy(np.interp(place, np.arange(len(radii)), profile)))
        new = planes + torch.stack(changes, 2) * 1000 / WATER
        out.append(new.clamp(*ENDS).movedim(3, 1 + a))
    return torch.stack(out)


def sparse_views(
    x: Volume, count: Sequence[int], axis: Sequence[int], views: int, spacing: Tensor
) -> Volume:
    """Add the reconstruction of some views, by their gaps, and subtract that of all.

    Args:
        x: [B, C, I, J, K].
        count: Views that are left, of each sample.
        axis: Axis across the planes, of each sample.
        views: Number of views.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for volume, n, a, mm in zip(x, count, axis, spacing, strict=True):
        planes, sides = across(volume, a, mm)
        lines = line_integrals((1 + planes / 1000).clamp(min=0) * WATER, sides, views)
        left = [-(-view * views // n) for view in range(-1, n + 1)]
        some = torch.zeros_like(lines)
        for before, view, after in zip(left, left[1:], left[2:], strict=False):
            some[:, view] = lines[:, view] * (after - before) / 2
        change = reconstruction(some, planes, sides) - reconstruction(lines, planes, sides)
        out.append((planes + change * 1000 / WATER).clamp(*ENDS).movedim(3, 1 + a))
    return torch.stack(out)


def limited_angle(
    x: Volume, degrees: Tensor, start: Tensor, axis: Sequence[int], views: int, spacing: Tensor
) -> Volume:
    """Reconstruction of the views from ``start`` to ``start + degrees``.

    Args:
        x: [B, C, I, J, K].
        degrees, start: [B].
        axis: Axis across the planes, of each sample.
        views: Number of views.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for b, (volume, a, mm) in enumerate(zip(x, axis, spacing, strict=True)):
        planes, sides = across(volume, a, mm)
        lines = line_integrals((1 + planes / 1000).clamp(min=0) * WATER, sides, views)
        past = [(180 * view / views - float(start[b])) % 180 for view in range(views)]
        left = [view for view in range(views) if past[view] < float(degrees[b])]
        some = torch.zeros_like(lines)
        some[:, left] = lines[:, left] * views / len(left)
        new = (reconstruction(some, planes, sides) * 1000 / WATER - 1000).clamp(*ENDS)
        out.append(volume if degrees[b] == 180 else new.movedim(3, 1 + a))
    return torch.stack(out)


def metal(
    x: Volume,
    mask: Tensor,
    parameters: Tensor,
    axis: Sequence[int],
    views: int,
    maximum: float,
    spacing: Tensor,
) -> Volume:
    """Metal in its place, and the reconstruction of what detectors see beside the truth.

    Args:
        x: [B, C, I, J, K].
        mask: Of the metal, [B, C, I, J, K] bool.
        parameters: HU, ratio of attenuations and scattered share, [B, 3].
        axis: Axis across the planes, of each sample.
        views: Number of views.
        maximum: Largest value.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for b, (hu, ratio, share) in enumerate(parameters):
        planes, sides = across(x[b], axis[b], spacing[b])
        inside, soft = mask[b].movedim(1 + axis[b], 3), 2 / (1 + ratio)
        tissue = (1 + planes / 1000).clamp(min=0) * WATER * ~inside
        body = line_integrals(tissue, sides, views)
        thick = line_integrals(inside * (1 + hu / 1000) * WATER, sides, views)
        passed = ((-soft * thick).exp() + (-soft * ratio * thick).exp()) / 2
        seen = -((passed * (-body).exp() + share) / ((-body).exp() + share)).log()
        new = torch.where(inside, hu, planes)
        new = new + reconstruction(seen - thick, planes, sides) * 1000 / WATER
        new = new.clamp(planes.clamp(max=-1024), planes.clamp(min=maximum))
        out.append(new.movedim(3, 1 + axis[b]))
    return torch.stack(out)
