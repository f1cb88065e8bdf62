"""Checks of the arguments that all transforms take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from ..data.subject import check_names
from ..signature import is_flag, is_number


def _check_probability(p: Any) -> float:
    if not is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"p must be a probability between 0 and 1, got {p!r}")
    return float(p)


def _flag_check(argument: str) -> Callable[[Any], bool]:
    def check(flag: Any) -> bool:
        if not is_flag(flag):
            raise TypeError(f"{argument} must be True or False, got {flag!r}")
        return bool(flag)

    return check


def _check_keep(keep: Any) -> dict[str, str] | None:
    if keep is None:
        return None
    if not isinstance(keep, Mapping) or not all(
        isinstance(name, str) for pair in keep.items() for name in pair
    ):
        raise TypeError(f"keep must be a dict of names or None, got {keep!r}")
    given = list(keep.values())
    if len(set(given)) < len(given):
        raise ValueError(f"keep must give each image a name of its own, got {given}")
    try:
        check_names(given)
    except ValueError as error:
        raise ValueError(f"keep must give names for images, got {given}: {error}") from error
    return dict(keep) or None


def _names_check(argument: str) -> Callable[[Any], tuple[str, ...] | None]:
    def check(names: Any) -> tuple[str, ...] | None:
        if names is None:
            return None
        usable = isinstance(names, Iterable) and not isinstance(names, (str, Tensor))
        names_given = tuple(names) if usable else (names,)  # iterated once: it may be a generator
        if not usable or not all(isinstance(name, str) for name in names_given):
            raise TypeError(f"{argument} must be a sequence of names or None, got {names!r}")
        return names_given

    return check


#: Checks of the common arguments, applied whenever they are set.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "p": _check_probability,
    "copy": _flag_check("copy"),
    "parse_input": _flag_check("parse_input"),
    "keep": _check_keep,
    **{name: _names_check(name) for name in ("include", "exclude", "keys", "label_keys")},
}

__all__ = ["CHECKS"]
