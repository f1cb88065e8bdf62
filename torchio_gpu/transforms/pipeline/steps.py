"""Steps and decisions of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...cached import cached_property
from ...geometry import Space
from ..parameters.params import Params
from .maps import SpatialTraits

#: Decisions that a step depends on: the number of each, and the branch that the step is on.
Branches = tuple[tuple[int, int], ...]
_NO_TRAITS = SpatialTraits()
#: Role of transforms that take one subject at a time.
SUBJECT = "subject"
#: Role of a step that mixes the samples of a batch.
BATCH = "batch"


@dataclass(frozen=True)
class Decision:
    """Choice among branches, taken for each sample.

    Args:
        position: Pipeline position of its random numbers.
        draws: Number of uniform numbers that it takes.
        decide: Maps numbers [B, draws] to the branches that are taken, [B, branches] bool.
        chances: Returns the probability of each branch, None where no formula is known.
    """

    position: int
    draws: int
    decide: Callable[[np.ndarray], np.ndarray]
    chances: Callable[[], Sequence[float | None]]


@dataclass(frozen=True)
class Step:
    """Transform in a pipeline.

    Args:
        transform: An :class:`.protocol.Operator` of its role.
        position: Pipeline position of the random numbers of its parameters.
        params: Recorded parameters; drawn for each batch if None.
        names: Images whose parameters ``params`` holds.
        branches: Decisions that the step depends on; a sample is inactive unless it takes all of
            these branches.
        within: Compositions that contain the step; each may exclude images.
        keep: Images to store as they are before the step, with the names to store them under.
        untouched: Images not to transform, even if the transform selects them.
        fuse: The step may share a pass.
        spaces: Spaces of the images that a recorded step moved.
        follows: Images whose grids points followed in a recorded step; see :class:`Record`.
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
    follows: dict[str, tuple[str | None, ...]] = field(default_factory=dict)

    @cached_property
    def role(self) -> str:
        """Role of the transform, whose change makes another plan."""
        role: str = self.transform.role
        return role

    @cached_property
    def traits(self) -> SpatialTraits:
        """Traits of the transform."""
        return self.transform.traits or _NO_TRAITS

    @property
    def commutes(self) -> bool:
        """True if the step may be executed before the voxels are interpolated."""
        return self.role == "volume" and bool(self.transform.commutes)

    @property
    def changes_lines(self) -> bool:
        """True if the step may share a pass over lines of k-space."""
        return self.role == "volume" and bool(self.transform.changes_lines)

    @property
    def pads(self) -> bool:
        """True if the field of view may grow, as by a recorded step that undoes a crop."""
        return self.traits.pads or (self.params is not None and self.traits.cuts)

    @property
    def cuts(self) -> bool:
        """True if the field of view may shrink, as by a recorded step that undoes a pad."""
        return self.traits.cuts or (self.params is not None and self.traits.pads)


@dataclass
class Steps:
    """Steps and decisions of a pipeline, added one after another.

    Each takes a position of its own for its random numbers, in the order of the pipeline: a step
    that is appended does not change the random numbers of those before it.
    """

    steps: list[Step] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def position(self) -> int:
        """Position of the step or decision that is added next."""
        return len(self.steps) + len(self.decisions)

    def end_of_layout(self, first: int) -> int:
        """Return the number after the next step that takes subjects, or after the last step.

        Such a step may add and remove images, which decides what the steps after it change.

        Args:
            first: Number of the step to begin at.
        """
        taking = (n + 1 for n, step in enumerate(self.steps) if n >= first and step.role == SUBJECT)
        return next(taking, len(self.steps))

    def decide(
        self,
        draws: int,
        function: Callable[[np.ndarray], np.ndarray],
        chances: Callable[[], Sequence[float | None]],
    ) -> int:
        """Add a :class:`Decision` and return its number."""
        self.decisions.append(Decision(self.position, draws, function, chances))
        return len(self.decisions) - 1
