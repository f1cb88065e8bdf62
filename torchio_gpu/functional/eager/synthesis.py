"""Synthesis of images from label maps."""

from __future__ import annotations

import torch
from torch import Tensor

from ...arrays import Array
from ...random import normals
from ...shapes import Volume
from .intensity import root
from .separable import full_precision
from .slabs import join, slab_planes

#: Mean and standard deviation of each voxel, and mask of voxels without label.
Components = tuple[Tensor, Tensor, Tensor]


def of_labels(labels: Volume, mean: Tensor, std: Tensor, known: Tensor) -> Components:
    """Return the distribution of each voxel, [B, 1, I, J, K] each, given label maps.

    Args:
        labels: Whole numbers, [B, 1, I, J, K].
        mean, std: Mean and standard deviation of each label from 0 up, [B, N]; the last column is
            for all larger labels.
        known: Mask of the labels to use, [N].
    """
    # negative and too large labels take the last column
    column = labels.long().clamp(-1, mean.shape[1] - 1).remainder_(mean.shape[1]).flatten(1)
    means, stds = (m.gather(1, column).view(labels.shape) for m in (mean, std))
    return means, stds, ~known[column].view(labels.shape)


def of_shares(shares: Volume, mean: Tensor, std: Tensor) -> Components:
    """Return the distribution of each voxel given shares of labels, [B, L, I, J, K].

    A sum of independent normal numbers is one normal number whose variance is the sum of theirs.
    """
    shape = (len(shares), 1, *shares.shape[2:])
    flat = shares.flatten(2)
    missing = shares.sum(1, keepdim=True) < 0.5
    with full_precision(shares.device):
        variance = torch.bmm((std * std)[:, None], flat * flat)
        means = torch.bmm(mean[:, None], flat)
    return means.view(shape), root(variance).view(shape), missing


def mixture(
    labels: Volume,
    mean: Tensor,
    std: Tensor,
    known: Tensor | None,
    seeds: Array,
    background: Volume | None,
) -> Volume:
    """Draw a normal number for each voxel; voxels without label take the background.

    Args:
        labels, mean, std: As for :func:`of_labels`, or without ``known`` for :func:`of_shares`;
            ``mean`` has the dtype of the result.
        known: See :func:`of_labels`.
        seeds: One stream of normal numbers per sample, [B] int64.
        background: [B, 1, I, J, K]; 0 if None.
    """
    planes = labels.shape[2]
    per_plane = labels[0, 0, 0].numel()
    slab = slab_planes(planes, labels.numel() // planes, labels.device)

    def part(first: int) -> Volume:
        some = labels[:, :, first : first + slab]
        if known is None:
            means, stds, missing = of_shares(some.to(mean.dtype), mean, std)
        else:
            means, stds, missing = of_labels(some, mean, std, known)
        drawn = normals(seeds, means[0].numel(), means.device, first * per_plane)
        out = torch.addcmul(means, drawn.to(mean.dtype).view(means.shape), stds)
        if background is None:
            return out
        return torch.where(missing, background[:, :, first : first + slab].to(out.dtype), out)

    return join((part(first) for first in range(0, planes, slab)), planes)
