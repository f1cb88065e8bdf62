"""Tables of the steps of a pipeline, for notebooks."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor

from ..plot import table_of
from .naming import brief
from .parameters.params import Params
from .pipeline.plan import Plan
from .pipeline.steps import Step

_COLUMNS = ("pass", "transform", "probability", "arguments", "pass ends")
#: Columns of transforms with recorded parameters, which are all applied.
_RECORDED = ("pass", "transform", "parameters", "pass ends")


def table_of_steps(plan: Plan, name: str) -> str:
    """Return an HTML table of the steps of a plan in the order of execution, by passes.

    Args:
        plan: The plan.
        name: Name of the composition.
    """
    recorded = bool(plan.steps) and all(step.params is not None for step in plan.steps)
    rows = []
    for number, stage in enumerate(plan.stages, 1):
        for n in stage.steps:
            step = plan.steps[n]
            chance = [] if recorded else [_chance(plan.chance(step))]
            first, last = n == stage.steps[0], n == stage.steps[-1]
            passed = f"{number} {stage.role}" if first else ""
            ends = stage.reason if last else ""
            rows.append([passed, step.transform.name, *chance, _arguments(step), ends])
    caption = f"{name}: {len(plan.steps)} steps in {len(plan.stages)} passes"
    return table_of(rows, _RECORDED if recorded else _COLUMNS, caption)


def _chance(chance: float | None) -> str:
    return "varies" if chance is None else f"{chance:.3g}"


def _arguments(step: Step) -> str:
    """Return the recorded parameters of a step, or the arguments of its transform."""
    if step.params is not None:
        return _parameters(step.params)
    given = step.transform.arguments()
    return ", ".join(f"{name}={brief(value)}" for name, value in given.items())


def _parameters(params: Params) -> str:
    return ", ".join(f"{f.name}={_value(getattr(params, f.name))}" for f in fields(params))


def _value(value: Any) -> str:
    """Return a parameter of one sample to four digits; a large array by its shape."""
    if isinstance(value, Params):
        return f"({_parameters(value)})"
    if not isinstance(value, (np.ndarray, Tensor)):
        return str(value)
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    while array.ndim and len(array) == 1:  # of one sample, one image
        array = array[0]
    if array.size > 16:
        return f"<{' x '.join(map(str, array.shape))}>"
    text = " ".join(np.array2string(array, precision=4, separator=", ").split())
    return text.replace("[ ", "[")


__all__ = ["table_of_steps"]
