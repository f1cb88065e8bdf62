"""Formulas of cutting patches and of putting them together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ...shapes import Triple, Volume
from .labels import Voxel, every

Corner = Sequence[int]


def extract_patches(x: Volume, first: Sequence[Corner], size: Triple) -> Volume:
    """Voxels ``first + v`` of each patch of the only sample, 0 outside, [N, C, i, j, k]."""
    out = x.new_zeros(len(first), x.shape[1], *size)
    for n, corner in enumerate(first):
        for (u, v, w), (i, j, k) in pairs(corner, size, x.shape[2:]):
            out[n, :, u, v, w] = x[0, :, i, j, k]
    return out


def aggregate_patches(
    patches: Volume,
    first: Sequence[Corner],
    size: Triple,
    *,
    mode: str = "hann",
    overlap: Triple = (0, 0, 0),
) -> Volume:
    """Weighted mean ``sum w x / sum w`` of all patches that hold a voxel; 0 where none does.

    In mode 'crop' the last patch whose middle part holds the voxel counts alone: without half of
    the overlap at either end, the larger half at the upper one, unless the volume ends there.

    Args:
        patches: [N, C, i, j, k].
        first: First voxel of each, (N, 3).
        size: Voxels of the volume.
        mode, overlap: As for the public function.
    """
    shape = patches.shape[2:]
    total, weight = patches.new_zeros(1, patches.shape[1], *size), patches.new_zeros(size)
    for patch, corner in zip(patches, first, strict=True):
        for (u, v, w), (i, j, k) in pairs(corner, shape, size):
            if mode != "crop":
                each = zip((u, v, w), shape, strict=True)
                share = math.prod(share_along(mode, voxel, n) for voxel, n in each)
                total[0, :, i, j, k] += share * patch[:, u, v, w]
                weight[i, j, k] += share
            elif in_middle((u, v, w), corner, shape, size, overlap):
                total[0, :, i, j, k], weight[i, j, k] = patch[:, u, v, w], 1
    return total / torch.where(weight > 0, weight, 1)


def share_along(mode: str, voxel: int, n: int) -> float:
    """Weight of a voxel of n, symmetric and positive: Hann, or a Gaussian with std n / 8.

    The Hann window is ``cos^2(pi d / (n + 1))``, d from the middle; the Gaussian is that of
    Isensee et al. 2021, doi:10.1038/s41592-020-01008-z.
    """
    apart = voxel - (n - 1) / 2
    if mode == "hann":
        return math.cos(math.pi * apart / (n + 1)) ** 2
    return math.exp(-0.5 * (8 * apart / n) ** 2) if mode == "gaussian" else 1.0


def in_middle(
    inner: Voxel, corner: Corner, shape: Sequence[int], size: Triple, overlap: Triple
) -> bool:
    """True for a voxel of a patch that mode 'crop' keeps."""
    for a in range(3):
        before = overlap[a] // 2 if corner[a] > 0 else 0
        after = overlap[a] - overlap[a] // 2 if corner[a] + shape[a] < size[a] else 0
        if not before <= inner[a] < shape[a] - after:
            return False
    return True


def pairs(
    corner: Corner, shape: Sequence[int], size: Sequence[int]
) -> Iterator[tuple[Voxel, Voxel]]:
    """Voxels of a patch that lie in the volume, and the same as voxels of the volume."""
    for inner in every(shape):
        i, j, k = (v + c for v, c in zip(inner, corner, strict=True))
        if all(0 <= v < n for v, n in zip((i, j, k), size, strict=True)):
            yield inner, (i, j, k)
