"""Arguments as words of a command line."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Parse ``--some-name value`` pairs; ``--name=value`` and a bare ``--name`` as well.

    >>> parse_options(["--log-gamma", "0.1,0.3", "--rician"])
    {'log_gamma': (0.1, 0.3), 'rician': True}
    """
    arguments: dict[str, Any] = {}
    left = list(words)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if not option.startswith("--"):
            raise ValueError(f"arguments of a transform look like --degrees 15, got {option!r}")
        if not equals:
            value = "True" if not left or left[0].startswith("--") else left.pop(0)
        arguments[option[2:].replace("-", "_")] = parse_value(value)
    return arguments


def parse_value(word: str) -> Any:
    """Return a Python literal, else a list of such, else the word itself."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return tuple(map(parse_value, word.split(","))) if "," in word else word


def as_options(arguments: Mapping[str, Any]) -> str:
    """Return arguments as options, quoted for a shell; :func:`parse_options` reads them.

    Args:
        arguments: Numbers, strings, flags, and lists of these.

    Raises:
        ValueError: A value, such as a choice among values, cannot be a word.

    >>> as_options({"degrees": [-5, 15], "isotropic": True, "center": "image"})
    "--degrees '(-5, 15)' --isotropic True --center image"
    """
    words = []
    for name, value in arguments.items():
        plain = _tuples(value)
        word = plain if isinstance(plain, str) else repr(plain)
        try:
            same = parse_value(word) == plain and not word.startswith("--")
        except RecursionError:
            same = False
        if not same:
            raise ValueError(f"{name} must be a value that a word stands for, got {value!r}")
        words += [f"--{name.replace('_', '-')}", shlex.quote(word)]
    return " ".join(words)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


__all__ = ["as_options", "parse_options", "parse_value"]
