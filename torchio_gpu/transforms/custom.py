"""Transforms that apply a function of the user."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import ImagesBatch
from ..data.keys import KINDS
from ..shapes import Volume
from ..tracing import untraceable
from .base import Context
from .kinds import WholeVolume
from .parameters.params import Params
from .pipeline.maps import SpatialTraits


@dataclass(frozen=True)
class LambdaParams(Params):
    """Empty parameters: a function draws its own, if any."""


class Lambda(WholeVolume):
    """Apply a function to the voxels of images.

    Args:
        function: From voxels to new ones: of each image (C, I, J, K), as in TorchIO 1.x; or of
            all samples at once, (B, C, I, J, K), if ``batched``.
        types_to_apply: Kinds of images to apply it to: 'intensity', 'label', or a sequence of
            these; None for all.
        batched: Call the function once for the batch. Quicker, and right for any function that
            treats each sample by itself.
        kwargs: See :class:`Transform`.

    The function should keep the dtype, and where ``p`` is below 1 must keep the shape. It gets a
    copy of the voxels, and may write to it.

    Raises:
        TypeError: ``function`` cannot be called, or, when called, does not return a tensor.
        ValueError: A type is unknown, or the result does not have as many dimensions.

    >>> invert = Lambda(lambda x: -x, types_to_apply=[INTENSITY])
    >>> invert(torch.ones(1, 2, 2, 2)).unique()
    tensor([-1.])
    """

    traits = SpatialTraits()  # a function may move content

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        types_to_apply: str | Sequence[str] | None = None,
        batched: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        types = (types_to_apply,) if isinstance(types_to_apply, str) else types_to_apply
        valid = types is None or (
            isinstance(types, Collection)
            and not isinstance(types, Tensor)
            and all(str(kind) in KINDS for kind in types)
        )
        if not valid:
            raise ValueError(f"types_to_apply must be made of {KINDS}, got {types_to_apply!r}")
        self.function, self.batched = function, batched
        self.types_to_apply = None if types is None else tuple(types)

    @property
    def shares(self) -> bool:
        return True

    @property
    def computes(self) -> bool:
        return False

    @property
    def kinds(self) -> tuple[str, ...]:
        return KINDS if self.types_to_apply is None else self.types_to_apply

    def draw(self, context: Context, u: np.ndarray) -> LambdaParams:
        return LambdaParams()

    def voxels(self, images: Mapping[str, ImagesBatch], name: str, params: LambdaParams) -> Volume:
        x = images[name].data
        if self.batched:
            return self._call(x)
        return torch.stack([self._call(sample) for sample in x])

    def _call(self, x: Tensor) -> Tensor:
        untraceable("a function of the user is called")
        y = self.function(x.clone())  # the function may write to its argument
        if not isinstance(y, Tensor):
            raise TypeError(f"function must return a tensor, got {type(y).__name__}")
        if y.ndim != x.ndim or (self.batched and len(y) != len(x)):
            raise ValueError(
                f"function must return as many dimensions{' and samples' * self.batched} as it "
                f"gets: {tuple(x.shape)} became {tuple(y.shape)}"
            )
        return y


__all__ = ["Lambda"]
