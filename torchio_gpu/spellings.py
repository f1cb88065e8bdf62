"""Older spellings of arguments, as of TorchIO 1, for functions with plain signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def older_spellings(
    order: Sequence[str] = (),
    is_older: Callable[[Any], bool] = lambda _: False,
    without_effect: Sequence[str] = (),
    **names: str,
) -> Callable[[Function], Function]:
    """Let a method accept arguments by older names, and in an older order.

    Args:
        order: Names, in the method's own spelling, in the older order.
        is_older: Function of the positional arguments after ``self``: True if they are in the older
            order.
        without_effect: Older arguments that have no counterpart; the method's docstring says why.
        names: Name in the method's own spelling, by older name.
    """

    def decorate(method: Function) -> Function:
        own = list(inspect.signature(method).parameters)[1:]

        @wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            positions = own
            if len(args) <= len(order) and is_older(args):
                positions = list(order)
            taken = dict(zip(positions, args, strict=False))
            taken = {name: value for name, value in taken.items() if name not in without_effect}
            kwargs = {name: kwargs[name] for name in kwargs if name not in without_effect}
            for old in list(kwargs):
                new = names.get(old, old)
                if new in taken or (new != old and new in kwargs):
                    same = f"; {old} is the same" if new != old else ""
                    raise ValueError(f"{new} must be given once, got it twice{same}")
                if new != old:
                    kwargs[new] = kwargs.pop(old)
            if positions is own:
                return method(self, *args, **kwargs)
            return method(self, **taken, **kwargs)

        call.older_names = {**names, **dict.fromkeys(without_effect, "")}  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


__all__ = ["older_spellings"]
