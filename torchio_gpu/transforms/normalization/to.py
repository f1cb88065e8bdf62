"""Conversion of voxels to another dtype or device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...shapes import Volume, converted
from .base import Images, Normalization, NormalizationParams


class To(Normalization):
    """Convert the voxels of scalar images to another dtype, or bring them to another device.

    Args:
        target: First argument of :meth:`torch.Tensor.to`: a dtype, or a device or its name. A
            dtype's name, such as 'torch.float16', stands for it.
        to_kwargs: The others; a dtype's name stands for it here, too.
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: ``target`` is none of these.
        ValueError: ``target`` names no device or dtype, or ``p`` is not 1.

    >>> To(torch.uint8)(torch.tensor([1.2, 3]).view(1, 1, 1, 2)).flatten()
    tensor([1, 3], dtype=torch.uint8)
    """

    @property
    def computes(self) -> bool:
        return False

    def __init__(
        self,
        target: str | torch.dtype | torch.device,
        to_kwargs: Mapping[str, object] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(target, (str, torch.dtype, torch.device)):
            raise TypeError(f"target must be a dtype, a device or its name, got {target!r}")
        if self.p != 1:
            raise ValueError(f"p must be 1: a type must not depend on a coin, got {self.p}")
        self.target, self.to_kwargs = target, to_kwargs
        self._target = _device_or_dtype(target)
        self._others = {name: _named_dtype(value) for name, value in (to_kwargs or {}).items()}

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments, with the target as a name, which JSON can hold."""
        return {**super().arguments(), "target": str(self.target)}

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        return converted(images[name].data, self._target, **self._others)


def _named_dtype(value: Any) -> Any:
    """Return the dtype that a name such as 'torch.float16' stands for; other values themselves."""
    if not isinstance(value, str) or not value.startswith("torch."):
        return value
    found = getattr(torch, value.removeprefix("torch."), None)
    return found if isinstance(found, torch.dtype) else value


def _device_or_dtype(target: str | torch.dtype | torch.device) -> torch.dtype | torch.device:
    target = _named_dtype(target)
    if not isinstance(target, str):
        return target
    try:
        return torch.device(target)
    except RuntimeError as error:
        raise ValueError(f"target must name a device or a dtype, got {target!r}") from error
