"""Histograms of the values of voxels."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..signature import checked
from .output import finish, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BINS = 1000


@checked
def plot_histogram(
    values: np.ndarray,
    *,
    bins: int | None = None,
    density: bool = False,
    show: bool = False,
    output_path: str | PathLike[str] | None = None,
    **kwargs: Any,
) -> Figure:
    """Draw a histogram of values, and return the figure; values that are not finite are left out.

    Args:
        values: The values, of any shape.
        bins: Number of bins; by default that of Freedman and Diaconis (1981,
            doi:10.1007/BF01025868), at most 1000.
        density: Scale the bars so that their areas sum to 1; otherwise they count values.
        show: Show the figure in a notebook, or in a window if matplotlib has an interactive
            backend.
        output_path: File to save the figure in; its suffix names the format.
        kwargs: Further arguments of matplotlib's ``Axes.hist``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    values = np.asarray(values).ravel()
    values = values[np.isfinite(values)]
    figure = new_figure(6, 4, layout="constrained")
    axes = figure.add_subplot(xlabel="Intensity", ylabel="Density" if density else "Frequency")
    axes.hist(values, _bins(values) if bins is None else bins, density=density, **kwargs)
    return finish(figure, show, output_path)


def _bins(values: np.ndarray) -> int:
    """Return the number of bins by the rule of Freedman and Diaconis."""
    if not values.size:
        return 1
    low, first, third, high = np.percentile(values, (0, 25, 75, 100)).tolist()
    width = 2 * (third - first) * values.size ** (-1 / 3)
    if width * _MOST_BINS <= high - low:
        return _MOST_BINS if high > low else 1
    return max(1, round((high - low) / width))


__all__ = ["plot_histogram"]
