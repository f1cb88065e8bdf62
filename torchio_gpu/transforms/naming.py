"""Reserved names of transforms, and the arguments and text that represent a transform."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arrays import on_host

_LIBRARY = __name__.partition(".")[0] + "."
#: Arguments that every transform takes; a constructor may name them and pass them on.
COMMON = ("p", "copy", "include", "exclude", "keep", "label_keys", "keys", "parse_input")
#: Methods that the engine calls and that a class of the user may define.
HOOKS = frozenset(
    (
        *("role", "traits", "keeps_input", "draws", "draw", "shares", "kinds", "select", "invert"),
        *(
            "is_invertible",
            "inverse",
            "apply_transform",
            "maps",
            "interpolation",
            "operation",
            "voxels",
            "affine_of",
        ),
        *("computes", "commutes", "creates", "new_labels"),
    )
)
#: Methods of the engine, which a class of the user must not define.
ENGINE = frozenset(
    (
        *("forward", "sample_params", "apply_params", "plan", "arguments", "name", "_context"),
        *("_add_to", "_add_decision", "_structure", "_engine_structure", "_image_keys", "_finish"),
    )
)
#: Names that no image had, with the class of the transform, of which was warned.
_absent: set[tuple[type, str]] = set()
#: Methods that torch calls on every module of a model.
TORCH = frozenset(("apply", "train", "eval"))
_MODULE = frozenset(
    name
    for name, value in vars(nn.Module).items()
    if callable(value) and not name.startswith("__") and name != "type"
)


def is_own(cls: type) -> bool:
    """Return True if a class is one of this library."""
    return cls.__module__.startswith(_LIBRARY)


def check_names(cls: type, own: bool) -> None:
    """Raise a TypeError if members or arguments of a class have reserved names.

    Args:
        cls: Class of a transform.
        own: True for a class of this library, which may define methods of the engine.

    Raises:
        TypeError: A member is a method of the engine or of ``torch.nn.Module``, or an argument of
            the constructor is named like a hook or a method.
    """
    for name in () if own else vars(cls):
        if name in ENGINE or name in TORCH:
            owner = "the engine" if name in ENGINE else "torch.nn.Module"
            raise TypeError(
                f"{cls.__name__} must not define {name!r}, which is a method of {owner}: "
                "give it another name"
            )
    construct = vars(cls).get("__init__")
    names = () if construct is None else inspect.signature(construct).parameters
    for name in names:
        if name == "self" or name in COMMON:
            continue
        if name in HOOKS or name in ENGINE or name in _MODULE:
            raise TypeError(
                f"{cls.__name__} must not name an argument {name!r}, which is a hook or method of "
                "a transform: give it another name"
            )


def warn_of_absent(cls: type, names: Iterable[str], available: Collection[str]) -> None:
    """Warn, once for each name, of names to include or exclude that no image has.

    Args:
        cls: Class of the transform.
        names: Names to include and exclude.
        available: Names of images.
    """
    for name in names:
        if name not in available and (cls, name) not in _absent:
            _absent.add((cls, name))
            warnings.warn(
                f"include and exclude of {cls.__name__} should name images of the subject, "
                f"{name!r} is none of {sorted(available)} and has no effect",
                RuntimeWarning,
                stacklevel=2,
            )


@cache
def parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments that a class of transforms takes by name, with those of its bases.

    A constructor with ``**kwargs`` passes them on to the next class that has a constructor; those
    of this library pass on the common arguments alone.
    """
    found: dict[str, inspect.Parameter] = {}
    only_common = False
    for each in cls.__mro__:
        construct = vars(each).get("__init__")
        if construct is None:
            continue
        own = list(inspect.signature(construct).parameters.values())[1:]
        for parameter in own:
            starred = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if not starred and (parameter.name in COMMON or not only_common):
                found.setdefault(parameter.name, parameter)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in own):
            break
        only_common = only_common or is_own(each)
    return found


def first_parameter(cls: Any) -> str | None:
    """Return the argument that a class takes without its name, if it has one of its own."""
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]
    starred = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    names = (p.name for p in own if p.kind not in starred and p.name not in COMMON)
    return next(names, None)


@cache
def frozen_arguments(cls: type) -> frozenset[str]:
    """Return the constructor arguments of this library that are frozen after construction."""
    own: list[Any] = [vars(c).get("__init__") for c in cls.__mro__ if is_own(c)]
    changeable: frozenset[str] = getattr(cls, "changeable", frozenset())
    named = (inspect.signature(each).parameters for each in own if each is not None)
    return frozenset(name for names in named for name in names) - frozenset(COMMON) - changeable


def own_copy(value: Any) -> Any:
    """Return a copy of an argument, so that later changes to an array have no effect.

    Tensors that require a gradient, or are on another device, are returned themselves.
    """
    if isinstance(value, torch.Tensor):
        return value.clone() if on_host(value) else value
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(own_copy, value))
    if type(value) is dict:
        return {key: own_copy(each) for key, each in value.items()}
    return value


def arguments(transform: Any) -> dict[str, Any]:
    """Return the constructor arguments of a transform that differ from their defaults.

    Args:
        transform: The transform, which keeps each argument under its own name.
    """
    found = {}
    cls: Any = type(transform)
    own = inspect.signature(cls.__init__).parameters
    passed = vars(transform).get("_passed", ())
    for name, parameter in parameters(cls).items():
        if name not in own and name not in COMMON and name not in passed:
            continue  # a base has it, and the class itself may have set it
        if name not in vars(transform) and not is_own(cls) and not hasattr(transform, name):
            continue  # a class of the user may keep an argument under another name
        value = getattr(transform, name)
        if value is not parameter.default and not _is_default(value, parameter.default):
            found[name] = value
    return found


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, (tuple, list)):  # entries may be arrays, which do not compare to a flag
        return (
            isinstance(default, (tuple, list))
            and len(value) == len(default)
            and all(map(_is_default, value, default))
        )
    # numbers of NumPy, which are floats, would compare to each entry of a pair
    plain = isinstance(value, (int, float, str)) and isinstance(default, (int, float, str))
    return plain and bool(value == default)


def brief(value: Any) -> str:
    """Return a value in one line; large arrays by their shape."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        large = math.prod(value.shape) > 16
        return f"<{' x '.join(map(str, value.shape))}>" if large else repr(value.tolist())
    if isinstance(value, tuple):
        inner = ", ".join(map(brief, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(brief, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {brief(each)}' for key, each in value.items())}}}"
    return " ".join(repr(value).split())
