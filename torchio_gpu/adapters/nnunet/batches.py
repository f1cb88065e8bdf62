"""Augmentation of the batches that nnU-Net's workers cut, and the targets of its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...data import ImagesBatch, SubjectsBatch
from ...data.keys import LABEL
from ...random import Streams
from ...transforms import Compose


@dataclass(frozen=True)
class BatchAugmentation:
    """Augmentation of a batch of patches, with all that nnU-Net does to them before training.

    Args:
        pipeline: The augmentation, of patches as (B, C, I, J, K) that are sampled once.
        masked_channels: Channels to set to 0 where the segmentation is -1, outside of the region
            by which they were normalized.
        previous_labels: Labels of the previous stage of a cascade, whose segmentation is the second
            channel of the target. Each becomes a channel of the data.
        regions: Labels of each region, if regions are the targets.
        scales: Size of each target relative to the first, along each axis; None for one target.

    Labels of -1 become 0 after that. The segmentation of a previous stage is spoiled by nnU-Net's
    own transforms, on the host, where they label components.
    """

    pipeline: Compose
    masked_channels: tuple[int, ...] = ()
    previous_labels: tuple[int, ...] = ()
    regions: tuple[int | tuple[int, ...], ...] | None = None
    scales: Sequence[Sequence[float]] | None = None

    @torch.no_grad()
    def __call__(
        self, data: Tensor, target: Tensor, seeds: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor | list[Tensor]]:
        """Return augmented data and targets.

        Args:
            data: Patches, (B, C, I, J, K) or (B, C, J, K), float32 on any device.
            target: Their segmentation, integers of the same shape but for C.
            seeds: int64 seeds of the samples, [B]; by default drawn from torch's generator.
        """
        planes = data.ndim == 4
        images = {
            "data": ImagesBatch(data.unsqueeze(2) if planes else data),
            "target": ImagesBatch(target.unsqueeze(2) if planes else target, kind=LABEL),
        }
        batch = SubjectsBatch(images, streams=None if seeds is None else Streams(seeds))
        done = self.pipeline(batch).images
        data, target = (done[name].data for name in images)
        if planes:
            data, target = data.squeeze(2), target.squeeze(2)
        if self.masked_channels:
            wanted = [channel in self.masked_channels for channel in range(data.shape[1])]
            channels = torch.tensor(wanted).to(data.device, non_blocking=True)
            channels = channels.view(-1, *[1] * (data.ndim - 2))
            data = data.masked_fill(channels & (target[:, :1] < 0), 0)
        target = target.masked_fill(target == -1, 0)
        if self.previous_labels:
            previous = _spoiled(target[:, 1], self.previous_labels)
            data, target = torch.cat((data, previous.to(data)), 1), target[:, :1]
        if self.regions is not None:
            target = region_masks(target, self.regions)
        if self.scales is None:
            return data, target
        return data, deep_supervision_targets(target, self.scales)


def region_masks(target: Tensor, regions: Sequence[int | Sequence[int]]) -> Tensor:
    """Return the masks of regions, (B, R, ...) bool, which may overlap.

    Args:
        target: Segmentation, (B, 1, ...).
        regions: Labels of each region.

    >>> region_masks(torch.tensor([[[0, 1, 2]]]), [(1, 2), 2])
    tensor([[[False,  True,  True],
             [False, False,  True]]])
    """
    groups = [(region,) if isinstance(region, int) else region for region in regions]
    masks = [reduce(torch.logical_or, [target == int(label) for label in g]) for g in groups]
    return torch.cat(masks, 1)


def deep_supervision_targets(target: Tensor, scales: Sequence[Sequence[float]]) -> list[Tensor]:
    """Return a target for each resolution at which a network predicts.

    Args:
        target: Segmentation, or masks of regions, (B, C, ...).
        scales: Size of each target relative to this one, along each axis.

    Returns:
        Targets, nearest neighbours of the given one, in its dtype.

    >>> [t.shape[2:] for t in deep_supervision_targets(torch.zeros(1, 1, 8, 8), [(1, 1), (0.5, 1)])]
    [torch.Size([8, 8]), torch.Size([4, 8])]
    """
    sizes = [
        [round(n * s) for n, s in zip(target.shape[2:], scale, strict=True)] for scale in scales
    ]
    values = target.float()  # there is no nearest neighbour of all integers
    return [
        target
        if size == list(target.shape[2:])
        else interpolate(values, size, mode="nearest-exact").to(target.dtype)
        for size in sizes
    ]


def _spoiled(segmentation: Tensor, labels: Sequence[int]) -> Tensor:
    """Return channels of labels, (B, L, ...) float32 on the host, with nnU-Net's random faults.

    Args:
        segmentation: Prediction of the previous stage, (B, ...).
        labels: One for each channel.
    """
    from batchgeneratorsv2.transforms.nnunet.random_binary_operator import (
        ApplyRandomBinaryOperatorTransform,
    )
    from batchgeneratorsv2.transforms.nnunet.remove_connected_components import (
        RemoveRandomConnectedComponentFromOneHotEncodingTransform,
    )
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    channels = list(range(-len(labels), 0))
    change = ApplyRandomBinaryOperatorTransform(channels, strel_size=(1, 8), p_per_label=0.5)
    remove = RemoveRandomConnectedComponentFromOneHotEncodingTransform(
        channels,
        fill_with_other_class_p=0,
        dont_do_if_covers_more_than_x_percent=0.15,
        p_per_label=0.5,
    )
    found = segmentation.cpu()
    one_hot = torch.stack([found == label for label in labels], 1).float()
    steps = RandomTransform(change, 0.4), RandomTransform(remove, 0.2)
    for n, sample in enumerate(one_hot):
        for step in steps:
            sample = step(image=sample)["image"]
        one_hot[n] = sample
    return one_hot
