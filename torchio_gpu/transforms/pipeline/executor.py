"""Execution of a plan on a batch."""

from __future__ import annotations

from typing import Any

import torch

from ... import random
from ...data import ImagesBatch, SubjectsBatch
from ...functional.dispatch.backend import rehearsing
from ...shapes import Triple
from ..parameters.params import Params
from .context import Context, ContextImages
from .created import SampleSubset, add_created
from .maps import NOTHING, check_spaces
from .numbers import Numbers
from .pending import Pending
from .plan import Plan
from .record import Record, check_places
from .stages import Stage
from .warp import PendingWarp


class Executor:
    """One call of a plan on a batch; the batch itself is left as it is.

    Args:
        plan: The plan.
        batch: The samples.
        numbers: Uniform numbers; by default those of the samples' seeds.
        notes: List to which each stage is added in words, with the passes that it takes.
    """

    def __init__(
        self,
        plan: Plan,
        batch: SubjectsBatch,
        numbers: Numbers | None = None,
        notes: list[str] | None = None,
    ) -> None:
        self.plan, self.notes = plan, notes
        self.numbers = plan.numbers(batch) if numbers is None else numbers
        self.batch = batch.replace(dict(batch.images))
        self.pending = Pending(self.batch, notes=None if notes is None else [])
        self._stages = list(plan.stages)

    def finish(self) -> SubjectsBatch:
        """Execute the stages that are left and return the result."""
        while self._stages:
            self._execute(self._stages.pop(0))
        self.pending.flush()
        self._note()
        return self.batch

    def final_maps(self) -> dict[str, PendingWarp]:
        """Execute the first stage if it is spatial, and return the maps of all images.

        All stages after it must be pointwise.
        """
        if self._stages and self._stages[0].role == "spatial":
            self._execute(self._stages.pop(0))
        return {name: self.pending.warp(name) for name in self.batch.images}

    def finish_patch(self, first: Any, size: Triple) -> SubjectsBatch:
        """Cut each image to a patch and execute the stages that are left.

        Args:
            first: First voxels of the patches on the grids of :meth:`final_maps`, [B, 3].
            size: Voxels of a patch.
        """
        for warp in self.final_maps().values():
            warp.cut(first, size)
        return self.finish()

    def _execute(self, stage: Stage) -> None:
        if stage.role != "pointwise":  # which is carried out in the pass before it
            self.pending.flush()
        if self.notes is not None:
            self._note()
            self.notes.append(self.plan.describe(stage))
        execute = {"spatial": self._spatial, "pointwise": self._pointwise, "volume": self._volume}
        execute[stage.role](stage)

    def _note(self) -> None:
        if self.notes is not None:
            self.notes.extend(self.pending.take_notes())

    def _params(
        self, number: int, context: Context, for_all: bool = False
    ) -> tuple[Params, Any] | None:
        """Return parameters of a step and the samples that are active, and record them.

        None if every sample is left as it is. With ``for_all``, something happens to samples that
        are left out as well: they get an image, if an empty one, and a record of it.
        """
        step, batch = self.plan.steps[number], self.batch
        active = self.numbers.active(step)
        if active is not None and not active.any() and not for_all:
            return None
        if step.params is None:
            params = step.transform.draw(context, self.numbers.of_step(number, step))
        else:
            params = step.params.expand(batch.batch_size)
        if active is not None and active.all():
            active = None
        if active is not None:
            params = params.gate(active)
        names = step.names or context.names
        untouched = tuple([name for name in batch.images if name not in context.names])
        whom = None if for_all else active
        moved = step.role == "spatial" and not step.traits.regrids
        spaces = step.spaces or (context.spaces if moved else ())
        record = Record(step.transform, params, names, untouched, whom, spaces, step.fuse)
        batch.records.append(record)
        return params, active

    def _keep(self, number: int) -> None:
        """Keep images as they are before a step, under other names."""
        keep = self.plan.steps[number].keep
        if not keep:
            return
        self.pending.flush()
        images = self.batch.images
        for name, new in keep.items():
            if name not in images:
                raise KeyError(f"keep must name images of the subject, {name!r} is none")
            images[new] = images[name]

    def _spatial(self, stage: Stage) -> None:
        pending = self.pending
        images = ContextImages(self.batch.images, pending.warps, pending.note_look)
        for number in stage.steps:
            self._keep(number)
            step, names = self.plan.steps[number], self.numbers.where.names[number]
            transform, traits = step.transform, step.traits
            if not names:
                continue
            if step.role == "volume":  # it commutes with interpolation
                if transform.computes:
                    pending.compute(names)
                pending.cut_to_view()
                self._change(number)
                continue
            wish = transform.interpolation() or NOTHING
            if wish.image not in (None, "nearest"):
                pending.compute(names)
            warps = [pending.warp(name) for name in names]
            if step.pads or not traits.parallel or not traits.regrids:
                fills = [wish.of(warp.kind)[1] for warp in warps]
                warps = pending.enclose(names, warps, fills, traits.regrids)
            spaces = tuple([warp.space for warp in warps])
            if len(names) > 1 and getattr(transform, "check_shape", True):
                check_spaces(dict(zip(names, spaces, strict=True)), transform.name)
            context = Context(names, spaces, images)
            if step.params is not None:
                check_places(step, names, spaces)
            drawn = self._params(number, context)
            for warp in warps:
                warp.follow(wish, traits)
            if drawn is None:
                continue
            maps = () if traits.regrids else transform.maps(drawn[0], context)
            for name, warp in zip(names, warps, strict=True):
                if traits.regrids:
                    column = transform.column(drawn[0], step.names or names, name, warp.space)
                    maps = (transform.regrid(drawn[0], column, warp.space),)
                for each in maps:
                    warp.add(each)

    def _pointwise(self, stage: Stage) -> None:
        images, context = self.batch.images, None
        for number in stage.steps:
            self._keep(number)
            step, names = self.plan.steps[number], self.numbers.where.names[number]
            if not names:
                continue
            self.pending.compute(names)
            if context is None or context.names != names:  # within a stage grids stay what they are
                context = Context(names, tuple([images[name].space for name in names]))
            drawn = self._params(number, context)
            if drawn is None:
                continue
            params, active = drawn
            known = step.names or names
            for name in names:
                if name in known:
                    column = params.column(known.index(name))
                    self.pending.append(name, step.transform.operation(column, active))

    def _volume(self, stage: Stage) -> None:
        for number in stage.steps:
            self._keep(number)
            transform = self.plan.steps[number].transform
            names = self.numbers.where.names[number]
            if not names:
                continue
            created = add_created(transform, self.batch)
            if transform.computes:
                self.pending.compute(names)
            self.pending.flush()
            self._change(number, created)

    def _change(self, number: int, for_all: bool = False) -> None:
        """Apply a volume transform to the voxels that there are."""
        step, names = self.plan.steps[number], self.numbers.where.names[number]
        batch, transform = self.batch, step.transform
        images = ContextImages(batch.images)
        context = Context(names, tuple(images.space(name) for name in names), images)
        drawn = self._params(number, context, for_all)
        if drawn is None:
            return
        params, active = drawn
        known = step.names or names
        samples = SampleSubset(transform, dict(batch.images), active)
        for name in names:
            if step.traits.regrids:
                column = transform.column(params, known, name, images.space(name))
            elif name in known:
                column = known.index(name)
            else:  # added later: it follows the others if they share parameters
                column = 0 if transform.shares else None
            if column is not None:
                batch.images[name] = samples.apply(name, params.column(column))
                self.pending.note(name, lambda: "the whole volume")


