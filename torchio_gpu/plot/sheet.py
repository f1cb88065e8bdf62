"""Sheets: rows of planes in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from .options import ColourMap, Options, Window
from .output import finish, new_figure
from .planes import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of labels 1, 2, ..., repeated for more labels: distinct on grey, and for colour-blind
#: readers (Okabe & Ito 2008).
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")
#: Positions of the letters: left, right, bottom and top.
SIDES = (0.02, 0.5, "left"), (0.98, 0.5, "right"), (0.5, 0.02, "bottom"), (0.5, 0.98, "top")
TITLE, GAP = 0.32, 0.04  # inches above a row, for two lines, and between planes


def window_of(planes: Sequence[Plane], percentiles: Sequence[float]) -> Window:
    """Return the percentiles of the values of planes, or the range of labels."""
    values = np.concatenate([plane.picture.ravel() for plane in planes])
    values = values[np.isfinite(values)]
    span = (0, 100) if planes[0].painted else percentiles
    low, high = np.percentile(values, span) if len(values) else (0, 1)
    return float(low), float(high)


def draw_sheet(
    rows: Sequence[tuple[str, list[Plane], Window | None]],
    options: Options,
    width: float,
    columns: int = 1,
) -> Figure:
    """Draw titled rows of planes, save and show the figure, and return it.

    Args:
        rows: Title, planes and window of each row.
        options: Of these, those of the figure.
        width: Width of a column in inches, if ``figsize`` is not given.
        columns: Number of columns, which are filled one after another.
    """
    columns = min(columns, len(rows))
    lines = ceil(len(rows) / columns)
    sizes = [[plane.size for plane in planes] for _, planes, _ in rows]
    tallest = max(up for row in sizes for _, up in row)
    head = TITLE if options.title else 0
    if options.figsize is not None:
        width = options.figsize[0] / columns
    scale = min((width - 4 * GAP) / sum(across for across, _ in row) for row in sizes)  # inch/mm
    if options.figsize is not None:
        scale = min(scale, ((options.figsize[1] - head) / lines - TITLE - GAP) / tallest)
        if scale <= 0:
            raise ValueError(f"figsize must leave room for planes, got {options.figsize}")
    height = TITLE + GAP + scale * tallest
    total = options.figsize or (width * columns, head + height * lines)
    figure = new_figure(*total, facecolor="black")

    def write(text: str, left: float, bottom: float, wide: float) -> None:
        text = "\n".join(wrap(text, int(17 * wide), max_lines=2, placeholder=" …"))
        place = left / total[0], bottom / total[1]
        figure.text(*place, text, color="white", fontsize=7, verticalalignment="bottom")

    for number, (title, planes, window) in enumerate(rows):
        column, line = divmod(number, lines)
        left, top = column * width + GAP, total[1] - head - line * height - TITLE
        write(title, left, top + GAP, width)
        window = window or window_of(planes, options.percentiles)
        for plane in planes:
            across, up = (scale * mm for mm in plane.size)
            bounds = left / total[0], (top - up) / total[1], across / total[0], up / total[1]
            _draw(figure.add_axes(bounds), plane, window)
            left += across + GAP
    if options.title:
        write(options.title, GAP, total[1] - head + GAP, total[0])
    return finish(figure, options.show, options.output_path, options.savefig_kwargs)


def _draw(axes: Axes, plane: Plane, window: Window) -> None:
    extent = (0, plane.size[0], 0, plane.size[1])
    picture, cmap = plane.picture, plane.cmap
    if plane.painted and (cmap is None or isinstance(cmap, Mapping)):
        number = np.rint(picture).astype(int)
        picture = np.zeros((*number.shape, 3))
        for label in np.unique(number[number != 0]):
            picture[number == label] = _colour(label, cmap) or (0, 0, 0)
    elif picture.ndim == 3:
        low, high = window
        picture = ((picture - low) / (high - low or 1)).clip(0, 1)
    elif isinstance(cmap, Mapping):
        raise ValueError(f"cmap must be a colour map for a scalar image, got {cmap!r}")
    colours = None if isinstance(cmap, Mapping) else cmap or "gray"
    axes.imshow(picture, colours, vmin=window[0], vmax=window[1], origin="lower", extent=extent)
    for contour, own in plane.contours:
        for label in np.unique(contour[contour != 0]):
            inside, colour = contour == label, _colour(label, own)
            # otherwise there is no line to draw
            if colour is not None and min(inside.shape) > 1 and not inside.all():
                axes.contour(
                    inside, [0.5], colors=[colour], linewidths=0.6, origin="lower", extent=extent
                )
    for number, (across, up) in enumerate(dots.T for dots in plane.dots):
        fill = COLOURS[number % len(COLOURS)]
        axes.scatter(across, up, s=9, color=fill, edgecolors="black", linewidths=0.4, zorder=3)
    axes.set_axis_off()
    for (x, y, side), letter in zip(SIDES, plane.letters, strict=True):
        ha, va = (side, "center") if y == 0.5 else ("center", side)
        axes.text(x, y, letter, color="#ffb0b0", fontsize=6, transform=axes.transAxes, ha=ha, va=va)
    axes.text(0.02, 0.98, plane.name, color="0.7", fontsize=5, transform=axes.transAxes, va="top")


def _colour(label: float, cmap: ColourMap | None) -> tuple[float, ...] | None:
    """Return red, green and blue from 0 to 1 of a label; None if a dict has no colour for it."""
    from matplotlib.colors import to_rgb

    if not isinstance(cmap, Mapping):
        return to_rgb(COLOURS[int(label - 1) % len(COLOURS)])
    colour = cmap.get(int(label))
    if colour is None or isinstance(colour, str):
        return None if colour is None else to_rgb(colour)
    return tuple(value / 255 for value in colour)


__all__ = ["draw_sheet", "window_of"]
