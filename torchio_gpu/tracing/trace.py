"""Traces of computations in numpy, which are repeated with other numbers.

The numbers of a pipeline follow from its random numbers by a few hundred operations of numpy, among
Python that depends on structure alone. A :class:`Trace` records these operations once, from arrays
that stand for numpy's by the protocols of numpy itself (``__array_ufunc__``, NEP 13, and
``__array_function__``, NEP 18). Where Python looks at a value, as in ``if mask.any()``, the value
is recorded as a guard: the recorded operations are valid for calls in which it is the same. A use
that is neither recorded nor guarded raises :class:`EscapeError`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .trees import leaves_of, replaced


class EscapeError(TypeError):
    """A value of a trace is used where it can be neither recorded nor guarded."""


class Slot(NamedTuple):
    """Reference to a value of a trace, by its number."""

    number: int


@dataclass(frozen=True)
class Instruction:
    """Recorded call.

    Args:
        function: Function that was called.
        args: Its arguments, with a :class:`Slot` for each value of the trace.
        keywords: Its keyword arguments, likewise.
        target: Number of its result.
        reads: Numbers of the values among its arguments.
        memory: Keys of the memory that it reads, writes or returns; views share a key.
        writes: Keys of the memory that it writes to.
        kept: Another call might not give the same.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    target: int
    reads: tuple[int, ...]
    memory: frozenset[int]
    writes: frozenset[int]
    kept: bool = False


@dataclass(frozen=True)
class Guard:
    """Value that a trace depends on.

    Args:
        slot: Number of the value.
        read: Function from the value to a key: the trace is valid where that is :attr:`key`.
        key: The key.
        instructions: Number of instructions that were recorded before.
        slots: Number of values before.
    """

    slot: int
    read: Callable[[Any], Any]
    key: Any
    instructions: int
    slots: int


#: Functions that write to their first argument.
_WRITING = (operator.setitem, np.copyto, np.ndarray.fill, np.ndarray.sort)
#: Functions whose results have shapes that depend on values.
_SHAPED_BY_VALUES = (np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.ndarray.nonzero)


