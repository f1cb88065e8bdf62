"""Transforms from words: names, and arguments as TorchIO 1.x's commands take them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..names import TRANSFORMS, nearest
from ..words import parse_value

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
