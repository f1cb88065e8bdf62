"""Records of what was applied to a batch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ...arrays import Array
from ...data.travel import fault_of
from ...geometry import Space, orientation, spacing
from ..parameters.params import Params


class Unpicklable:
    """Stand-in for a transform that could not be pickled, in the history of another process.

    It can be looked at and not applied: the function that it held stayed behind.
    """

    is_invertible = False

    def __init__(self, transform: Any) -> None:
        self.name, self.role, self.text = transform.name, transform.role, repr(transform)
        self.traits = transform.traits

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("name", "text"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self.name} cannot be applied again: it holds a function that cannot be pickled, as "
            "a lambda, which stayed in the process where it was applied"
        )

    def __repr__(self) -> str:
        return self.text


def _portable(transform: Any) -> Any:
    """Return a transform that can be pickled: itself, or its stand-in."""
    known: Any = transform.__dict__.get("_portable")
    if known is None:
        known = True if fault_of(transform) is None else Unpicklable(transform)
        transform.__dict__["_portable"] = known
    return transform if known is True else known


def _without_graph(_: str, value: Array) -> Array:
    """Return a parameter that can be sent: gradients do not leave their process."""
    return value.detach() if isinstance(value, Tensor) and not value.is_leaf else value


@dataclass(frozen=True)
class Record:
    """Transform that was applied, with its parameters.

    Args:
        transform: The transform.
        params: Its parameters, one entry per sample.
        names: Images that the parameters are for.
        untouched: Images that were there and were left alone; one that is added later, such as a
            prediction, follows the others when the record is replayed or undone.
        active: Samples that were transformed, [B]; None for all.
        spaces: Spaces of the images that were moved, by which is seen whether one that was added
            lies there.
        fuse: It may have shared a pass.
    """

    transform: Any
    params: Params
    names: tuple[str, ...]
    untouched: tuple[str, ...] = ()
    active: np.ndarray | None = None
    spaces: tuple[Space, ...] = ()
    fuse: bool = True

    #: Makes a transform of a record; set by :mod:`torchio_gpu.transforms.history`.
    as_transform: ClassVar[Callable[[Record], Any]]

    def __getstate__(self) -> dict[str, Any]:
        # a batch of a worker travels with its history, and one that cannot would never arrive
        params = self.params.change(_without_graph)
        return {**self.__dict__, "transform": _portable(self.transform), "params": params}

    def __deepcopy__(self, memo: dict[int, Any]) -> Record:
        return replace(self, params=copy.deepcopy(self.params, memo))

    def row(self, sample: int) -> Record | None:
        """Return the record of one sample, or None if the transform left it out."""
        if self.active is not None and not bool(self.active[sample]):
            return None
        one = slice(sample, sample + 1)
        spaces = tuple(Space(space.shape, space.affine[one]) for space in self.spaces)
        params = self.params.row(sample)
        return Record(self.transform, params, self.names, self.untouched, None, spaces, self.fuse)

    def __call__(self, x: Any) -> Any:
        """Apply the transform again, with the same parameters."""
        return type(self).as_transform(self)(x)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts; see :meth:`Recorded.to_dict`."""
        return type(self).as_transform(self).to_dict()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        if isinstance(self.transform, Unpicklable) or not self.transform.draws:
            return repr(self.transform)
        return f"{self.transform.name}({self.params})"


def moving_transforms(records: Sequence[Record]) -> list[str]:
    """Return the names of the transforms that may have moved voxels."""
    return [r.transform.name for r in records if r.transform.traits is not None]


def check_places(step: Any, names: Sequence[str], spaces: Sequence[Space]) -> None:
    """Warn of images that were added since a motion was recorded, and lie elsewhere.

    They lie where the others did if their middle is within a voxel of that of one of them, and
    their axes point the same way: a prediction may be of another spacing.
    """
    for name, space in zip(names, spaces, strict=True):
        if name in step.names or not step.spaces:
            continue
        if not any(_is_there(space, known) for known in step.spaces):
            warnings.warn(
                f"{name!r} was added after {step.transform.name} was applied, and lies elsewhere: "
                f"it is moved wrongly. Its affine is {space.affine[0].tolist()}, that of "
                f"{step.names[0]!r} was {step.spaces[0].affine[0].tolist()}",
                RuntimeWarning,
                stacklevel=2,
            )


def _is_there(space: Space, known: Space) -> bool:
    """Return True if an image on one grid lies where one on another did."""
    codes = {orientation(affine) for affine in (*space.affine, *known.affine)}
    apart = np.linalg.norm(space.centre - known.centre, axis=-1).max()
    side = max(spacing(space.affine).max(), spacing(known.affine).max())
    return len(codes) == 1 and bool(apart <= side)
