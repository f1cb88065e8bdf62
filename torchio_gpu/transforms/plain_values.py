"""Plain values of descriptions: numbers, strings, lists and dicts, bounded in size and depth."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Distribution

from ..shapes import brief

#: Nested values, at most.
_DEPTH = 64
#: Characters of a string, at most, and whole numbers, below.
_LONGEST, _LARGEST = 4096, 2**63
#: Numbers of a distribution, at most: far larger ones overflow within torch, or are never accepted.
_GREATEST = 1e9
#: Numbers in a list of a distribution, at most: it may be sampled many times to find its quantiles.
_MOST = 100

Path = tuple[str | int, ...]


class DescriptionError(ValueError):
    """Description that does not fit what it describes.

    Args:
        problem: A sentence.
        path: Keys and positions that lead to the place.
    """

    def __init__(self, problem: str, path: Path = ()) -> None:
        self.problem, self.path = problem, path
        super().__init__(f"{shown(path)}: {problem}" if path else problem)


def shown(path: Path) -> str:
    """Return a path as text.

    >>> shown(("pipeline", 2, "RandomAffine", "degrees"))
    'pipeline[2].RandomAffine.degrees'
    """
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)
    text = " ".join(text.removeprefix(".").split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def number(value: Any, name: str, path: Path) -> Any:
    """Return an argument of a distribution: a number, a tensor or a distribution."""
    if isinstance(value, Distribution):
        return value
    try:
        tensor = torch.tensor(value, dtype=torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError) as error:
        raise DescriptionError(f"{name} must be numbers, got {brief(value)}", path) from error
    if tensor.numel() > _MOST:
        problem = f"{name} must be at most {_MOST} numbers, got {tensor.numel()}"
        raise DescriptionError(problem, path)
    if not (tensor.abs() <= _GREATEST).all():
        problem = f"{name} must be within {_GREATEST:g}, got {brief(value)}"
        raise DescriptionError(problem, path)
    return tensor if isinstance(value, tuple) else value


def check_depth(path: Path) -> None:
    if len(path) > _DEPTH:
        raise DescriptionError(f"values must be nested less than {_DEPTH} deep", path[:3])


def check_key(key: Any, path: Path) -> Any:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise DescriptionError(f"keys must be names or whole numbers, got {brief(key)}", path)
    return check_plain(key, path)


def check_plain(value: Any, path: Path) -> Any:
    if isinstance(value, str):
        if len(value) > _LONGEST:
            problem = f"strings must have at most {_LONGEST} characters, got {len(value)}"
            raise DescriptionError(problem, path)
    elif isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            raise DescriptionError("whole numbers must have at most 64 bits", path)
    elif value is not None and not isinstance(value, float):
        raise DescriptionError(f"values must be plain, got {brief(value)}", path)
    return value


__all__ = ["DescriptionError", "Path", "check_depth", "check_key", "check_plain", "number", "shown"]
