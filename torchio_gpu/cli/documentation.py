"""Documentation of a transform as text: its docstring, with options in place of arguments."""

from __future__ import annotations

import inspect
import shutil
from textwrap import fill

from ..docstrings import meaning, parsed, plain_text


def documentation(name: str) -> str:
    """Return the signature of a transform, the meaning of its arguments, and their defaults."""
    from .. import transforms

    cls: type = getattr(transforms, name)
    paragraphs, documented = parsed(cls)
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


def _options(cls: type, parameters: dict[str, inspect.Parameter]) -> list[str]:
    from .. import transforms

    lines = []
    for name, parameter in parameters.items():
        default = parameter.default
        if default is parameter.empty:
            ending = "(needed)"
        else:
            ending = f"(default: {default if isinstance(default, str) else repr(default)})"
        text = f"--{name.replace('_', '-')}: {meaning(cls, name, transforms)} {ending}"
        lines.append(_wrap(text, "  ", "      "))
    return lines


def _wrap(text: str, indent: str = "", hanging: str = "") -> str:
    plain = plain_text(text)
    width = min(100, shutil.get_terminal_size().columns)
    return fill(
        plain, width, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False
    )
