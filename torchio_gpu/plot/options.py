"""Options that all plots of images share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..shapes import Triple
from ..signature import check_arguments

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Window = tuple[float, float]  # values drawn black and white
#: Colour: one of matplotlib's names, or red, green and blue from 0 to 255.
Colour: TypeAlias = "str | Sequence[float]"
#: Map from values to colours: one of matplotlib, or colours by label.
ColourMap: TypeAlias = "str | Colormap | Mapping[int, Colour]"


@dataclass(frozen=True)
class Options:
    """Options of plots of images; see :func:`torchio_gpu.plot.plot_image`."""

    window: Window | None = None
    percentiles: Sequence[float] = (0.5, 99.5)
    cmap: ColourMap | None = None
    indices: Triple | None = None
    channel: int | None = None
    rgb: bool = True
    radiological: bool = True
    title: str | None = None
    figsize: Sequence[float] | None = None
    show: bool = False
    output_path: str | PathLike[str] | None = None
    savefig_kwargs: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return options by name; raise a TypeError that names the valid ones for another name."""
        valid = [field.name for field in fields(cls)]
        unknown = [name for name in given if name not in valid]
        if unknown:
            raise TypeError(f"options of plots must be of {', '.join(valid)}, got {unknown}")
        check_arguments(cls, (), dict(given))
        return cls(**given)

    def __post_init__(self) -> None:
        low, high = self._pair("percentiles", self.percentiles)
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must rise from 0..100, got {self.percentiles!r}")
        if self.figsize is not None and min(self._pair("figsize", self.figsize)) <= 0:
            raise ValueError(f"figsize must be two numbers > 0, got {self.figsize!r}")

    @staticmethod
    def _pair(name: str, values: Sequence[float]) -> tuple[float, float]:
        if np.shape(values) != (2,):
            raise ValueError(f"{name} must be two numbers, got {values!r}")
        return float(values[0]), float(values[1])
