"""How a pipeline is carried out: which neighbouring transforms share one pass over the voxels.

A pipeline is flattened into steps once. Neighbouring spatial steps form a run: their maps are
composed in the world, in float64 on the host, and each image is sampled once, on the final grid.
Neighbouring pointwise steps form a run as well: one program, which is applied as the voxels of the
spatial run before it are read, or in a pass of its own. A step that needs the whole volume at once
stands by itself, and is carried out on those samples only that it changes.

A spatial run ends where maps can no longer be composed cheaply: a second bending map, or one that
turns the grid on which a bending map was to be evaluated axis by axis; and where voxels are to be
read differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import functional as F
from .. import rng
from ..data import SubjectsBatch
from ..data.image import INTENSITY
from ..functional.program import Operation
from .draws import Draws, Prepared, prepare
from .moves import Chain, Sampling, Scene, check_spaces
from .params import Params
from .steps import Outline, Record, Step
from .volumes import Change, add_made


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
        outline: The pipeline.
    """

    def __init__(self, outline: Outline) -> None:
        self.outline, self.steps = outline, outline.steps
        self.groups = _group(self.steps)
        self._prepared: dict[Any, Prepared] = {}

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
            elif group.role == "volume":
                self._volume(waiting, group, draws)
            else:
                self._pointwise(waiting, group, draws)
        waiting.carry_out()
        return out

    def draw(self, batch: SubjectsBatch) -> Draws:
        """All uniform numbers that the pipeline needs for a batch."""
        key = batch.kinds, tuple(batch.metadata)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepared[key] = prepare(self.outline, *key)
        streams = batch.streams or rng.streams_for(batch.batch_size)
        base = streams.take(self.outline.position)
        u = np.empty((batch.batch_size, 0))
        if prepared.layout.requests:
            u = rng.uniforms(streams.seeds, prepared.layout, base)
        return Draws(prepared, u, self.outline.gates)

    def _decide(
        self,
        number: int,
        draws: Draws,
        batch: SubjectsBatch,
        scene: Scene,
        for_all: bool = False,
    ) -> tuple[Params, np.ndarray | None] | None:
        """Parameters of a step for this batch, or None if it leaves every sample as it is.

        With ``for_all``, something happens to samples that are left out as well: they get an
        image, if an empty one, and a record of it.
        """
        step = self.steps[number]
        active = draws.active(step)
        if active is not None and not active.any() and not for_all:
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
        whom = None if for_all else active
        batch.records.append(Record(step.transform, params, names, untouched, whom))
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

    def _spatial(self, waiting: _Waiting, group: Group, draws: Draws) -> None:
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
            scene = Scene(names, tuple(chains[name].space for name in names))
            decided = self._decide(number, draws, waiting.batch, scene)
            if decided is None:
                continue
            for move in transform.moves(decided[0], scene):
                for name in names:
                    chains[name].add(move)
            waiting.sampling = waiting.sampling or wish

    def _pointwise(self, waiting: _Waiting, group: Group, draws: Draws) -> None:
        for number in group.steps:
            self._keep(number, waiting)
            step = self.steps[number]
            names = draws.prepared.names[number]
            if not names:
                continue
            waiting.compute(names)
            images = waiting.batch.images
            scene = Scene(names, tuple(images[name].space for name in names))
            decided = self._decide(number, draws, waiting.batch, scene)
            if decided is None:
                continue
            params, active = decided
            known = step.names or names
            for name in names:
                if name in known:
                    operation = step.transform.operation(params.column(known.index(name)), active)
                    waiting.programs.setdefault(name, []).append(operation)

    def _volume(self, waiting: _Waiting, group: Group, draws: Draws) -> None:
        batch = waiting.batch
        for number in group.steps:
            self._keep(number, waiting)
            step = self.steps[number]
            transform, names = step.transform, draws.prepared.names[number]
            if not names:
                continue
            new = add_made(transform, batch)
            if transform.computes:
                waiting.compute(names)
            waiting.carry_out()
            spaces = tuple(batch.images[name].space for name in names)
            scene = Scene(names, spaces, batch.images)
            decided = self._decide(number, draws, batch, scene, for_all=new)
            if decided is None:
                continue
            params, active = decided
            known = step.names or names
            change = Change(transform, dict(batch.images), active)
            for name in names:
                # an image that was added later follows the others if these share their parameters
                if name in known or transform.shares:
                    column = known.index(name) if name in known else 0
                    batch.images[name] = change(name, params.column(column))

    def __str__(self) -> str:
        lines = []
        for group in self.groups:
            names = " -> ".join(self.steps[n].transform.name for n in group.steps)
            lines.append(f"{group.role}: {names}  (ends: {group.reason})")
        return "\n".join(lines)


def _group(steps: Sequence[Step]) -> list[Group]:
    """Neighbours that can share a pass."""
    groups: list[Group] = []
    bent = False
    sampling: Sampling | None = None
    for number, step in enumerate(steps):
        transform = step.transform
        reason = None
        if not groups:
            reason = ""
        elif not (step.fuse and steps[number - 1].fuse):
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif transform.role == "volume":
            reason = f"{transform.name} needs the whole volume"
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


__all__ = ["Group", "Plan"]
