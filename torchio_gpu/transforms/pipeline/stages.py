"""Stages of a pipeline: neighbouring steps that share one pass over the voxels.

A spatial stage ends where maps can no longer be composed cheaply: before a second elastic map, and
before a map that rotates the grid on which an elastic map is evaluated axis by axis; where steps
differ in interpolation or fill; where content that an off-axis grid has cropped would come into
view again; and after a map that scales intensities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .maps import NOTHING
from .steps import BATCH, SUBJECT, Step


@dataclass
class Stage:
    """Steps that share one pass.

    Args:
        role: Role of the steps; steps of the role 'volume' may be within a spatial stage.
        steps: Numbers of the steps.
        reason: Reason for which the pass ends.
    """

    role: str
    steps: list[int]
    reason: str = "end of the pipeline"


#: Setting for scalar images and for label maps; None if no step asked for one.
Pair = tuple[Any, Any]


@dataclass
class _Run:
    """Properties of a spatial stage while steps are added to it."""

    bends: bool = False
    off_axis: bool = False
    crops_off_axis: bool = False
    modulates: str = ""  # name of the step that does
    modes: Pair = (None, None)
    fills: Pair = (None, None)  # of the off-axis steps

    def follow(self, step: Step) -> None:
        """Add a step."""
        interpolation = step.transform.interpolation() or NOTHING
        self.bends = self.bends or step.traits.bends
        self.crops_off_axis = self.crops_off_axis or (self.off_axis and step.cuts)
        self.off_axis = self.off_axis or not step.traits.parallel
        if step.traits.modulates:
            self.modulates = step.transform.name
        self.modes = _merged(self.modes, interpolation.modes)
        if not step.traits.parallel:
            self.fills = _merged(self.fills, interpolation.fills)


def _reason_to_split(step: Step, run: _Run) -> str | None:
    """Return the reason for which a spatial step cannot join a run; None if it can."""
    transform = step.transform
    interpolation = transform.interpolation() or NOTHING
    if run.modulates:
        return f"{run.modulates} scales intensities where it moves them"
    if run.bends and step.traits.bends:
        return f"{transform.name} is a second elastic map"
    if run.bends and (step.traits.permutes or not step.traits.parallel):
        return f"{transform.name} reorders or rotates axes after an elastic map"
    if run.off_axis and step.pads:
        return f"{transform.name} may pad after an off-axis map"
    if run.crops_off_axis and not (step.traits.parallel and step.traits.regrids):
        return f"{transform.name} would restore content cropped after an off-axis map"
    if _conflict(interpolation.modes, run.modes):
        return f"{transform.name} interpolates differently"
    if not step.traits.parallel and _conflict(interpolation.fills, run.fills):
        return f"{transform.name} has another fill"
    return None


def _reason_to_split_lines(before: Step) -> str | None:
    """Return the reason for which no step can share lines of k-space with the one before it."""
    if before.transform.ends_lines:
        return f"{before.transform.name} does not leave a real image"
    return None


def _merged(one: Pair, other: Pair) -> Pair:
    a, b = (old if new is None else new for old, new in zip(one, other, strict=True))
    return a, b


def _conflict(one: Pair, other: Pair) -> bool:
    return any(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True))


def _commutes(steps: Sequence[Step], number: int, run: _Run) -> bool:
    """Return True if a step should be carried out before the run that it interrupts.

    This saves a sampling if a later step of the run interpolates anyway. The maps so far must keep
    axes parallel, so that the field of view is a cuboid of source voxels.
    """
    if run.off_axis:
        return False
    run = replace(run)
    for step in steps[number:]:
        if not step.fuse or step.keep:
            return False
        if step.role == "spatial":
            if _reason_to_split(step, run) is not None:
                return False
            if not step.traits.parallel:
                return True
            run.follow(step)
        elif not step.commutes:
            return False
    return False


def _check_exclusive(before: Sequence[Step], step: Step) -> None:
    """Raise if a step that mixes samples may mix one that a step before it has mixed."""
    for other in before:
        taken = dict(other.branches)
        if not any(taken.get(decision, branch) != branch for decision, branch in step.branches):
            raise ValueError(
                f"a sample must be mixed once, and {step.transform.name} may mix it after "
                f"{other.transform.name}: put transforms that mix samples in a OneOf"
            )


def stages_of(steps: Sequence[Step]) -> list[Stage]:
    """Group the steps of a pipeline into stages: neighbours that share a pass."""
    stages: list[Stage] = []
    run = _Run()
    for number, step in enumerate(steps):
        transform = step.transform
        if stages and stages[-1].role == BATCH != step.role:
            raise ValueError(
                f"{transform.name} must come before {steps[number - 1].transform.name}, which "
                "mixes the samples of a batch: what follows would change parts of several"
            )
        spatial = bool(stages) and stages[-1].role == "spatial"
        reason = None
        if not stages:
            reason = ""
        elif step.role == BATCH == stages[-1].role:  # which take partners from before all of them
            _check_exclusive([steps[n] for n in stages[-1].steps], step)
        elif not (step.fuse and steps[number - 1].fuse):
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif step.role == BATCH:
            reason = f"{transform.name} mixes the samples of a batch"
        elif step.role == SUBJECT:
            reason = f"{transform.name} takes one subject at a time"
        elif step.role == "volume":
            before = steps[number - 1]
            if step.changes_lines and before.changes_lines:
                reason = _reason_to_split_lines(before)
            elif not (spatial and step.commutes and _commutes(steps, number, run)):
                reason = f"{transform.name} needs the whole volume"
        elif step.role != stages[-1].role:
            reason = f"{transform.name} is {step.role}"
        elif step.role == "spatial":
            reason = _reason_to_split(step, run)
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
