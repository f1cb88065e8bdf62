"""Formulas of numbers that describe the voxels of each sample, all channels together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...shapes import Volume

OTSU_BINS = 128


def counted(x: Volume, mask: Tensor | None) -> Iterator[Tensor]:
    """Voxels of each sample that a mask [B, 1 or C, I, J, K] lets count, [N] each."""
    for b, volume in enumerate(x):
        yield volume.flatten() if mask is None else volume[mask[b].expand_as(volume)]


def moments(x: Volume, mask: Tensor | None = None) -> Tensor:
    """Number n, mean ``sum(x) / n``, and ``sqrt(sum((x - mean)^2) / (n - 1))``, [B, 3].

    The standard deviation of a single voxel is 0; of no voxels, mean and deviation are NaN.
    """
    out = torch.full((len(x), 3), torch.nan, dtype=torch.float64)
    for b, values in enumerate(counted(x.double(), mask)):
        n = len(values)
        out[b, 0] = n
        if n:
            out[b, 1] = mean = values.sum() / n
            out[b, 2] = (((values - mean) ** 2).sum() / max(n - 1, 1)).sqrt()
    return out


def percentile(x: Volume, q: Tensor, mask: Tensor | None = None) -> Tensor:
    """Value at place ``q / 100 (n - 1)`` of the sorted voxels, linear between two, [B, Q]."""
    out = torch.full((len(x), len(q)), torch.nan, dtype=torch.float64)
    for b, values in enumerate(counted(x.double(), mask)):
        ordered = values.sort().values
        for n, place in enumerate((q / 100 * (len(values) - 1)).tolist()):
            if len(values):
                lower, share = int(place), place % 1
                upper = min(lower + 1, len(values) - 1)
                out[b, n] = (1 - share) * ordered[lower] + share * ordered[upper]
    return out


def fill_value(x: Volume, rule: str | float) -> Tensor | float:
    """Value outside each channel, [B, C], by the rules of TorchIO 1.2.1; or the number given.

    'minimum' of all voxels; 'mean' of the voxels of the six faces, edges once for each face; or
    'otsu', the mean of those of them below their Otsu threshold (all, if none is).
    """
    if not isinstance(rule, str):
        return rule
    out = x.new_empty(x.shape[:2], dtype=torch.float64)
    for b, c in torch.cartesian_prod(*map(torch.arange, x.shape[:2])).reshape(-1, 2).tolist():
        voxels = x[b, c].double()
        faces = [voxels.select(axis, end).flatten() for axis in range(3) for end in (0, -1)]
        border = torch.cat(faces)
        under = border[border < otsu_threshold(border)]
        kept = {"minimum": voxels.min()[None], "mean": border, "otsu": under}[rule]
        out[b, c] = kept.mean() if len(kept) else border.mean()
    return out


def otsu_threshold(values: Tensor) -> float:
    """Upper edge of the bin, of 128, that parts values in two of greatest variance between.

    Otsu 1979, doi:10.1109/TSMC.1979.4310076: ``w0 w1 (m0 - m1)^2``, m being means of bin numbers.
    """
    low, width = values.min(), (values.max() - values.min()) / OTSU_BINS
    if width == 0:
        return float(low)
    bins = ((values - low) / width).long().clamp(0, OTSU_BINS - 1)
    best, threshold = -1.0, 0
    for first in range(1, OTSU_BINS):
        one, other = (bins[part].double() for part in (bins < first, bins >= first))
        apart = one.sum() * len(other) - other.sum() * len(one)
        between = float(apart**2 / max(len(one) * len(other), 1))
        if between > best:
            best, threshold = between, first
    return float(low + width * threshold)
