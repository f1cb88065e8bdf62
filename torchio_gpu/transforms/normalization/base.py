"""Parts that transforms share whose parameters are the voxels themselves."""

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
    """Nothing: what is done follows from the voxels."""


class Normalization(VolumeTransform):
    """Transform whose parameters are the voxels themselves. Not for use by itself."""

    def draw(self, context: Context, u: np.ndarray) -> NormalizationParams:
        return NormalizationParams()


def which(images: Images, name: str, wrong: Tensor) -> str:
    """Some samples of an image in words, with their files."""
    numbers: Sequence[int] = getattr(images, "rows", range(len(wrong)))  # in the whole batch
    files: Sequence[Any] = images[name]._images or [None] * len(wrong)
    found = []
    for row in wrong.nonzero()[:, 0].tolist():
        path = getattr(files[row], "path", None)
        found.append(f"sample {numbers[row]}" + (f" ({path})" if path else ""))
    return f"image {name!r} of {', '.join(found)}"
