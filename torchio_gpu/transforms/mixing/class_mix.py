"""Class-mix: regions of some labels of other samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ... import random
from ...arrays import host
from ...data.keys import LABEL
from ...functional.dispatch.launch import to_device
from ...shapes import Volume
from ..base import Context
from ..kinds import BatchTransform, Images
from ..parameters.masks import check_labels
from ..pipeline.mixing import MixParams, check_shapes, draw_partners


@dataclass(frozen=True)
class ClassMixParams(MixParams):
    """Partner of each sample, and the labels whose regions are taken from it."""

    labels: Annotated[np.ndarray, "B L"]  # repeated, to have as many for each


class ClassMix(BatchTransform):
    """Paste the regions of half of the labels of another sample, in images and label maps.

    Olsson et al. 2021, ClassMix: Segmentation-Based Data Augmentation for Semi-Supervised Learning,
    doi:10.1109/WACV48630.2021.00141. Of the labels of the partner, half, rounded up, are chosen at
    random; where it has one of them, its voxels replace those of the sample.

    All images must have one shape, whose voxels correspond. Points are left as they are. Labels
    are read on the host, which waits for the device.

    Args:
        label_key: Name of the label map, of one channel.
        labels: Labels to choose from; by default all of the partner, 0 among them.
        kwargs: See :class:`Transform`, and :class:`BatchTransform` for the metadata.

    Raises:
        KeyError: When called, there is no such label map.
        TypeError: When called, the input is a single sample.
        ValueError: ``labels`` are no whole numbers; or, when called, the label map has several
            channels, or images differ in shape.

    >>> images = ImagesBatch(torch.rand(2, 1, 4, 4, 4))
    >>> labels = ImagesBatch(torch.randint(3, (2, 1, 4, 4, 4)), kind="label")
    >>> batch = SubjectsBatch({"t1": images, "seg": labels})
    >>> ClassMix("seg", labels=(1, 2))(batch).seg.data.shape
    torch.Size([2, 1, 4, 4, 4])
    """

    def __init__(self, label_key: str, labels: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_key, self.labels = label_key, check_labels(labels)

    computes = False

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> ClassMixParams:
        check_shapes(context, self.name)
        regions = self._regions(context.images)
        partner = draw_partners(u[:, 0])
        seeds = random.to_seeds(u[:, 1:])
        chosen, weight = [], []
        for n, seed in zip(partner.tolist(), seeds, strict=True):
            known, counts = np.unique(host(regions[n]), return_counts=True)
            usable = ~np.isnan(known) if known.dtype.kind == "f" else np.ones(len(known), bool)
            if self.labels is not None:
                usable &= np.isin(known, self.labels)
            order = random.uniforms(seed[None], random.Layout(((0, 0, len(known)),)))[0]
            order = np.where(usable, order[: len(known)], 2)
            pasted = order.argsort()[: -(-int(usable.sum()) // 2)]
            chosen.append(known[pasted])
            weight.append(1 - counts[pasted].sum() / counts.sum())
        most = max(1, *map(len, chosen))
        padded = [np.resize(each, most) if len(each) else np.full(most, -1) for each in chosen]
        labels = np.stack(padded).astype(np.float64)
        return ClassMixParams(partner, np.array(weight), partner, labels)

    def mix(self, images: Images, partners: Images, name: str, params: ClassMixParams) -> Volume:
        regions = self._regions(partners)
        (labels,) = to_device(regions.device, params.labels)  # [B, L]
        labels = labels.to(regions.dtype)
        inside = torch.zeros_like(regions, dtype=torch.bool)
        for each in labels.unbind(1):
            inside |= regions == each[:, None, None, None, None]
        return torch.where(inside, partners[name].data, images[name].data)

    def _regions(self, images: Images) -> Tensor:
        """Return the label map, [B, 1, I, J, K]."""
        key = self.label_key
        if key not in images or images[key].kind != LABEL:
            known = [name for name in images if images[name].kind == LABEL]
            raise KeyError(f"label_key must name a label map of the batch, {known}, got {key!r}")
        if images[key].shape[1] != 1:
            raise ValueError(
                f"label_key must name a label map of one channel, {key!r} has "
                f"{images[key].shape[1]}: put OneHot after ClassMix"
            )
        return images[key].data
