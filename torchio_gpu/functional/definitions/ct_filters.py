"""Formulas of windows, reconstruction kernels and slice thickness of CT images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import Volume


def ct_window(x: Volume, center: Tensor, width: Tensor, ends: tuple[float, float]) -> Volume:
    """Linear from centre minus to centre plus half the width, constant outside.

    Args:
        x: [B, C, I, J, K].
        center, width: HU, [B].
        ends: Values at the ends of the window.
    """
    out = []
    for volume, c, w in zip(x, center, width, strict=True):
        share = ((volume - c) / w + 0.5).clamp(0, 1)
        out.append(ends[0] + share * (ends[1] - ends[0]))
    return torch.stack(out)


def reconstruction_kernel(
    x: Volume, ratio: Tensor, frequency: Tensor, axis: Sequence[int], spacing: Tensor
) -> Volume:
    """Multiply the spectrum of mirrored planes by ``ratio ** min((f / frequency)^2, 1)``.

    Args:
        x: [B, C, I, J, K].
        ratio, frequency: At that frequency in cycles per mm, [B].
        axis: Axis across the planes, of each sample.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for volume, r, limit, a, mm in zip(x, ratio, frequency, axis, spacing, strict=True):
        planes = volume.movedim(1 + a, 1)
        tall = torch.cat((planes, planes.flip(2)), 2)
        whole = torch.cat((tall, tall.flip(3)), 3)
        p, q = (int(each) for each in range(3) if each != a)
        u = torch.fft.fftfreq(whole.shape[2], dtype=x.dtype)[:, None] / mm[p]
        v = torch.fft.fftfreq(whole.shape[3], dtype=x.dtype) / mm[q]
        gain = r ** ((u**2 + v**2) / limit**2).clamp(max=1)
        filtered = torch.fft.ifft2(torch.fft.fft2(whole) * gain).real
        out.append(filtered[..., : planes.shape[2], : planes.shape[3]].movedim(1, 1 + a))
    return torch.stack(out)


def slice_thickness(x: Volume, thickness: Tensor, axis: Sequence[int], spacing: Tensor) -> Volume:
    """Mean over an interval about each slice, of voxels that are constant over their extent.

    Args:
        x: [B, C, I, J, K].
        thickness: Length of the interval, mm, [B].
        axis: Axis across the slices, of each sample.
        spacing: mm along I, J, K, [B, 3].
    """
    out = []
    for volume, mm, a, sides in zip(x, thickness, axis, spacing, strict=True):
        slices, half = volume.movedim(1 + a, 0), max(float(mm / sides[a]), 1e-9) / 2
        means = []
        for i in range(len(slices)):
            total = torch.zeros_like(slices[0])
            for j in range(math.floor(i - half), math.ceil(i + half) + 1):
                overlap = min(i + half, j + 0.5) - max(i - half, j - 0.5)
                total += max(overlap, 0) * slices[min(max(j, 0), len(slices) - 1)]
            means.append(total / (2 * half))
        out.append(torch.stack(means).movedim(0, 1 + a))
    return torch.stack(out)
