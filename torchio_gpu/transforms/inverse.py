"""Inverse of a transform that is known without a history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import Context, Transform
from .parameters.params import Params
from .pipeline.maps import SpatialTraits

__all__ = ["Inverse", "regrids"]


class Inverse(Transform):
    """Inverse of a transform whose parameters follow from its arguments.

    Args:
        transform: The transform, which draws no numbers and keeps the grid.

    >>> flip = Flip(0)
    >>> flip.inverse()(flip(torch.arange(3.).view(1, 3, 1, 1))).flatten()
    tensor([0., 1., 2.])
    """

    def __init__(self, transform: Transform) -> None:
        if transform.draws or not transform.is_invertible() or regrids(transform):
            raise RuntimeError(
                f"{transform.name} cannot be undone from its arguments alone: take the inverse "
                "from the history of a subject, by get_inverse_transform()"
            )
        super().__init__(**transform._common())
        self.transform = transform

    @property
    def role(self) -> str:  # type: ignore[override]
        """Role of the transform."""
        return self.transform.role

    @property
    def traits(self) -> SpatialTraits | None:  # type: ignore[override]
        """Traits of the transform."""
        return self.transform.traits

    @property
    def shares(self) -> bool:
        return self.transform.shares

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.transform.kinds

    def draw(self, context: Context, u: np.ndarray) -> Params:
        return self.transform.invert(self.transform.draw(context, u))

    def select(
        self, kinds: tuple[tuple[str, str], ...], others: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        return self.transform.select(kinds, others)

    def is_invertible(self) -> bool:
        return True

    def invert(self, params: Params) -> Params:
        return self.transform.invert(params)

    def inverse(self) -> Transform:
        """Return the transform."""
        return self.transform

    def _engine_structure(self) -> tuple[Any, ...]:
        return self.transform._engine_structure()

    def __getattr__(self, name: str) -> Any:
        # hooks of the kind of the transform
        transform = self.__dict__.get("_modules", {}).get("transform")
        if transform is None or name.startswith("_"):
            raise AttributeError(name)
        return transform if name == "transform" else getattr(transform, name)

    def __repr__(self) -> str:
        return f"Inverse({self.transform!r})"


def regrids(transform: Transform) -> bool:
    """Return True if a transform gives images another grid."""
    return transform.traits is not None and transform.traits.regrids
