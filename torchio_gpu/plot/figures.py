"""Figures that notebooks display without pyplot. Imported when one is drawn: needs matplotlib."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class PlainFigure(Figure):
    """Figure that a notebook displays as a picture when it is the value of a cell."""

    def _repr_png_(self) -> bytes:
        return png_of(self)


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
