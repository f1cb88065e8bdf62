"""HTML of values for notebooks: a picture, and tables of facts."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..shapes import brief
from .output import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT = ' style="text-align: left"'  # notebooks align cells at the right otherwise


def table_of(rows: Sequence[Sequence[str]], head: Sequence[str] = (), caption: str = "") -> str:
    """Return an HTML table of texts, which are escaped.

    Args:
        rows: Texts of the cells; the last cell of a shorter row spans the columns that are left.
        head: Titles of the columns.
        caption: Text above the table.
    """
    width = max(map(len, (head, *rows)))

    def line(cells: Sequence[str], tag: str) -> str:
        rest = f' colspan="{width - len(cells) + 1}"' if len(cells) < width else ""
        spans = [""] * (len(cells) - 1) + [rest]
        texts = zip(cells, spans, strict=True)
        inner = (f"<{tag}{span}{_LEFT}>{html.escape(text)}</{tag}>" for text, span in texts)
        return f"<tr>{''.join(inner)}</tr>"

    above = f"<p>{html.escape(caption)}</p>" if caption else ""
    titles = f"<thead>{line(head, 'th')}</thead>" if head else ""
    body = "".join(line(row, "td") for row in rows)
    return f"{above}<table>{titles}<tbody>{body}</tbody></table>"


def html_of(value: object, draw: Callable[[], Figure], facts: Callable[[], str]) -> str:
    """Return HTML that shows a value in a notebook: its figure, and a table of facts.

    Args:
        value: An image, subject or batch; the beginning of its ``repr`` describes the figure.
        draw: Function that draws the figure; without matplotlib, the table is all there is.
        facts: Function that returns the table, as HTML, called after the voxels have been read.

    A file that cannot be read has no figure: its error is there instead.
    """
    try:
        new_figure(1, 1)  # before voxels are read for nothing
    except ImportError:
        return facts()
    from .figures import png_of

    try:
        figure = draw()
    except OSError as error:
        return f"<p>{html.escape(str(error))}</p>{facts()}"
    data = b64encode(png_of(figure)).decode("ascii")
    source = f'src="data:image/png;base64,{data}"'
    picture = f'<img style="max-width: 100%" alt="{html.escape(brief(value))}" {source}/>'
    return f"<div>{picture}</div>{facts()}"


__all__ = ["html_of", "table_of"]