class Trace:
    """Recorder of operations on arrays that follow from some inputs."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.guards: list[Guard] = []
        self.slots = 0
        self._kept: list[Any] = []  # values of slots, so that no two share a key of memory

    def input(self, value: np.ndarray) -> Any:
        """Return an array that stands for one of the inputs, which take the first slots."""
        return self._new(value)

    @contextmanager
    def running(self) -> Iterator[Trace]:
        """Record calls of :func:`instruction` within the block."""
        token = active.set(self)
        try:
            yield self
        finally:
            active.reset(token)

    def apply(self, function: Callable[..., Any], args: Any, keywords: Any) -> Any:
        """Call a function of numpy with the values of a trace, and record the call."""
        plain = values_in(args), values_in(keywords)
        token = active.set(None)
        try:
            result = function(*plain[0], **plain[1])
        finally:
            active.reset(token)
        return self.record(function, args, keywords, result)

    def guard(self, array: Traced, read: Callable[[Any], Any]) -> Any:
        """Let the trace be valid only where ``read`` returns the same; return that."""
        key = read(array.value)
        self.guards.append(Guard(array.slot, read, key, len(self.instructions), self.slots))
        return key

    def before_cast(self, array: Traced) -> int:
        """Return the slot of the array that an array is cast from, or its own slot.

        An assignment to an array of its dtype casts in the same way.
        """
        made = [each for each in self.instructions if each.target == array.slot]
        if made and made[0].function is np.ndarray.astype:
            source: int = made[0].args[0].number
            if not self.is_written(source):
                return source
        return array.slot

    def is_written(self, slot: int, after: int = 0) -> bool:
        """Return True if an instruction writes to the memory of a value, after so many others."""
        memory = self.memory_of(slot)
        return any(memory in each.writes for each in self.instructions[after:])

    def memory_of(self, slot: int) -> int:
        """Return the key of the memory of a value."""
        return _memory(self._kept[slot])

    def back_to(self, instructions: int, guards: int, slots: int) -> None:
        """Forget all that was recorded after a state."""
        del self.instructions[instructions:], self.guards[guards:], self._kept[slots:]
        self.slots = slots

    def _new(self, value: Any) -> Traced:
        self._kept.append(value)
        self.slots += 1
        return Traced(self, self.slots - 1, value)

    def record(
        self,
        function: Callable[..., Any],
        args: Any,
        keywords: Any,
        result: Any,
        guards_shapes: bool = False,
        kept: bool = False,
    ) -> Any:
        """Record a call.

        Args:
            function: Function that was called.
            args: Its arguments, with arrays of the trace among them.
            keywords: Its keyword arguments, likewise.
            result: Its result.
            guards_shapes: The shapes of the result may depend on values.
            kept: Another call might not give the same.

        Returns:
            The result, as arrays of the trace.
        """
        found = traced_in((args, keywords))
        args, keywords = slots_in(args), slots_in(keywords)
        written: list[Any] = []
        if function in _WRITING:
            written = [args[0]]
        elif keywords.get("out") is not None:
            out = keywords["out"]
            written = list(out) if isinstance(out, tuple) else [out]
        if not all(isinstance(each, Slot) for each in written):
            raise EscapeError("an array outside of the trace cannot be written to")
        writes = frozenset(_memory(self._kept[slot.number]) for slot in written)
        memory = {_memory(traced.value) for traced in found}
        if isinstance(result, np.ndarray):
            memory.add(_memory(result))
        made = self._new(None if written else result)
        self.instructions.append(
            Instruction(
                function, tuple(args), dict(keywords), made.slot,
                tuple(traced.slot for traced in found), frozenset(memory), writes, kept,
            )
        )  # fmt: skip
        if written:
            if function in _WRITING:
                return None
            back = [t for slot in written for t in found if t.slot == slot.number]
            return back[0] if len(written) == 1 else tuple(back)
        masks = function is operator.getitem and any(t.value.dtype == bool for t in found[1:])
        if guards_shapes or masks or function in _SHAPED_BY_VALUES:
            self.guard(made, _shapes)
        return self._unpacked(made)

    def _unpacked(self, made: Any) -> Any:
        """Return the parts of a result that is a tuple or a list."""
        value = made.value
        if isinstance(value, (np.ndarray, np.generic, bool, int, float)):
            return made
        if isinstance(value, (tuple, list)):
            parts = [
                self._unpacked(self._record_part(made, n, part)) for n, part in enumerate(value)
            ]
            return type(value)(parts) if type(value) in (tuple, list) else type(value)(*parts)
        if value is None or isinstance(value, np.dtype):
            return value
        raise EscapeError(f"a result of type {type(value).__name__} cannot be recorded")

    def _record_part(self, made: Traced, number: int, part: Any) -> Traced:
        new = self._new(part)
        memory = frozenset({_memory(part)} if isinstance(part, np.ndarray) else ())
        self.instructions.append(
            Instruction(
                operator.getitem, (Slot(made.slot), number), {}, new.slot, (made.slot,), memory,
                frozenset(),
            )
        )  # fmt: skip
        return new


#: Trace that records; None outside of one.
active: ContextVar[Trace | None] = ContextVar("trace", default=None)


def _memory(value: Any) -> int:
    """Return a key of the memory of an array, which views of it share."""
    while isinstance(getattr(value, "base", None), np.ndarray):
        value = value.base
    return id(value)


def _shapes(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple([_shapes(each) for each in value])
    return getattr(value, "shape", ())


def _bytes(value: Any) -> bytes:
    return np.asarray(value).tobytes()


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """Array of a trace: it behaves as an array of numpy, and records how it is used.

    Args:
        trace: The trace.
        slot: Number of the value.
        value: The value in the call that is recorded.
    """

    __slots__ = ("slot", "trace", "value")
    __hash__ = None  # type: ignore[assignment]
    #: Code that asks for an array of numpy gets one, as far as it uses it by functions of numpy.
    __class__ = property(lambda _: np.ndarray)  # type: ignore[assignment]

    def __init__(self, trace: Trace, slot: int, value: Any) -> None:
        self.trace, self.slot, self.value = trace, slot, value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.trace.apply(function, inputs, keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        return self.trace.apply(function, args, keywords)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise EscapeError("a value of a trace is needed as an array of numpy itself")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise EscapeError("a value of a trace cannot be copied or pickled")

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides"):
            return getattr(self.value, name)
        if name in ("T", "mT", "real", "imag"):
            return self.trace.apply(operator.attrgetter(name), (self,), {})
        if name.startswith("_"):  # protocols of other libraries
            raise AttributeError(name)
        method = getattr(np.ndarray, name)
        return lambda *args, **keywords: self.trace.apply(method, (self, *args), keywords)

    def astype(self, dtype: Any, copy: bool = True, **keywords: Any) -> Any:
        """Return the array in a dtype."""
        if not copy and self.value.dtype == np.dtype(dtype):
            return self
        return self.trace.apply(np.ndarray.astype, (self, dtype), keywords)

    def __getitem__(self, key: Any) -> Any:
        return self.trace.apply(operator.getitem, (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.trace.apply(operator.setitem, (self, key, value), {})

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[n] for n in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __bool__(self) -> bool:
        return bool(self.trace.guard(self, bool))

    def __int__(self) -> int:
        return int(self.trace.guard(self, int))

    def __index__(self) -> int:
        return operator.index(self.trace.guard(self, operator.index))

    def __float__(self) -> float:
        return float(self.trace.guard(self, float))

    def tolist(self) -> Any:
        """Return lists of numbers, which become part of what the trace is valid for."""
        self.trace.guard(self, _bytes)
        return self.value.tolist()

    def item(self) -> Any:
        """Return a number, which becomes part of what the trace is valid for."""
        return self.tolist()

    def tobytes(self) -> bytes:
        """Return bytes, which become part of what the trace is valid for."""
        return self.trace.guard(self, _bytes)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"


def is_traced(value: Any) -> bool:
    """Return True for an array of a trace."""
    return type(value) is Traced


def known(value: np.ndarray) -> np.ndarray:
    """Return the values of an array that results do not depend on, as for warnings."""
    return value.value if type(value) is Traced else value  # type: ignore[attr-defined,no-any-return]


def values_in(tree: Any) -> Any:
    """Return a tree with the values of arrays of a trace in their places."""
    return replaced(tree, Traced, lambda traced: traced.value)


def slots_in(tree: Any) -> Any:
    """Return a tree with the slots of arrays of a trace in their places."""
    return replaced(tree, Traced, lambda traced: Slot(traced.slot))


def traced_in(tree: Any) -> list[Traced]:
    """Return the arrays of traces in a tree, in order."""
    return leaves_of(tree, Traced)


__all__ = [
    "EscapeError",
    "Guard",
    "Instruction",
    "Slot",
    "Trace",
    "Traced",
    "active",
    "is_traced",
    "known",
    "slots_in",
    "traced_in",
    "values_in",
]
