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

from typing import Any

import numpy as np

from ... import random
from ...data import SubjectsBatch
from .numbers import NumberLayout, Numbers, lay_out
from .stages import Stage, stages_of
from .steps import Steps

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
        self._layouts: dict[Any, NumberLayout] = {}

    @property
    def positions(self) -> int:
        """Number of pipeline positions that a call uses up."""
        return self.pipeline.position

    def layout(self, batch: SubjectsBatch) -> NumberLayout:
        """Return the images that the steps change and the assignment of their random numbers."""
        key = batch.kinds, tuple(batch.metadata)
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= _MAX_LAYOUTS:  # new names in each batch must not leak memory
                self._layouts.clear()
            layout = self._layouts[key] = lay_out(self.pipeline, *key)
        return layout

    def numbers(self, batch: SubjectsBatch) -> Numbers:
        """Return all uniform numbers that the pipeline needs for a batch."""
        places = self.layout(batch)
        streams = batch.streams or random.streams_for(batch.batch_size)
        base = streams.take(self.positions)
        u = np.empty((batch.batch_size, 0))
        if places.layout.requests:
            u = random.uniforms(streams.seeds, places.layout, base)
        return Numbers(places, u, self.pipeline.decisions)

    def describe(self, stage: Stage) -> str:
        """Describe a stage in one line."""
        names = " -> ".join(self.steps[n].transform.name for n in stage.steps)
        return f"{stage.role}: {names}  (ends: {stage.reason})"

    def __str__(self) -> str:
        return "\n".join(map(self.describe, self.stages))


__all__ = ["Plan"]
