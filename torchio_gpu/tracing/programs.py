"""Programs: recorded traces, merged by their guards and run with other numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .trace import Guard, Instruction, Slot, Trace

#: Call of a program: function, its arguments and its result, as places in the values of a run.
#: One argument is a number, several are a function that picks them.
Call = tuple[Callable[..., Any], Any, int]


@dataclass
class Segment:
    """Calls up to a guard, or to the end of a trace.

    Args:
        fixed: Calls whose results depend on the fixed inputs alone.
        calls: The other calls, after them.
        guard: Place of the value of the guard, and function to its key; None at the end.
        result: What the trace led to, at the end.
        lazy: Calls that compute, from the inputs, the values that may be asked for later.
        kept: Places of results that another call of their function might not give.
        places: Place of each value of the trace that the segment was made from.
        following: Next segment for each key of the guard.
        numbers: Numbers of the instructions with fixed results, in the trace.
        known: Token of the fixed inputs; the results that belong to it; and the next segment, if
            it depends on them alone.
    """

    fixed: list[Call]
    calls: list[Call]
    guard: tuple[int, Callable[[Any], Any]] | None
    result: Any
    lazy: list[Call]
    kept: list[int]
    places: list[int]
    numbers: set[int]
    following: dict[Any, Segment] = field(default_factory=dict)
    known: tuple[Any, list[tuple[int, Any]], Segment | None] | None = None


class Run:
    """Values of one run of a program."""

    def __init__(self, program: Program, segment: Segment, values: list[Any]) -> None:
        self._program, self._segment, self._values = program, segment, values

    @property
    def result(self) -> Any:
        """Result that was given to :meth:`Program.add` with the trace that the run follows."""
        return self._segment.result

    def value(self, slot: int) -> Any:
        """Return the value of a slot of the trace; only of those that were wanted."""
        return self._values[self._segment.places[slot]]

    def later(self) -> Later:
        """Return the values that were to be known later."""
        return Later(self._program, self._segment, self._values)


class Later:
    """Values that are computed when one of them is asked for; until then, little is kept."""

    def __init__(self, program: Program, segment: Segment, values: list[Any]) -> None:
        self._program, self._segment = program, segment
        known = [*range(program.inputs), *segment.kept]
        self._known = [(place, values[place]) for place in known]
        self._values: list[Any] | None = None

    def __call__(self, slot: int) -> Any:
        """Return the value of a slot of the trace, an array as one of its own."""
        if self._values is None:
            values = self._program.constants.copy()
            for place, value in self._known:
                values[place] = value
            _execute(self._segment.lazy, values)
            self._values = values  # complete, since threads share it
        value = self._values[self._segment.places[slot]]
        return value.copy() if isinstance(value, np.ndarray) else value


class Program:
    """Traces of one computation, which differ where their guards do.

    Args:
        inputs: Number of inputs of the traces. The first one differs in each run, the others, the
            fixed ones, seldom.
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.constants: list[Any] = [None] * inputs
        self._first: Segment | None = None

    def add(self, trace: Trace, wanted: Sequence[int], later: Sequence[int], result: Any) -> None:
        """Add a trace.

        Args:
            trace: The trace, of as many inputs.
            wanted: Slots whose values each run computes.
            later: Slots whose values :class:`Later` computes.
            result: What the trace led to, for the caller.
        """
        order = _Order(trace, self.inputs)
        places = list(range(self.inputs))
        parent: Segment | None = None
        key: Any = None
        shared = self._first
        done: set[int] = set()
        for guard in (*trace.guards, None):
            if guard is None:
                needed = order.before(wanted) - done
            else:
                needed = order.before((guard.slot,), guard.instructions) - done
            if guard is not None and shared is not None:
                if not _fits(shared, guard, needed & order.fixed):
                    self._first = None  # the computation depends on more than guards
                    self.add(trace, wanted, later, result)
                    return
                places = shared.places
                done |= needed
                parent, key = shared, guard.key
                shared = shared.following.get(guard.key)
                continue
            end = trace.slots if guard is None else guard.slots
            places = [*places, *self._new_places(end - len(places))]
            for slot, first in order.repeats.items():
                if slot < end:
                    places[slot] = places[first]
            new = Segment([], [], None, result, [], [], places, needed & order.fixed)
            self._compile(trace, order, needed, places, new.fixed, new.calls)
            done |= needed
            if guard is None:
                lazy = order.before(later, through=lambda each: not each.kept)
                kept = {number for number in lazy if trace.instructions[number].kept}
                new.kept = [places[trace.instructions[number].target] for number in kept]
                needed = order.before([trace.instructions[n].target for n in kept]) - done
                self._compile(trace, order, needed, places, new.fixed, new.calls)
                self._compile(trace, order, lazy - kept, places, new.lazy, new.lazy)
            else:
                new.guard = places[guard.slot], guard.read
                new.result = None
            if parent is None:
                self._first = new
            else:
                parent.following[key] = new
            parent, key, shared = new, None if guard is None else guard.key, None

    def run(self, inputs: Sequence[np.ndarray], token: Any) -> Run | None:
        """Run the program; None if no trace that was added fits the numbers.

        Args:
            inputs: The inputs.
            token: Value that differs where the fixed inputs do.
        """
        values = self.constants.copy()
        values[: self.inputs] = inputs
        segment = self._first
        while segment is not None:
            known = segment.known
            if known is not None and known[0] == token:
                for place, value in known[1]:
                    values[place] = value
                if known[2] is not None:
                    segment = known[2]
                    continue
            else:
                _execute(segment.fixed, values)
                known = None
            _execute(segment.calls, values)
            if segment.guard is None:
                following = None
            else:
                place, read = segment.guard
                following = segment.following.get(read(values[place]))
            if known is None:
                results = [(place, values[place]) for _, _, place in segment.fixed]
                # where nothing changes, the guard does not either
                segment.known = token, results, None if segment.calls else following
            if segment.guard is None:
                return Run(self, segment, values)
            segment = following
        return None

    def _new_places(self, count: int) -> list[int]:
        first = len(self.constants)
        self.constants += [None] * count
        return list(range(first, first + count))

    def _constant(self, value: Any) -> int:
        self.constants.append(value)
        return len(self.constants) - 1

    def _compile(
        self,
        trace: Trace,
        order: _Order,
        numbers: set[int],
        places: list[int],
        fixed: list[Call],
        calls: list[Call],
    ) -> None:
        """Append the calls of some instructions to those with fixed results and to the others."""
        for number in sorted(numbers):
            each = trace.instructions[number]
            target = fixed if number in order.fixed else calls
            function, keywords = each.function, each.keywords
            args = list(each.args)
            out = keywords.get("out")
            if type(function) is np.ufunc and type(out) is tuple and len(keywords) == 1:
                args, keywords = [*args, *out], {}
            if _holds_slot(keywords):
                function = partial(_with_keywords, function, tuple(keywords))
                args = [*keywords.values(), *args]
            elif keywords:
                function = partial(function, **keywords)
            where = [self._argument(arg, places, target) for arg in args]
            pick = where[0] if len(where) == 1 else operator.itemgetter(*where)
            target.append((function, pick, places[each.target]))

    def _argument(self, arg: Any, places: list[int], calls: list[Call]) -> int:
        """Return the place of an argument; append the calls that put it together."""
        if type(arg) is Slot:
            return places[arg.number]
        if not _holds_slot(arg):
            return self._constant(arg)
        parts = [self._argument(part, places, calls) for part in arg]
        pick = parts[0] if len(parts) == 1 else operator.itemgetter(*parts)
        place = self._constant(None)
        calls.append((_tuple_of if type(arg) is tuple else _list_of, pick, place))
        return place


