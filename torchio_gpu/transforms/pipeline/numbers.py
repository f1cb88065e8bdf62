"""Uniform random numbers of a pipeline, all drawn at once, and their assignment to steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from zlib import crc32

import numpy as np

from ... import random
from ...data.keys import INTENSITY
from .protocol import Kinds
from .steps import Decision, Step, Steps


@dataclass(frozen=True)
class NumberLayout:
    """Assignment of uniform numbers to the steps and decisions of a pipeline.

    Args:
        layout: Requests for numbers; the first ones are those of the decisions.
        names: Images that each step changes.
        requests: Indices, in the layout, of the requests for the parameters of each step.
    """

    layout: random.Layout
    names: list[tuple[str, ...]]
    requests: list[list[int]]


def lay_out(pipeline: Steps, kinds: Kinds, others: tuple[str, ...], first: int = 0) -> NumberLayout:
    """Find the images that each step changes, and assign random numbers to it.

    Steps after one of the role 'subject', which may add and remove images, get none yet.

    Args:
        pipeline: Steps and decisions.
        kinds: Names of the images with their kinds.
        others: Names that stand for images a subject does not have.
        first: Number of the first step to lay out.
    """
    requests = [(decision.position, 0, decision.draws) for decision in pipeline.decisions]
    names: list[tuple[str, ...]] = []
    own: list[list[int]] = []
    available = dict(kinds)  # grows as steps add images
    end = pipeline.end_of_layout(first)
    for number, step in enumerate(pipeline.steps):
        if not first <= number < end:
            names.append(())
            own.append([])
            continue
        transform = step.transform
        keep = (step.keep or {}).items()
        available |= {new: available[name] for name, new in keep if name in available}
        missing = others if step.params is None else None
        created = None
        if step.role == "volume":
            created = transform.creates(tuple(available.items()))
        extended = available if created is None else {created.name: INTENSITY, **available}
        kinds = tuple(extended.items())
        allowed = [outer.select(kinds, missing) for outer in step.within]
        selected = tuple(
            name
            for name in transform.select(kinds, missing)
            if name not in step.untouched and all(name in names for names in allowed)
        )
        available = extended if selected else available
        names.append(selected)
        own.append([])
        if step.params is None and transform.draws:
            # the stream of an image is derived from its name, so that its parameters do not
            # depend on which other images the subject has
            streams = [1] if transform.shares else [crc32(name.encode()) for name in selected]
            for stream in streams:
                own[-1].append(len(requests))
                requests.append((step.position, stream, transform.draws))
    return NumberLayout(random.Layout(tuple(requests)), names, own)


@dataclass
class Numbers:
    """Uniform numbers of one call.

    Args:
        places: Assignment of the numbers to steps and decisions.
        u: The numbers, [B, N].
        seeds: Seeds of the samples, [B].
        base: First pipeline position of each sample, [B].
        decisions: Decisions that some of the numbers are for.
    """

    places: NumberLayout
    u: np.ndarray
    seeds: np.ndarray
    base: np.ndarray
    decisions: Sequence[Decision] = ()
    _decided: dict[int, np.ndarray] = field(default_factory=dict)

    def _of_request(self, request: int) -> np.ndarray:
        return self.u[:, self.places.layout.columns[request]]

    def _branches(self, decision: int) -> np.ndarray:
        """Return the branches of a decision that the samples take, [B, branches] bool."""
        if decision not in self._decided:
            numbers = self._of_request(decision)
            self._decided[decision] = self.decisions[decision].decide(numbers)
        return self._decided[decision]

    def active(self, step: Step) -> np.ndarray | None:
        """Return the samples that a step transforms, [B] bool; None for all."""
        if not step.branches:
            return None
        masks = (self._branches(decision)[:, branch] for decision, branch in step.branches)
        return reduce(np.logical_and, masks)

    def of_step(self, number: int, step: Step) -> np.ndarray:
        """Return the numbers of a step: [B, draws], or [B, M, draws] if images have their own."""
        requests, shares = self.places.requests[number], step.transform.shares
        if len(requests) == 1:
            found = self._of_request(requests[0])
            return found if shares else found[:, None]
        if not requests:
            images = () if shares else (len(self.places.names[number]),)
            return np.empty((len(self.u), *images, 0))
        return np.stack([self._of_request(request) for request in requests], 1)
