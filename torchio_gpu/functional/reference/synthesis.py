"""Images made of label maps."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import rng
from ...arrays import Array
from ...shapes import Volume
from .phase_encode import root


def from_labels(
    labels: Volume, index: Tensor, mean: Tensor, std: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and standard deviation of each voxel from its label, and whether it has none.

    Args:
        labels: Whole numbers, [B, 1, I, J, K].
        index: Column of each label from 0 up, [N]; the last stands for all that are larger, or
            negative.
        mean, std: Of each column, [B, L + 1], of which the last is for voxels without a label.
    """
    other = len(index) - 1
    value = labels.long()
    value = torch.where((value >= 0) & (value < other), value, other)
    column = index[value]
    means, stds = (m.gather(1, column.flatten(1)).view(labels.shape) for m in (mean, std))
    return means, stds, column == mean.shape[1] - 1


def from_maps(maps: Volume, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """The same where each channel is the share of a label in the voxel, [B, L, I, J, K].

    A sum of independent normal numbers is one normal number whose variance is the sum of theirs.
    """
    shape = (len(maps), 1, *maps.shape[2:])
    flat = maps.flatten(2)
    variance = torch.bmm((std * std)[:, None], flat * flat)
    return torch.bmm(mean[:, None], flat).view(shape), root(variance).view(shape)


def mixture(mean: Volume, std: Volume, seeds: Array) -> Volume:
    """A normal number for each voxel."""
    drawn = rng.normals(seeds, mean[0].numel(), mean.device).view(mean.shape)
    return torch.addcmul(mean, drawn.to(mean.dtype), std)