def _fits(segment: Segment, guard: Guard, fixed: set[int]) -> bool:
    """Return True if a segment ends with a guard, after the same instructions."""
    if segment.guard is None or len(segment.places) != guard.slots or segment.numbers != fixed:
        return False
    return segment.guard == (segment.places[guard.slot], guard.read)


def _execute(calls: list[Call], values: list[Any]) -> None:
    for function, pick, target in calls:
        if type(pick) is int:
            values[target] = function(values[pick])
        else:
            values[target] = function(*pick(values))


def _with_keywords(function: Callable[..., Any], names: tuple[str, ...], *args: Any) -> Any:
    count = len(names)
    return function(*args[count:], **dict(zip(names, args[:count], strict=True)))


def _tuple_of(*parts: Any) -> tuple[Any, ...]:
    return parts


def _list_of(*parts: Any) -> list[Any]:
    return list(parts)


def _holds_slot(value: Any) -> bool:
    if type(value) is Slot:
        return True
    if type(value) in (tuple, list):
        return any(map(_holds_slot, value))
    return type(value) is dict and any(map(_holds_slot, value.values()))


def _text(repeats: dict[int, int], value: Any) -> Any:
    """Return a key of a function or argument: equal ones are the same computation."""
    if type(value) is Slot:
        return Slot, repeats.get(value.number, value.number)
    if type(value) in (tuple, list):
        return type(value), *(_text(repeats, each) for each in value)
    if type(value) is dict:
        return dict, *((name, _text(repeats, each)) for name, each in value.items())
    if type(value) in (slice, int, float, bool, str, type(None), np.dtype):
        return type(value), repr(value)
    return id(value)  # which is kept by the trace


