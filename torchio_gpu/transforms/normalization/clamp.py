"""Clamping of intensities to a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array
from ...functional import operations
from ...functional.intensity import check_bounds
from ..base import Context
from ..kinds import PointwiseTransform
from ..parameters.params import Params, per_image
from ..parameters.types import ByImage, PerSample


@dataclass(frozen=True)
class ClampParams(Params):
    """Ends of the range for each sample and image, infinite for none."""

    neutral: ClassVar[dict[str, float]] = {"low": -np.inf, "high": np.inf}
    low: Annotated[Array, "B M"]
    high: Annotated[Array, "B M"]


class Clamp(PointwiseTransform):
    """Keep intensities within a range: those outside become its nearer end.

    Args:
        out_min, out_max: Ends of the range, in the image's own units: a number, or one per sample
            (B,); or a dict with one entry per image name; None for no end. Tensors may require a
            gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``out_min`` is above ``out_max``.

    >>> Clamp(out_min=-1000, out_max=1000)(torch.tensor([-3e3, 7, 3e3]).view(1, 1, 1, 3)).flatten()
    tensor([-1000.,     7.,  1000.])
    """

    def __init__(
        self,
        out_min: ByImage[PerSample] | None = None,
        out_max: ByImage[PerSample] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_min, self.out_max = out_min, out_max
        names = {name for end in (out_min, out_max) if isinstance(end, Mapping) for name in end}
        self._ends(tuple(names) or ("image",))

    def _ends(self, names: tuple[str, ...]) -> tuple[Array, Array]:
        low, high = (
            np.full((1, len(names)), none) if end is None else per_image(end, (), name, names)
            for end, name, none in (
                (self.out_min, "out_min", -np.inf),
                (self.out_max, "out_max", np.inf),
            )
        )
        check_bounds(low, high, "out_min", "out_max")
        return low, high

    def draw(self, context: Context, u: np.ndarray) -> ClampParams:
        return ClampParams(*self._ends(context.names)).expand(context.batch)

    def operation(self, params: ClampParams, active: np.ndarray | None) -> operations.Operation:
        return operations.Clamp(params.low, params.high)
