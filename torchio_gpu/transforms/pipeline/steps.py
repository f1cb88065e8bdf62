"""Steps and decisions of a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...geometry import Space
from ..parameters.params import Params
from .maps import SpatialTraits

#: Decisions that a step hangs on: the number of each, and the branch on which the step stands.
Branches = tuple[tuple[int, int], ...]
_STILL = SpatialTraits()


@dataclass(frozen=True)
class Decision:
    """Choice among branches, taken for each sample.

    Args:
        position: Pipeline position of its random numbers.
        draws: Count of the uniform numbers that it takes.
        decide: From numbers [B, draws] to branches taken, [B, branches] bool.
    """

    position: int
    draws: int
    decide: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Step:
    """Transform in a pipeline.

    Args:
        transform: An :class:`.protocol.Operator` of its role.
        position: Pipeline position of the random numbers of its parameters.
        params: Recorded parameters; drawn for each batch if None.
        names: Images whose parameters ``params`` holds.
        branches: Decisions that the step hangs on; a sample that does not take all of these
            branches is left out.
        within: Compositions around the step; each may leave images out.
        keep: Images to keep as they are before the step, with the names to keep them under.
        untouched: Images to leave alone whatever the transform says.
        fuse: The step may share a pass.
        spaces: Spaces of the images that a recorded step moved.
    """

    transform: Any
    position: int = 0
    params: Params | None = None
    names: tuple[str, ...] = ()
    branches: Branches = ()
    within: tuple[Any, ...] = ()
    keep: dict[str, str] | None = None
    untouched: tuple[str, ...] = ()
    fuse: bool = True
    spaces: tuple[Space, ...] = ()

    @cached_property
    def role(self) -> str:
        """Role of the transform, whose change makes another plan."""
        role: str = self.transform.role
        return role

    @cached_property
    def traits(self) -> SpatialTraits:
        """Traits of the transform, likewise."""
        return self.transform.traits or _STILL

    @property
    def commutes(self) -> bool:
        """True if it may be carried out before the voxels are interpolated."""
        return self.role == "volume" and bool(self.transform.commutes)

    @property
    def pads(self) -> bool:
        """True if it may add to the field of view; what is recorded may be undone."""
        return self.traits.pads or (self.params is not None and self.traits.cuts)

    @property
    def cuts(self) -> bool:
        """True if it may cut something off the field of view."""
        return self.traits.cuts or (self.params is not None and self.traits.pads)


@dataclass
class Steps:
    """Steps and decisions of a pipeline, added one after another.

    Each takes a position of its own for its random numbers, in the order of the pipeline: what is
    added at its end does not change what comes before.
    """

    steps: list[Step] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def position(self) -> int:
        """Next position."""
        return len(self.steps) + len(self.decisions)

    def decide(self, draws: int, function: Callable[[np.ndarray], np.ndarray]) -> int:
        """Add a decision and return its number."""
        self.decisions.append(Decision(self.position, draws, function))
        return len(self.decisions) - 1