class _Order:
    """Order in which the instructions of a trace must stay, and what else is known of them.

    ``fixed`` are the numbers of instructions with fixed results; ``repeats`` says of a slot that is
    computed again in which one it was first.

    An instruction comes after those that it reads from. One that writes to memory comes after all
    that used this memory before, and before all that use it afterwards.
    """

    def __init__(self, trace: Trace, inputs: int) -> None:
        self._trace = trace
        self._writers: dict[int, list[int]] = {}
        made: dict[int, int] = {}  # instruction that made a slot
        writer: dict[int, int] = {}  # last instruction that wrote to memory
        users: dict[int, list[int]] = {}  # those that used it since
        written = {key for each in trace.instructions for key in each.writes}
        changing = {0}  # slots that differ in each run
        self._after: list[set[int]] = []
        self.fixed: set[int] = set()
        self.repeats: dict[int, int] = {}
        self._made = made
        first: dict[Any, int] = {}  # slot of a computation
        for number, each in enumerate(trace.instructions):
            if written.isdisjoint(each.memory):
                key = _text(self.repeats, (each.function, each.args, each.keywords))
                slot = first.setdefault(key, each.target)
                if slot != each.target:
                    self.repeats[each.target], made[each.target] = slot, made[slot]
                    if slot in changing:
                        changing.add(each.target)
                    self._after.append(set())
                    continue
            after = {made[slot] for slot in each.reads if slot in made}
            after |= {writer[key] for key in each.memory if key in writer}
            for key in each.writes:
                after |= {user for user in users.get(key, ()) if user != number}
                writer[key], users[key] = number, []
                self._writers.setdefault(key, []).append(number)
            for key in each.memory:
                users.setdefault(key, []).append(number)
            self._after.append(after - {number})
            made[each.target] = number
            # memory that is written to is made anew in each run
            if changing.isdisjoint(each.reads) and written.isdisjoint(each.memory):
                self.fixed.add(number)
            else:
                changing.add(each.target)

    def before(
        self,
        slots: Sequence[int],
        end: int | None = None,
        through: Callable[[Instruction], bool] = lambda _: True,
    ) -> set[int]:
        """Return the instructions that must run for the values of slots to be known.

        Args:
            slots: The slots.
            end: Number of the instruction before which the values are wanted; all by default.
            through: False for instructions whose own arguments are not wanted.
        """
        found: set[int] = set()
        left = [self._made[slot] for slot in slots if slot in self._made]
        for slot in slots:
            writers = self._writers.get(self._trace.memory_of(slot), ())
            left += [number for number in writers if end is None or number < end]
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                if through(self._trace.instructions[number]):
                    left.extend(self._after[number])
        return found


__all__ = ["Later", "Program", "Run", "Segment"]
