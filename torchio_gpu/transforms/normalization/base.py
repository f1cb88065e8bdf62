"""Parts that transforms share whose parameters are the voxels themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...data import ImagesBatch
from ..base import Scene, Transform
from ..parameters.params import Params

Images = Mapping[str, ImagesBatch]


@dataclass(frozen=True)
class NormalizationParams(Params):
    """Nothing: what is done follows from the voxels."""


class Normalization(Transform):
    """What transforms share whose parameters are the voxels themselves."""

    role = "volume"

    def draw(self, scene: Scene, u: np.ndarray) -> NormalizationParams:
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
