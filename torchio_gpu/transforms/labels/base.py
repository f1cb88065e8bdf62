"""Parts that transforms of label maps share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base import Context
from ..kinds import LabelTransform
from ..parameters.params import Params


@dataclass(frozen=True)
class LabelParams(Params):
    """Nothing: what happens to a label map is settled by the label map."""


class NewLabels(LabelTransform):
    """Transform that is settled by the label map itself. Not for use by itself."""

    def draw(self, context: Context, u: np.ndarray) -> Params:
        return LabelParams()
