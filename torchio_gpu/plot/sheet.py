"""Sheets: rows of planes in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .options import COLOURS, ColourMap, Options, Window, label_colour
from .output import finish, new_figure
from .planes import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Positions of the letters: left, right, bottom and top.
SIDES = (0.02, 0.5, "left"), (0.98, 0.5, "right"), (0.5, 0.02, "bottom"), (0.5, 0.98, "top")
TITLE, GAP = 0.32, 0.04  # inches above a row, for two lines, and between planes
BAR = 1.6, 0.09  # inches across and up


@dataclass(frozen=True)
class Row:
    """Planes beside one another, with a title."""

    title: str
    planes: list[Plane]
    window: Window | None = None  # by default, that of the options
    bar: bool = False  # with a bar of the colours of the window


def window_of(planes: Sequence[Plane], options: Options) -> Window:
    """Return the values of planes to draw black and white, or the range of labels."""
    if options.window is not None:
        return options.window
    values = np.concatenate([plane.picture.ravel() for plane in planes])
    values = values[np.isfinite(values)]
    full = planes[0].range
    span = (0, 100) if planes[0].painted else options.percentiles or (0.5, 99.5)
    low, high = np.percentile(values, span).tolist() if len(values) else (0, 1)
    if full is not None and options.percentiles is None:
        inside = not len(values) or (full[0] <= values.min() and values.max() <= full[1])
        low, high = full if inside else (low, high)
    least, most = options.vmin, options.vmax
    return low if least is None else float(least), high if most is None else float(most)


def draw_sheet(rows: Sequence[Row], options: Options, width: float, columns: int = 1) -> Figure:
    """Draw titled rows of planes, save and show the figure, and return it.

    Args:
        rows: The rows.
        options: Of these, those of the figure.
        width: Width of a column in inches, if ``figsize`` is not given.
        columns: Number of columns, which are filled one after another.
    """
    if options.axes is not None:
        figure = _draw_into(rows, options, options.axes)
    else:
        figure = _new_sheet(rows, options, width, min(columns, len(rows)))
    return finish(figure, options.show, options.output_path, options.savefig_kwargs)


def _new_sheet(rows: Sequence[Row], options: Options, width: float, columns: int) -> Figure:
    lines = ceil(len(rows) / columns)
    sizes = [[plane.size for plane in row.planes] for row in rows]
    tallest = max(up for row in sizes for _, up in row)
    head = TITLE if options.title else 0
    if options.figsize is not None:
        width = options.figsize[0] / columns
    scale = min((width - 4 * GAP) / sum(across for across, _ in row) for row in sizes)  # inch/mm
    if options.figsize is None:
        scale = min(scale, width / tallest)  # long, narrow images
    else:
        scale = min(scale, ((options.figsize[1] - head) / lines - TITLE - GAP) / tallest)
        if scale <= 0:
            raise ValueError(f"figsize must leave room for planes, got {options.figsize}")
    height = TITLE + GAP + scale * tallest
    total = options.figsize or (width * columns, head + height * lines)
    figure = new_figure(total[0], total[1], options.dpi or 150, facecolor="black")

    def add_axes(left: float, bottom: float, wide: float, high: float) -> Axes:
        bounds = left / total[0], bottom / total[1], wide / total[0], high / total[1]
        return figure.add_axes(bounds)

    def write(text: str, left: float, bottom: float, wide: float, ha: str = "left") -> None:
        text = "\n".join(wrap(text, int(17 * wide), max_lines=2, placeholder=" …"))
        place = left / total[0], bottom / total[1]
        figure.text(*place, text, color="white", fontsize=7, ha=ha, va="bottom")

    for number, row in enumerate(rows):
        column, line = divmod(number, lines)
        left, top = column * width + GAP, total[1] - head - line * height - TITLE
        window = row.window or window_of(row.planes, options)
        write(row.title, left, top + GAP, width / 2 if row.bar else width)
        if row.bar:
            _draw_bar(add_axes(left + width - BAR[0] - 0.5, top + 2 * GAP, *BAR), row, window)
        for plane in row.planes:
            across, up = (scale * mm for mm in plane.size)
            _draw(add_axes(left, top - up, across, up), plane, window, options)
            left += across + GAP
    if options.title:
        write(options.title, GAP, total[1] - head + GAP, total[0])
    return figure


def _draw_into(rows: Sequence[Row], options: Options, given: Sequence[Axes]) -> Figure:
    """Draw planes into axes of the caller, one for each, and return the figure of the first."""
    axes = list(np.ravel(np.array(given, dtype=object)))
    count = sum(len(row.planes) for row in rows)
    if len(axes) != count:
        raise ValueError(f"axes must be {count}, one for each plane, got {len(axes)}")
    figure: Figure = axes[0].get_figure()
    rest = iter(axes)
    for row in rows:
        window = row.window or window_of(row.planes, options)
        for n, (plane, into) in enumerate(zip(row.planes, rest, strict=False)):
            _draw(into, plane, window, options)
            into.set_title("" if n else row.title, loc="left")
    if options.title:
        figure.suptitle(options.title)
    return figure


def _draw_bar(axes: Axes, row: Row, window: Window) -> None:
    """Draw the colours from the lowest to the highest value, with these two beside them."""
    from matplotlib.colors import Colormap

    cmap = row.planes[0].cmap
    colours = cmap if isinstance(cmap, (str, Colormap)) else "gray"
    axes.imshow(np.linspace(0, 1, 256)[None], colours, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_axis_off()
    for x, value, ha in ((-0.03, window[0], "right"), (1.03, window[1], "left")):
        axes.text(x, 0.4, f"{value:.3g}", color="white", fontsize=6, ha=ha, va="center")


def _draw(axes: Axes, plane: Plane, window: Window, options: Options) -> None:
    from matplotlib.patheffects import withStroke

    extent = (0, plane.size[0], 0, plane.size[1])
    picture, cmap = plane.picture, plane.cmap
    if plane.painted and (cmap is None or isinstance(cmap, Mapping)):
        picture = _painted(picture, cmap)[..., :3]
    elif picture.ndim == 3:
        low, high = window
        picture = ((picture - low) / (high - low or 1)).clip(0, 1)
    elif isinstance(cmap, Mapping):
        raise ValueError(f"cmap must be a colour map for a scalar image, got {cmap!r}")
    colours = None if isinstance(cmap, Mapping) else cmap or "gray"
    # labels are never mixed
    between = "nearest" if plane.painted else options.interpolation
    axes.imshow(
        picture, colours, vmin=window[0], vmax=window[1], origin="lower", extent=extent,
        interpolation=between,
    )  # fmt: skip
    for labels, own in plane.contours:
        if options.overlay:
            over = _painted(labels, own)
            over[..., 3] *= options.overlay
            axes.imshow(over, origin="lower", extent=extent, interpolation="nearest")
        for label in np.unique(labels[labels != 0]) if options.contours else ():
            inside, colour = labels == label, _colour(label, own)
            # otherwise there is no line to draw
            if colour is not None and min(inside.shape) > 1 and not inside.all():
                axes.contour(
                    inside, [0.5], colors=[colour], linewidths=0.6, origin="lower", extent=extent
                )
    for number, (across, up) in enumerate(dots.T for dots in plane.dots):
        fill = COLOURS[number % len(COLOURS)]
        axes.scatter(across, up, s=9, color=fill, edgecolors="black", linewidths=0.4, zorder=3)
    axes.set_axis_off()
    # light letters with a dark rim: legible on black, grey and white
    rim = [withStroke(linewidth=1.5, foreground="black")]
    style: dict[str, Any] = {"transform": axes.transAxes, "color": "#ffc8c8", "path_effects": rim}
    for (x, y, side), letter in zip(SIDES, plane.letters, strict=True):
        ha, va = (side, "center") if y == 0.5 else ("center", side)
        axes.text(x, y, letter, fontsize=7, ha=ha, va=va, **style)
    axes.text(0.02, 0.98, plane.name, fontsize=6, va="top", **style)


def _painted(labels: np.ndarray, cmap: ColourMap | None) -> np.ndarray:
    """Return red, green, blue and opacity of labels; 0 for the background."""
    number = np.rint(labels).astype(int)
    picture = np.zeros((*number.shape, 4))
    for label in np.unique(number[number != 0]):
        colour = _colour(label, cmap)
        if colour is not None:
            picture[number == label] = (*colour, 1)
    return picture


def _colour(label: float, cmap: ColourMap | None) -> tuple[float, ...] | None:
    """Return red, green and blue from 0 to 1 of a label; None if a dict has no colour for it."""
    from matplotlib.colors import to_rgb

    if not isinstance(cmap, Mapping):
        return label_colour(label)
    colour = cmap.get(int(label))
    if colour is None or isinstance(colour, str):
        return None if colour is None else to_rgb(colour)
    return tuple(value / 255 for value in colour)


__all__ = ["Row", "draw_sheet", "window_of"]
