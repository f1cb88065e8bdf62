"""Parameters of a transform as a value: one entry per sample, on the host unless given elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

P = TypeVar("P", bound="Params")


@dataclass(frozen=True)
class Params:
    """Base of all parameters. Fields are tensors with one entry per sample, or plain flags.

    ``neutral`` names, for each tensor that decides something, the value that leaves a sample as
    it is. Tensors not named there (a centre, a seed) matter only beside the others.
    """

    neutral: ClassVar[dict[str, float]] = {}

    def change(self: P, function: Callable[[str, Tensor], Tensor]) -> P:
        """The same parameters with each tensor replaced."""
        new = {
            f.name: function(f.name, value) if isinstance(value, Tensor) else value
            for f in fields(self)
            for value in [getattr(self, f.name)]
        }
        return type(self)(**new)

    def gate(self: P, active: Tensor) -> P:
        """Leave the samples that are not active as they are."""

        def neutralise(name: str, value: Tensor) -> Tensor:
            if name not in self.neutral:
                return value
            mask = active.to(value.device).view(-1, *(1,) * (value.ndim - 1))
            return torch.where(mask, value, self.neutral[name])

        return self.change(neutralise)

    def row(self: P, sample: int) -> P:
        """The parameters of one sample, as a batch of one."""
        return self.change(lambda _, value: value[sample : sample + 1])

    def column(self: P, image: int) -> P:
        """Of parameters with one entry per sample and image, those of one image."""
        return self.change(lambda _, value: value[:, image])

    def expand(self: P, batch: int) -> P:
        """Let the parameters of a single sample hold for ``batch`` samples."""

        def widen(name: str, value: Tensor) -> Tensor:
            if value.shape[0] not in (1, batch):
                raise ValueError(
                    f"{name} must hold one entry per sample: expected {batch}, "
                    f"got {value.shape[0]}"
                )
            return value.expand(batch, *value.shape[1:])

        return self.change(widen)

    def __str__(self) -> str:
        """Values of small tensors, shapes of large ones."""

        def brief(value: Any) -> str:
            if isinstance(value, Tensor) and value.numel() > 16:
                return f"<{' x '.join(map(str, value.shape))}>"
            return str(value.tolist() if isinstance(value, Tensor) else value)

        return ", ".join(f"{f.name}={brief(getattr(self, f.name))}" for f in fields(self))

    def to_dict(self) -> dict[str, Any]:
        """As lists, numbers and flags."""
        return {
            f.name: value.tolist() if isinstance(value, Tensor) else value
            for f in fields(self)
            for value in [getattr(self, f.name)]
        }

    @classmethod
    def from_dict(cls: type[P], values: dict[str, Any]) -> P:
        """The inverse of :meth:`to_dict`."""
        return cls(**{n: _tensor(v) if isinstance(v, list) else v for n, v in values.items()})


def _tensor(values: list[Any]) -> Tensor:
    tensor = torch.tensor(values)
    return tensor.double() if tensor.is_floating_point() else tensor
