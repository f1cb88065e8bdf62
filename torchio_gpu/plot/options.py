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
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

Window = tuple[float, float]  # values drawn black and white
#: Colour: one of matplotlib's names, or red, green and blue from 0 to 255.
Colour: TypeAlias = "str | Sequence[float]"
#: Map from values to colours: one of matplotlib, or colours by label.
ColourMap: TypeAlias = "str | Colormap | Mapping[int, Colour]"
#: Colours of labels 1, 2, ..., repeated for more labels: distinct on grey, and for colour-blind
#: readers (Okabe & Ito 2008).
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")
#: Options of TorchIO and of matplotlib's ``imshow`` that plots do not take, with advice.
_INSTEAD = {
    "reorient": "planes are anatomical for every orientation, leave it out",
    "xlabels": "letters at the edges name the directions, leave it out",
    "clear_axes": "planes have no axes, leave it out",
    "aspect": "planes are drawn to one scale in mm, leave it out",
    "origin": "use radiological",
    "norm": "use window, or vmin and vmax",
    "alpha": "use overlay, the opacity of labels",
}


@dataclass(frozen=True)
class Options:
    """Options of plots of images; see :func:`torchio_gpu.plot.plot_image`."""

    window: Window | None = None
    percentiles: Sequence[float] | None = None
    vmin: float | None = None
    vmax: float | None = None
    cmap: ColourMap | None = None
    interpolation: str | None = None
    contours: bool = True
    overlay: float = 0.0
    indices: Triple | None = None
    channel: int | None = None
    rgb: bool = True
    radiological: bool = True
    title: str | None = None
    figsize: Sequence[float] | None = None
    dpi: float | None = None
    axes: Sequence[Axes] | None = None
    show: bool = False
    output_path: str | PathLike[str] | None = None
    savefig_kwargs: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return options by name; raise a TypeError that names the valid ones for another name."""
        valid = [field.name for field in fields(cls)]
        for name in given:
            if name in _INSTEAD:
                raise TypeError(f"{name} is no option of plots: {_INSTEAD[name]}")
        unknown = [name for name in given if name not in valid]
        if unknown:
            raise TypeError(f"options of plots must be of {', '.join(valid)}, got {unknown}")
        check_arguments(cls, (), dict(given))
        return cls(**given)

    def __post_init__(self) -> None:
        if self.window is not None:
            self._pair("window", self.window)
            if self.vmin is not None or self.vmax is not None:
                raise ValueError("window must not be given along with vmin or vmax, got both")
        if self.percentiles is not None:
            low, high = self._pair("percentiles", self.percentiles)
            if not 0 <= low < high <= 100:
                raise ValueError(f"percentiles must rise from 0..100, got {self.percentiles!r}")
        if not 0 <= self.overlay <= 1:
            raise ValueError(f"overlay must be an opacity from 0 to 1, got {self.overlay!r}")
        if self.figsize is not None and min(self._pair("figsize", self.figsize)) <= 0:
            raise ValueError(f"figsize must be two numbers > 0, got {self.figsize!r}")
        if self.dpi is not None and not self.dpi > 0:
            raise ValueError(f"dpi must be > 0, got {self.dpi!r}")
        if self.axes is not None and not (self.figsize is None and self.dpi is None):
            raise ValueError("axes must not be given along with figsize or dpi: they have a figure")

    @staticmethod
    def _pair(name: str, values: Sequence[float]) -> tuple[float, float]:
        if np.shape(values) != (2,):
            raise ValueError(f"{name} must be two numbers, got {values!r}")
        return float(values[0]), float(values[1])


def label_colour(label: float) -> tuple[float, ...]:
    """Return red, green and blue from 0 to 1 of a label, if no colour was given for it."""
    code = COLOURS[int(label - 1) % len(COLOURS)]
    return tuple(int(code[n : n + 2], 16) / 255 for n in (1, 3, 5))
