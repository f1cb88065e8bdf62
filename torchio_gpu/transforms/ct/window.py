"""Window: a range of Hounsfield units, mapped to another range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array, Numbers, common, per_sample
from ...functional import operations
from ...functional.ct.window import window_of, window_operations
from ...functional.dispatch.arguments import positive
from ...functional.normalization import check_range
from ..base import Context
from ..kinds import PointwiseTransform, RandomTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike


@dataclass(frozen=True)
class WindowParams(Params):
    """Centre and width in HU for each sample and image; of infinite width for none."""

    neutral: ClassVar[dict[str, float]] = {"width": np.inf}
    center: Annotated[Array, "B M"]
    width: Annotated[Array, "B M"]


class _Window(PointwiseTransform):
    """Window of intensities."""

    def _set_window(self, window: Any, out_min_max: Numbers) -> None:
        self.window = window
        self.out_min_max = check_range(out_min_max, "out_min_max")
        pairs = self._pairs()
        for value in values_of(pairs):
            positive(per_sample(value, (2,), "window")[:, 1], "width of window")

    def _pairs(self) -> Any:
        if isinstance(self.window, Mapping):
            return {name: window_of(value) for name, value in self.window.items()}
        return window_of(self.window)

    def _center_and_width(self, context: Context) -> tuple[Any, Array, Array]:
        """Return the library to compute with, centres and widths, [1 or B, M] each."""
        xp, pairs = common(per_image(self._pairs(), (2,), "window", context.names))
        return xp, pairs[..., 0], pairs[..., 1]

    def operation(
        self, params: WindowParams, active: np.ndarray | None
    ) -> tuple[operations.Operation, ...]:
        return tuple(window_operations(params.center, params.width, self.out_min_max))


class Window(_Window):
    """Map a window of Hounsfield units linearly to a range, and what lies outside to its ends.

    Args:
        window: Centre and width in HU, such as (40, 80): (2,) for all samples or (B, 2) for each;
            or a name: 'abdomen', 'bone', 'brain', 'liver', 'lung', 'mediastinum', 'soft tissue',
            'spine', 'stroke', 'subdural' or 'temporal bone', with numbers that are common in
            radiology, https://radiopaedia.org/articles/windowing-ct; or a dict with one entry per
            image name. Tensors may require a gradient.
        out_min_max: Range that the window is mapped to; d means (-d, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A width is not positive, a name unknown, or the range empty.

    >>> Window("brain")(torch.tensor([-1000.0, 40, 60, 900]).view(1, 1, 1, 4)).flatten()
    tensor([0.0000, 0.5000, 0.7500, 1.0000])
    """

    def __init__(
        self,
        window: ByImage[str | PerSample],
        out_min_max: Numbers = (0, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_window(window, out_min_max)

    def draw(self, context: Context, u: np.ndarray) -> WindowParams:
        _, center, width = self._center_and_width(context)
        return WindowParams(center, width).expand(context.batch)


class RandomWindow(RandomTransform, _Window):
    """Map a random window of Hounsfield units to a range: see :class:`Window`.

    Args:
        window: Centre and width in HU that random windows lie around, or a name; as for
            :class:`Window`.
        shift: Range of the displacement of the centre, as a part of the width of ``window``; d
            means (-d, d).
        factor: Range of the factor of the width, > 0; d means (1 - d, 1 + d).
        out_min_max: Range that the window is mapped to; d means (-d, d).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A width or factor is not positive, a name unknown, or a range empty.

    >>> RandomWindow("lung", shift=0.05)(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    def __init__(
        self,
        window: ByImage[str | PerSample] = "soft tissue",
        shift: RangeLike = 0.1,
        factor: RangeLike = (0.8, 1.25),
        out_min_max: Numbers = (0, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_window(window, out_min_max)
        self.shift, self.factor = shift, factor
        self._shift = Range(shift, "shift")
        self._factor = Range(factor, "factor", around=1, minimum=0, exclusive=True)

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> WindowParams:
        shift, factor = self._shift(u[..., :1])[..., 0], self._factor(u[..., 1:])[..., 0]
        _, center, width = self._center_and_width(context)
        _, shift, factor, center, width = common(shift, factor, center, width)
        return WindowParams(center + shift * width, width * factor)
