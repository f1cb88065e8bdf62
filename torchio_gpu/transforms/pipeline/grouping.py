"""Which neighbouring steps of a pipeline share a pass over the voxels, and why a pass ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .moves import NOTHING
from .steps import Step


@dataclass
class Group:
    """Steps that share one pass, and why the pass ends with them."""

    role: str
    steps: list[int]
    reason: str = "end of the pipeline"


#: Of scalar images and of label maps; None where no step has asked for anything.
Pair = tuple[Any, Any]


@dataclass
class _Run:
    """What is known of a spatial run while it is put together."""

    bent: bool = False
    turned: bool = False
    cut: bool = False  # after it was turned
    modes: Pair = (None, None)
    fills: Pair = (None, None)  # of the steps that turned it

    def follow(self, step: Step) -> None:
        """Take one more step."""
        transform = step.transform
        wish = transform.sampling() or NOTHING
        self.bent = self.bent or transform.bends
        self.cut = self.cut or (self.turned and step.cuts)
        self.turned = self.turned or not transform.parallel
        self.modes = _either(self.modes, wish.modes)
        if not transform.parallel:
            self.fills = _either(self.fills, wish.fills)


def _joins(step: Step, run: _Run) -> str | None:
    """Why a spatial step cannot join a run, or None if it can."""
    transform = step.transform
    wish = transform.sampling() or NOTHING
    if run.bent and transform.bends:
        return f"{transform.name} bends the image a second time"
    if run.bent and (transform.permutes or not transform.parallel):
        return f"{transform.name} turns the grid of the bending map before it"
    if run.turned and step.pads:
        return f"{transform.name} adds to a grid that was turned"
    if run.cut and not (transform.parallel and transform.regrids):
        return f"{transform.name} would bring back what was cut off a turned grid"
    if _differ(wish.modes, run.modes):
        return f"{transform.name} reads voxels differently"
    if not transform.parallel and _differ(wish.fills, run.fills):
        return f"{transform.name} fills what is outside differently"
    return None


def _either(one: Pair, other: Pair) -> Pair:
    a, b = (old if new is None else new for old, new in zip(one, other, strict=True))
    return a, b


def _differ(one: Pair, other: Pair) -> bool:
    return any(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True))


def _commutes(steps: Sequence[Step], number: int, run: _Run) -> bool:
    """Whether a step may be carried out before the run that it interrupts.

    It pays where the run goes on to a step that interpolates anyway. A run whose maps keep axes
    parallel can tell which voxels of the source are in view.
    """
    if run.turned:
        return False
    run = replace(run)
    for step in steps[number:]:
        if not step.fuse or step.keep:
            return False
        if step.transform.role == "spatial":
            if _joins(step, run) is not None:
                return False
            if not step.transform.parallel:
                return True
            run.follow(step)
        elif not step.transform.commutes:
            return False
    return False


def grouped(steps: Sequence[Step]) -> list[Group]:
    """Neighbours that can share a pass."""
    groups: list[Group] = []
    run = _Run()
    for number, step in enumerate(steps):
        transform = step.transform
        spatial = bool(groups) and groups[-1].role == "spatial"
        reason = None
        if not groups:
            reason = ""
        elif not (step.fuse and steps[number - 1].fuse):
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif transform.role == "volume":
            if not (spatial and transform.commutes and _commutes(steps, number, run)):
                reason = f"{transform.name} needs the whole volume"
        elif transform.role != groups[-1].role:
            reason = f"{transform.name} is {transform.role}"
        elif transform.role == "spatial":
            reason = _joins(step, run)
        if reason is not None:
            if groups:
                groups[-1].reason = reason
            groups.append(Group(transform.role, []))
            run = _Run()
        groups[-1].steps.append(number)
        if transform.role == "spatial":
            run.follow(step)
    return groups


__all__ = ["Group", "grouped"]
