"""Synthesis of images from label maps (B, C, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..arrays import Array, as_array
from ..shapes import Volume, check_volume, rectangular
from .compiled import traceable
from .dispatch.arguments import at_least, check_seeds, per_item
from .dispatch.launch import indices, to_device
from .eager import synthesis as eager

#: Largest label for which a table with an entry per label is used: 0.5 MB.
_LARGEST = 2**16

__all__ = ["labels_to_image"]


@traceable
def labels_to_image(
    labels: Volume,
    mean: Array,
    std: Array,
    seeds: Array | None = None,
    values: Sequence[int] | None = None,
    background: Volume | None = None,
) -> Volume:
    """Draw an image from a Gaussian mixture whose components are labels: SynthSeg.

    See Billot et al. 2020, http://proceedings.mlr.press/v121/billot20a.html.

    Args:
        labels: Label map of whole numbers, (B, 1, I, J, K); or shares of labels, (B, L, I, J, K),
            one per channel: floats, or one-hot integers where L > 1.
        mean, std: Mean and standard deviation of each label, (L,) or (B, L).
        seeds: int64 seeds, (B): a sample's noise is a function of its seed. By default drawn from
            torch's CPU generator.
        values: Label of each column of ``mean`` and ``std``; 0, 1, ... by default.
        background: Image, (B, 1, I, J, K), where a voxel has none of the labels (less than half
            a share of them together). Without one, voxels of no label are 0, and shares, however
            small, count as they are.

    Returns:
        Image, (B, 1, I, J, K), float32 or float64 as the shares or the background are. Gradients
        reach ``mean``, ``std``, the background, and the shares where there are.

    Raises:
        ValueError: A shape is not as above, or ``std`` is negative.

    >>> labels = torch.tensor([0, 1, 2, 7]).view(1, 1, 1, 1, 4)
    >>> labels_to_image(labels, np.array([0., 10, 20]), np.zeros(3)).flatten()
    tensor([ 0., 10., 20.,  0.])
    """
    check_volume(labels, "labels")
    mean, std = as_array(mean, "mean"), as_array(std, "std")
    count = np.shape(mean)[-1] if np.ndim(mean) else 0
    if count < 1:
        raise ValueError(f"mean must have shape (L,) or (B, L), got {tuple(np.shape(mean))}")
    if tuple(np.shape(std))[-1:] not in ((count,), ()):
        raise ValueError(
            f"std must hold one value per label, as mean does: expected {count}, "
            f"got shape {tuple(np.shape(std))}"
        )
    means = per_item(mean, labels, "mean", (count,))
    stds = at_least(per_item(std, labels, "std", (count,)), 0, "std")
    seeds = check_seeds(seeds, labels)
    if background is not None and tuple(background.shape) != (len(labels), 1, *labels.shape[2:]):
        raise ValueError(
            f"background must have shape {(len(labels), 1, *labels.shape[2:])}, "
            f"got {tuple(background.shape)}"
        )
    columns = (
        list(range(count)) if values is None else rectangular(values, "values").ravel().tolist()
    )
    if len(columns) != count or len(set(columns)) != count or min(columns) < 0:
        raise ValueError(f"values must be {count} different whole numbers >= 0, got {columns}")
    if labels.is_complex():
        raise ValueError(f"labels must be real, got {labels.dtype}")
    shared = labels.is_floating_point() or labels.shape[1] > 1
    if shared and max(columns) >= labels.shape[1]:
        raise ValueError(
            f"labels must have a channel for each label up to {max(columns)}, "
            f"got {labels.shape[1]} channels"
        )
    double = any(t is not None and t.dtype == torch.float64 for t in (labels, background))
    dtype = torch.float64 if double else torch.float32

    moved = to_device(labels.device, means, stds)
    mean_, std_ = (m.to(dtype).expand(len(labels), -1) for m in moved)
    if shared:
        maps = labels if columns == list(range(labels.shape[1])) else labels[:, columns]
        return eager.mixture(maps, mean_, std_, None, seeds, background)
    if max(columns) > _LARGEST:
        labels, columns = _renumbered(labels, columns), list(range(count))
    table = indices(_table(columns), labels.device)
    mean_, std_ = (F.pad(m, (0, 1))[:, table] for m in (mean_, std_))
    return eager.mixture(labels, mean_, std_, table < count, seeds, background)


def _renumbered(labels: Volume, values: list[int]) -> Volume:
    """Replace each label by its index in ``values``, or by -1 if it is not one of them."""
    order = indices(np.argsort(values), labels.device)
    known = indices(np.array(values), labels.device)[order]
    place = torch.bucketize(labels.long(), known).clamp_max_(len(values) - 1)
    return torch.where(known[place] == labels, order[place], -1)


def _table(values: Sequence[int]) -> np.ndarray:
    """Return the column of each label from 0 to the largest plus one; the last one if unused."""
    entries = np.full(max(values) + 2, len(values))
    entries[list(values)] = range(len(values))
    return entries
