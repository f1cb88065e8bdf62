"""Formulas of filters along the voxel axes, as dense matrices, and of exchanged patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...shapes import Triple, Volume

#: Where a Gaussian is cut off, in standard deviations, as in scipy.ndimage.
TRUNCATE = 4
#: Where it is cut off at the latest, in voxels.
REACH = 1024
#: Tolerance of what lies halfway, in voxels.
TIE = 1e-6


def blur(x: Volume, std: Tensor, spacing: Tensor) -> Volume:
    """Multiply by a Gaussian matrix along each axis, ``std / spacing`` voxels wide.

    Args:
        x: [B, C, I, J, K].
        std, spacing: Along I, J, K in mm, [B, 3].
    """
    voxels = (std / spacing).tolist()
    matrices = [
        torch.stack([gaussian_matrix(n, each[a]) for each in voxels])
        for a, n in enumerate(x.shape[2:])
    ]
    return torch.einsum("bcijk,bxi,byj,bzk->bcxyz", x, *matrices)


def gaussian_matrix(n: int, std: float) -> Tensor:
    """Gaussian on an axis mirrored half a voxel outside, [n, n]: scipy.ndimage.gaussian_filter.

    Voxel j has the share ``exp(-d^2 / 2 std^2)`` of voxel i for every mirror image of j at a
    distance d of at most ``floor(4 std + 1/2)``, and 1024; shares are divided by their sum.
    """
    matrix = torch.zeros(n, n, dtype=torch.float64)
    reach = min(int(TRUNCATE * std + 0.5), REACH)
    for i in range(n):
        for d in range(-reach, reach + 1):
            at = (i + d) % (2 * n)
            share = math.exp(-0.5 * (d / std) ** 2) if d else 1.0
            matrix[i, min(at, 2 * n - 1 - at)] += share
    return matrix / matrix.sum(1, keepdim=True)


def anisotropy(
    x: Volume,
    factor: Tensor,
    axis: Sequence[int],
    *,
    mode: str = "linear",
    antialias: bool = False,
) -> Volume:
    """Acquire slices ``factor`` voxels thick along an axis, and interpolate at the voxels again.

    Args:
        x: [B, C, I, J, K].
        factor: [B].
        axis: Of each sample, (B).
        mode: 'linear' or 'nearest', the lower of two.
        antialias: Slices are means under a Gaussian, not the nearest voxel.
    """
    out = []
    for volume, f, a in zip(x, factor.tolist(), axis, strict=True):
        n, slices = volume.shape[1 + a], math.ceil(volume.shape[1 + a] / f - TIE)
        acquire = slice_matrix(n, slices, f, mode, antialias)  # [slices, n]
        at = (torch.arange(n) - (n - 1) / 2).double() / f + (slices - 1) / 2
        apart = (at.clamp(0, slices - 1)[:, None] - torch.arange(slices)).abs()
        interpolate = (1 - apart).clamp_min(0)  # [n, slices]
        if mode == "nearest":
            interpolate = torch.eye(slices, dtype=torch.float64)[apart.argmin(1)]
        moved = volume.movedim(1 + a, -1).double() @ (interpolate @ acquire).mT
        out.append(moved.movedim(-1, 1 + a))
    return torch.stack(out)


def low_resolution(
    x: Volume, zoom: Tensor, *, mode: str = "linear", antialias: bool = False
) -> Volume:
    """Acquire ``round(zoom n)`` slices along each axis, and interpolate at the voxels again.

    Args:
        x: [B, C, I, J, K].
        zoom: Along I, J, K, [B, 3] or [B, C, 3].
        mode, antialias: As for :func:`anisotropy`.
    """
    if zoom.ndim == 3:
        channels = [
            low_resolution(x[:, c : c + 1], zoom[:, c], mode=mode, antialias=antialias)
            for c in range(x.shape[1])
        ]
        return torch.cat(channels, 1)
    for axis, n in enumerate(x.shape[2:]):
        factor = n / (zoom[:, axis] * n).round().clamp_min(1)
        x = anisotropy(x, factor, [axis] * len(x), mode=mode, antialias=antialias)
    return x


def slice_matrix(n: int, slices: int, factor: float, mode: str, antialias: bool) -> Tensor:
    """Share of each of n voxels in thick slices about one centre, [slices, n].

    A slice is the voxel nearest to its middle (the mean of two, in mode 'nearest' the lower one),
    or a Gaussian that widens a voxel's full width at half maximum to the slice's: Cardoso et al.
    2015, doi:10.1007/978-3-319-24571-3_81.
    """
    middle = (torch.arange(slices) - (slices - 1) / 2).double() * factor + (n - 1) / 2
    apart = middle.clamp(0, n - 1)[:, None] - torch.arange(n)
    shares = (apart.abs() <= apart.abs().amin(1, keepdim=True) + 2 * TIE).double()
    if mode == "nearest":
        shares = torch.eye(n, dtype=torch.float64)[shares.argmax(1)]
    if antialias:
        std = math.sqrt(max(factor**2 - 1, TIE)) / (2 * math.sqrt(2 * math.log(2)))
        shares = torch.exp(-0.5 * (apart / std) ** 2)
    return shares / shares.sum(1, keepdim=True)


def swap(x: Volume, locations: Tensor, patch_size: Triple) -> Volume:
    """Exchange pairs of patches, one after another: Chen et al. 2019.

    See https://doi.org/10.1016/j.media.2019.101539.

    Args:
        x: [B, C, I, J, K].
        locations: First voxels of both patches of each pair, [B, T, 2, 3].
        patch_size: Voxels of a patch.
    """
    out = x.clone()
    for volume, pairs in zip(out, locations.tolist(), strict=True):
        for pair in pairs:
            here, there = (
                volume[:, i : i + patch_size[0], j : j + patch_size[1], k : k + patch_size[2]]
                for i, j, k in pair
            )
            kept = here.clone()
            here.copy_(there)
            there.copy_(kept)
    return out


def cutout(x: Volume, first: Tensor, size: Tensor, fill: float | Tensor | str = 0.0) -> Volume:
    """The value ``fill`` in boxes, ``x`` elsewhere: DeVries & Taylor 2017.

    Args:
        x: [B, C, I, J, K].
        first, size: First voxels and sizes of boxes, [B, N, 3]; boxes may reach outside.
        fill: Number, [B, C], or the minimum, maximum or mean of the channel.
    """
    rules: dict[str, Any] = {"minimum": Tensor.amin, "maximum": Tensor.amax, "mean": Tensor.mean}
    value = rules[fill](x, (2, 3, 4)) if isinstance(fill, str) else torch.as_tensor(fill)
    value, out = value.expand(x.shape[:2]), x.clone()
    for b, boxes in enumerate(zip(first.tolist(), size.tolist(), strict=True)):
        for start, extent in zip(*boxes, strict=True):
            i, j, k = (
                slice(max(at, 0), max(at + n, 0)) for at, n in zip(start, extent, strict=True)
            )
            out[b, :, i, j, k] = value[b, :, None, None, None]
    return out
