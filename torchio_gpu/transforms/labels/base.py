"""Parts that transforms of label maps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data import ImagesBatch
from ...data.image import LABEL
from ...shapes import Volume
from ..base import Scene, Transform
from ..parameters.params import Params

Images = Mapping[str, ImagesBatch]


@dataclass(frozen=True)
class LabelParams(Params):
    """Nothing: what happens to a label map is settled by the label map."""


class _LabelTransform(Transform):
    """What all transforms of label maps share: types are kept, scalar images left alone."""

    role = "volume"
    shares = True
    computes = False
    kinds = (LABEL,)

    def draw(self, scene: Scene, u: np.ndarray) -> Params:
        return LabelParams()

    def voxels(self, images: Images, name: str, params: Any) -> Volume:
        try:
            return self._labels(images, name, params)
        except ValueError as error:  # which names the argument, and does not know the image
            raise ValueError(f"{self.name} of {name!r}: {error}") from error

    def _labels(self, images: Images, name: str, params: Any) -> Volume:
        """The new labels of one image."""
        raise NotImplementedError
