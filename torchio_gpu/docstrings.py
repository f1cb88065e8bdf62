"""Docstrings of classes as data: paragraphs, and the meaning of each argument."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SEE = re.compile(r"See :class:`(\w+)`\.?")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def parsed(cls: type) -> tuple[list[str], dict[str, str]]:
    """Return the paragraphs of a docstring that are not about calls, and its arguments."""
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


def meaning(cls: type, name: str, classes: Any) -> str:
    """Return the meaning of an argument, from a class, its bases or the class it refers to.

    Args:
        cls: The class.
        name: The argument.
        classes: Object whose attributes are the classes that docstrings refer to.
    """
    found = (parsed(each)[1].get(name) for each in cls.__mro__ if each is not object)
    text = next((text for text in found if text), "")
    referred = _SEE.fullmatch(text)
    return meaning(getattr(classes, referred[1]), name, classes) if referred else text


def plain_text(text: str) -> str:
    """Return text in one line, without marks of references and of code.

    >>> plain_text("See :class:`Affine`, with ``p``.")
    'See Affine, with p.'
    """
    return _ROLE.sub(r"\1", " ".join(text.split())).replace("``", "")


__all__ = ["meaning", "parsed", "plain_text"]
