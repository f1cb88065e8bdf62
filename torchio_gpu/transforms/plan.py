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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import functional as F
from .. import rng
from ..arrays import Array, host
from ..data import ImagesBatch, SubjectsBatch
from ..data.image import INTENSITY
from ..functional.kernels import sharing
from ..functional.program import Operation
from ..geometry import spacing
from ..shapes import Triple
from .chain import Chain
from .draws import Draws, Prepared, prepare
from .grouping import Group, grouped
from .moves import NOTHING, Present, Scene, check_spaces
from .params import Params
from .steps import Outline, Record
from .volumes import Change, add_made

#: What happened to an image in one pass: its name, and a phrase.
Note = tuple[str, str]


class Window(NamedTuple):
    """The part of each image that is wanted in the end.

    Args:
        size: Its voxels along I, J, K.
        place: Its first voxel in each sample, [B, 3], given the maps that lead to the whole images.
    """

    size: Triple
    place: Callable[[Mapping[str, Chain]], np.ndarray]


@dataclass
class _Waiting:
    """What is still to be done to the images of a batch, in one pass over each."""

    batch: SubjectsBatch
    chains: dict[str, Chain] = field(default_factory=dict)
    programs: dict[str, list[Operation]] = field(default_factory=dict)
    #: Scalar images that a step computes with. Integers become float32 even if every coin says
    #: no: the type of a batch must not depend on a coin.
    computed: set[str] = field(default_factory=set)
    #: The passes so far, where they are asked for.
    notes: list[Note] | None = None

    def note(self, name: str, phrase: Callable[[], str]) -> None:
        """Write down a pass over an image, if that is wanted."""
        if self.notes is not None:
            self.notes.append((name, phrase()))

    def compute(self, names: Sequence[str]) -> None:
        """Note that a step computes with the voxels of some images."""
        images = self.batch.images
        for name in names:
            if images[name].kind == INTENSITY:
                self.computed.add(name)

    def chain(self, name: str) -> Chain:
        """The maps of an image that wait, none as yet."""
        if name not in self.chains:
            images = self.batch.images[name]
            space = images.space
            self.chains[name] = Chain(space, space, images.kind)
        return self.chains[name]

    def frame(self) -> None:
        """Cut all images to what is in view, for a step that computes with their voxels.

        Where that cannot be done by whole voxels they are sampled, as where it costs nothing.
        """
        chains = self.chains.values()
        exact = all(chain.moves_voxels for chain in chains)
        if exact or self._apart() or any(chain.whole_view() is None for chain in chains):
            self.go_on()
            return
        for name, chain in self.chains.items():
            images = self.as_computed(name)
            framed = self.batch.images[name] = chain.frame(images)
            if framed is not images:
                self.note(name, partial(_from_to, images, "copied to", framed))

    def go_on(self) -> None:
        """Carry out what waits, in the middle of a run.

        How fields of view end in what follows must not depend on that: samples differ in it.
        """
        regridded = {name: chain.regridded for name, chain in self.chains.items()}
        self.carry_out()
        for name, before in regridded.items():
            self.chain(name).regridded = before

    def _apart(self) -> bool:
        """Whether images wait for different motions, so that their voxels do not correspond."""
        chains = [self.chains.get(name) for name in self.batch.images]
        matrices = [None if chain is None else chain.matrix for chain in chains]
        first = matrices[0]

        def same(matrix: Array | None) -> bool:
            if matrix is None or first is None:
                return matrix is first
            return np.array_equal(host(matrix), host(first))

        return not all(map(same, matrices))

    def as_computed(self, name: str) -> ImagesBatch:
        """An image in the type that steps compute with, where one does."""
        images = self.batch.images[name]
        return images.floating() if name in self.computed else images

    def cut(self, window: Window) -> None:
        """Go on with a window of each image, which is the last thing that happens to its grid."""
        chains = {name: self.chain(name) for name in self.batch.images}
        first = window.place(chains)
        for chain in chains.values():
            chain.cut(first, window.size)

    def look(self, name: str) -> None:
        """Note that an image was sampled for a look at it."""
        self.note(name, lambda: "sampled for a look at its voxels")

    def tell(self) -> list[str]:
        """What was written down, a line for each; it is forgotten then."""
        lines = [f"    {name}: {phrase}" for name, phrase in self.notes or ()]
        self.notes = []
        return lines

    def carry_out(self) -> None:
        """Do it: a spatial run first, then the pointwise run after it, in the same pass."""
        with sharing():
            self._each()
        self.computed.clear()
        self.chains.clear()
        self.programs.clear()

    def _each(self) -> None:
        for name in list(self.batch.images):
            chain, program = self.chains.get(name), self.programs.get(name, [])
            images = self.batch.images[name] = self.as_computed(name)
            if chain is not None and chain.moved:
                out = self.batch.images[name] = chain.sample(images, program)
                done = "copied to" if chain.exact else "sampled on"
                self.note(name, partial(_from_to, images, done, out, len(program)))
            elif program:
                self.batch.images[name] = images.with_data(F.pointwise(images.data, program))
                self.note(name, lambda: "one pass over its voxels")


