"""Functions and methods that a trace records as one instruction."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .trace import EscapeError, Slot, Trace, Traced, active, slots_in, traced_in, values_in
from .trees import put_together, replaced, take_apart

P = ParamSpec("P")
R = TypeVar("R")
#: Package whose methods depend on nothing but their arguments.
_OWN = __name__.partition(".")[0] + "."


def instruction(function: Callable[P, R]) -> Callable[P, R]:
    """Let a trace record a call of a function as one instruction.

    The function must depend on nothing but its arguments, leave them as they are, and return a new
    array whose shape follows from theirs, or several arrays in a tree.

    >>> @instruction
    ... def diagonal(values):
    ...     matrix = np.zeros((len(values),) * 2)
    ...     matrix[range(len(values)), range(len(values))] = values
    ...     return matrix
    >>> trace = Trace()
    >>> with trace.running():
    ...     out = diagonal(trace.input(np.ones(2)) * 3)
    >>> out.value.tolist(), len(trace.instructions)
    ([[3.0, 0.0], [0.0, 3.0]], 2)
    """

    @wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        trace = active.get()
        if trace is None:
            return function(*args, **keywords)
        return _call(trace, function, args, keywords)  # type: ignore[no-any-return]

    return call


def _call(
    trace: Trace, function: Callable[..., Any], args: Any, keywords: Any, kept: bool = False
) -> Any:
    """Record a call as one instruction; trees are taken apart."""
    found = traced_in((args, keywords))
    token = active.set(None)
    try:
        if not found:
            return function(*args, **keywords)
        result = function(*values_in(args), **values_in(keywords))
    finally:
        active.reset(token)
    if traced_in(result):
        raise EscapeError(f"{function.__qualname__} looks at values of a trace by another way")
    plain = all(map(_is_flat, (*args, *keywords.values())))
    if plain and _is_simple(result):
        several = isinstance(result, tuple)
        return trace.record(function, args, keywords, result, several, kept)
    arrays: list[Any] = []
    template = take_apart(result, arrays)
    template_args = slots_in((args, keywords))
    numbers = [traced.slot for traced in found]

    def run(*values: Any) -> list[Any]:
        by_slot = dict(zip(numbers, values, strict=True))
        given = replaced(template_args, Slot, lambda slot: by_slot[slot.number])
        out: list[Any] = []
        take_apart(function(*given[0], **given[1]), out)
        return out

    parts = trace.record(run, tuple(found), {}, arrays, guards_shapes=True, kept=kept)
    return put_together(template, parts)


def _is_simple(value: Any) -> bool:
    """Return True for an array, a number, or tuples of these."""
    if isinstance(value, tuple):
        return all(map(_is_simple, value))
    return isinstance(value, (np.ndarray, np.generic, bool, int, float))


def _is_flat(value: Any) -> bool:
    """Return True for a value that is no tree with arrays of traces below its top."""
    return type(value) is Traced or not traced_in(value)


def hook(function: Callable[..., Any], *args: Any) -> Any:
    """Call a method of a transform; a trace records it.

    One of a user's class, and one that does what cannot be recorded, becomes one instruction.
    """
    trace = active.get()
    if trace is None:
        return function(*args)
    if getattr(function, "__module__", "").startswith(_OWN):
        state = len(trace.instructions), len(trace.guards), trace.slots
        try:
            return function(*args)
        except EscapeError:
            trace.back_to(*state)
            return _call(trace, function, args, {})
    return _call(trace, function, args, {}, kept=True)


def untraceable(reason: str) -> None:
    """Raise an EscapeError within a trace: a result depends on what it does not record."""
    if active.get() is not None:
        raise EscapeError(reason)


__all__ = ["hook", "instruction", "untraceable"]
