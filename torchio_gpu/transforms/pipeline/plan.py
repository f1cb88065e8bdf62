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

from typing import Any

import numpy as np
import torch

from ... import random
from ...data import SubjectsBatch
from ..parameters.params import Params
from .draws import Draws, Prepared, prepare
from .grouping import Group, grouped
from .moves import NOTHING, Present, Scene, check_places, check_spaces
from .pending import Waiting, Window
from .steps import Outline, Record
from .volumes import Change, add_made

#: Kinds of batches, by the names in them, that a plan remembers.
_KNOWN = 64


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
        waiting = Waiting(out, notes=None if lines is None else [])
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
            if len(self._prepared) >= _KNOWN:  # names that never come again must not add up
                self._prepared.clear()
            known = self._prepared[key] = prepare(self.outline, *key)
        return known

    def draw(self, batch: SubjectsBatch) -> Draws:
        """All uniform numbers that the pipeline needs for a batch."""
        prepared = self.prepared(batch)
        streams = batch.streams or random.streams_for(batch.batch_size)
        base = streams.take(self.outline.position)
        u = np.empty((batch.batch_size, 0))
        if prepared.layout.requests:
            u = random.uniforms(streams.seeds, prepared.layout, base)
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
        moved = step.transform.role == "spatial" and not step.transform.regrids
        spaces = step.spaces or (scene.spaces if moved else ())
        batch.records.append(Record(step.transform, params, names, untouched, whom, spaces))
        return params, active

    def _keep(self, number: int, waiting: Waiting) -> None:
        keep = self.steps[number].keep
        if not keep:
            return
        waiting.carry_out()
        images = waiting.batch.images
        for name, new in keep.items():
            if name not in images:
                raise KeyError(f"keep must name images of the subject, {name!r} is none")
            images[new] = images[name]

    def _spatial(self, waiting: Waiting, group: Group, draws: Draws) -> None:
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
            if step.params is not None:
                check_places(step, names, spaces)
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

    def _pointwise(self, waiting: Waiting, group: Group, draws: Draws) -> None:
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

    def _volume(self, waiting: Waiting, group: Group, draws: Draws) -> None:
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

    def _change(self, waiting: Waiting, number: int, draws: Draws, for_all: bool = False) -> None:
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
            batch.streams = random.Streams(streams.seeds, streams.used.copy())
        self.run(batch, lines)
        torch.set_rng_state(state)
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join(map(self._describe, self.groups))


__all__ = ["Plan", "Window"]
