"""How a pipeline is carried out: which neighbouring transforms share one pass over the voxels.

A pipeline is flattened into steps once. Neighbouring spatial steps form a run: their maps are
composed in the world, in float64 on the host, and each image is sampled once, on the final grid.
Neighbouring pointwise steps form a run as well: one program, which is applied as the voxels of the
spatial run before it are read, or in a pass of its own.

A spatial run ends where maps can no longer be composed cheaply: a second bending map, or one that
turns the grid on which a bending map was to be evaluated axis by axis; and where voxels are to be
read differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from .. import functional as F
from .. import rng
from ..data import SubjectsBatch
from ..data.image import INTENSITY
from ..functional.program import Operation
from .moves import Chain, Sampling, Scene, check_spaces
from .params import Params

if TYPE_CHECKING:
    from .base import Transform


@dataclass(frozen=True)
class Step:
    """A transform in a plan.

    Args:
        transform: What to do.
        params: With which parameters; drawn for each batch if None.
        names: The images whose parameters ``params`` holds.
        gates: Positions and probabilities of the compositions around the step: where one of
            their coins says no, the step is left out.
        within: The compositions around the step; each may leave images out.
        keep: Images to keep as they are before the step, with the names to keep them under.
        untouched: Images to leave alone whatever the transform says.
    """

    transform: Transform
    params: Params | None = None
    names: tuple[str, ...] = ()
    gates: tuple[tuple[int, float], ...] = ()
    within: tuple[Transform, ...] = ()
    keep: dict[str, str] | None = None
    untouched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """What was applied: a transform, its parameters, to which images of which samples.

    ``untouched`` are the images that were there and were left alone; an image that is added later,
    such as a prediction, follows the others when the record is replayed or undone.
    """

    transform: Transform
    params: Params
    names: tuple[str, ...]
    untouched: tuple[str, ...] = ()
    active: np.ndarray | None = None

    def row(self, sample: int) -> Record | None:
        """The record of one sample, or None if the transform left it out."""
        if self.active is not None and not bool(self.active[sample]):
            return None
        return Record(self.transform, self.params.row(sample), self.names, self.untouched)

    def __repr__(self) -> str:
        return f"{self.transform.name}({self.params})"


@dataclass
class Group:
    """Steps that share one pass, and why the pass ends with them."""

    role: str
    steps: list[int]
    reason: str = "end of the pipeline"


@dataclass
class _Waiting:
    """What is still to be done to the images of a batch, in one pass over each."""

    batch: SubjectsBatch
    chains: dict[str, Chain] = field(default_factory=dict)
    programs: dict[str, list[Operation]] = field(default_factory=dict)
    sampling: Sampling | None = None
    #: Scalar images that a step computes with. Integers become float32 even if every coin says
    #: no: the type of a batch must not depend on a coin.
    computed: set[str] = field(default_factory=set)

    def compute(self, names: Sequence[str]) -> None:
        """Note that a step computes with the voxels of some images."""
        self.computed.update(n for n in names if self.batch.images[n].kind == INTENSITY)

    def carry_out(self) -> None:
        """Do it: a spatial run first, then the pointwise run after it, in the same pass."""
        for name, images in list(self.batch.images.items()):
            chain, program = self.chains.get(name), self.programs.get(name, [])
            if name in self.computed and not images.data.is_floating_point():
                images = self.batch.images[name] = images.with_data(images.data.float())
            if chain is not None and chain.moved:
                self.batch.images[name] = chain.sample(images, self.sampling, program)
            elif program:
                self.batch.images[name] = images.with_data(F.pointwise(images.data, program))
        self.computed.clear()
        self.chains.clear()
        self.programs.clear()
        self.sampling = None


class Plan:
    """The steps of a pipeline, grouped into passes.

    Args:
        steps: Transforms in order.
        fuse: Whether neighbours may share a pass; otherwise each step has its own.
        gates: Number of compositions with a coin of their own.
    """

    def __init__(self, steps: Sequence[Step], fuse: bool = True, gates: int = 0) -> None:
        self.steps = list(steps)
        self.gates = gates
        self.groups = _group(self.steps, fuse)
        self._prepared: dict[Any, _Prepared] = {}

    def run(self, batch: SubjectsBatch) -> SubjectsBatch:
        """Carry out the pipeline on a batch; the batch itself is left as it is."""
        if not self.steps:
            return batch
        draws = self.draw(batch)
        out = batch.replace(dict(batch.images))
        waiting = _Waiting(out)
        for group in self.groups:
            if group.role == "spatial":
                waiting.carry_out()
                self._spatial(waiting, group, draws)
            else:
                self._pointwise(waiting, group, draws)
        waiting.carry_out()
        return out

    def draw(self, batch: SubjectsBatch) -> _Draws:
        """All uniform numbers that the pipeline needs for a batch."""
        kinds = batch.kinds
        chances = tuple(step.transform.p for step in self.steps)
        key = (kinds, tuple(batch.metadata), chances)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepared[key] = self._prepare(kinds, key[1])
        streams = batch.streams or rng.streams_for(batch.batch_size)
        base = streams.take(self.gates + len(self.steps))
        if not prepared.layout.requests:
            return _Draws(prepared, np.empty((batch.batch_size, 0)))
        return _Draws(prepared, rng.uniforms(streams.seeds, prepared.layout, base))

    def _prepare(self, kinds: tuple[tuple[str, str], ...], others: tuple[str, ...]) -> _Prepared:
        """Which images each step changes, and where its random numbers stand."""
        requests: list[tuple[int, int, int]] = []
        names, coins, columns = [], [], []
        gates: dict[int, int] = {}
        for number, step in enumerate(self.steps):
            transform, position = step.transform, self.gates + number
            missing = others if step.params is None else None
            selected = transform.select(kinds, missing)
            allowed = [outer.select(kinds, missing) for outer in step.within]
            selected = tuple(
                name
                for name in selected
                if name not in step.untouched and all(name in names for names in allowed)
            )
            for gate, _ in step.gates:
                if gate not in gates:
                    gates[gate] = len(requests)
                    requests.append((gate, 0, 1))
            coin = None
            if step.params is None and transform.p < 1:
                coin = len(requests)
                requests.append((position, 0, 1))
            own = []
            if step.params is None and transform.draws:
                # an image's stream follows from its name: parameters of one image do not depend
                # on which others the subject has
                streams = (
                    [1] if transform.role == "spatial" else [crc32(n.encode()) for n in selected]
                )
                for stream in streams:
                    own.append(len(requests))
                    requests.append((position, stream, transform.draws))
            names.append(selected)
            coins.append(coin)
            columns.append(own)
        return _Prepared(rng.Layout(tuple(requests)), names, coins, columns, gates)

    def _decide(
        self, number: int, draws: _Draws, batch: SubjectsBatch, scene: Scene
    ) -> tuple[Params, np.ndarray | None] | None:
        """Parameters of a step for this batch, or None if it leaves every sample as it is."""
        step = self.steps[number]
        active = draws.active(number, step)
        if active is not None and not active.any():
            return None
        if step.params is None:
            params = step.transform.draw(scene, draws.numbers(number, step.transform))
        else:
            params = step.params.expand(batch.batch_size)
        if active is not None and active.all():
            active = None
        if active is not None:
            params = params.gate(active)
        names = step.names or scene.names
        untouched = tuple(name for name in batch.images if name not in scene.names)
        batch.records.append(Record(step.transform, params, names, untouched, active))
        return params, active

    def _keep(self, number: int, waiting: _Waiting) -> None:
        keep = self.steps[number].keep
        if not keep:
            return
        waiting.carry_out()
        images = waiting.batch.images
        for name, new in keep.items():
            if name not in images:
                raise KeyError(f"keep must name images of the subject, {name!r} is none")
            images[new] = images[name]

    def _spatial(self, waiting: _Waiting, group: Group, draws: _Draws) -> None:
        chains = waiting.chains
        for number in group.steps:
            self._keep(number, waiting)
            transform = self.steps[number].transform
            names = draws.prepared.names[number]
            if not names:
                continue
            for name in names:
                if name not in chains:
                    space = waiting.batch.images[name].space
                    chains[name] = Chain(space, space)
            wish = transform.sampling()
            if wish is not None and wish.image != "nearest":
                waiting.compute(names)
            if getattr(transform, "check_shape", True):
                check_spaces({name: chains[name].space for name in names}, transform.name)
            scene = Scene(names, chains[names[0]].space)
            decided = self._decide(number, draws, waiting.batch, scene)
            if decided is None:
                continue
            for move in transform.moves(decided[0], scene):
                for name in names:
                    chains[name].add(move)
            waiting.sampling = waiting.sampling or wish

    def _pointwise(self, waiting: _Waiting, group: Group, draws: _Draws) -> None:
        for number in group.steps:
            self._keep(number, waiting)
            step = self.steps[number]
            names = draws.prepared.names[number]
            if not names:
                continue
            waiting.compute(names)
            scene = Scene(names, waiting.batch.images[names[0]].space)
            decided = self._decide(number, draws, waiting.batch, scene)
            if decided is None:
                continue
            params, active = decided
            known = step.names or names
            for name in names:
                if name in known:
                    operation = step.transform.operation(params.column(known.index(name)), active)
                    waiting.programs.setdefault(name, []).append(operation)

    def __str__(self) -> str:
        lines = []
        for group in self.groups:
            names = " -> ".join(self.steps[n].transform.name for n in group.steps)
            lines.append(f"{group.role}: {names}  (ends: {group.reason})")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Prepared:
    """What is known of a pipeline once the names of the images are."""

    layout: rng.Layout
    names: list[tuple[str, ...]]
    coins: list[int | None]
    columns: list[list[int]]
    gates: dict[int, int]


@dataclass
class _Draws:
    """The uniform numbers of one call."""

    prepared: _Prepared
    u: np.ndarray

    def _column(self, request: int) -> np.ndarray:
        return self.u[:, self.prepared.layout.columns[request]]

    def active(self, number: int, step: Step) -> np.ndarray | None:
        """Which samples a step transforms, [B]; all of them if None."""
        request = self.prepared.coins[number]
        masks = [self._column(self.prepared.gates[gate])[:, 0] < p for gate, p in step.gates]
        if request is not None:
            masks.append(self._column(request)[:, 0] < step.transform.p)
        if not masks:
            return None
        active = masks[0]
        for mask in masks[1:]:
            active = active & mask
        return active

    def numbers(self, number: int, transform: Transform) -> np.ndarray:
        """Numbers of a step: [B, draws], or [B, M, draws] for a pointwise transform."""
        requests = self.prepared.columns[number]
        if transform.role == "spatial":
            return self._column(requests[0]) if requests else self.u[:, :0]
        if not requests:
            return np.empty((len(self.u), len(self.prepared.names[number]), 0))
        if len(requests) == 1:
            return self._column(requests[0])[:, None]
        return np.stack([self._column(request) for request in requests], 1)


def _group(steps: Sequence[Step], fuse: bool) -> list[Group]:
    """Neighbours that can share a pass."""
    groups: list[Group] = []
    bent = False
    sampling: Sampling | None = None
    for number, step in enumerate(steps):
        transform = step.transform
        reason = None
        if not groups:
            reason = ""
        elif not fuse:
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif transform.role != groups[-1].role:
            reason = f"{transform.name} is {transform.role}"
        elif transform.role == "spatial":
            wish = transform.sampling()
            if bent and transform.bends:
                reason = f"{transform.name} bends the image a second time"
            elif bent and not transform.parallel:
                reason = f"{transform.name} turns the grid of the bending map before it"
            elif None not in (wish, sampling) and wish != sampling:
                reason = f"{transform.name} reads voxels differently"
        if reason is not None:
            if groups:
                groups[-1].reason = reason
            groups.append(Group(transform.role, []))
            bent, sampling = False, None
        groups[-1].steps.append(number)
        if transform.role == "spatial":
            bent = bent or transform.bends
            sampling = sampling or transform.sampling()
    return groups


__all__ = ["Group", "Plan", "Record", "Step"]
