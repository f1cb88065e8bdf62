"""Uniform numbers of a pipeline: all of them at once, each at a place of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from ... import random
from ...data.image import INTENSITY
from .protocol import Kinds
from .steps import Decision, Step, Steps


@dataclass(frozen=True)
class NumberLayout:
    """Places of the numbers of a pipeline, for images of some names.

    Args:
        layout: Requests of numbers; the first ones are those of the decisions.
        names: Images that each step changes.
        requests: Requests for the parameters of each step, by their numbers.
    """

    layout: random.Layout
    names: list[tuple[str, ...]]
    requests: list[list[int]]


def lay_out(pipeline: Steps, kinds: Kinds, others: tuple[str, ...]) -> NumberLayout:
    """Find the images that each step changes, and the places of its random numbers.

    Args:
        pipeline: Steps and decisions.
        kinds: Names of the images with their kinds.
        others: Names that stand for images a subject does not have.
    """
    requests = [(decision.position, 0, decision.draws) for decision in pipeline.decisions]
    names: list[tuple[str, ...]] = []
    own: list[list[int]] = []
    there = dict(kinds)  # as the pipeline goes on, images are added
    for step in pipeline.steps:
        transform = step.transform
        there |= {new: there[name] for name, new in (step.keep or {}).items() if name in there}
        missing = others if step.params is None else None
        created = transform.creates(tuple(there.items())) if step.role == "volume" else None
        known = there if created is None else {created.name: INTENSITY, **there}
        kinds = tuple(known.items())
        allowed = [outer.select(kinds, missing) for outer in step.within]
        selected = tuple(
            name
            for name in transform.select(kinds, missing)
            if name not in step.untouched and all(name in names for names in allowed)
        )
        there = known if selected else there
        names.append(selected)
        own.append([])
        if step.params is None and transform.draws:
            # an image's stream follows from its name: parameters of one image do not depend
            # on which others the subject has
            streams = [1] if transform.shares else [crc32(name.encode()) for name in selected]
            for stream in streams:
                own[-1].append(len(requests))
                requests.append((step.position, stream, transform.draws))
    return NumberLayout(random.Layout(tuple(requests)), names, own)


@dataclass
class Numbers:
    """Uniform numbers of one call.

    Args:
        where: Their places.
        u: The numbers, [B, N].
        decisions: Decisions that are taken by them.
    """

    where: NumberLayout
    u: np.ndarray
    decisions: Sequence[Decision] = ()
    _taken: dict[int, np.ndarray] = field(default_factory=dict)

    def _of_request(self, request: int) -> np.ndarray:
        return self.u[:, self.where.layout.columns[request]]

    def _branches(self, decision: int) -> np.ndarray:
        """Return which branches of a decision the samples take, [B, branches]."""
        if decision not in self._taken:
            numbers = self._of_request(decision)
            self._taken[decision] = self.decisions[decision].decide(numbers)
        return self._taken[decision]

    def active(self, step: Step) -> np.ndarray | None:
        """Return which samples a step transforms, [B]; None for all."""
        if not step.branches:
            return None
        masks = [self._branches(decision)[:, branch] for decision, branch in step.branches]
        return np.logical_and.reduce(masks)  # type: ignore[no-any-return]

    def of_step(self, number: int, step: Step) -> np.ndarray:
        """Return the numbers of a step: [B, draws], or [B, M, draws] if images have their own."""
        requests, shares = self.where.requests[number], step.transform.shares
        if len(requests) == 1:
            found = self._of_request(requests[0])
            return found if shares else found[:, None]
        if not requests:
            images = () if shares else (len(self.where.names[number]),)
            return np.empty((len(self.u), *images, 0))
        return np.stack([self._of_request(request) for request in requests], 1)
