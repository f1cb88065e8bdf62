"""Warning about landmarks, which transforms do not move with the images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .steps import Step

#: Names that a warning was given for.
_WARNED: set[str] = set()


def warn_of_points(values: Mapping[str, Any], steps: Sequence[Step]) -> None:
    """Warn, once for each name, of landmarks that the steps of a pipeline do not move.

    Args:
        values: Values of a subject or a dict, or lists of these with one entry per sample.
        steps: Steps of the pipeline.
    """
    movers = [s.transform for s in steps if s.role == "spatial" and not s.traits.regrids]
    for name, value in values.items() if movers else ():
        one = value[0] if isinstance(value, list) and value else value
        if not isinstance(one, (Tensor, np.ndarray)) or one.ndim != 2 or name in _WARNED:
            continue
        if one.shape[1] == 3:
            _WARNED.add(name)
            warnings.warn(
                f"{name!r} has shape {tuple(one.shape)}, as landmarks have, and stays as it is: "
                f"{movers[0].name} moves images alone",
                RuntimeWarning,
                stacklevel=4,
            )
