"""Warning about values that look like landmarks, and stay while content moves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .steps import Step

#: Names that were warned of.
_KNOWN: set[str] = set()


def warn_of_points(values: Mapping[str, Any], steps: Sequence[Step]) -> None:
    """Warn, once for each name, of landmarks that steps of a pipeline leave where they are.

    Args:
        values: Values of a subject or a dict, or lists with one for each sample.
        steps: The pipeline.
    """
    movers = [s.transform for s in steps if s.role == "spatial" and not s.traits.regrids]
    for name, value in values.items() if movers else ():
        one = value[0] if isinstance(value, list) and value else value
        if not isinstance(one, (Tensor, np.ndarray)) or one.ndim != 2 or name in _KNOWN:
            continue
        if one.shape[1] == 3:
            _KNOWN.add(name)
            warnings.warn(
                f"{name!r} has shape {tuple(one.shape)}, as landmarks have, and stays as it is: "
                f"{movers[0].name} moves images alone",
                RuntimeWarning,
                stacklevel=4,
            )
