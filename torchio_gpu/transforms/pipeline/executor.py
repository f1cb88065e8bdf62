"""Execution of a plan on a batch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...data import ImagesBatch, SubjectsBatch
from ...data.keys import LABEL
from ...functional.line_operations import LineOperation
from ...functional.lines import change_lines
from ...functional.pointwise import pointwise_of_whole
from ...shapes import Triple
from ...tracing import hook
from ..parameters.params import Params
from .composed import ComposedMaps
from .context import Context, ContextImages
from .created import SampleSubset, add_created
from .maps import NOTHING, check_spaces
from .mixing import mix_samples, refuse_recorded, with_partner_seeds
from .numbers import Numbers
from .pending import Pending
from .plan import Plan
from .points import pending_points
from .record import Record, warn_of_misplaced
from .stages import Stage
from .steps import BATCH, SUBJECT
from .subjects import transform_subjects
from .warp import PendingWarp


class Executor:
    """Execution of a plan on a batch; the batch itself is not changed.

    Args:
        plan: The plan.
        batch: The samples.
        numbers: Uniform numbers; by default those of the samples' seeds.
        notes: List to which a description of each stage and of its passes is added.
        uniform: Execute steps even if no sample is active in them, so that passes over batches of
            one pipeline differ in numbers alone; such a step is recorded for no sample.
    """

    def __init__(
        self,
        plan: Plan,
        batch: SubjectsBatch,
        numbers: Numbers | None = None,
        notes: list[str] | None = None,
        uniform: bool = False,
    ) -> None:
        self.plan, self.notes, self.uniform = plan, notes, uniform
        self.numbers = plan.numbers(batch) if numbers is None else numbers
        self.batch = batch.replace(dict(batch.images))
        self.pending = Pending(self.batch, notes=None if notes is None else [])
        self.points = pending_points(self.batch)
        self._stages = list(plan.stages)

    def finish(self) -> SubjectsBatch:
        """Execute the remaining stages and return the result."""
        self.execute()
        self.pending.flush()
        self._collect_notes()
        if self.points is not None:
            self.points.finish(self.batch)
        return self.batch

    def execute(self) -> None:
        """Execute the remaining stages up to the last flush."""
        while self._stages:
            self._execute(self._stages.pop(0))

    def final_maps(self) -> dict[str, PendingWarp]:
        """Execute the first stage if it is spatial, and return the maps of all images.

        All stages after it must be pointwise.
        """
        if self._stages and self._stages[0].role == "spatial":
            self._execute(self._stages.pop(0))
        return {name: self.pending.warp(name) for name in self.batch.images}

    def crop_to_patch(self, first: np.ndarray, size: Triple) -> None:
        """Crop each image to a patch.

        Args:
            first: First voxel of each patch on the grids of :meth:`final_maps`, [B, 3].
            size: Voxels of a patch.
        """
        cropped: dict[int, ComposedMaps] = {}  # images on one grid share their maps
        for warp in self.final_maps().values():
            key = id(warp.maps)
            if key not in cropped:
                cropped[key] = warp.maps.cropped_to(first, size)
            warp.maps = cropped[key]

    def whole(self, name: str) -> ImagesBatch:
        """Execute all stages, and return one image whole; it is read into memory for that."""
        self.execute()
        self.batch.images[name] = self.batch.images[name].read()
        return self.pending.whole(name)

    def finish_patch_of_whole(self, first: np.ndarray, size: Triple) -> SubjectsBatch:
        """Crop each image to a patch as :meth:`finish_patch` does, with the noise of the volume.

        Args:
            first: First voxel of the patch, the same for all samples, [3].
            size: Voxels of the patch.
        """
        shapes = {name: warp.space.shape for name, warp in self.final_maps().items()}
        self.crop_to_patch(first[None].repeat(self.batch.batch_size, 0), size)
        self.execute()
        left = self.pending.take_from_noise()
        batch = self.finish()
        for name, operations in left.items():
            images = batch.images[name]
            data = pointwise_of_whole(images.data, operations, shapes[name], first.tolist())
            batch.images[name] = images.with_data(data)
        return batch

    def finish_patch(self, first: np.ndarray, size: Triple) -> SubjectsBatch:
        """Crop each image to a patch and execute the remaining stages; see above."""
        self.crop_to_patch(first, size)
        return self.finish()

    def _execute(self, stage: Stage) -> None:
        if stage.role != "pointwise":  # that joins the pass of the stage before it
            self.pending.flush()
        if self.notes is not None:
            self._collect_notes()
            self.notes.append(self.plan.describe(stage))
        execute = {
            "spatial": self._spatial, "pointwise": self._pointwise, "volume": self._volume,
            SUBJECT: self._subject, BATCH: self._mix,
        }  # fmt: skip
        execute[stage.role](stage)

    def _collect_notes(self) -> None:
        if self.notes is not None:
            self.notes.extend(self.pending.take_notes())

    def _params(
        self, number: int, context: Context, for_all: bool = False
    ) -> tuple[Params, Any] | None:
        """Return the parameters of a step and its active samples, [B], and record them.

        None if no sample is active. With ``for_all``, the step is recorded for inactive samples
        too, since it adds an image to them: an empty one.
        """
        step, batch = self.plan.steps[number], self.batch
        active = self.numbers.active(step)
        if active is not None and not active.any() and not (for_all or self.uniform):
            return None
        if step.params is None:
            params = hook(step.transform.draw, context, self.numbers.of_step(number, step))
        else:
            params = step.params.expand(batch.batch_size)
        if active is not None and active.all():
            active = None
        if active is not None:
            params = params.gate(active)
        names = step.names or context.names
        untouched = tuple([name for name in batch.images if name not in context.names])
        if self.points is not None:
            untouched += self.points.untouched(step)
        recorded = None if for_all else active
        moved = step.role == "spatial" and not step.traits.regrids
        spaces = step.spaces or (context.spaces if moved else ())
        record = Record(step.transform, params, names, untouched, recorded, spaces, step.fuse)
        if step.traits.regrids and self.points is not None:
            self.points.resume(step)
            record.follows.update(self.points.grids)
        batch.records.append(record)
        return params, active

    def _note_follower(self, name: str, column: int | None) -> None:
        """Record that an image follows the grid of another, whose parameters have a number."""
        record = self.batch.records[-1]
        if name not in record.names and column is not None:
            record.follows[name] = (record.names[column],) * self.batch.batch_size

    def _store_kept(self, number: int) -> None:
        """Store images as they are before a step, under other names."""
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
        images = ContextImages(self.batch.images, pending.warps, pending.note_early_sampling)
        for number in stage.steps:
            self._store_kept(number)
            step, names = self.plan.steps[number], self.numbers.places.names[number]
            transform, traits = step.transform, step.traits
            if not names:
                continue
            if step.role == "volume":  # commutes with interpolation
                if transform.computes:
                    pending.compute(names)
                pending.crop_to_fields_of_view()
                self._apply_volume(number)
                continue
            interpolation = transform.interpolation() or NOTHING
            if interpolation.image not in (None, "nearest") or traits.modulates:
                pending.compute(names)
            warps = [pending.warp(name) for name in names]
            if step.pads or not traits.parallel or not traits.regrids:
                fills = [interpolation.of(warp.kind)[1] for warp in warps]
                warps = pending.add_fields_of_view(names, warps, fills, traits.regrids)
            spaces = tuple([warp.space for warp in warps])
            if len(names) > 1 and getattr(transform, "check_shape", True):
                check_spaces(dict(zip(names, spaces, strict=True)), transform.name)
            context = Context(names, spaces, images)
            if step.params is not None:
                warn_of_misplaced(step, names, spaces)
            drawn = self._params(number, context)
            for warp in warps:
                warp.note_step(interpolation, traits)
            if drawn is None:
                continue
            maps = () if traits.regrids else hook(transform.maps, drawn[0], context)
            if self.points is not None:
                self.points.move(step, maps, context.space)
            for name, warp in zip(names, warps, strict=True):
                warp.modulates = traits.modulates and warp.kind != LABEL
                if traits.regrids:
                    column = transform.column(drawn[0], step.names or names, name, warp.space)
                    self._note_follower(name, column)
                    maps = (hook(transform.regrid, drawn[0], column, warp.space),)
                    if self.points is not None and maps[0].matrix is not None:
                        self.points.correct_affine(name, step, maps[0].matrix)
                for each in maps:
                    warp.maps = warp.maps.then(each)

    def _pointwise(self, stage: Stage) -> None:
        pending, context = self.pending, None
        images = ContextImages(self.batch.images, pending.warps, flush=pending.flush)
        for number in stage.steps:
            self._store_kept(number)
            step, names = self.plan.steps[number], self.numbers.places.names[number]
            if not names:
                continue
            pending.compute(names)
            if context is None or context.names != names:  # grids do not change within the stage
                context = Context.of(names, images)
            drawn = self._params(number, context)
            if drawn is None:
                continue
            params, active = drawn
            recorded = step.names or names
            for name in names:
                if name in recorded:
                    column = params.column(recorded.index(name), images.channels(name))
                    pending.append(name, hook(step.transform.operation, column, active))

    def _volume(self, stage: Stage) -> None:
        if self.plan.steps[stage.steps[0]].changes_lines:
            self._lines(stage)
            return
        for number in stage.steps:
            self._store_kept(number)
            transform = self.plan.steps[number].transform
            names = self.numbers.places.names[number]
            if not names:
                continue
            created = add_created(transform, self.batch)
            if transform.computes:
                self.pending.compute(names)
            self.pending.flush()
            self._apply_volume(number, created)

    def _lines(self, stage: Stage) -> None:
        """Change lines of k-space by the steps of a stage, together for each image."""
        pending, batch = self.pending, self.batch
        operations: dict[str, list[LineOperation]] = {}
        for number in stage.steps:
            self._store_kept(number)
            step, names = self.plan.steps[number], self.numbers.places.names[number]
            if not names:
                continue
            pending.compute(names)
            pending.flush()
            images = ContextImages(batch.images)
            drawn = self._params(number, Context.of(names, images))
            if drawn is None:
                continue
            params, active = drawn
            recorded = step.names or names
            for name in names:
                if name in recorded:
                    column = params.column(recorded.index(name), images.channels(name))
                    lines = hook(step.transform.lines, column)
                    if active is not None:
                        own = lines.active
                        lines = replace(lines, active=active if own is None else own & active)
                    operations.setdefault(name, []).append(lines)
        for name, some in operations.items():
            before = batch.images[name]
            batch.images[name] = before.with_data(change_lines(before.data, some))
            count = len(some)
            phrase = "the whole volume" if count == 1 else f"{count} changes of k-space, together"
            pending.note(name, partial(str, phrase))

    def _mix(self, stage: Stage) -> None:
        """Mix samples with partners, both as they are before the stage."""
        pending, batch = self.pending, self.batch
        for number in stage.steps:
            if self.plan.steps[number].transform.computes:
                pending.compute(self.numbers.places.names[number])
        pending.flush()
        before = dict(batch.images)
        for number in stage.steps:
            self._store_kept(number)
            step, names = self.plan.steps[number], self.numbers.places.names[number]
            refuse_recorded(step)
            if not names:
                continue
            images = ContextImages(before)
            context = Context.of(names, images)
            drawn = self._params(number, context)
            if drawn is None:
                continue
            params = with_partner_seeds(drawn[0], self.numbers.seeds)  # type: ignore[arg-type]
            mixed = params.weight < 1
            batch.records[-1] = replace(batch.records[-1], params=params, active=mixed)
            mix_samples(step.transform, batch, before, names, params)
            for name in names:
                pending.note(name, lambda: "mixed with another sample of the batch")

    def _subject(self, stage: Stage) -> None:
        for number in stage.steps:
            self._store_kept(number)
            step = self.plan.steps[number]
            active = self.numbers.active(step)
            if active is None or active.any():
                self.pending.flush()
                self._collect_notes()
                if self.points is not None:
                    self.points.finish(self.batch)
                self.batch = transform_subjects(step, self.batch, active)
                self.pending = Pending(self.batch, notes=None if self.notes is None else [])
                self.points = pending_points(self.batch)
            self.numbers = self.plan.numbers_after(number, self.batch, self.numbers)

    def _apply_volume(self, number: int, for_all: bool = False) -> None:
        """Apply a volume transform to the current voxels of the batch."""
        step, names = self.plan.steps[number], self.numbers.places.names[number]
        batch, transform = self.batch, step.transform
        images = ContextImages(batch.images)
        context = Context.of(names, images)
        drawn = self._params(number, context, for_all)
        if drawn is None:
            return
        params, active = drawn
        recorded = step.names or names
        samples = SampleSubset(transform, dict(batch.images), active)
        for name in names:
            if step.traits.regrids:
                column = transform.column(params, recorded, name, images.space(name))
                self._note_follower(name, column)
                header = getattr(params, "header", None)
                if self.points is not None and column is not None and header is not None:
                    self.points.correct_affine(name, step, header[:, column])
            elif name in recorded:
                column = recorded.index(name)
            else:  # added after the record: use the parameters that all images share, if they do
                column = 0 if transform.shares else None
            if column is not None:
                own = params.column(column, images.channels(name))
                batch.images[name] = samples.apply(name, own)
                self.pending.note(name, lambda: "the whole volume")


def run(plan: Plan, batch: SubjectsBatch, numbers: Numbers | None = None) -> SubjectsBatch:
    """Execute a plan on a batch; the batch itself is not changed."""
    return Executor(plan, batch, numbers).finish() if plan.steps else batch


__all__ = ["Executor", "run"]
