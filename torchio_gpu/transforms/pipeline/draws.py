"""The random numbers of a pipeline: all of them at once, each in a place of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from ... import random
from ...data.image import INTENSITY
from .steps import Gate, Outline, Step

if TYPE_CHECKING:
    from ..base import Transform


@dataclass(frozen=True)
class Prepared:
    """What is known of a pipeline once the names of the images are.

    Args:
        layout: Where the numbers stand.
        names: The images that each step changes.
        columns: Of each step, the requests for its parameters.

    The first requests are those of the gates.
    """

    layout: random.Layout
    names: list[tuple[str, ...]]
    columns: list[list[int]]


def prepare(
    outline: Outline, kinds: tuple[tuple[str, str], ...], others: tuple[str, ...]
) -> Prepared:
    """Which images each step changes, and where its random numbers stand.

    Args:
        outline: The pipeline.
        kinds: Names of the images with their kinds.
        others: Names that stand for images a subject does not have.
    """
    requests = [(gate.position, 0, gate.draws) for gate in outline.gates]
    names, columns = [], []
    there = dict(kinds)  # as the pipeline goes on, images are added
    for step in outline.steps:
        transform = step.transform
        there |= {new: there[name] for name, new in (step.keep or {}).items() if name in there}
        missing = others if step.params is None else None
        made = transform.makes(tuple(there.items()))
        known = there if made is None else {made.name: INTENSITY, **there}
        kinds = tuple(known.items())
        selected = transform.select(kinds, missing)
        allowed = [outer.select(kinds, missing) for outer in step.within]
        selected = tuple(
            name
            for name in selected
            if name not in step.untouched and all(name in names for names in allowed)
        )
        there = known if selected else there
        own = []
        if step.params is None and transform.draws:
            # an image's stream follows from its name: parameters of one image do not depend
            # on which others the subject has
            streams = [1] if transform.shares else [crc32(name.encode()) for name in selected]
            for stream in streams:
                own.append(len(requests))
                requests.append((step.position, stream, transform.draws))
        names.append(selected)
        columns.append(own)
    return Prepared(random.Layout(tuple(requests)), names, columns)


@dataclass
class Draws:
    """The uniform numbers of one call."""

    prepared: Prepared
    u: np.ndarray  # [B, N]
    gates: Sequence[Gate] = ()
    _taken: dict[int, np.ndarray] = field(default_factory=dict)

    def _column(self, request: int) -> np.ndarray:
        return self.u[:, self.prepared.layout.columns[request]]

    def _branches(self, gate: int) -> np.ndarray:
        """Which branches of a gate the samples take, [B, branches]."""
        if gate not in self._taken:
            self._taken[gate] = self.gates[gate].decide(self._column(gate))
        return self._taken[gate]

    def active(self, step: Step) -> np.ndarray | None:
        """Which samples a step transforms, [B]; all of them if None."""
        if not step.gates:
            return None
        masks = [self._branches(gate)[:, branch] for gate, branch in step.gates]
        return np.logical_and.reduce(masks)  # type: ignore[no-any-return]

    def numbers(self, number: int, transform: Transform) -> np.ndarray:
        """Numbers of a step: [B, draws], or [B, M, draws] where images have their own."""
        requests = self.prepared.columns[number]
        shares = transform.shares
        if len(requests) == 1:
            column = self._column(requests[0])
            return column if shares else column[:, None]
        if not requests:
            images = () if shares else (len(self.prepared.names[number]),)
            return np.empty((len(self.u), *images, 0))
        return np.stack([self._column(request) for request in requests], 1)


__all__ = ["Draws", "Prepared", "prepare"]
