"""Projection of planes across K along parallel rays, and filtered back-projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def project(x: Tensor, angles: list[float], spacing: tuple[float, float], detectors: int) -> Tensor:
    """Sum what a ray meets in each row or column that it crosses, interpolated linearly.

    Joseph 1982, IEEE Trans Med Imaging 1:192; angles in radians.
    """
    out = torch.zeros(*x.shape[:2], len(angles), detectors, x.shape[4], dtype=x.dtype)
    for a, d in torch.cartesian_prod(torch.arange(len(angles)), torch.arange(detectors)).tolist():
        y, (du, dv), (c, s) = x, spacing, (math.cos(angles[a]), math.sin(angles[a]))
        if abs(c) * du < abs(s) * dv:
            y, (du, dv), (c, s) = x.transpose(2, 3), (dv, du), (s, c)
        t = (d - (detectors - 1) / 2) * min(spacing)
        for j in range(y.shape[3]):
            v = (j - (y.shape[3] - 1) / 2) * dv
            u = (t - v * s) / c / du + (y.shape[2] - 1) / 2
            weights = (1 - (torch.arange(y.shape[2], dtype=x.dtype) - u).abs()).clamp(min=0)
            out[:, :, a, d] += torch.einsum("u,bcuk->bck", weights, y[:, :, :, j]) * dv / abs(c)
    return out


def filtered_back_projection(
    projections: Tensor, angles: list[float], size: tuple[int, int], spacing: tuple[float, float]
) -> Tensor:
    """Convolve with the ramp (Kak and Slaney 1988, chapter 3, equation 61), and sum over views."""
    count, pitch = projections.shape[3], min(spacing)
    place = torch.arange(count, dtype=projections.dtype)
    gap = place[:, None] - place
    kernel = torch.where(gap % 2 == 0, 0, -1 / (math.pi * gap * pitch) ** 2)
    kernel[gap == 0] = 1 / (4 * pitch**2)
    filtered = torch.einsum("de,bcaek->bcadk", kernel * pitch, projections)
    u, v = (
        (place.new_tensor(range(n)) - (n - 1) / 2) * d for n, d in zip(size, spacing, strict=True)
    )
    out = torch.zeros(())
    for a, angle in enumerate(angles):
        t = (u[:, None] * math.cos(angle) + v * math.sin(angle)) / pitch + (count - 1) / 2
        weights = (1 - (t[..., None] - place).abs()).clamp(min=0)
        out = out + torch.einsum("uvd,bcdk->bcuvk", weights, filtered[:, :, a])
    return out * (math.pi / len(angles))
