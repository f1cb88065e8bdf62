"""Formulas of erosion, dilation and smoothing of label maps, by all distances between voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import Volume
from .filters import blur

#: Share by which the distance of a voxel on a ball may exceed the radius, by rounding.
TIE = 1e-5


def distances(size: Sequence[int], spacing: Tensor) -> Tensor:
    """Distance of each voxel from each, in mm, [N, N], N = I J K in C order."""
    axes = (torch.arange(n, dtype=torch.float64) for n in size)
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3) * spacing
    return (places[:, None] - places).square().sum(-1).sqrt()


def erode_labels(
    x: Volume, radius: Tensor, spacing: Tensor, labels: Sequence[int] | None = None
) -> Volume:
    """0 where another label is within the radius, ``x`` elsewhere.

    Args:
        x: [B, C, I, J, K].
        radius: In mm, [B].
        spacing: In mm, [B, 3].
        labels: Labels that become 0.
    """
    out = x.clone()
    for b in range(len(x)):
        near = distances(x.shape[2:], spacing[b]) <= radius[b] * (1 + TIE)
        for old, new in zip(x[b].flatten(1), out[b].flatten(1), strict=True):
            touched = (near & (old[:, None] != old)).any(1)
            if labels is not None:
                touched &= torch.tensor([int(v) in labels for v in old])
            new[touched] = 0
    return out


def dilate_labels(
    x: Volume, radius: Tensor, spacing: Tensor, labels: Sequence[int] | None = None
) -> Volume:
    """Label of the nearest voxel within the radius that is not 0, where ``x`` is 0.

    Args:
        x: [B, C, I, J, K].
        radius: In mm, [B].
        spacing: In mm, [B, 3].
        labels: Labels that count; all but 0 if None.
    """
    out = x.clone()
    for b in range(len(x)):
        apart = distances(x.shape[2:], spacing[b])
        for old, new in zip(x[b].flatten(1), out[b].flatten(1), strict=True):
            source = [v != 0 and (labels is None or v in labels) for v in old.tolist()]
            to_source = apart.where(torch.tensor(source), torch.inf)
            for n in (old == 0).nonzero()[:, 0].tolist():
                least = to_source[n].min()
                if least <= radius[b] * (1 + TIE):
                    new[n] = old[to_source[n] <= least * (1 + TIE)].min()
    return out


def smooth_labels(
    x: Volume, std: Tensor, spacing: Tensor, labels: Sequence[int] | None = None
) -> Volume:
    """Label whose indicator, blurred, is greatest.

    Args:
        x: [B, C, I, J, K].
        std: In mm, [B].
        spacing: In mm, [B, 3].
        labels: Labels that vote and change, beside 0; all if None.
    """
    voters = torch.unique(x) if labels is None else torch.tensor(sorted({0, *labels})).to(x.dtype)
    width = std[:, None].expand(-1, 3)
    weights = torch.stack([blur((x == v).double(), width, spacing) for v in voters])
    return torch.where(torch.isin(x, voters), voters[weights.argmax(0)], x)
