"""Plan of a pipeline: its steps, and the stages in which they are executed.

Neighbouring spatial steps form a stage: their maps are composed in the world, in float64 on the
host, and each image is sampled once, on the final grid. Neighbouring pointwise steps form a stage
too: a list of operations, applied as the voxels of the spatial stage before it are read, or in a
pass of its own. A step that needs the whole volume at once is a stage of its own, and is executed
for active samples only.

A step that changes intensities linearly commutes with interpolation. Between spatial steps it is
executed before the pending maps, so that the image is sampled only once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import random
from ...data import SubjectsBatch
from .numbers import NumberLayout, Numbers, lay_out
from .stages import Stage, stages_of
from .steps import BATCH, Step, Steps

#: Layouts to cache, at most: one for each set of image names and kinds.
_MAX_LAYOUTS = 64


class Plan:
    """Steps of a pipeline, and the stages that they form.

    Args:
        pipeline: Steps and decisions.
    """

    def __init__(self, pipeline: Steps) -> None:
        self.pipeline, self.steps = pipeline, pipeline.steps
        self.stages = stages_of(pipeline.steps)
        #: Step that mixes the samples of a batch, if there is one.
        self.mixing = next((step for step in self.steps if step.role == BATCH), None)
        self._layouts: dict[Any, NumberLayout] = {}

    @property
    def positions(self) -> int:
        """Number of pipeline positions that a call uses up."""
        return self.pipeline.position

    def layout(self, batch: SubjectsBatch, first: int = 0) -> NumberLayout:
        """Return the images that the steps change and the assignment of their random numbers.

        Args:
            batch: The samples.
            first: Number of the first step that is still to be executed.
        """
        key = batch.kinds, tuple(batch.metadata), first
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= _MAX_LAYOUTS:  # new names in each batch must not leak memory
                self._layouts.clear()
            layout = self._layouts[key] = lay_out(self.pipeline, *key)
        return layout

    def numbers(self, batch: SubjectsBatch) -> Numbers:
        """Return all uniform numbers that the pipeline needs for a batch."""
        streams = batch.streams or random.streams_for(batch.batch_size)
        return self._numbers(batch, 0, streams.seeds, streams.take(self.positions))

    def numbers_after(self, step: int, batch: SubjectsBatch, numbers: Numbers) -> Numbers:
        """Return the numbers of the steps after one that may have added or removed images.

        Args:
            step: Number of that step.
            batch: Its result.
            numbers: Numbers of the steps up to it.
        """
        return self._numbers(batch, step + 1, numbers.seeds, numbers.base)

    def _numbers(
        self, batch: SubjectsBatch, first: int, seeds: np.ndarray, base: np.ndarray
    ) -> Numbers:
        places = self.layout(batch, first)
        u = np.empty((batch.batch_size, 0))
        if places.layout.requests:
            u = random.uniforms(seeds, places.layout, base)
        return Numbers(places, u, seeds, base, self.pipeline.decisions)

    def chance(self, step: Step) -> float | None:
        """Return the probability that a sample is transformed by a step, if it is known."""
        chances = [
            self.pipeline.decisions[number].chances()[branch] for number, branch in step.branches
        ]
        known = [chance for chance in chances if chance is not None]
        return math.prod(known) if len(known) == len(chances) else None

    def describe(self, stage: Stage) -> str:
        """Describe a stage in one line."""
        names = " -> ".join(self.steps[n].transform.name for n in stage.steps)
        return f"{stage.role}: {names}  (ends: {stage.reason})"

    def __str__(self) -> str:
        return "\n".join(map(self.describe, self.stages))


__all__ = ["Plan"]
