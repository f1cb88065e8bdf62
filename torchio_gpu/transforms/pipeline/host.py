"""Host path of a plan as a program: from random numbers to the bytes that kernels read.

What depends on structure alone is computed once, when a call is traced on ``meta`` tensors, which
have no voxels. Later calls of this structure run the recorded operations of numpy and write their
results into one buffer. They make no tensors, and history records only if these are looked at.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ... import random
from ...data import ImagesBatch, SubjectsBatch
from ...functional.dispatch.backend import rehearsing
from ...functional.dispatch.launch import PackedCopies
from ...tracing import (
    EscapeError,
    Later,
    Program,
    Run,
    Slot,
    Trace,
    is_traced,
    replaced,
    slots_in,
    traced_in,
)
from .executor import Executor
from .numbers import Numbers
from .plan import Plan
from .record import Record

#: Traces of one structure, at most. Calls that fit none of so many are made on ``meta`` each time.
_MAX_TRACES = 128


@dataclass
class Outcome:
    """Effects of a call.

    Args:
        launches: Key of the launches, without the numbers that they read.
        sizes: Bytes of each packed copy that they read.
        content: All these bytes, one after another, [N] uint8.
        images: Resulting images without voxels: image whose metadata each has, kind, and affines.
        metadata: Metadata of the result; of a trace, its names.
        records: Records of the steps.
        stores: Slot of each array among the bytes that differs between calls, and its place.
    """

    launches: Hashable
    sizes: list[int]
    content: np.ndarray
    images: dict[str, tuple[str | None, str, Any]]
    metadata: dict[str, Any]
    records: list[Record]
    stores: list[tuple[int, np.ndarray]] = field(default_factory=list)
    #: Number of the launches, for the caller.
    number: int | None = None


@dataclass
class HostCall:
    """Numbers of one call.

    Args:
        outcome: Effects of the call, or of the one that was traced.
        run: Run of the program that computed the numbers; None if the outcome is of this call.
    """

    outcome: Outcome
    run: Run | None

    def content(self) -> np.ndarray:
        """Return the bytes that the launches read, [N] uint8; the next call overwrites them."""
        for slot, place in self.outcome.stores:
            place[...] = self.run.value(slot)  # type: ignore[union-attr]
        return self.outcome.content

    def result(self, batch: SubjectsBatch, voxels: dict[str, Tensor]) -> SubjectsBatch:
        """Return the resulting batch.

        Args:
            batch: The samples.
            voxels: New voxels of each image.
        """
        images = {}
        for name, (source, kind, affine) in self.outcome.images.items():
            own = np.array(self.run.value(affine.number) if type(affine) is Slot else affine)  # type: ignore[union-attr]
            origin = None if source is None else batch.images[source]._images
            images[name] = _images(voxels[name], own, kind, origin)
        out = batch.replace(images)
        records = self.outcome.records
        if self.run is None:
            out.metadata = self.outcome.metadata
            out.records += records
            return out
        if len(self.outcome.metadata) < len(batch.metadata):
            out.metadata = {k: v for k, v in batch.metadata.items() if k in self.outcome.metadata}
        later = self.run.later()
        out.records += [LateRecord.of(record, later) for record in records]
        return out


class HostProgram:
    """Host path of one plan, for batches of one structure.

    Args:
        plan: The plan.
        batch: A batch of this structure.
        device: Device of the voxels.
    """

    def __init__(self, plan: Plan, batch: SubjectsBatch, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.places = plan.layout(batch)
        self.program = Program(1 + len(batch.images))
        #: Reason for which calls are not traced, if there is one.
        self.untraceable: str | None = None
        self.traces = 0

    def call(self, batch: SubjectsBatch, streams: random.Streams) -> HostCall:
        """Compute the numbers of a call.

        Args:
            batch: The samples.
            streams: Their seeds; positions are used up.

        Raises:
            RuntimeError: Numbers are copied to the device in another way than packed ones.
        """
        base = streams.take(self.plan.positions)
        u = np.empty((len(streams.seeds), 0))
        if self.places.layout.requests:
            u = random.uniforms(streams.seeds, self.places.layout, base)
        # copies, since records that are made later read them
        affines = [images.affine.copy() for images in batch.images.values()]
        token = b"".join([affine.tobytes() for affine in affines])
        run = self.program.run([u, *affines], token)
        if run is None and self.untraceable is None and self.traces < _MAX_TRACES:
            try:
                self._add_trace(batch, Numbers(self.places, u, streams.seeds, base))
            except Exception as error:  # if it is not about tracing, it is raised again below
                self.untraceable = f"{type(error).__name__}: {error}"
            else:
                run = self.program.run([u, *affines], token)
        if run is not None:
            return HostCall(run.result, run)
        decisions = self.plan.pipeline.decisions
        numbers = Numbers(self.places, u, streams.seeds, base, decisions)
        return HostCall(self._execute(batch, numbers, PackedCopies()), None)

    def _add_trace(self, batch: SubjectsBatch, numbers: Numbers) -> None:
        """Record a call, and add it to the program."""
        trace, layout = Trace(), _PackedLayout()
        numbers.u, numbers.decisions = trace.input(numbers.u), self.plan.pipeline.decisions
        affines = {name: trace.input(each.affine) for name, each in batch.images.items()}
        with trace.running():
            outcome = self._execute(batch, numbers, layout, affines)
        if any(trace.is_written(array.slot, done) for array, _, done in layout.changing):
            raise EscapeError("an array is written to after it was copied")
        wanted = [trace.before_cast(array) for array, *_ in layout.changing]
        outcome.content = layout.content()
        outcome.stores = [
            (slot, np.ndarray(array.shape, array.dtype, outcome.content, start))
            for slot, (array, start, _) in zip(wanted, layout.changing, strict=True)
        ]
        outcome.metadata = dict.fromkeys(outcome.metadata)
        moved = [traced.slot for traced in traced_in(outcome.images)]
        later = [traced.slot for traced in traced_in(outcome.records)]
        # slots in their places, since arrays would keep all values of the trace
        outcome.images, outcome.records = slots_in(outcome.images), slots_in(outcome.records)
        self.program.add(trace, [*wanted, *moved], later, outcome)
        self.traces += 1

    def _execute(
        self,
        batch: SubjectsBatch,
        numbers: Numbers,
        copies: PackedCopies,
        affines: dict[str, Any] | None = None,
    ) -> Outcome:
        """Execute a call on the ``meta`` device.

        Args:
            batch: The samples.
            numbers: Their random numbers.
            copies: Recorder of the packed copies.
            affines: Affines of the images, if they are to be traced.
        """
        images = {}
        for name, each in batch.images.items():
            images[name] = each.with_data(each.data.to("meta"), each.affine)
            if affines is not None:
                images[name].affine = affines[name]
        empty = batch.replace(images)
        empty.records, log = [], LaunchLog()
        with rehearsing(self.device), copies.running(), log:
            out = Executor(self.plan, empty, numbers).finish()
        # images without launches are not in the log, but are inputs of the graph
        inputs = tuple((name, each.kind, each.shape, each.dtype) for name, each in images.items())
        sizes = [len(buffer) for buffer in copies.buffers]
        none = np.empty(0, np.uint8)
        return Outcome(
            (
                self.device,
                torch.are_deterministic_algorithms_enabled(),
                inputs,
                tuple(log.lines),
                tuple(sizes),
            ),
            sizes,
            np.concatenate([none, *(b.numpy() for b in copies.buffers if not b.is_meta)]),
            {name: _without_voxels(each, name, empty) for name, each in out.images.items()},
            out.metadata,
            out.records,
        )


def _images(voxels: Tensor, affine: np.ndarray, kind: str, origin: Any) -> ImagesBatch:
    """Return images that were checked when the call was traced."""
    new = ImagesBatch.__new__(ImagesBatch)
    new.data, new.affine, new.kind, new._images = voxels, affine, kind, origin
    return new


def _without_voxels(images: ImagesBatch, name: str, batch: SubjectsBatch) -> Any:
    """Return the name of the input whose metadata images have, their kind, and their affines."""
    inputs = batch.images
    same = [n for n in (name, *inputs) if n in inputs and inputs[n]._images is images._images]
    return same[0] if same else None, images.kind, images.affine


class LateRecord(Record):
    """Record whose parameters are computed when it is looked at; it then becomes a Record."""

    @staticmethod
    def of(record: Record, later: Later) -> Record:
        """Return the record of a call, from that of the one that was traced."""
        new = object.__new__(LateRecord)
        state = object.__getattribute__(new, "__dict__")  # without a look at the record
        state["transform"], state["_late"] = record.transform, (record, later)
        return new

    def _complete(self) -> None:
        late = vars(self).get("_late")
        if late is None:  # another thread was first
            return
        record, later = late
        made = replaced(record, Slot, lambda slot: later(slot.number))
        vars(self).update(vars(made))
        vars(self).pop("_late", None)  # last, so that no thread sees a record without parameters
        object.__setattr__(self, "__class__", Record)

    def __getattribute__(self, name: str) -> Any:
        if name not in _AT_ONCE and "_late" in object.__getattribute__(self, "__dict__"):
            object.__getattribute__(self, "_complete")()
        return object.__getattribute__(self, name)


#: Attributes of a late record that need no parameters.
_AT_ONCE = frozenset(("transform", "name", "__dict__", "__class__"))


class _PackedLayout(PackedCopies):
    """Layout of the packed copies of a traced call, one after another."""

    def __init__(self) -> None:
        super().__init__()
        #: Arrays that differ between calls, each with its position in bytes, and the number of
        #: instructions before.
        self.changing: list[tuple[Any, int, int]] = []
        self._same: list[tuple[np.ndarray, int]] = []
        self._size = 0

    def content(self) -> np.ndarray:
        """Return the bytes of the copies, [N] uint8, with 0 where they differ between calls."""
        content = np.zeros(self._size, np.uint8)
        for array, start in self._same:
            np.ndarray(array.shape, array.dtype, content, start)[...] = array
        return content

    def given(
        self, arrays: Sequence[np.ndarray], starts: Sequence[int], size: int, device: torch.device
    ) -> Tensor | None:
        for array, start in zip(arrays, starts, strict=True):
            if is_traced(array):
                done = len(array.trace.instructions)  # type: ignore[attr-defined]
                self.changing.append((array, self._size + start, done))
            else:
                self._same.append((array.copy(), self._size + start))
        self._size += size
        self.buffers.append(torch.empty(size, dtype=torch.uint8, device=device))
        return self.buffers[-1]


class LaunchLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Log of the operators that are called, with their tensors and numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[Hashable] = []
        self._seen: dict[int, tuple[int, Tensor]] = {}  # kept alive, so that no two share an id

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = tree_flatten((args, kwargs))[0]
        outputs = [t for t in tree_flatten(out)[0] if isinstance(t, Tensor)]
        if any(t.device.type == "meta" for t in (*_tensors(inputs), *outputs)):
            if any(t.device.type == "cpu" for t in _tensors(inputs)):
                raise RuntimeError(
                    f"{func} copies numbers to the device that a graph could not update: this part "
                    "of the pipeline cannot be captured"
                )
            line = [self._name(each) for each in inputs]
            self.lines.append((str(func), *line, *map(self._name, outputs)))
        return out

    def _name(self, value: Any) -> Hashable:
        if not isinstance(value, Tensor):
            return repr(value)
        number, _ = self._seen.setdefault(id(value), (len(self._seen), value))
        return number, tuple(value.shape), tuple(value.stride()), str(value.dtype)


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor)]


__all__ = ["HostCall", "HostProgram", "LateRecord", "LaunchLog", "Outcome"]
