"""Formulas of intensities brought to a common scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ...shapes import Volume
from .statistics import moments, percentile

Pair = tuple[float, float]
#: Percentiles whose landmarks are matched, and where they stand among those of TorchIO 1.x.
MATCHED = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
PLACES = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12)


def rescale(
    x: Volume,
    out_min_max: Pair = (0, 1),
    percentiles: Pair = (0, 100),
    mask: Tensor | None = None,
    in_min_max: Pair | None = None,
) -> Volume:
    """Clamp to two percentiles, then ``(x - a) / (b - a) (d - c) + c``.

    a and b are ``in_min_max``, or the percentiles; c and d are ``out_min_max``. A sample of no
    counted voxels is left as it is; so is a flat one, unless a and b are given.

    Args:
        x: [B, C, I, J, K].
        out_min_max, percentiles, in_min_max: See above.
        mask: Voxels that percentiles are taken of, [B, 1 or C, I, J, K] bool.
    """
    c, d = out_min_max
    out = x.clone()
    ends = percentile(x, torch.tensor(percentiles, dtype=torch.float64), mask)
    for b, (low, high) in enumerate(ends.tolist()):
        first, last = (low, high) if in_min_max is None else in_min_max
        if low <= high and first < last:
            out[b] = (x[b].clamp(low, high) - first) / (last - first) * (d - c) + c
    return out


def standardize(x: Volume, mask: Tensor | None = None) -> Volume:
    """``(x - mean) / std``; a deviation of 0 counts as 1, a sample of no voxels is left as it is.

    Args:
        x: [B, C, I, J, K].
        mask: Voxels that mean and deviation are taken of, [B, 1 or C, I, J, K] bool.
    """
    out = x.clone()
    for b, (n, mean, std) in enumerate(moments(x, mask).tolist()):
        if n:
            out[b] = (x[b] - mean) / (std or 1)
    return out


def match_landmarks(x: Volume, landmarks: Tensor, mask: Tensor | None = None) -> Volume:
    """Map percentiles of each sample to landmarks, linearly between and beyond: Nyul et al. 2000.

    See https://doi.org/10.1109/42.836373. Between percentiles closer than 1e-5 the map is flat.

    Args:
        x: [B, C, I, J, K].
        landmarks: For percentiles 1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99, [13].
        mask: Voxels that percentiles are taken of, [B, 1 or C, I, J, K] bool.
    """
    wanted, out = landmarks[list(PLACES)], x.clone()
    found = percentile(x, torch.tensor(MATCHED, dtype=torch.float64), mask)
    for b in range(len(x)):
        if found[b].isnan().any():
            continue
        for n in range(len(MATCHED) - 1):  # each piece writes over what lies above its start
            start, width = found[b, n], found[b, n + 1] - found[b, n]
            slope = (wanted[n + 1] - wanted[n]) / width if width >= 1e-5 else 0.0
            piece = wanted[n] + slope * (x[b] - start)
            out[b] = piece if n == 0 else torch.where(x[b] >= start, piece, out[b])
    return out


def principal_components(
    x: Volume,
    num_components: int = 3,
    *,
    whiten: bool = True,
    normalize: bool = True,
    make_skewness_positive: bool = True,
) -> Volume:
    """Project channels on their left singular vectors, after the mean is subtracted.

    The channel of which a component has most has a positive share.

    Args:
        x: [B, C, I, J, K].
        num_components: Number N of vectors, largest singular value first.
        whiten: Divide each component by its standard deviation, with n - 1.
        normalize: Divide all of them by that of the first, with n.
        make_skewness_positive: Negate components whose third moment is negative.
    """
    out = x.new_empty(len(x), num_components, x[0, 0].numel())
    for b, flat in enumerate(x.flatten(2)):
        apart, unit = flat - flat.mean(1, keepdim=True), torch.ones(())
        for n, vector in enumerate(torch.linalg.svd(apart, full_matrices=False)[0].T):
            if n == num_components:
                break
            part = vector[vector.abs().argmax()].sign() * vector @ apart
            part = part / part.std() if whiten else part
            unit = part.std(correction=0) if n == 0 and normalize else unit
            negative = make_skewness_positive and bool((part**3).sum() < 0)
            out[b, n] = (-part if negative else part) / unit
    return out.reshape(len(x), num_components, *x.shape[2:])


def mask_voxels(x: Volume, mask: Tensor, outside_value: float = 0) -> Volume:
    """``x`` where the mask [B, 1 or C, I, J, K] is true, ``outside_value`` elsewhere."""
    out = x.clone()
    out[~mask.expand_as(x)] = outside_value
    return out
