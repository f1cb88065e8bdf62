"""Records of the transforms that were applied to a batch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ...arrays import Array
from ...data.pickling import pickling_error
from ...geometry import Space, orientation, spacing
from ..parameters.params import Params


class UnpicklableTransform:
    """Placeholder for a transform that could not be pickled, in the history of another process.

    It can be printed but not applied: the function that it needs stayed in the other process.
    """

    def __init__(self, transform: Any) -> None:
        self.name, self.role, self.text = transform.name, transform.role, repr(transform)
        self.traits, self.kinds = transform.traits, transform.kinds

    def is_invertible(self) -> bool:
        """Return False."""
        return False

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
    """Return a transform that can be pickled: itself, or a placeholder."""
    portable: Any = transform.__dict__.get("_portable")
    if portable is None:
        portable = True if pickling_error(transform) is None else UnpicklableTransform(transform)
        transform.__dict__["_portable"] = portable
    return transform if portable is True else portable


def _without_graph(_: str, value: Array) -> Array:
    """Return a parameter that can be pickled: a tensor without its autograd graph."""
    return value.detach() if isinstance(value, Tensor) and not value.is_leaf else value


@dataclass(frozen=True, eq=False)  # equal to itself alone: parameters are arrays
class Record:
    """Transform that was applied, with its parameters.

    Args:
        transform: The transform.
        params: Its parameters, one entry per sample.
        names: Images that the parameters are for.
        untouched: Images that existed and were not transformed; an image that is added later, such
            as a prediction, follows the others when the record is replayed or undone.
        active: Samples that were transformed, [B]; None for all.
        spaces: Spaces of the images that were moved, to check that one that was added lies there.
        fuse: The transform may have shared a pass.
        follows: Image whose grid points or an image without parameters followed, of each sample,
            or None, by their name; filled where a step gives images another grid.
    """

    transform: Any
    params: Params
    names: tuple[str, ...]
    untouched: tuple[str, ...] = ()
    active: np.ndarray | None = None
    spaces: tuple[Space, ...] = ()
    fuse: bool = True
    follows: dict[str, tuple[str | None, ...]] = field(default_factory=dict)

    #: Converts a record to a transform; set by :mod:`torchio_gpu.transforms.history`.
    as_transform: ClassVar[Callable[[Record], Any]]

    def __getstate__(self) -> dict[str, Any]:
        # a loader waits for ever for a batch whose history cannot be pickled
        params = self.params.change(_without_graph)
        return {**self.__dict__, "transform": _portable(self.transform), "params": params}

    def __deepcopy__(self, memo: dict[int, Any]) -> Record:
        return replace(self, params=copy.deepcopy(self.params, memo))

    def of_sample(self, sample: int) -> Record | None:
        """Return the record of one sample; None if the sample was not active."""
        if self.active is not None and not bool(self.active[sample]):
            return None
        one = slice(sample, sample + 1)
        spaces = tuple(Space(space.shape, space.affine[one]) for space in self.spaces)
        params = self.params.row(sample)
        follows = {name: images[one] for name, images in self.follows.items()}
        return replace(self, params=params, active=None, spaces=spaces, follows=follows)

    @property
    def name(self) -> str:
        """Name of the transform."""
        return self.transform.name  # type: ignore[no-any-return]

    def __call__(self, x: Any) -> Any:
        """Apply the transform again, with the same parameters."""
        return type(self).as_transform(self)(x)

    def to_dict(self, style: str = "_target_") -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts; see :meth:`Recorded.to_dict`."""
        return type(self).as_transform(self).to_dict(style)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        if isinstance(self.transform, UnpicklableTransform) or not self.transform.draws:
            return repr(self.transform)
        return f"{self.transform.name}({self.params})"


def moving_transforms(records: Sequence[Record]) -> list[str]:
    """Return the names of the transforms that may have moved voxels."""
    return [r.transform.name for r in records if r.transform.traits is not None]


def warn_of_misplaced(step: Any, names: Sequence[str], spaces: Sequence[Space]) -> None:
    """Warn of images that were added after a recorded spatial step, and lie elsewhere.

    An image lies where another did if their centres are within a voxel of each other and their axes
    have the same orientation: a prediction may have another spacing.
    """
    for name, space in zip(names, spaces, strict=True):
        if name in step.names or not step.spaces:
            continue
        if not any(_same_place(space, recorded) for recorded in step.spaces):
            warnings.warn(
                f"{name!r} was added after {step.transform.name} was applied, and lies elsewhere: "
                f"it is moved wrongly. Its affine is {space.affine[0].tolist()}, that of "
                f"{step.names[0]!r} was {step.spaces[0].affine[0].tolist()}",
                RuntimeWarning,
                stacklevel=2,
            )


def _same_place(space: Space, recorded: Space) -> bool:
    """Return True if two grids have the same orientation and centres within a voxel."""
    codes = {orientation(affine) for affine in (*space.affine, *recorded.affine)}
    distance = np.linalg.norm(space.centre - recorded.centre, axis=-1).max()
    side = max(spacing(space.affine).max(), spacing(recorded.affine).max())
    return len(codes) == 1 and bool(distance <= side)
