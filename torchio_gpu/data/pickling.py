"""Pickling of batches between processes, also of those that hold values that cannot be pickled.

The queue of a loader's worker pickles a batch in a thread of its own, where an error is printed and
the batch lost: the loader waits for it for ever. Other pickles and copies are not changed.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
import warnings
from multiprocessing.reduction import ForkingPickler
from reprlib import Repr
from typing import Any

import numpy as np
from torch import Tensor

_brief = Repr()
_brief.maxother = 120


class UnpicklableValue:
    """Placeholder, in another process, for a value that could not be pickled.

    It can be printed; a call, or access to an attribute, raises an error.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "text":
            raise AttributeError(name)
        raise AttributeError(f"no attribute {name!r}: {self._reason()}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(self._reason())

    def _reason(self) -> str:
        return f"{self.text} cannot be pickled, and stayed in the process that created it"

    def __repr__(self) -> str:
        return f"<not pickled: {self.text}>"


class Transferable:
    """Base of classes whose instances can always be sent to another process.

    Values in their attributes that cannot be pickled are replaced by an :class:`UnpicklableValue`,
    with a warning.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ForkingPickler.register(cls, _reduce)  # looked up by exact class


def pickling_error(value: Any) -> Exception | None:
    """Return the error that pickling a value for another process raises; None if it raises none."""
    try:
        _Probe(io.BytesIO()).dump(value)
    except Exception as error:  # whatever a class of the user raises
        return error
    return None


class _Probe(ForkingPickler):
    """Pickler that skips voxels, which are large, and :class:`Transferable` values."""

    def persistent_id(self, value: Any) -> str | None:
        if isinstance(value, Tensor):
            if value.requires_grad and not value.is_leaf:
                raise pickle.PicklingError("gradients of a tensor do not leave their process")
            return "tensor"
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return "array"
        return "transferable" if isinstance(value, Transferable) else None


def _reduce(value: Any) -> Any:
    reduced = value.__reduce_ex__(2)
    if isinstance(reduced, str) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return reduced  # a subclass of the user defines its own pickling
    _, (cls, *others), state, *rest = reduced
    cls = _portable(cls, "a class")
    if isinstance(state, dict) and pickling_error(state) is not None:
        state = {key: _portable(each, f"{cls.__name__}.{key}") for key, each in state.items()}
    return (_make, (cls, *others), state, *rest)


def _make(cls: Any, *arguments: Any) -> Any:
    return cls.__new__(cls, *arguments)


def _portable(value: Any, name: str, containers: tuple[int, ...] = ()) -> Any:
    """Return a value that can be pickled: itself, or with placeholders for parts of it.

    Args:
        value: The value.
        name: Name of the value, for the warning.
        containers: Identities of the containers that hold the value, to detect cycles.
    """
    error = pickling_error(value)
    if error is None:
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, type):
        base = next(base for base in value.__mro__ if pickling_error(base) is None)
        _warn(f"{name}, {value.__qualname__},", base.__name__, error)
        return base
    inside = (*containers, id(value))
    if type(value) is dict and id(value) not in containers:
        pairs = {_portable(k, f"a name in {name}", inside): (k, v) for k, v in value.items()}
        return {new: _portable(v, f"{name}[{k!r}]", inside) for new, (k, v) in pairs.items()}
    if type(value) in (list, tuple) and id(value) not in containers:
        return type(value)(_portable(v, f"{name}[{n}]", inside) for n, v in enumerate(value))
    placeholder = UnpicklableValue(_brief.repr(value))
    _warn(name, "a placeholder", error)
    return placeholder


def _warn(name: str, replacement: str, error: Exception) -> None:
    message = f"{name} cannot be pickled, the other process gets {replacement}: {error}"
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:  # a filter turns it into an error, and the batch would be lost
        print(f"torchio_gpu: {message}", file=sys.stderr)
