"""Pipelines in two parts: one for whole volumes, one that computes patches alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data import SubjectsBatch
from .executor import Executor, run
from .plan import Plan
from .stages import stages_of
from .steps import BATCH, SUBJECT, Step, Steps


class Patchwise:
    """Pipeline in two parts: one for whole volumes, one for patches of them.

    Steps up to the last one that needs whole volumes or subjects are executed on these, and so are
    steps before the last spatial stage. That stage and the pointwise steps after it are executed
    for patches, with other random numbers for each.

    Args:
        pipeline: Steps and decisions.
    """

    def __init__(self, pipeline: Steps) -> None:
        steps, decisions = pipeline.steps, pipeline.decisions
        for step in steps:
            if step.role == BATCH:
                raise ValueError(
                    f"transform must not mix samples, whose patches are drawn apart: apply "
                    f"{step.transform.name} to the batches of patches"
                )
        at = _split(steps)
        self._positions = pipeline.position
        self.before = Plan(Steps(steps[:at], decisions))
        self.after = Plan(Steps(steps[at:], decisions))
        # Patches of a volume share the decisions that were taken for it.
        self._shared = sorted({number for step in steps[:at] for number, _ in step.branches})

    @property
    def why_whole(self) -> str | None:
        """Reason for which whole volumes are needed, which names a step; None if they are not."""
        for step in [*self.before.steps, *self.after.steps]:
            name = step.transform.name
            if step.role == "volume" or step.traits.modulates:
                return f"{name} needs the whole volume"
            if step.role == SUBJECT:
                return f"{name} takes whole subjects"
            if step.keep:
                return f"{name} keeps whole images"
            if step.role == "spatial" and "bspline" in (step.transform.interpolation() or ()):
                return f"{name} interpolates by B-splines, which depend on all voxels"
        if not self.before.steps:
            return None
        one, other = self.before.steps[-1].transform, self.after.steps[0].transform
        return f"{other.name} samples what {one.name} computes before it, for the whole volume"

    def whole(self, batch: SubjectsBatch) -> tuple[SubjectsBatch, np.ndarray]:
        """Execute the first part, for whole volumes.

        Returns:
            The volumes, and the random numbers of the decisions that their patches share, [B, N].
        """
        numbers = self.before.numbers(batch)
        decisions = numbers.u[:, self._columns(self.before, batch)]
        return run(self.before, batch, numbers), decisions

    def patches(
        self, batch: SubjectsBatch, decisions: np.ndarray, uniform: bool = False
    ) -> Executor:
        """Begin the second part, for one patch of each sample.

        Take the maps from :meth:`.Executor.final_maps`, and call :meth:`.Executor.finish_patch`, or
        :meth:`.Executor.crop_to_patch` and :func:`.finish_together`.

        Args:
            batch: Result of :meth:`whole`, in which samples may be repeated.
            decisions: Random numbers of decisions, from the same call, [B, N].
            uniform: See :class:`.Executor`.
        """
        numbers = self.after.numbers(batch)
        numbers.u[:, self._columns(self.after, batch)] = decisions
        if batch.streams is not None:  # skip the positions of the first part
            batch.streams.take(self._positions - self.after.positions)
        return Executor(self.after, batch, numbers, uniform=uniform)

    def _columns(self, plan: Plan, batch: SubjectsBatch) -> np.ndarray:
        """Return the columns, in the numbers of a plan, of the shared decisions."""
        layout = plan.layout(batch).layout
        every = np.arange(layout.columns[-1].stop if layout.columns else 0)
        parts = [every[layout.columns[decision]] for decision in self._shared]
        return np.concatenate(parts) if parts else every[:0]

    def __str__(self) -> str:
        parts = (("for each volume", self.before), ("for each patch", self.after))
        return "\n".join(f"{when}:\n{plan}" for when, plan in parts if plan.steps)


def _split(steps: Sequence[Step]) -> int:
    """Return the number of the first step that is executed for patches."""
    whole = [
        n + 1
        for n, step in enumerate(steps)
        if step.role in ("volume", SUBJECT) or step.traits.modulates
    ]
    at = whole[-1] if whole else 0
    spatial = [stage for stage in stages_of(steps[at:]) if stage.role == "spatial"]
    return at + spatial[-1].steps[0] if spatial else at


__all__ = ["Patchwise"]
