"""Values on their way between processes: none that cannot be pickled holds the others up.

The queue of a loader's worker pickles a batch in a thread of its own, where an error is printed and
the batch lost: the loader waits for it for ever. Pickles and copies that are no such journey are
left alone.
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


class LeftBehind:
    """Stand-in for a value that could not be pickled, in another process.

    It can be looked at, and neither called nor asked for attributes.
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
        return f"{self.text} cannot be pickled, and stayed in the process where it was made"

    def __repr__(self) -> str:
        return f"<left behind: {self.text}>"


class Traveller:
    """Base of classes whose instances always arrive in another process.

    What their attributes hold and cannot be pickled becomes a :class:`LeftBehind`, with a warning.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ForkingPickler.register(cls, _reduce)  # which goes by exact class


def fault_of(value: Any) -> Exception | None:
    """Return the error at which a value cannot go to another process, or None if it can."""
    try:
        _Probe(io.BytesIO()).dump(value)
    except Exception as error:  # whatever a class of the user raises
        return error
    return None


class _Probe(ForkingPickler):
    """Pickler that leaves out voxels, which are large, and travellers, which see to themselves."""

    def persistent_id(self, value: Any) -> str | None:
        if isinstance(value, Tensor):
            if value.requires_grad and not value.is_leaf:
                raise pickle.PicklingError("gradients of a tensor do not leave their process")
            return "tensor"
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return "array"
        return "traveller" if isinstance(value, Traveller) else None


def _reduce(thing: Any) -> Any:
    reduced = thing.__reduce_ex__(2)
    if isinstance(reduced, str) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return reduced  # in a way of the user's own
    _, (cls, *others), state, *rest = reduced
    cls = _portable(cls, "a class")
    if isinstance(state, dict) and fault_of(state) is not None:
        state = {key: _portable(each, f"{cls.__name__}.{key}") for key, each in state.items()}
    return (_make, (cls, *others), state, *rest)


def _make(cls: Any, *arguments: Any) -> Any:
    return cls.__new__(cls, *arguments)


def _portable(value: Any, name: str, around: tuple[int, ...] = ()) -> Any:
    """Return a value that can be pickled: itself, or with stand-ins for parts of it.

    Args:
        value: The value.
        name: Of it, for the warning.
        around: Identities of the containers that it lies in.
    """
    fault = fault_of(value)
    if fault is None:
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, type):
        base = next(base for base in value.__mro__ if fault_of(base) is None)
        _warn(f"{name}, {value.__qualname__},", base.__name__, fault)
        return base
    inside = (*around, id(value))
    if type(value) is dict and id(value) not in around:
        pairs = {_portable(k, f"a name in {name}", inside): (k, v) for k, v in value.items()}
        return {new: _portable(v, f"{name}[{k!r}]", inside) for new, (k, v) in pairs.items()}
    if type(value) in (list, tuple) and id(value) not in around:
        return type(value)(_portable(v, f"{name}[{n}]", inside) for n, v in enumerate(value))
    stand_in = LeftBehind(_brief.repr(value))
    _warn(name, "a stand-in", fault)
    return stand_in


def _warn(name: str, outcome: str, fault: Exception) -> None:
    message = f"{name} arrives in the other process as {outcome}: {fault}"
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:  # made an error, which would hold the batch up
        print(f"torchio_gpu: {message}", file=sys.stderr)
