"""Numbers that describe a volume, per sample and channel, computed where the voxels are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import Volume, check_volume

FILLS = ("minimum", "mean", "otsu")
_OTSU_BINS = 128


def fill_value(x: Volume, rule: str | float) -> float | Tensor:
    """What to write outside the field of view of each sample.

    Args:
        x: Volume, (B, C, I, J, K).
        rule: 'minimum' of the channel (0 if it holds NaN); 'mean' of its border voxels; 'otsu',
            the mean of those border voxels that lie under their Otsu threshold (Otsu 1979,
            doi:10.1109/TSMC.1979.4310076); or a number, returned as it is.

    Returns:
        (B, C) in a floating dtype, or the number.

    >>> fill_value(torch.arange(8.).view(1, 1, 2, 2, 2), "mean")
    tensor([[3.5000]])
    """
    if not isinstance(rule, str):
        return rule
    check_volume(x)
    if rule == "minimum":
        least = x.amin((2, 3, 4))
        return least.nan_to_num() if x.is_floating_point() else least
    border = border_values(x)
    if rule == "mean":
        return border.mean(-1)
    if rule == "otsu":
        under = border < otsu_threshold(border)[..., None]
        # As many as none may lie under: then, as for a flat border, take them all.
        under |= ~under.any(-1, keepdim=True)
        return (border * under).sum(-1) / under.sum(-1)
    raise ValueError(f"fill must be a number or one of {', '.join(FILLS)}, got {rule!r}")


def border_values(x: Volume) -> Tensor:
    """Voxels of the six faces, [B, C, N] in a floating dtype; edges count once per face."""
    faces = [x.select(axis, end).flatten(2) for axis in (2, 3, 4) for end in (0, -1)]
    border = torch.cat(faces, -1)
    return border if border.dtype == torch.float64 else border.float()


def otsu_threshold(values: Tensor) -> Tensor:
    """Threshold that separates values [..., N] into two classes of greatest variance between.

    Computed on a histogram of 128 bins from the least to the greatest value; the threshold is a
    bin's upper edge. Flat values give that value.
    """
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    width = (high - low).clamp_min(torch.finfo(values.dtype).tiny) / _OTSU_BINS
    bins = ((values - low) / width).long().clamp_(0, _OTSU_BINS - 1)
    shape = (*values.shape[:-1], _OTSU_BINS)
    counts = torch.zeros(shape, dtype=torch.float64, device=values.device)
    counts.scatter_add_(-1, bins, torch.ones_like(values, dtype=torch.float64))
    centres = torch.arange(_OTSU_BINS, dtype=torch.float64, device=values.device) + 0.5
    below = counts.cumsum(-1)
    mass = (counts * centres).cumsum(-1)
    total, moment = below[..., -1:], mass[..., -1:]
    # Variance between the classes "bins up to here" and the rest; empty classes have none.
    between = (moment * below - mass * total) ** 2 / (below * (total - below)).clamp_min(1e-12)
    best = between[..., :-1].argmax(-1, keepdim=True)
    return (low + width * (best + 1))[..., 0]
