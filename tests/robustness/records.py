"""Damaged records of histories: each is read correctly and can be applied, or is refused."""

from __future__ import annotations

import copy
import json
import math
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import torchio_gpu as tio
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS
from tests.volumes import subject

WRITABLE = {n: m for n, m in {**TRANSFORMS, **REGRIDS}.items() if not n.startswith("Lambda")}
ORIGINALS: list[dict[str, Any]] = []


def prepare(_: Path | None = None) -> None:
    """Record one call of each transform."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in () if ORIGINALS else WRITABLE:
            torch.manual_seed(2)
            for record in WRITABLE[name]()(subject()).history[:1]:
                ORIGINALS.append(json.loads(json.dumps(record.to_dict())))


def damage(record: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a record with one part changed, removed or of another type."""
    record = copy.deepcopy(record)
    spots: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            spots.extend((value, key) for key in value)
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            spots.extend((value, n) for n in range(len(value)))
            for each in value:
                walk(each)

    walk(record)
    container, key = chance.choice(spots)
    kind = chance.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = [container[key]]
    elif kind == 2 and isinstance(container, list):
        container.insert(key, container[key])
    else:
        container[key] = [
            None, "x", math.nan, math.inf, [], {}, {"shape": [2**20, 2**20]}, [[1, 2], [3]],
            -1, 2**70, "Transform", ["a", 1], True, [math.nan], 1e308, 2**31, -(2**40), 0,
        ][chance.randrange(18)]  # fmt: skip
    return record


def looks_right(recorded: Any) -> bool:
    """Return True if the arrays of an accepted record are finite and of one batch size."""
    arrays = {n: v for n, v in vars(recorded.params).items() if isinstance(v, np.ndarray)}
    ends = ("low", "high")  # of Clamp, infinite for none
    finite = all(
        np.isfinite(a).all() or (n in ends and not np.isnan(a).any())
        for n, a in arrays.items()
        if a.dtype.kind == "f"
    )
    return finite and len({len(a) for a in arrays.values()}) <= 1


def run(number: int, seed: int) -> tuple[str, str]:
    """Read one damaged record."""
    chance = random.Random(f"{number} {seed}")
    record = damage(chance.choice(ORIGINALS), chance)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recorded = tio.from_dict(record)
    except ValueError as error:
        return "refused", str(error)
    except Exception as error:
        return "bad: error", f"{type(error).__name__}: {error}: {record}"[:1000]
    if not looks_right(recorded):
        return "bad: accepted", str(record)[:1000]
    return applied(recorded, record)


def applied(recorded: Any, record: dict[str, Any]) -> tuple[str, str]:
    """Apply an accepted record and its inverse: both work or are refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = recorded(subject())
            if recorded.is_invertible():
                recorded.inverse()(out)
    except (ValueError, KeyError) as error:
        return "read: does not fit", str(error)
    except Exception as error:
        return "bad: applied", f"{type(error).__name__}: {error}: {record}"[:1000]
    return "read", ""
