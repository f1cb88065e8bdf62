"""Documentation of a transform as text: its docstring, with options in place of arguments."""

from __future__ import annotations

import inspect
import re
import shutil
from textwrap import fill

_SEE = re.compile(r"See :class:`(\w+)`\.?")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def documentation(name: str) -> str:
    """Return the signature of a transform, the meaning of its arguments, and their defaults."""
    from .. import transforms

    cls: type = getattr(transforms, name)
    paragraphs, documented = _read(cls)
    parameters = _parameters(cls)
    common = _parameters(transforms.Transform) | parameters
    own = {n: p for n, p in parameters.items() if n in documented}
    common = {n: p for n, p in common.items() if n not in own}
    shown = inspect.Signature([p.replace(annotation=p.empty) for p in own.values()])
    return "\n\n".join(
        [
            _wrap(f"{name}{shown}", hanging="    "),
            *map(_wrap, paragraphs),
            *(["\n".join(["Arguments:", *_options(cls, own)])] if own else []),
            "\n".join(["Arguments of all transforms:", *_options(transforms.Transform, common)]),
        ]
    )


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    found = inspect.signature(cls).parameters
    return {name: p for name, p in found.items() if p.kind is not p.VAR_KEYWORD}


def _read(cls: type) -> tuple[list[str], dict[str, str]]:
    """Return the paragraphs of a docstring that are for the command line, and its arguments."""
    paragraphs: list[str] = []
    arguments: dict[str, str] = {}
    for block in re.split(r"\n{2,}(?! )", inspect.getdoc(cls) or ""):
        if block.startswith("Args:\n"):
            for entry in re.split(r"\n {4}(?! )", block)[1:]:
                names, _, text = " ".join(entry.split()).partition(": ")
                arguments |= dict.fromkeys(re.split(r", ?", names), text)
        elif not re.match(r">>>|Raises:|Returns:", block):
            paragraphs.append(block)
    return paragraphs, arguments


def _options(cls: type, parameters: dict[str, inspect.Parameter]) -> list[str]:
    lines = []
    for name, parameter in parameters.items():
        default = parameter.default
        if default is parameter.empty:
            ending = "(needed)"
        else:
            ending = f"(default: {default if isinstance(default, str) else repr(default)})"
        text = f"--{name.replace('_', '-')}: {_meaning(cls, name)} {ending}"
        lines.append(_wrap(text, "  ", "      "))
    return lines


def _meaning(cls: type, name: str) -> str:
    """Return what a docstring says of an argument, or that to which it refers."""
    from .. import transforms

    text = _read(cls)[1].get(name, "")
    referred = _SEE.fullmatch(text)
    return _meaning(getattr(transforms, referred[1]), name) if referred else text


def _wrap(text: str, indent: str = "", hanging: str = "") -> str:
    plain = _ROLE.sub(r"\1", " ".join(text.split())).replace("``", "")
    width = min(100, shutil.get_terminal_size().columns)
    return fill(
        plain, width, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False
    )
