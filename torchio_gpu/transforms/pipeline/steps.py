"""The steps of a pipeline, and the records that they leave."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...geometry import Space
from ..parameters.params import Params

if TYPE_CHECKING:
    from ..base import Transform


@dataclass(frozen=True)
class Gate:
    """A decision that is taken for each sample: which of some branches it takes.

    Args:
        position: Where the decision's random numbers stand.
        draws: How many uniform numbers it takes.
        decide: From numbers [B, draws] to branches taken, [B, branches] bool.
    """

    position: int
    draws: int
    decide: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Step:
    """A transform in a plan.

    Args:
        transform: What to do.
        position: Where the random numbers of its parameters stand.
        params: With which parameters; drawn for each batch if None.
        names: The images whose parameters ``params`` holds.
        gates: The decisions that the step hangs on, each as its number and the branch on which
            the step stands; a sample that does not take all of these is left out.
        within: The compositions around the step; each may leave images out.
        keep: Images to keep as they are before the step, with the names to keep them under.
        untouched: Images to leave alone whatever the transform says.
        fuse: Whether the step may share a pass.
        spaces: Of what is recorded, where the images lay that it moved.
    """

    transform: Transform
    position: int = 0
    params: Params | None = None
    names: tuple[str, ...] = ()
    gates: tuple[tuple[int, int], ...] = ()
    within: tuple[Transform, ...] = ()
    keep: dict[str, str] | None = None
    untouched: tuple[str, ...] = ()
    fuse: bool = True
    spaces: tuple[Space, ...] = ()

    @property
    def pads(self) -> bool:
        """Whether it may add to the field of view; what is recorded may be undone."""
        return self.transform.pads or (self.params is not None and self.transform.cuts)

    @property
    def cuts(self) -> bool:
        """Whether it may cut something off it."""
        return self.transform.cuts or (self.params is not None and self.transform.pads)


@dataclass
class Outline:
    """The steps and decisions of a pipeline, as they are written down one after another.

    Each takes a position of its own for its random numbers, in the order of the pipeline: what is
    added at its end does not change what comes before.
    """

    steps: list[Step] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    @property
    def position(self) -> int:
        """The next position."""
        return len(self.steps) + len(self.gates)

    def gate(self, draws: int, decide: Callable[[np.ndarray], np.ndarray]) -> int:
        """Add a decision; returns its number."""
        self.gates.append(Gate(self.position, draws, decide))
        return len(self.gates) - 1


class StandIn:
    """A transform that could not be pickled, as the history of another process shows it.

    It can be looked at and not applied: the function that it held stayed behind.
    """

    is_invertible = False

    def __init__(self, transform: Transform) -> None:
        self.name, self.role, self.text = transform.name, transform.role, repr(transform)
        self.regrids, self.foreign = transform.regrids, transform.foreign

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("name", "text"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self.name} cannot be applied again: it holds a function that cannot be pickled, as "
            "a lambda, which stayed in the process where it was applied"
        )

    def __repr__(self) -> str:
        return self.text


def _portable(transform: Transform) -> Transform | StandIn:
    """Return a transform that can be pickled: itself, or what stands in for it."""
    known: Any = transform.__dict__.get("_portable")
    if known is None:
        try:
            pickle.dumps(transform)
            known = True
        except Exception:  # whatever a class of the user raises
            known = StandIn(transform)
        transform.__dict__["_portable"] = known
    return transform if known is True else known  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Record:
    """What was applied: a transform, its parameters, to which images of which samples.

    ``untouched`` are the images that were there and were left alone; an image that is added later,
    such as a prediction, follows the others when the record is replayed or undone. ``spaces`` are
    those of the images that were moved, by which is seen whether one that was added lies there.
    """

    transform: Transform
    params: Params
    names: tuple[str, ...]
    untouched: tuple[str, ...] = ()
    active: np.ndarray | None = None
    spaces: tuple[Space, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        # a batch of a worker travels with its history, and one that cannot would never arrive
        return {**self.__dict__, "transform": _portable(self.transform)}

    def __deepcopy__(self, memo: dict[int, Any]) -> Record:
        return replace(self, params=copy.deepcopy(self.params, memo))

    def row(self, sample: int) -> Record | None:
        """The record of one sample, or None if the transform left it out."""
        if self.active is not None and not bool(self.active[sample]):
            return None
        one = slice(sample, sample + 1)
        spaces = tuple(Space(space.shape, space.affine[one]) for space in self.spaces)
        params = self.params.row(sample)
        return Record(self.transform, params, self.names, self.untouched, None, spaces)

    def __call__(self, x: Any) -> Any:
        """Apply the transform again, with the same parameters."""
        return self._recorded()(x)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts; see :meth:`Recorded.to_dict`."""
        return self._recorded().to_dict()  # type: ignore[no-any-return]

    def _recorded(self) -> Any:
        from ..history import Recorded  # which holds steps

        return Recorded(self.transform, self.params, self.names, self.untouched, self.spaces)

    def __repr__(self) -> str:
        if isinstance(self.transform, StandIn) or not self.transform.draws:
            return repr(self.transform)
        return f"{self.transform.name}({self.params})"


__all__ = ["Gate", "Outline", "Record", "Step"]
