"""Stages of a pipeline: neighbouring steps that share one pass over the voxels.

A spatial stage ends where maps can no longer be composed cheaply: a second bending map, or one that
turns the grid on which a bending map was to be evaluated axis by axis; where voxels are to be read
differently; and where content that a turned grid does not hold would come into view again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .maps import NOTHING
from .steps import Step


@dataclass
class Stage:
    """Steps that share one pass.

    Args:
        role: Role of the steps; steps of the role 'volume' may be within a spatial stage.
        steps: Their numbers.
        reason: The end of the pass, explained.
    """

    role: str
    steps: list[int]
    reason: str = "end of the pipeline"


#: Of scalar images and of label maps; None where no step has asked for anything.
Pair = tuple[Any, Any]


@dataclass
class _Run:
    """Facts about a spatial stage while it is put together."""

    bent: bool = False
    turned: bool = False
    cut: bool = False  # after it was turned
    modes: Pair = (None, None)
    fills: Pair = (None, None)  # of the steps that turned it

    def follow(self, step: Step) -> None:
        """Add a step."""
        transform = step.transform
        wish = transform.interpolation() or NOTHING
        self.bent = self.bent or step.traits.bends
        self.cut = self.cut or (self.turned and step.cuts)
        self.turned = self.turned or not step.traits.parallel
        self.modes = _either(self.modes, wish.modes)
        if not step.traits.parallel:
            self.fills = _either(self.fills, wish.fills)


def _joins(step: Step, run: _Run) -> str | None:
    """Return why a spatial step cannot join a run, or None if it can."""
    transform = step.transform
    wish = transform.interpolation() or NOTHING
    if run.bent and step.traits.bends:
        return f"{transform.name} bends the image a second time"
    if run.bent and (step.traits.permutes or not step.traits.parallel):
        return f"{transform.name} turns the grid of the bending map before it"
    if run.turned and step.pads:
        return f"{transform.name} adds to a grid that was turned"
    if run.cut and not (step.traits.parallel and step.traits.regrids):
        return f"{transform.name} would bring back what was cut off a turned grid"
    if _differ(wish.modes, run.modes):
        return f"{transform.name} reads voxels differently"
    if not step.traits.parallel and _differ(wish.fills, run.fills):
        return f"{transform.name} fills what is outside differently"
    return None


def _either(one: Pair, other: Pair) -> Pair:
    a, b = (old if new is None else new for old, new in zip(one, other, strict=True))
    return a, b


def _differ(one: Pair, other: Pair) -> bool:
    return any(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True))


def _commutes(steps: Sequence[Step], number: int, run: _Run) -> bool:
    """Return True if a step may be carried out before the run that it interrupts.

    It pays where the run goes on to a step that interpolates anyway. A run whose maps keep axes
    parallel can tell which voxels of the source are in view.
    """
    if run.turned:
        return False
    run = replace(run)
    for step in steps[number:]:
        if not step.fuse or step.keep:
            return False
        if step.role == "spatial":
            if _joins(step, run) is not None:
                return False
            if not step.traits.parallel:
                return True
            run.follow(step)
        elif not step.commutes:
            return False
    return False


def stages_of(steps: Sequence[Step]) -> list[Stage]:
    """Return the stages of a pipeline: neighbours that share a pass."""
    stages: list[Stage] = []
    run = _Run()
    for number, step in enumerate(steps):
        transform = step.transform
        spatial = bool(stages) and stages[-1].role == "spatial"
        reason = None
        if not stages:
            reason = ""
        elif not (step.fuse and steps[number - 1].fuse):
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif step.role == "volume":
            if not (spatial and step.commutes and _commutes(steps, number, run)):
                reason = f"{transform.name} needs the whole volume"
        elif step.role != stages[-1].role:
            reason = f"{transform.name} is {step.role}"
        elif step.role == "spatial":
            reason = _joins(step, run)
        if reason is not None:
            if stages:
                stages[-1].reason = reason
            stages.append(Stage(step.role, []))
            run = _Run()
        stages[-1].steps.append(number)
        if step.role == "spatial":
            run.follow(step)
    return stages


__all__ = ["Stage", "stages_of"]
