"""Several transforms as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .base import Scene, Transform
from .params import Params
from .plan import Plan, Step


class Compose(Transform):
    """Apply transforms one after another, sharing passes over the voxels where possible.

    Neighbouring spatial transforms are composed into one map and the image is sampled once;
    neighbouring pointwise transforms are carried out in one pass. See :attr:`explain`.

    Args:
        transforms: The transforms, in order; a Compose may hold others.
        fuse: ``False`` carries out each transform by itself, as TorchIO does. Random numbers are
            the same either way.
        kwargs: See :class:`Transform`; they are about the composition as a whole.

    Raises:
        TypeError: One of them is not a :class:`Transform`.

    >>> augment = Compose([RandomAffine(), RandomFlip(), RandomNoise()])
    >>> augment(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    >>> print(augment.explain())
    spatial: RandomAffine -> RandomFlip  (ends: RandomNoise is pointwise)
    pointwise: RandomNoise  (ends: end of the pipeline)
    """

    role = "composition"

    def __init__(self, transforms: Sequence[Transform], fuse: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for number, transform in enumerate(transforms):
            if not isinstance(transform, Transform):
                raise TypeError(
                    f"transforms must be Transform instances, number {number} is "
                    f"{type(transform).__name__}"
                )
            self.add_module(str(number), transform)
        self.transforms = tuple(transforms)
        labels = [t.label_keys or () for t in (self, *transforms)]
        self.label_keys = tuple(dict.fromkeys(key for keys in labels for key in keys)) or None
        self.fuse = fuse

    def draw(self, scene: Scene, u: np.ndarray) -> Params:
        raise TypeError("a Compose has no parameters of its own; sample its transforms")

    def plan(self) -> Plan:
        plan = self.__dict__.get("_plan")
        if plan is None:
            steps, gates = self._flatten((), 0)
            plan = self.__dict__["_plan"] = Plan(steps, self.fuse, gates)
        return plan  # type: ignore[no-any-return]

    def _flatten(self, outer: tuple[tuple[int, float], ...], gates: int) -> tuple[list[Step], int]:
        """Steps of this and all inner compositions, and how many of these toss a coin."""
        if self.p < 1:
            outer = (*outer, (gates, self.p))
            gates += 1
        steps: list[Step] = []
        for transform in self.transforms:
            if isinstance(transform, Compose):
                inner, gates = transform._flatten(outer, gates)
                steps += inner
            else:
                steps += [replace(step, gates=outer) for step in transform.steps()]
        if self.include is not None or self.exclude is not None:
            steps = [replace(step, within=(*step.within, self)) for step in steps]
        if self.keep and steps:
            steps[0] = replace(steps[0], keep={**self.keep, **(steps[0].keep or {})})
        return steps, gates

    def explain(self) -> str:
        """The passes over the voxels: what each holds, and why it ends."""
        return str(self.plan())

    def inverse(self, warn: bool = True) -> Compose:
        """A transform that undoes recorded transforms, last first; see ``Subject.history``.

        Args:
            warn: Warn of transforms that cannot be undone; they are left out.
        """
        from .history import inverse

        return inverse(self, warn)

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: int) -> Transform:
        return self.transforms[index]

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.transforms))
        return f"Compose([{inner}])"
