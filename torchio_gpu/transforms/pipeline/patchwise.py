"""Pipelines for patches: of what can be computed for a patch alone, nothing else is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data import SubjectsBatch
from .executor import Executor, run
from .plan import Plan
from .stages import stages_of
from .steps import Step, Steps


class Patchwise:
    """Pipeline in two halves: one for whole volumes, one for patches of them.

    A step that needs a whole volume, and all that comes before it, is carried out on the volume; so
    is what comes before the last spatial stage. That stage and the pointwise steps after it are
    carried out for patches, with other random numbers for each.

    Args:
        pipeline: Steps and decisions.
    """

    def __init__(self, pipeline: Steps) -> None:
        steps, decisions = pipeline.steps, pipeline.decisions
        at = _split(steps)
        self._positions = pipeline.position
        self.before = Plan(Steps(steps[:at], decisions))
        self.after = Plan(Steps(steps[at:], decisions))
        # What is decided for a volume holds for its patches.
        self._shared = sorted({number for step in steps[:at] for number, _ in step.branches})

    def whole(self, batch: SubjectsBatch) -> tuple[SubjectsBatch, np.ndarray]:
        """Execute the first half, for whole volumes.

        Returns:
            The volumes, and the random numbers of decisions that their patches are bound to,
            [B, N].
        """
        numbers = self.before.numbers(batch)
        decisions = numbers.u[:, self._columns(self.before, batch)]
        return run(self.before, batch, numbers), decisions

    def patches(self, batch: SubjectsBatch, decisions: np.ndarray) -> Executor:
        """Begin the second half, for one patch of each sample.

        Ask the executor for :meth:`.Executor.final_maps`, and let it finish with a window.

        Args:
            batch: Result of :meth:`whole`, of which samples may occur several times.
            decisions: Likewise.
        """
        numbers = self.after.numbers(batch)
        numbers.u[:, self._columns(self.after, batch)] = decisions
        if batch.streams is not None:  # positions of the first half are used up as well
            batch.streams.take(self._positions - self.after.positions)
        return Executor(self.after, batch, numbers)

    def _columns(self, plan: Plan, batch: SubjectsBatch) -> np.ndarray:
        """Return the columns of the numbers of shared decisions among those of a plan."""
        layout = plan.layout(batch).layout
        every = np.arange(layout.columns[-1].stop if layout.columns else 0)
        parts = [every[layout.columns[decision]] for decision in self._shared]
        return np.concatenate(parts) if parts else every[:0]

    def __str__(self) -> str:
        halves = (("for each volume", self.before), ("for each patch", self.after))
        return "\n".join(f"{when}:\n{plan}" for when, plan in halves if plan.steps)


def _split(steps: Sequence[Step]) -> int:
    """Return the number of the first step that is carried out for patches."""
    needs = [n + 1 for n, step in enumerate(steps) if step.role == "volume"]
    at = needs[-1] if needs else 0
    spatial = [stage for stage in stages_of(steps[at:]) if stage.role == "spatial"]
    return at + spatial[-1].steps[0] if spatial else at


__all__ = ["Patchwise"]
