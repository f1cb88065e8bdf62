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
        to_kwargs: The others.
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

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments, with the target as a name, which JSON can hold."""
        return {**super().arguments(), "target": str(self.target)}

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        return converted(images[name].data, self._target, **(self.to_kwargs or {}))


def _device_or_dtype(target: str | torch.dtype | torch.device) -> torch.dtype | torch.device:
    if not isinstance(target, str):
        return target
    found = getattr(torch, target.removeprefix("torch."), None)
    if target.startswith("torch.") and isinstance(found, torch.dtype):
        return found
    try:
        return torch.device(target)
    except RuntimeError as error:
        raise ValueError(f"target must name a device or a dtype, got {target!r}") from error
