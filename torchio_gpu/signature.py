"""Checks of argument types against the annotations of a signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Check = Callable[[Any], bool]
Function = TypeVar("Function", bound=Callable[..., Any])


def is_number(value: Any) -> bool:
    """Return True if a value is one real number, and not a bool."""
    if type(value) in (int, float):  # fast path
        return True
    if isinstance(value, Tensor):  # by its dtype: reading a value would wait for the device
        return value.ndim == 0 and value.dtype != torch.bool and not value.is_complex()
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iuf"
    return isinstance(value, Real) and not isinstance(value, bool)


def is_flag(value: Any) -> bool:
    """Return True if a value is a bool."""
    return isinstance(value, (bool, np.bool_))


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_sequence(value: Any) -> bool:
    """Return True if a value is an iterable other than a string or a mapping."""
    if type(value) in (tuple, list):  # fast path
        return True
    if isinstance(value, (np.ndarray, Tensor)):
        return value.ndim > 0
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def _is_triple(value: Any) -> bool:
    """Return True if a value has three whole numbers."""
    if isinstance(value, (np.ndarray, Tensor)):
        value = value.tolist()
    return isinstance(value, (tuple, list)) and len(value) == 3 and all(map(_is_whole, value))


def _is_device(value: Any) -> bool:
    try:
        torch.device(value)
    except (TypeError, RuntimeError):
        return False
    return not isinstance(value, (bool, Tensor))


_DICT: tuple[Check, str] = (lambda v: isinstance(v, Mapping), "a dict")
#: Checks and descriptions of annotations, given without brackets and without None. Aliases of
#: several kinds, such as RangeLike or TripleLike, are checked by the class that takes them.
_KINDS: dict[str, tuple[Check, str]] = {
    "bool": (is_flag, "True or False"),
    "int": (_is_whole, "an integer"),
    "float": (is_number, "a number"),
    "str": (lambda v: isinstance(v, str), "a string"),
    "str | float": (lambda v: isinstance(v, str) or is_number(v), "a number or a string"),
    "float | Tensor": (
        lambda v: isinstance(v, Tensor) or is_number(v) or is_flag(v),  # a flag fills a mask
        "a number or a tensor",
    ),
    "Mapping": _DICT,
    "dict": _DICT,
    "Sequence": (is_sequence, "a sequence"),
    "Iterable": (is_sequence, "a sequence"),
    "Callable": (callable, "a function"),
    "np.ndarray": (is_sequence, "an array"),
    "Tensor": (lambda v: isinstance(v, Tensor), "a tensor"),
    "Volume": (lambda v: isinstance(v, Tensor), "a tensor of shape (B, C, I, J, K)"),
    "Triple": (_is_triple, "three integers"),
    "Moments": (lambda v: isinstance(v, tuple) and hasattr(v, "std"), "what moments() returned"),
    "tuple": (lambda v: isinstance(v, tuple), "a tuple"),
    "Sequence[int] | Tensor": (is_sequence, "a sequence or a tensor"),
    "torch.dtype": (lambda v: isinstance(v, torch.dtype), "a dtype"),
    "torch.device | str": (_is_device, "a device or the name of one"),
}


@cache
def _checks(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, tuple[Any, ...]]]:
    """Return the names of positional parameters, and the checks of parameters by name.

    A check, for a known annotation, is: function, description, default, and True if None is valid.
    """
    parameters = inspect.signature(function).parameters
    checks: dict[str, tuple[Any, ...]] = {}
    for name, parameter in parameters.items():
        annotation = str(parameter.annotation)
        kind = annotation.removesuffix(" | None")
        found = _KINDS.get(kind) or _KINDS.get(kind.partition("[")[0] if "|" not in kind else "")
        if found is not None and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            checks[name] = (*found, parameter.default, kind != annotation)
    positional = [n for n, p in parameters.items() if p.kind <= p.POSITIONAL_OR_KEYWORD]
    return tuple(positional), checks


def check_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Raise unless arguments have the types of the annotations of a function.

    Defaults are accepted, as are arguments with unknown annotations; Python itself reports
    arguments that the function does not take.

    Raises:
        TypeError: An argument has another type.
    """
    names, checks = _checks(function)
    for name, value in (*zip(names, args, strict=False), *kwargs.items()):
        if name not in checks:
            continue
        check, wish, default, optional = checks[name]
        if value is default or (optional and value is None) or check(value):
            continue
        raise TypeError(f"{name} must be {wish}{' or None' if optional else ''}, got {value!r}")


def checked(function: Function) -> Function:
    """Wrap a function so that it checks its arguments by :func:`check_arguments` before it runs."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            check_arguments(function, args, kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


__all__ = ["check_arguments", "checked", "is_flag", "is_number", "is_sequence"]
