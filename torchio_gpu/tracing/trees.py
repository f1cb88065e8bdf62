"""Trees: arrays and anything else, in tuples, lists, dicts and dataclasses."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import numpy as np


def replaced(tree: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Return a tree in which a function has replaced the leaves of a type.

    Parts in which there are none are those of the tree given.
    """
    if type(tree) is kind:
        return function(tree)
    return mapped(tree, lambda part: replaced(part, kind, function))


def leaves_of(tree: Any, kind: type) -> list[Any]:
    """Return the leaves of a type, in order."""
    found: list[Any] = []

    def add(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    replaced(tree, kind, add)
    return found


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Return a tree whose parts, one level below its top, are replaced by a function of them."""
    kind = type(tree)
    if kind in (tuple, list):
        return kind(map(function, tree))
    if kind is dict:
        return {name: function(part) for name, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind(*map(function, tree))
    if is_dataclass(kind) and hasattr(tree, "__dict__"):
        old = vars(tree)
        new = {name: function(part) for name, part in old.items()}
        if all(map(operator.is_, old.values(), new.values())):
            return tree
        made = object.__new__(kind)  # bypasses the constructor of a frozen dataclass
        vars(made).update(new)
        return made
    return tree


class _Place(NamedTuple):
    """Place of an array in a list."""

    number: int


def take_apart(tree: Any, arrays: list[Any]) -> Any:
    """Move the arrays and numbers of a tree to a list; return the tree with a place for each."""
    if isinstance(tree, (np.ndarray, np.generic, bool, int, float)):
        arrays.append(tree)
        return _Place(len(arrays) - 1)
    return mapped(tree, lambda part: take_apart(part, arrays))


def put_together(template: Any, arrays: list[Any]) -> Any:
    """Return the tree of :func:`take_apart`, with other arrays."""
    return replaced(template, _Place, lambda place: arrays[place.number])


__all__ = ["leaves_of", "mapped", "put_together", "replaced", "take_apart"]
