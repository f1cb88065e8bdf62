"""A pipeline for patches: of what can be computed for a patch alone, nothing else is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data import SubjectsBatch
from ..base import Transform
from .plan import Plan, Window
from .steps import Outline, Step


class Patchwise:
    """Two halves of a pipeline: one for whole volumes, one for patches of them.

    A step that needs a whole volume, and all that comes before it, is carried out on the volume; so
    is what comes before the last run of spatial steps. That run and the pointwise steps after it
    are carried out for patches, with other random numbers for each.

    Args:
        transform: The pipeline; None for one that does nothing.
    """

    def __init__(self, transform: Transform | None) -> None:
        self.outline = Outline()
        if transform is not None:
            transform.outline(self.outline)
        steps, gates = self.outline.steps, self.outline.gates
        at = _split(steps)
        self.before = Plan(Outline(steps[:at], gates))
        self.after = Plan(Outline(steps[at:], gates))
        # What is decided for a volume holds for its patches.
        self._shared = sorted({gate for step in steps[:at] for gate, _ in step.gates})

    def whole(self, batch: SubjectsBatch) -> tuple[SubjectsBatch, np.ndarray]:
        """The first half, for whole volumes.

        Returns:
            The volumes, and the random numbers of decisions that their patches are bound to,
            [B, N].
        """
        draws = self.before.draw(batch)
        decisions = draws.u[:, self._columns(self.before, batch)]
        return self.before.run(batch, draws=draws), decisions

    def patches(self, batch: SubjectsBatch, decisions: np.ndarray, window: Window) -> SubjectsBatch:
        """The second half, for one patch of each sample.

        Args:
            batch: What :meth:`whole` returned, of which samples may occur several times.
            decisions: Likewise.
            window: Where the patches lie.
        """
        draws = self.after.draw(batch)
        draws.u[:, self._columns(self.after, batch)] = decisions
        if batch.streams is not None:  # positions of the first half are used up as well
            batch.streams.take(self.outline.position - self.after.outline.position)
        return self.after.run(batch, draws=draws, window=window)

    def _columns(self, plan: Plan, batch: SubjectsBatch) -> np.ndarray:
        """Where the numbers of shared decisions stand among those of a plan."""
        layout = plan.prepared(batch).layout
        every = np.arange(layout.columns[-1].stop if layout.columns else 0)
        parts = [every[layout.columns[gate]] for gate in self._shared]
        return np.concatenate(parts) if parts else every[:0]

    def __str__(self) -> str:
        halves = (("for each volume", self.before), ("for each patch", self.after))
        return "\n".join(f"{when}:\n{plan}" for when, plan in halves if plan.steps)


def _split(steps: Sequence[Step]) -> int:
    """The first step that is carried out for patches."""
    needs = [n + 1 for n, step in enumerate(steps) if step.transform.role == "volume"]
    at = needs[-1] if needs else 0
    groups = Plan(Outline(list(steps[at:]))).groups
    spatial = [group for group in groups if group.role == "spatial"]
    return at + spatial[-1].steps[0] if spatial else at


__all__ = ["Patchwise"]