def run(plan: Plan, batch: SubjectsBatch, numbers: Numbers | None = None) -> SubjectsBatch:
    """Execute a plan on a batch; the batch itself is left as it is."""
    return Executor(plan, batch, numbers).finish() if plan.steps else batch


def explain(plan: Plan, batch: SubjectsBatch) -> str:
    """Return the stages of a plan, each with the passes over the voxels of a batch that it takes.

    Nothing is computed where shapes and types say it all; where a transform looks at voxels, the
    plan is executed and the result thrown away. Random numbers are not used up.
    """
    state = torch.get_rng_state()
    try:
        with rehearsing(batch.device):
            return _notes(plan, {n: i.to("meta") for n, i in batch.images.items()}, batch)
    except (NotImplementedError, RuntimeError):  # as torch raises where meta tensors are looked at
        torch.set_rng_state(state)
        return _notes(plan, dict(batch.images), batch)
    finally:
        torch.set_rng_state(state)


def _notes(plan: Plan, images: dict[str, ImagesBatch], like: SubjectsBatch) -> str:
    batch, streams = like.replace(images), like.streams
    if streams is not None:
        batch.streams = random.Streams(streams.seeds, streams.used.copy())
    notes: list[str] = []
    Executor(plan, batch, notes=notes).finish()
    return "\n".join(notes)


__all__ = ["Executor", "explain", "run"]