def _from_to(before: ImagesBatch, done: str, after: ImagesBatch, operations: int = 0) -> str:
    more = f", and {operations} operations on what is read" if operations else ""
    return f"{_grid(before)} {done} {_grid(after)}{more}"


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
        self.groups = grouped(self.steps)
        self._prepared: dict[Any, Prepared] = {}

    def run(
        self,
        batch: SubjectsBatch,
        lines: list[str] | None = None,
        draws: Draws | None = None,
        window: Window | None = None,
    ) -> SubjectsBatch:
        """Carry out the pipeline on a batch; the batch itself is left as it is.

        Args:
            batch: The samples.
            lines: Where to write down what is done, group by group, if that is wanted.
            draws: Random numbers; those of the samples' seeds by default.
            window: The part of the images that is wanted, if not the whole. After the first group
                the pipeline must be pointwise.
        """
        if not self.steps and window is None:
            return batch
        draws = self.draw(batch) if draws is None else draws
        out = batch.replace(dict(batch.images))
        waiting = _Waiting(out, notes=None if lines is None else [])
        first = self.groups[0] if self.groups else None
        if window is not None and (first is None or first.role != "spatial"):
            waiting.cut(window)
        for group in self.groups:
            if group.role != "pointwise":  # which is carried out in the pass before it
                waiting.carry_out()
            if lines is not None:
                lines.extend(waiting.tell())
                lines.append(self._describe(group))
            if group.role == "spatial":
                self._spatial(waiting, group, draws)
                if window is not None:
                    waiting.cut(window)
            elif group.role == "volume":
                self._volume(waiting, group, draws)
            else:
                self._pointwise(waiting, group, draws)
        waiting.carry_out()
        if lines is not None:
            lines.extend(waiting.tell())
        return out

    def prepared(self, batch: SubjectsBatch) -> Prepared:
        """Which images the steps change, and where their numbers stand, for batches like this."""
        key = batch.kinds, tuple(batch.metadata)
        known = self._prepared.get(key)
        if known is None:
            known = self._prepared[key] = prepare(self.outline, *key)
        return known

    def draw(self, batch: SubjectsBatch) -> Draws:
        """All uniform numbers that the pipeline needs for a batch."""
        prepared = self.prepared(batch)
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
        untouched = tuple([name for name in batch.images if name not in scene.names])
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
        present = Present(waiting.batch.images, waiting.chains, waiting.look)
        for number in group.steps:
            self._keep(number, waiting)
            step, names = self.steps[number], draws.prepared.names[number]
            transform = step.transform
            if not names:
                continue
            if transform.role == "volume":
                if transform.computes:
                    waiting.compute(names)
                waiting.frame()
                self._change(waiting, number, draws)
                continue
            wish = transform.sampling() or NOTHING
            if wish.image not in (None, "nearest"):
                waiting.compute(names)
            parallel, regrids = transform.parallel, transform.regrids
            chains = [waiting.chain(name) for name in names]
            if step.pads or not parallel or not regrids:
                rules = [wish.of(chain.kind)[1] for chain in chains]
                pairs = zip(chains, rules, strict=True)
                enclosed = [chain.enclose(rule, regrids) for chain, rule in pairs]
                if not all(enclosed):
                    waiting.go_on()
                    chains = [waiting.chain(name) for name in names]
                    for chain, rule in zip(chains, rules, strict=True):
                        chain.enclose(rule, regrids)
            spaces = tuple([chain.space for chain in chains])
            if len(names) > 1 and getattr(transform, "check_shape", True):
                check_spaces(dict(zip(names, spaces, strict=True)), transform.name)
            scene = Scene(names, spaces, present)
            decided = self._decide(number, draws, waiting.batch, scene)
            for chain in chains:
                chain.mode = chain.mode or wish.of(chain.kind)[0]
                chain.turned = chain.turned or not parallel
                chain.regridded = chain.regridded or regrids
            if decided is None:
                continue
            moves = () if regrids else transform.moves(decided[0], scene)
            for name, chain in zip(names, chains, strict=True):
                if regrids:
                    column = transform.column(decided[0], step.names or names, name, chain.space)
                    moves = (transform.regrid(decided[0], column, chain.space),)
                for move in moves:
                    chain.add(move)

    def _pointwise(self, waiting: _Waiting, group: Group, draws: Draws) -> None:
        images, scene = waiting.batch.images, None
        for number in group.steps:
            self._keep(number, waiting)
            step = self.steps[number]
            names = draws.prepared.names[number]
            if not names:
                continue
            waiting.compute(names)
            if scene is None or scene.names != names:  # within a group grids stay what they are
                scene = Scene(names, tuple([images[name].space for name in names]))
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
            column = transform.column(params, known, name, present.space(name))
            if column is not None:
                batch.images[name] = change(name, params.column(column))
                waiting.note(name, lambda: "the whole volume")

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


__all__ = ["Plan", "Window"]
