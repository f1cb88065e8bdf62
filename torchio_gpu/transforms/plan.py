"""How a pipeline is carried out: which neighbouring transforms share one pass over the voxels.

A pipeline is flattened into steps once. Neighbouring spatial steps form a run: their maps are
composed in the world, in float64 on the host, and each image is sampled once, on the final grid.
Neighbouring pointwise steps form a run as well: one program, which is applied as the voxels of the
spatial run before it are read, or in a pass of its own. A step that needs the whole volume at once
stands by itself, and is carried out on those samples only that it changes.

A spatial run ends where maps can no longer be composed cheaply: a second bending map, or one that
turns the grid on which a bending map was to be evaluated axis by axis; where voxels are to be read
differently; and where content that a turned grid does not hold would come into view again.

A step that changes intensities linearly commutes with interpolation. Between spatial steps it is
carried out on the voxels that wait to be sampled, so that these are sampled once all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import functional as F
from .. import rng
from ..arrays import Array, host
from ..data import ImagesBatch, SubjectsBatch
from ..data.image import INTENSITY
from ..functional.program import Operation
from ..geometry import spacing
from .draws import Draws, Prepared, prepare
from .moves import NOTHING, Chain, Present, Sampling, Scene, check_spaces
from .params import Params
from .steps import Outline, Record, Step
from .volumes import Change, add_made

if TYPE_CHECKING:
    from .base import Transform


@dataclass
class Group:
    """Steps that share one pass, and why the pass ends with them."""

    role: str
    steps: list[int]
    reason: str = "end of the pipeline"


#: What happened to an image in one pass: its name, and a phrase.
Note = tuple[str, str]


@dataclass
class _Waiting:
    """What is still to be done to the images of a batch, in one pass over each."""

    batch: SubjectsBatch
    chains: dict[str, Chain] = field(default_factory=dict)
    programs: dict[str, list[Operation]] = field(default_factory=dict)
    #: Scalar images that a step computes with. Integers become float32 even if every coin says
    #: no: the type of a batch must not depend on a coin.
    computed: set[str] = field(default_factory=set)
    #: The passes so far, for :meth:`Plan.explain`.
    notes: list[Note] = field(default_factory=list)

    def compute(self, names: Sequence[str]) -> None:
        """Note that a step computes with the voxels of some images."""
        self.computed.update(n for n in names if self.batch.images[n].kind == INTENSITY)

    def chain(self, name: str) -> Chain:
        """The maps of an image that wait, none as yet."""
        if name not in self.chains:
            images = self.batch.images[name]
            space = images.space
            self.chains[name] = Chain(space, space, images.kind)
        return self.chains[name]

    def frame(self, names: Iterable[str]) -> None:
        """Bring what waiting maps cut off and add forward to the voxels that are to be read."""
        for name in names:
            if name in self.chains:
                images = self.batch.images[name]
                framed = self.batch.images[name] = self.chains[name].frame(images)
                if framed is not images:
                    self.notes.append((name, f"{_grid(images)} copied to {_grid(framed)}"))

    def carry_out(self) -> None:
        """Do it: a spatial run first, then the pointwise run after it, in the same pass."""
        for name, images in list(self.batch.images.items()):
            chain, program = self.chains.get(name), self.programs.get(name, [])
            if name in self.computed and not images.data.is_floating_point():
                images = self.batch.images[name] = images.with_data(images.data.float())
            if chain is not None and chain.moved:
                out = self.batch.images[name] = chain.sample(images, program)
                done = "copied to" if chain.exact else "sampled on"
                self.notes.append((name, f"{_grid(images)} {done} {_grid(out)}"))
            elif program:
                self.batch.images[name] = images.with_data(F.pointwise(images.data, program))
                self.notes.append((name, "one pass over its voxels"))
        self.computed.clear()
        self.chains.clear()
        self.programs.clear()


def _grid(images: ImagesBatch) -> str:
    """A grid in words: its shape and, where samples agree, its spacing."""
    shape = "x".join(map(str, images.spatial_shape))
    distance = spacing(images.affine)
    if np.ptp(distance, axis=0).max() > 1e-6:
        return shape
    return f"{shape} at {', '.join(f'{d:.3g}' for d in distance[0])} mm"


class Plan:
    """The steps of a pipeline, grouped into passes.

    Args:
        outline: The pipeline.
    """

    def __init__(self, outline: Outline) -> None:
        self.outline, self.steps = outline, outline.steps
        self.groups = _group(self.steps)
        self._prepared: dict[Any, Prepared] = {}

    def run(self, batch: SubjectsBatch, explained: list[str] | None = None) -> SubjectsBatch:
        """Carry out the pipeline on a batch; the batch itself is left as it is.

        Args:
            batch: The samples.
            explained: Where to write what is done, group by group, if wanted.
        """
        if not self.steps:
            return batch
        draws = self.draw(batch)
        out = batch.replace(dict(batch.images))
        waiting = _Waiting(out)
        for group in self.groups:
            if explained is not None:
                if group.role != "pointwise":
                    waiting.carry_out()  # in the pass of the group before
                _write_down(waiting.notes, explained)
                explained.append(self._describe(group))
            if group.role == "spatial":
                waiting.carry_out()
                self._spatial(waiting, group, draws)
            elif group.role == "volume":
                self._volume(waiting, group, draws)
            else:
                self._pointwise(waiting, group, draws)
        waiting.carry_out()
        if explained is not None:
            _write_down(waiting.notes, explained)
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
        for number in group.steps:
            self._keep(number, waiting)
            transform = self.steps[number].transform
            names = draws.prepared.names[number]
            if not names:
                continue
            if transform.role == "volume":
                waiting.frame(waiting.batch.images)
                if _apart(waiting.chains, names):
                    waiting.carry_out()
                self._change(waiting, number, draws)
                continue
            chains = {name: waiting.chain(name) for name in names}
            wish = transform.sampling()
            if wish is not None and wish.image not in (None, "nearest"):
                waiting.compute(names)
            if getattr(transform, "check_shape", True):
                check_spaces({name: chain.space for name, chain in chains.items()}, transform.name)
            if transform.pads or not transform.parallel:
                waiting.frame(names)
            spaces = tuple(chain.space for chain in chains.values())
            scene = Scene(names, spaces, Present(waiting.batch.images, waiting.chains))
            decided = self._decide(number, draws, waiting.batch, scene)
            for chain in chains.values():
                chain.sampling = chain.sampling.then(wish)
                chain.turned = chain.turned or not transform.parallel
            if decided is None:
                continue
            moves = () if transform.regrids else transform.moves(decided[0], scene)
            known = self.steps[number].names or names
            for name, chain in chains.items():
                if transform.regrids:
                    column = known.index(name) if name in known else None
                    moves = (transform.regrid(decided[0], column, chain.space),)
                for move in moves:
                    chain.add(move)

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
        for number in group.steps:
            self._keep(number, waiting)
            transform, names = self.steps[number].transform, draws.prepared.names[number]
            if not names:
                continue
            new = add_made(transform, waiting.batch)
            if transform.computes:
                waiting.compute(names)
            waiting.carry_out()
            self._change(waiting, number, draws, new)

    def _change(self, waiting: _Waiting, number: int, draws: Draws, for_all: bool = False) -> None:
        """Carry out a volume transform on the voxels that there are."""
        batch, step, names = waiting.batch, self.steps[number], draws.prepared.names[number]
        transform = step.transform
        present = Present(batch.images)
        scene = Scene(names, tuple(present.space(name) for name in names), present)
        decided = self._decide(number, draws, batch, scene, for_all)
        if decided is None:
            return
        params, active = decided
        known = step.names or names
        change = Change(transform, dict(batch.images), active)
        for name in names:
            # an image that was added later follows the others if these share their parameters
            if name in known or transform.shares:
                column = known.index(name) if name in known else 0
                batch.images[name] = change(name, params.column(column))
                waiting.notes.append((name, "the whole volume"))

    def _describe(self, group: Group) -> str:
        names = " -> ".join(self.steps[n].transform.name for n in group.steps)
        return f"{group.role}: {names}  (ends: {group.reason})"

    def explain(self, batch: SubjectsBatch) -> str:
        """The groups, each with the passes over the voxels of a batch that it takes."""
        lines: list[str] = []
        state = torch.get_rng_state()
        streams = batch.streams
        batch = batch.replace(dict(batch.images))
        if streams is not None:  # a look uses up no random numbers
            batch.streams = rng.Streams(streams.seeds, streams.used.copy())
        self.run(batch, lines)
        torch.set_rng_state(state)
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join(map(self._describe, self.groups))


def _write_down(notes: list[Note], lines: list[str]) -> None:
    lines.extend(f"    {name}: {phrase}" for name, phrase in notes)
    notes.clear()


def _apart(chains: Mapping[str, Chain], names: Sequence[str]) -> bool:
    """Whether images that wait for different maps would be compared voxel by voxel."""
    first = chains[names[0]].matrix if names[0] in chains else None
    matrices = [chain.matrix for chain in chains.values()]
    return not all(
        matrix is first
        or (matrix is not None and first is not None and np.array_equal(host(matrix), host(first)))
        for matrix in matrices
    )


def _joins(transform: Transform, run: _Run) -> str | None:
    """Why a spatial transform cannot join a run, or None if it can."""
    wish = transform.sampling() or NOTHING
    if run.bent and transform.bends:
        return f"{transform.name} bends the image a second time"
    if run.bent and (transform.permutes or not transform.parallel):
        return f"{transform.name} turns the grid of the bending map before it"
    if run.turned and transform.pads:
        return f"{transform.name} adds to a grid that was turned"
    if run.cut and (transform.pads or not transform.parallel):
        return f"{transform.name} would bring back what was cut off a turned grid"
    if _differ(wish.modes, run.sampling.modes):
        return f"{transform.name} reads voxels differently"
    if run.turned and _differ(wish.fills, run.sampling.fills):
        return f"{transform.name} fills what is outside differently"
    return None


def _differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return any(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True))


@dataclass
class _Run:
    """What is known of a spatial run while it is put together."""

    bent: bool = False
    turned: bool = False
    cut: bool = False  # after it was turned
    sampling: Sampling = NOTHING

    def follow(self, transform: Transform) -> None:
        """Take one more step."""
        self.bent = self.bent or transform.bends
        self.cut = self.cut or (self.turned and transform.cuts)
        self.turned = self.turned or not transform.parallel
        self.sampling = self.sampling.then(transform.sampling())


def _commutes(steps: Sequence[Step], number: int, run: _Run) -> bool:
    """Whether a step may be carried out before the run that it interrupts: it pays if this goes on.

    A run whose maps keep axes parallel can tell which voxels of the source are in view.
    """
    if run.turned:
        return False
    for step in steps[number:]:
        if not step.fuse or step.keep:
            return False
        if step.transform.role == "spatial":
            return _joins(step.transform, run) is None
        if not step.transform.commutes:
            return False
    return False


def _group(steps: Sequence[Step]) -> list[Group]:
    """Neighbours that can share a pass."""
    groups: list[Group] = []
    run = _Run()
    for number, step in enumerate(steps):
        transform = step.transform
        spatial = bool(groups) and groups[-1].role == "spatial"
        reason = None
        if not groups:
            reason = ""
        elif not (step.fuse and steps[number - 1].fuse):
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif transform.role == "volume":
            if not (spatial and transform.commutes and _commutes(steps, number, run)):
                reason = f"{transform.name} needs the whole volume"
        elif transform.role != groups[-1].role:
            reason = f"{transform.name} is {transform.role}"
        elif transform.role == "spatial":
            reason = _joins(transform, run)
        if reason is not None:
            if groups:
                groups[-1].reason = reason
            groups.append(Group(transform.role, []))
            run = _Run()
        groups[-1].steps.append(number)
        if transform.role == "spatial":
            run.follow(transform)
    return groups


__all__ = ["Group", "Plan"]
