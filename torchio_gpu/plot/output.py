"""New figures, and what becomes of them: files, windows, HTML."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, dpi: float = 150, **kwargs: Any) -> Figure:
    """Return an empty figure that needs no display.

    Args:
        width, height: Size in inches.
        dpi: Dots per inch.
        kwargs: Further arguments of matplotlib's ``Figure``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure  # noqa: F401
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "torchio-gpu[plot]"') from error
    from .figures import PlainFigure

    figure = PlainFigure(figsize=(width, height), dpi=dpi, **kwargs)
    FigureCanvasAgg(figure)
    return figure


def finish(
    figure: Figure,
    show: bool = False,
    output_path: str | PathLike[str] | None = None,
    savefig_kwargs: Mapping[str, Any] | None = None,
) -> Figure:
    """Save and show a figure, and return it.

    Args:
        figure: The figure.
        show: See :func:`show_figure`.
        output_path: File to save the figure in; its suffix names the format.
        savefig_kwargs: Further arguments of ``figure.savefig``.
    """
    if output_path is not None:
        figure.savefig(output_path, **(savefig_kwargs or {}))
    if show:
        show_figure(figure)
    return figure


def show_figure(figure: Figure) -> None:
    """Show a figure in a notebook, or in a window if matplotlib has an interactive backend.

    With another backend, such as Agg, nothing is shown. A window stays until it is closed.
    """
    if in_notebook():
        display(figure)
        return
    from matplotlib import pyplot

    if figure.canvas.manager is not None:  # a figure of pyplot, whose axes were drawn into
        if figure.canvas.required_interactive_framework is not None:
            pyplot.show()
        return

    window = pyplot.figure()
    canvas = window.canvas
    if canvas.required_interactive_framework is None or canvas.manager is None:
        pyplot.close(window)
        return
    canvas.manager.canvas.figure = figure
    figure.set_canvas(canvas.manager.canvas)
    pyplot.show()


def display(value: object) -> None:
    """Display a value in a notebook."""
    shown: Any = import_module("IPython.display")
    shown.display(value)


def in_notebook() -> bool:
    """Return True if the code runs in the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
