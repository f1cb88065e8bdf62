"""Base of normalizations, which draw no parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..base import Context
from ..kinds import Images, VolumeTransform
from ..parameters.params import Params


@dataclass(frozen=True)
class NormalizationParams(Params):
    """Empty parameters: the result follows from the voxels."""


class Normalization(VolumeTransform):
    """Transform that depends on statistics of the voxels alone. Not for use by itself."""

    @staticmethod
    def mean(tensor: Tensor) -> Tensor:
        """Return the mask of voxels above the mean of all: a ``masking_method``."""
        x = tensor.double()  # a mean in half precision would be rounded
        return x > x.mean()

    def draw(self, context: Context, u: np.ndarray) -> NormalizationParams:
        return NormalizationParams()


def describe_samples(images: Images, name: str, selected: Tensor) -> str:
    """Describe samples of an image for a message, with their files.

    Args:
        images: All images, of all samples or of active ones.
        name: The image.
        selected: Samples to describe, [B] bool.
    """
    numbers: Sequence[int] = getattr(images, "samples", range(len(selected)))  # in the whole batch
    files: Sequence[Any] = images[name]._images or [None] * len(selected)
    found = []
    for n in selected.nonzero()[:, 0].tolist():
        path = getattr(files[n], "path", None)
        found.append(f"sample {numbers[n]}" + (f" ({path})" if path else ""))
    return f"image {name!r} of {', '.join(found)}"
