"""Base of transforms of label maps without drawn parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base import Context
from ..kinds import LabelTransform
from ..parameters.params import Params


@dataclass(frozen=True)
class LabelParams(Params):
    """Empty parameters: the result follows from the label map."""


class NewLabels(LabelTransform):
    """Label transform without drawn parameters. Not for use by itself."""

    def draw(self, context: Context, u: np.ndarray) -> Params:
        return LabelParams()
