"""One module per library, this one among them; a rival is added by one more.

A module has ``NAME``, ``DISTRIBUTION``, ``NAMES``, its public names, and ``OPS``: by the key of
:data:`benchmarks.checks.CHECKS`, what the library offers, in the form that the check takes. What
:data:`benchmarks.workloads.WORK` names is timed as well. ``NOTES`` are words for the table of
features: beside what was found where OPS has the key; where it has not, they begin with '-', '~' or
'?' (not offered, in part, cannot be tried here) and are read, not run. A module imports torch,
numpy and its own library only, in an interpreter of its own; without it, that is an ImportError.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks.asking import noise

Op = Callable[..., Any]
#: Notes of libraries of plain tensors.
NO_SPACING = dict.fromkeys(
    ("spacing", "millimetres", "anatomy", "regrid", "resample", "infer_original"),
    "- tensors have no spacing",
)


def per_sample(step: Op) -> Op:
    """Loop over samples (C, I, J, K) of batches, for libraries that know no batches."""

    def op(*batches: Tensor) -> Any:
        found = [step(*samples) for samples in zip(*batches, strict=True)]
        rows = zip(*found, strict=True) if isinstance(found[0], tuple) else [found]
        made = [torch.stack([*map(torch.as_tensor, row)]).to(batches[0].device) for row in rows]
        return tuple(made) if isinstance(found[0], tuple) else made[0]

    return op


def of_samples(steps: dict[str, Any], loop: Callable[[Any], Op] = per_sample) -> dict[str, Any]:
    """Loop over samples in each of some operations, and in each part of one."""
    return {
        name: of_samples(step, loop) if isinstance(step, dict) else loop(step)
        for name, step in steps.items()
    }


def sample(step: Op) -> Op:
    """Make a function of samples (C, I, J, K) of one of batches."""
    return lambda x: step(x[None])[0]


def by_size(make: Callable[[Sequence[int]], Op]) -> Op:
    """Make an operation for each size (I, J, K) of the batch, once."""
    made = cache(make)
    return lambda x, *more: made(tuple(x.shape[2:]))(x, *more)


def seeded(op: Op) -> Op:
    """Answer to the check of seeds, for libraries that draw from the global generators."""

    def load(order: Sequence[int], size: int) -> dict[int, Tensor]:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        found: dict[int, Tensor] = {}
        for start in range(0, len(order), size):
            now = order[start : start + size]
            y = op(noise(1, 1, 8, 8, 8).expand(len(now), -1, -1, -1, -1))
            found.update(zip(now, y, strict=True))
        return found

    return load


def classes(names: dict[str, Any], base: type, *left_out: type) -> list[str]:
    """Names of the public classes that descend from a base, abstract ones and aliases left out."""
    found = {
        id(what): name
        for name, what in names.items()
        if isinstance(what, type) and issubclass(what, base) and not name.startswith("_")
        if what not in (base, *left_out) and not inspect.isabstract(what)
    }
    return sorted(found.values())


def version(distribution: str, begins: str = "") -> str:
    """Return the version of a library; raise ImportError where it is not the one asked for."""
    found = metadata.version(distribution)
    if not found.startswith(begins):
        raise ImportError(f"{distribution} {begins} is asked for, {found} is installed")
    return found
