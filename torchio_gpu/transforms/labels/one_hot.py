"""Encode labels one-hot: a channel for each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...functional import labels as F
from ...shapes import Volume
from ..base import Context
from ..kinds import Images
from ..parameters.params import Params
from .base import NewLabels


@dataclass(frozen=True)
class OneHotParams(Params):
    """Direction: ``back`` is True if channels become labels again."""

    back: bool = False


class OneHot(NewLabels):
    """Give each label a channel of its own, 1 where a voxel has it and 0 elsewhere.

    Args:
        num_classes: Number of labels, which start at 0. -1 for one more than the largest label of
            the batch, which waits for the device.
        kwargs: See :class:`Transform`.

    The inverse gives each voxel the label of its largest channel. A map of one channel that was
    added later, such as a prediction, holds labels already, and keeps them.

    Raises:
        ValueError: ``num_classes`` is neither -1 nor positive; or, when called, a label map has
            several channels, or, as seen on the CPU, labels that are negative, no integers, or
            ``num_classes`` or more.

    >>> labels = LabelMap(torch.tensor([0, 2, 1]).view(1, 1, 1, 3))
    >>> OneHot()(labels).data.squeeze()
    tensor([[1, 0, 0],
            [0, 0, 1],
            [0, 1, 0]])
    """

    def __init__(self, num_classes: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = F.check_num_classes(num_classes)

    def draw(self, context: Context, u: np.ndarray) -> OneHotParams:
        return OneHotParams()

    def new_labels(self, images: Images, name: str, params: OneHotParams) -> Volume:
        x = images[name].data
        if not params.back:
            return F.one_hot(x, self.num_classes)
        if x.shape[1] == 1:  # one-hot, it would be 1 everywhere, for the label 0
            return x * (x != 1).flatten(1).any(1).view(-1, 1, 1, 1, 1).to(x.dtype)
        return (x.byte() if x.dtype == torch.bool else x).argmax(1, keepdim=True).to(x.dtype)

    def invert(self, params: OneHotParams) -> OneHotParams:
        return OneHotParams(not params.back)
