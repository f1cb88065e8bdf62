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
from ...programs import Program, Run
from ...traced import Trace, is_traced, substitute, traced_in
from .executor import Executor
from .numbers import Numbers
from .plan import Plan
from .record import Record


@dataclass
class Outcome:
    """Effects of a traced call.

    Args:
        launches: Key of the launches, without the numbers that they read.
        size: Bytes that the launches read.
        constants: Content of these bytes, as far as it is the same in each call.
        stores: Slot, position, shape and dtype of each array among these bytes that differs.
        images: Resulting images without voxels: image whose metadata each has, kind, and affines.
        removed: Names of the metadata that the result lacks.
        records: Records of the steps.
    """

    launches: Hashable
    size: int
    constants: np.ndarray
    stores: list[tuple[int, int, tuple[int, ...], np.dtype[Any]]]
    images: dict[str, tuple[str | None, str, Any]]
    removed: frozenset[str]
    records: list[Record]
    views: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.content = self.constants.copy()
        for slot, start, shape, dtype in self.stores:
            self.views.append((slot, np.ndarray(shape, dtype, self.content, start)))


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

    def run(self, batch: SubjectsBatch, streams: random.Streams) -> Run:
        """Compute the numbers of a call.

        Args:
            batch: The samples.
            streams: Their seeds; positions are used up.
        """
        base = streams.take(self.plan.positions)
        u = np.empty((len(streams.seeds), 0))
        if self.places.layout.requests:
            u = random.uniforms(streams.seeds, self.places.layout, base)
        affines = [each.affine for each in batch.images.values()]
        token = b"".join([affine.tobytes() for affine in affines])
        run = self.program.run([u, *affines], token)
        if run is None:
            self._trace(batch, Numbers(self.places, u, streams.seeds, base))
            run = self.program.run([u, *affines], token)
            assert run is not None
        return run

    def _trace(self, batch: SubjectsBatch, numbers: Numbers) -> None:
        """Record a call, and add it to the program."""
        trace, layout, log = Trace(), _PackedLayout(), _LaunchLog()
        numbers.u, numbers.decisions = trace.input(numbers.u), self.plan.pipeline.decisions
        images = {}
        for name, each in batch.images.items():
            images[name] = each.with_data(each.data.to("meta"), each.affine)
            images[name].affine = trace.input(each.affine)
        empty = batch.replace(images)
        empty.records = []
        with rehearsing(self.device), layout.running(), log, trace.running():
            out = Executor(self.plan, empty, numbers).finish()
        outcome = Outcome(
            (tuple(log.lines), tuple(layout.sizes)),
            layout.size,
            layout.constants(),
            layout.stores,
            {name: _without_voxels(each, name, empty) for name, each in out.images.items()},
            frozenset(batch.metadata) - frozenset(out.metadata),
            out.records,
        )
        wanted = [slot for slot, *_ in layout.stores]
        affines = traced_in([affine for _, _, affine in outcome.images.values()])
        later = [traced.slot for traced in traced_in(out.records)]
        self.program.add(trace, [*wanted, *(a.slot for a in affines)], later, outcome)


def _without_voxels(images: ImagesBatch, name: str, batch: SubjectsBatch) -> Any:
    """Return the name of the input whose metadata images have, their kind, and their affines."""
    names = [name, *batch.images]
    source = next(
        (n for n in names if n in batch.images and batch.images[n]._images is images._images), None
    )
    return source, images.kind, images.affine


def fill(run: Run) -> np.ndarray:
    """Return the bytes of a call, [N] uint8; overwritten by the next call."""
    for slot, view in run.result.views:
        view[...] = run.place(slot)
    content: np.ndarray = run.result.content
    return content


def result_of(run: Run, batch: SubjectsBatch, voxels: dict[str, Tensor]) -> SubjectsBatch:
    """Return the resulting batch of a call, with given voxels."""
    outcome: Outcome = run.result
    images = {}
    for name, (source, kind, affine) in outcome.images.items():
        found = np.array(run.place(affine.slot) if is_traced(affine) else affine)
        origin = None if source is None else batch.images[source]._images
        images[name] = ImagesBatch(voxels[name], found, kind, origin)
    out = batch.replace(images)
    if outcome.removed:
        kept = {name: v for name, v in batch.metadata.items() if name not in outcome.removed}
        out.metadata = kept
    out.records.extend([LateRecord.of(record, run) for record in outcome.records])
    return out


class LateRecord(Record):
    """Record whose parameters are computed when it is looked at; it then becomes a Record."""

    @staticmethod
    def of(record: Record, run: Run) -> Record:
        """Return the record of a run, from that of the call that was traced."""
        new = object.__new__(LateRecord)
        vars(new).update(transform=record.transform, _late=(record, run))
        return new

    def _complete(self) -> None:
        record, run = vars(self).pop("_late")
        made = substitute(record, lambda traced: run.later(traced.slot))
        vars(self).update(vars(made))
        object.__setattr__(self, "__class__", Record)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") or name in ("__dict__", "__reduce_ex__", "__getstate__"):
            vars_of = object.__getattribute__(self, "__dict__")
            if name != "transform" and name != "__dict__" and "_late" in vars_of:
                object.__getattribute__(self, "_complete")()
        return object.__getattribute__(self, name)


class _PackedLayout(PackedCopies):
    """Layout of the packed copies of a traced call."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.stores: list[tuple[int, int, tuple[int, ...], np.dtype[Any]]] = []
        self._fixed: list[tuple[int, np.ndarray]] = []

    @property
    def size(self) -> int:
        """Bytes of all copies, one after another."""
        return sum(self.sizes)

    def constants(self) -> np.ndarray:
        """Return these bytes, with 0 where they differ between calls."""
        content = np.zeros(self.size, np.uint8)
        for start, array in self._fixed:
            np.ndarray(array.shape, array.dtype, content, start)[...] = array
        return content

    def given(
        self, arrays: Sequence[np.ndarray], starts: Sequence[int], size: int, device: torch.device
    ) -> Tensor | None:
        for array, start in zip(arrays, starts, strict=True):
            place = self.size + start
            if is_traced(array):
                self.stores.append((array.slot, place, array.shape, array.dtype))  # type: ignore[attr-defined]
            else:
                self._fixed.append((place, array.copy()))
        self.sizes.append(size)
        return torch.empty(size, dtype=torch.uint8, device=device)


class _LaunchLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
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


__all__ = ["HostProgram", "LateRecord", "Outcome", "fill", "result_of"]
