"""Pieces of tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def number(value: float) -> str:
    """Three digits, without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of columns of one width, so that it can be read where it is printed."""
    from tabulate import tabulate  # which machines that only measure need not have

    return tabulate([list(row) for row in rows], list(head), "github", disable_numparse=True)


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)
