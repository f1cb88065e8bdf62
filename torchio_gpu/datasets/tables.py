"""Tables of datasets: files of comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

#: Value of a table. Missing ones are NaN, as data frames have them.
Value = str | int | float | bool

_MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"))
_FLAGS = {"True": True, "False": False, "TRUE": True, "FALSE": False, "true": True, "false": False}


def read_text(path: Path, remedy: str) -> list[dict[str, str]]:
    """Return the rows of a table as they are written.

    Args:
        path: The file, in UTF-8.
        remedy: Advice for the error if there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset not found, {path} is no file: {remedy}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(
                f"{path} must have {len(reader.fieldnames or ())} values in each row, "
                f"row {number} has another number of them"
            )
    return rows


def read_table(path: Path, remedy: str) -> list[dict[str, Value]]:
    """Return the rows of a table, with flags and numbers in columns that hold nothing else."""
    rows = read_text(path, remedy)
    columns = {name: _column([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return [{name: values[n] for name, values in columns.items()} for n in range(len(rows))]


def _column(texts: list[str]) -> list[Value]:
    missing = any(text in _MISSING for text in texts)
    kinds: tuple[Callable[[str], Value], ...] = (float,) if missing else (_flag, int, float)
    if any("_" in text for text in texts):  # which Python takes for a part of a number
        kinds = ()
    for kind in kinds:
        try:
            return [float("nan") if text in _MISSING else kind(text) for text in texts]
        except (ValueError, KeyError):
            continue
    return [float("nan") if text in _MISSING else text for text in texts]


def _flag(text: str) -> bool:
    return _FLAGS[text]
