"""Base of the parameters of transforms, with one entry per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, common, per_sample, send
from ...functional.samples import pick

P = TypeVar("P", bound="Params")


@dataclass(frozen=True)
class Params:
    """Base of all parameters. Fields are arrays with one entry per sample, or plain flags; tensors
    where the user gave tensors.

    Arrays are annotated with their axes, ``Annotated[Array, "B M 3"]``: B samples, M images, other
    letters for sizes of the class's own; after these, ``int`` or ``bool`` if they hold only these.
    Parameters that are read from a file are checked against the annotations.

    ``neutral`` holds, for each array that has an effect by itself, the value that leaves a sample
    as it is. Other arrays (a centre, a seed) have an effect only together with these.
    """

    neutral: ClassVar[dict[str, float]] = {}
    #: Arrays with an axis of channels after that of images: of 1, or of as many as the image with
    #: most channels has.
    channel_arrays: ClassVar[tuple[str, ...]] = ()

    def change(self: P, function: Callable[[str, Array], Array]) -> P:
        """Return parameters with each array replaced by ``function(name, array)``."""
        new = object.__new__(type(self))  # bypasses the constructor of a frozen dataclass
        for name, value in vars(self).items():
            array = isinstance(value, (np.ndarray, Tensor))
            vars(new)[name] = function(name, value) if array else value
        return new

    def gate(self: P, active: np.ndarray) -> P:
        """Return parameters that leave inactive samples as they are.

        Args:
            active: Samples to transform, [B] bool.
        """

        def neutralise(name: str, value: Array) -> Array:
            if name not in self.neutral:
                return value
            mask = active.reshape(-1, *(1,) * (value.ndim - 1))
            neutral = self.neutral[name]
            if isinstance(value, Tensor):
                return torch.where(send(torch.from_numpy(mask), value.device), value, neutral)
            return np.where(mask, value, np.array(neutral, dtype=value.dtype))

        return self.change(neutralise)

    def row(self: P, sample: int) -> P:
        """Return the parameters of one sample, as a batch of one."""
        return self.change(lambda _, value: value[sample : sample + 1])

    def rows(self: P, samples: Sequence[int]) -> P:
        """Return the parameters of some samples."""
        return self.change(lambda _, value: pick(value, samples))

    def column(self: P, image: int, channels: int) -> P:
        """Return the parameters of one image; arrays have one entry per sample and image.

        Args:
            image: Number of the image.
            channels: Number of its channels.
        """

        def of_image(name: str, value: Array) -> Array:
            return value[:, image, :channels] if name in self.channel_arrays else value[:, image]

        return self.change(of_image)

    def expand(self: P, batch: int) -> P:
        """Repeat the parameters of a single sample for ``batch`` samples."""

        def widen(name: str, value: Array) -> Array:
            if value.shape[0] not in (1, batch):
                raise ValueError(
                    f"{name} must hold one entry per sample: expected {batch}, got {value.shape[0]}"
                )
            if len(value) == batch:
                return value
            if isinstance(value, Tensor):
                return value.expand(batch, *value.shape[1:])
            return value.repeat(batch, 0)

        return self.change(widen)

    def __str__(self) -> str:
        """Return values of small arrays and shapes of large ones, as text."""

        def brief(value: Any) -> str:
            if not isinstance(value, (np.ndarray, Tensor)):
                return str(value)
            large = math.prod(value.shape) > 16
            return f"<{' x '.join(map(str, value.shape))}>" if large else str(value.tolist())

        return ", ".join(f"{f.name}={brief(getattr(self, f.name))}" for f in fields(self))

    def to_dict(self) -> dict[str, Any]:
        """Return lists, numbers and flags; arrays without entries as their shape."""

        def plain(value: Any) -> Any:
            if not isinstance(value, (np.ndarray, Tensor)):
                return value
            return value.tolist() if 0 not in value.shape else {"shape": list(value.shape)}

        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def check(self) -> None:
        """Raise a ValueError if values that were read from a file are invalid."""

    @classmethod
    def from_dict(cls: type[P], values: dict[str, Any]) -> P:
        """Return the parameters of a dict; the inverse of :meth:`to_dict`."""

        def array(value: Any) -> Any:
            if isinstance(value, dict):
                return np.zeros(value["shape"])
            return np.array(value) if isinstance(value, list) else value

        return cls(**{name: array(value) for name, value in values.items()})


def per_image(value: Any, shape: tuple[int, ...], name: str, names: tuple[str, ...]) -> Array:
    """Return the values of an argument of a deterministic transform, [B, M, *shape].

    Args:
        value: Value for all images, see :func:`torchio_gpu.arrays.per_sample`; or a dict of these,
            by image name.
        shape: Shape of one sample's values.
        name: Name of the argument, for errors.
        names: Names of the images.
    """
    return stack_images([per_sample(v, shape, name) for v in value_per_image(value, name, names)])


def value_per_image(value: Any, name: str, names: tuple[str, ...]) -> list[Any]:
    """Return the value of an argument for each image, from one for all or a dict by name."""
    if not isinstance(value, Mapping):
        return [value] * len(names)
    missing = [image for image in names if image not in value]
    if missing:
        raise ValueError(f"{name} must have an entry for each image, none for {missing}")
    return [value[image] for image in names]


def values_of(value: Any) -> list[Any]:
    """Return the values of an argument that may be a dict by image name."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def stack_images(columns: Sequence[Array]) -> Any:
    """Stack the values of M images, [1 or B, ...] each, to [B, M, ...]."""
    xp, *columns = common(*columns)
    batch = max(len(column) for column in columns)
    return xp.stack([xp.broadcast_to(c, (batch, *c.shape[1:])) for c in columns], 1)
