"""Compositions: apply all, one or some of several transforms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ..signature import is_number, is_sequence
from ..tracing import instruction
from .base import Branches, Context, Transform
from .convert import to_batch
from .kinds import RandomTransform
from .parameters.params import Params
from .pipeline.explained import explain
from .pipeline.plan import Plan
from .pipeline.steps import Steps
from .subject_functions import as_transform
from .tables import table_of_steps

#: A transform, or any other callable that takes and returns a subject, as those of MONAI.
SubjectCallable = Transform | Callable[..., object]


class Composition(Transform):
    """Base of compositions of several transforms. Not for use by itself."""

    role = "composition"
    traits = None
    #: True if at most one of the transforms is applied to a sample.
    exclusive: ClassVar[bool] = False
    #: Relative probabilities of the transforms, if the composition chooses among them.
    weights: tuple[float, ...] = ()
    #: True if its steps may share passes.
    fuse: bool = True
    #: Type of the sequence of transforms.
    _sequence: ClassVar[type] = tuple

    def _set_transforms(self, given: Iterable[Any]) -> None:
        self.transforms: Any = type(self)._sequence(map(as_transform, given))
        self._followed = list(self.transforms)
        self._nested = [t for t in self._followed if isinstance(t, Composition)]
        self._modules.clear()
        for number, transform in enumerate(self.transforms):
            self.add_module(str(number), transform)
        decided = [t.label_keys for t in (self, *self.transforms) if t.label_keys is not None]
        keys = tuple(dict.fromkeys(key for keys in decided for key in keys))
        self.label_keys = keys if decided else None

    def plan(self) -> Plan:
        self._follow()
        return super().plan()

    def _structure(self) -> tuple[Any, ...]:
        # by identity: a plan holds the transforms themselves
        return *super()._structure(), *map(id, self.transforms)

    def _follow(self) -> None:
        """Take over changes of the list of transforms, and of those of compositions in it."""
        if self._followed != list(self.transforms):
            self._set_transforms(self.transforms)
        for composition in self._nested:
            composition._follow()

    def draw(self, context: Context, u: np.ndarray) -> Params:
        raise TypeError(
            f"{type(self).__name__} has no parameters of its own; sample its transforms"
        )

    def _add_to(self, pipeline: Steps, through: Branches = ()) -> None:
        first, starts = len(pipeline.steps), []
        for transform, branches in self._branches(pipeline, self._add_decision(pipeline, through)):
            starts.append(len(pipeline.steps) - first)
            transform._add_to(pipeline, branches)
        steps = pipeline.steps[first:]
        if self.include is not None or self.exclude is not None:
            steps = [replace(step, within=(*step.within, self)) for step in steps]
        if not self.fuse:
            steps = [replace(step, fuse=False) for step in steps]
        keep = dict(self.keep or {})
        # A branch keeps the images as they are before the choice, in whatever order branches run.
        for n in starts if self.exclusive else starts[:1]:
            if n < len(steps) and steps[n].keep:
                keep |= steps[n].keep or {}
                steps[n] = replace(steps[n], keep=None)
        if keep and steps:
            kept = tuple((keep if self.exclusive else self.keep or {}).values())
            steps = [replace(step, untouched=(*step.untouched, *kept)) for step in steps]
            steps[0] = replace(steps[0], keep=keep)
        pipeline.steps[first:] = steps

    def _branches(self, pipeline: Steps, through: Branches) -> Sequence[tuple[Transform, Branches]]:
        """Return the transforms in the order of their steps, with the decisions they depend on."""
        raise NotImplementedError

    def explain(self, x: Any = None) -> str:
        """Describe the passes over the voxels: the steps in each, and the reason for its end.

        Args:
            x: Anything that can be transformed, to describe as well the passes over each of its
                images. Voxels are computed only where a transform looks at them, and discarded;
                the states of random generators are restored.
        """
        if x is None:
            return str(self.plan())
        return explain(self.plan(), to_batch(x, self._image_keys(), self.label_keys)[0])

    def arguments(self) -> dict[str, Any]:
        found = super().arguments()
        if len(set(self.weights)) < 2:
            found.pop("weights", None)  # equal weights have no effect
        return found

    def _transforms_repr(self) -> str:
        """Return the transforms, with their weights if these differ, as text."""
        if len(set(self.weights)) < 2:
            return f"[{', '.join(map(repr, self.transforms))}]"
        pairs = zip(self.transforms, self.weights, strict=True)
        return f"{{{', '.join(f'{t!r}: {w:g}' for t, w in pairs)}}}"

    def _repr_html_(self) -> str:
        """Return HTML with a table of the steps, by the passes they share, for notebooks.

        The probability is that of a sample to be transformed by the step.
        """
        return table_of_steps(self.plan(), self.name)

    def __len__(self) -> int:
        # torch 2.6 asks an object that is being constructed in a compiled function
        return len(getattr(self, "transforms", ()))

    def __getitem__(self, index: int) -> Any:
        return self.transforms[index]

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    def __repr__(self) -> str:
        shown = ("transforms", "weights")
        rest = [f", {n}={v!r}" for n, v in self.arguments().items() if n not in shown]
        return f"{self.name}({self._transforms_repr()}{''.join(rest)})"


class Compose(Composition):
    """Apply transforms one after another, sharing passes over the voxels where possible.

    Neighbouring spatial transforms are composed into one map and the image is sampled once;
    neighbouring pointwise transforms are carried out in one pass. See :attr:`explain`.

    Args:
        transforms: The transforms, in order; a Compose may hold others. Also a dict of transforms
            by name, which ``compose[name]`` returns. Any other callable takes and returns a
            Subject; see :class:`SubjectFunction`, and :class:`MonaiAdapter` for transforms of
            MONAI. The list :attr:`transforms` may be changed.
        fuse: ``False`` carries out each transform by itself, as TorchIO does. Random numbers are
            the same either way.
        kwargs: See :class:`Transform`; they are about the composition as a whole.

    Raises:
        TypeError: One of them cannot be called, or a name is no string.

    >>> augment = Compose([RandomAffine(), RandomFlip(), RandomNoise()])
    >>> augment(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    >>> print(augment.explain())
    spatial: RandomAffine -> RandomFlip  (ends: RandomNoise is pointwise)
    pointwise: RandomNoise  (ends: end of the pipeline)
    """

    _sequence = list
    changeable = frozenset(("transforms",))

    def __init__(
        self,
        transforms: Sequence[SubjectCallable] | Mapping[str, SubjectCallable],
        fuse: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._named: dict[str, Transform] = {}
        named = isinstance(transforms, Mapping)
        names: Any = list(transforms) if named else []
        other = [name for name in names if not isinstance(name, str)]
        if other:
            raise TypeError(f"transforms must have names that are strings, got {other[0]!r}")
        if not named and not is_sequence(transforms):
            raise TypeError(f"transforms must be a sequence or a dict, got {transforms!r}")
        self._set_transforms(transforms.values() if named else transforms)  # type: ignore[union-attr]
        self._named = dict(zip(names, self.transforms, strict=False))
        self.fuse = fuse

    def __getitem__(self, index: int | str) -> Any:
        if not isinstance(index, str):
            return self.transforms[index]
        if index not in self._named:
            raise KeyError(
                f"no transform is named {index!r}; names are {list(self._named) or 'not given'}"
            )
        return self._named[index]

    def arguments(self) -> dict[str, Any]:
        found = super().arguments()
        if self._named and list(self._named.values()) == list(self.transforms):
            found["transforms"] = dict(self._named)
        return found

    def is_invertible(self) -> bool:
        return all(transform.is_invertible() for transform in self.transforms)

    def _branches(self, pipeline: Steps, through: Branches) -> Sequence[tuple[Transform, Branches]]:
        return [(transform, through) for transform in self.transforms]

    def inverse(self, warn: bool = True) -> Compose:
        """Return a transform that undoes the transforms, last first.

        They are recorded ones, as in :meth:`.Subject.get_composed_history`, or such that can be
        undone from their arguments alone.

        Args:
            warn: Warn of transforms that cannot be undone; they are left out.

        Raises:
            RuntimeError: A transform has no parameters yet, since it draws them.
        """
        steps = []
        for transform in reversed(self.transforms):
            if transform.is_invertible():
                steps.append(transform.inverse())
            elif warn:
                warnings.warn(
                    f"{transform.name} cannot be undone and is skipped",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return Compose(steps)


class OneOf(RandomTransform, Composition):
    """Apply one of several transforms, chosen for each sample.

    Samples with the same choice are transformed together. Since at most one is applied to a sample,
    the transforms can share a pass with those before and after them: each image is sampled once.

    Args:
        transforms: The transforms; or a dict from transforms to weights. Compositions may be among
            them.
        weights: Relative probability of each transform of a sequence, equal by default. Need not
            sum to 1.
        kwargs: See :class:`Transform`; they are about the choice as a whole.

    Raises:
        TypeError: One of them cannot be called.
        ValueError: There is none, or the weights are negative or sum to 0.

    >>> spatial = OneOf({RandomAffine(): 0.8, RandomElasticDeformation(max_displacement=1): 0.2})
    >>> spatial(torch.rand(4, 1, 16, 16, 16)).shape
    torch.Size([4, 1, 16, 16, 16])
    """

    exclusive = True

    def __init__(
        self,
        transforms: Sequence[SubjectCallable] | Mapping[SubjectCallable, float],
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.weights = _weights(transforms, weights)
        self._set_transforms(tuple(transforms))

    def _branches(self, pipeline: Steps, through: Branches) -> Sequence[tuple[Transform, Branches]]:
        decision = pipeline.decide(1, self._choose, self._chances)
        found = [(t, (*through, (decision, branch))) for branch, t in enumerate(self.transforms)]
        # At most one is applied to a sample, so order is free: this one takes the fewest passes.
        return sorted(found, key=lambda pair: _rank(pair[0]))

    def _chances(self) -> list[float | None]:
        return [weight / sum(self.weights) for weight in self.weights]

    def _choose(self, u: np.ndarray) -> np.ndarray:
        """Choose a transform for each sample, [B, N] bool, by numbers [B, 1]."""
        edges = np.cumsum(self.weights)
        chosen = np.searchsorted(edges / edges[-1], u, side="right")
        return chosen == np.arange(len(edges))  # type: ignore[no-any-return]


class SomeOf(RandomTransform, Composition):
    """Apply some of several transforms, chosen for each sample, in the order given.

    Args:
        transforms: The transforms; or a dict from transforms to weights.
        num_transforms: Number of transforms to apply, or a range (a, b) of equally likely numbers.
        weights: Relative probability of each transform of a sequence, equal by default, by which
            they are drawn one after another without being put back.
        kwargs: See :class:`Transform`; they are about the choice as a whole.

    Raises:
        TypeError: One of them cannot be called.
        ValueError: More are asked for than there are with a weight above 0, or weights are as
            they must not be for :class:`OneOf`.

    >>> artifacts = SomeOf([RandomNoise(), RandomGamma(), RandomBiasField()], num_transforms=(1, 2))
    >>> artifacts(torch.rand(4, 1, 8, 8, 8)).shape
    torch.Size([4, 1, 8, 8, 8])
    """

    def __init__(
        self,
        transforms: Sequence[SubjectCallable] | Mapping[SubjectCallable, float],
        num_transforms: int | Sequence[int] = 1,
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.weights = _weights(transforms, weights)
        self._set_transforms(tuple(transforms))
        self.num_transforms = num_transforms
        pair = num_transforms if isinstance(num_transforms, Sequence) else (num_transforms,) * 2
        possible = sum(weight > 0 for weight in self.weights)
        whole = len(pair) == 2 and all(type(n) is int for n in pair)
        if not whole or not 0 <= pair[0] <= pair[1] <= possible:
            raise ValueError(
                f"num_transforms must be a number or a range (a, b) within 0 and {possible}, "
                f"got {num_transforms!r}"
            )
        self._range = pair[0], pair[1]

    def _branches(self, pipeline: Steps, through: Branches) -> Sequence[tuple[Transform, Branches]]:
        decision = pipeline.decide(1 + len(self.transforms), self._choose, self._chances)
        return [(t, (*through, (decision, branch))) for branch, t in enumerate(self.transforms)]

    def _chances(self) -> list[float | None]:
        if len(set(self.weights)) > 1 and self._range != (1, 1):
            return [None for _ in self.weights]
        return [sum(self._range) / 2 * weight / sum(self.weights) for weight in self.weights]

    @instruction
    def _choose(self, u: np.ndarray) -> np.ndarray:
        """Choose transforms for each sample, [B, N] bool, by numbers [B, 1 + N].

        Weighted sampling without replacement takes the largest of u ** (1 / weight): Efraimidis &
        Spirakis 2006, doi:10.1016/j.ipl.2005.11.003.
        """
        low, high = self._range
        count = low + (u[:, :1] * (high - low + 1)).astype(int)
        weights = np.array(self.weights)
        keys = np.full((len(u), len(weights)), -np.inf)
        np.divide(np.log(u[:, 1:]), weights, out=keys, where=weights > 0)
        rank = np.argsort(np.argsort(-keys, axis=1), axis=1)
        return rank < count  # type: ignore[no-any-return]


def _weights(transforms: Any, weights: Sequence[float] | None) -> tuple[float, ...]:
    """Return the weights of transforms: those given, the values of a dict, or 1 for each."""
    if not isinstance(transforms, (Mapping, Sequence)) or len(transforms) == 0:
        raise ValueError(
            f"transforms must be a sequence or a dict that is not empty, got {transforms!r}"
        )
    values = list(transforms.values()) if isinstance(transforms, Mapping) else [1] * len(transforms)
    if weights is not None:
        if isinstance(transforms, Mapping):
            raise ValueError(f"weights must be given once, got {weights!r} and a dict of weights")
        values = list(weights)
        if len(values) != len(transforms):
            raise ValueError(
                f"weights must be {len(transforms)} numbers, one for each transform, got {values}"
            )
    if not all(is_number(w) and math.isfinite(w) and w >= 0 for w in values):
        raise ValueError(f"weights must be numbers >= 0, got {values}")
    if not sum(values) > 0:
        raise ValueError(f"weights must sum to more than 0, got {values}")
    return tuple(float(weight) for weight in values)


def _rank(transform: Transform) -> int:
    """Return the position, among exclusive transforms, at which most of them share a pass."""
    if transform.role == "spatial":
        traits = transform.traits
        # an elastic map can follow an affine one in a pass, but not precede it
        return int(traits is not None and traits.bends)
    return {"pointwise": 2, "volume": 3}.get(transform.role, 4)


__all__ = ["Compose", "Composition", "OneOf", "SomeOf"]
