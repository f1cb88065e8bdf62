"""Transforms from words: names, and arguments as on a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..names import TRANSFORMS, nearest

if TYPE_CHECKING:
    from ..transforms import Transform

#: Arguments that are sequences of names, of which one may be given as a word.
_NAMES = ("include", "exclude", "label_keys")


def complete_name(incomplete: str) -> list[str]:
    """Return the transforms whose names begin so, for the completion of shells."""
    return [name for name in TRANSFORMS if name.startswith(incomplete)]


def check_name(name: str, others: Iterable[str] = ()) -> None:
    """Raise if ``name`` is neither that of a transform nor one of ``others``."""
    known = (*TRANSFORMS, *others)
    if name not in known:
        hint = nearest(name, known) or "; torchio-gpu transform --help lists all"
        raise ValueError(f"there is no transform {name!r}{hint}")


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


def parse_keywords(text: str) -> dict[str, Any]:
    """Parse ``name=value`` pairs between spaces, as TorchIO 1.x's ``tiotr`` takes them.

    >>> parse_keywords("degrees=(-5, 15) axes=LR")
    {'degrees': (-5, 15), 'axes': 'LR'}
    """
    pairs = re.split(r"\s+(?=\w+=)", text.strip()) if text.strip() else []
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and value and name.isidentifier()):
            raise ValueError(
                f"kwargs must look like 'degrees=(-5,15) num_transforms=3', got {text!r}"
            )
        arguments[name] = parse_value(value)
    return arguments


def parse_value(word: str) -> Any:
    """Return a Python literal, else a list of such, else the word itself."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return tuple(map(parse_value, word.split(","))) if "," in word else word


def construct(
    name: str, arguments: dict[str, Any], seed: int | None, options: Iterable[str] = ()
) -> Transform:
    """Construct a transform.

    Args:
        name: One of ``TRANSFORMS``.
        arguments: Keyword arguments of its constructor.
        seed: Argument of that name, for a transform that has one: deterministic noise.
        options: Options of the command, among which misspelt arguments are looked for as well.
    """
    from .. import transforms
    from ..transforms.naming import parameters

    cls: type[Transform] = getattr(transforms, name)
    names = parameters(cls)
    for argument in arguments:
        if argument not in names:
            hint = nearest(argument, [*names, *options]) or f"; it takes {', '.join(names)}"
            raise ValueError(f"{name} has no argument {argument!r}{hint}")
    if seed is not None and "seed" in names:
        arguments = {**arguments, "seed": seed}
    missing = [n for n, p in names.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}")
    for argument, value in arguments.items():
        if argument in _NAMES and isinstance(value, str):
            arguments = {**arguments, argument: (value,)}
        if value is True and not isinstance(names[argument].default, bool):
            raise ValueError(f"{argument} of {name} needs a value")
    return cls(**arguments)
