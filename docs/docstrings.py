"""Docstrings as Markdown, for the reference: roles become links, examples become code."""

from __future__ import annotations

import re
from typing import Any

import griffe

from torchio_gpu.names import NAMES, TRANSFORMS

PUBLIC = {*NAMES, *TRANSFORMS}
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_EXAMPLE = re.compile(r"^([ ]*)>>> .*(?:\n(?!\s*\n).*)*", re.MULTILINE)


def markdown(text: str) -> str:
    """Return a docstring whose references are links and whose examples are blocks of code.

    >>> markdown("See :class:`Affine` and :meth:`Subject.plot`.")
    'See [`Affine`][torchio_gpu.Affine] and [`Subject.plot`][torchio_gpu.Subject].'
    """
    fenced = _EXAMPLE.sub(lambda m: f"{m[1]}```pycon\n{m[0]}\n{m[1]}```", text)
    return _ROLE.sub(lambda m: _link(m[1]), fenced.replace("::\n\n", ":\n\n"))


def _link(target: str) -> str:
    shown = target.removeprefix("torchio_gpu.")
    name = shown.partition(".")[0]
    return f"[`{shown}`][torchio_gpu.{name}]" if name in PUBLIC else f"`{target}`"


class AsMarkdown(griffe.Extension):
    """Extension of griffe: docstrings are translated as they are read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
