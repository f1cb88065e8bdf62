"""Cases read from tables."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.io.writing import suffix_of
from .manifest import Case, PathLike, parse_role

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_IDS = ("id", "participant_id")
#: Words that stand for a missing value in tables.
_MISSING = ("", "n/a", "N/A", "nan", "NaN")


def read(path: PathLike, images: Sequence[str] = ()) -> list[Case]:
    """Return the cases of :meth:`.Cohort.from_table`."""
    table = Path(path).expanduser()
    if table.suffix not in (*_DELIMITERS, ".jsonl"):
        raise ValueError(f"a table must end in .csv, .tsv or .jsonl, got '{table}'")
    in_json = table.suffix == ".jsonl"
    rows = list(_json_rows(table) if in_json else delimited_rows(table))
    columns = dict.fromkeys(column for _, row in rows for column in row)
    for role in images:
        if role not in columns:
            raise ValueError(
                f"images must name columns of '{table}', {list(columns)}, got {role!r}"
            )
    inputs = [
        column
        for column in columns
        if column not in _IDS
        and (":" in column or column in images or (not in_json and _holds_images(column, rows)))
    ]
    for column in inputs:
        parse_role(column)
    return [_case(table, line, row, inputs) for line, row in rows]


def delimited_rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line of a .csv or .tsv file, and its values that are not missing."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        plain = table.suffix == ".tsv"  # in which quotes are letters, as in BIDS
        reader = csv.DictReader(
            file,
            delimiter=_DELIMITERS[table.suffix],
            quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
            strict=True,
        )
        names = reader.fieldnames or ()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"'{table}' must name each column once, got {twice[0]!r} twice")
        for row in _rows(table, reader):
            if None in row:
                raise ValueError(
                    f"'{table}', line {reader.line_num}: a row must not have more values than the "
                    f"header, got {row[None]} beyond it"
                )
            yield reader.line_num, {k: v for k, v in row.items() if v not in (None, *_MISSING)}


def _rows(table: Path, reader: Any) -> Iterator[dict[Any, Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"'{table}', line {reader.line_num}: no table ({error})") from error


def number_or_word(word: str) -> int | float | str:
    """Return a word as an int or a float if it is written as one.

    >>> [number_or_word(each) for each in ("7", "0.5", "007", "left")]
    [7, 0.5, '007', 'left']
    """
    if re.fullmatch(r"-?(0|[1-9]\d*)", word):  # 007 is a name
        return int(word)
    return float(word) if re.fullmatch(r"-?\d+\.\d+", word) else word


def _json_rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with table.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"'{table}', line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"'{table}', line {number}: a line must be a dict, got {row!r}")
            yield number, {k: v for k, v in row.items() if v is not None}


def _holds_images(column: str, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> bool:
    values = [row[column] for _, row in rows if column in row]
    return bool(values) and all(isinstance(v, str) and suffix_of(Path(v)) for v in values)


def _case(table: Path, line: int, row: Mapping[str, Any], inputs: Sequence[str]) -> Case:
    try:
        ids = [row[name] for name in _IDS if name in row]
        if not ids:
            raise ValueError(f"a row must have an id, got {dict(row)}")
        paths = {role: table.parent / str(row[role]) for role in inputs if role in row}
        others = {k: v for k, v in row.items() if k not in (*inputs, *_IDS)}
        if table.suffix != ".jsonl":
            others = {name: number_or_word(word) for name, word in others.items()}
        return Case(str(ids[0]), paths, others)
    except ValueError as error:
        raise ValueError(f"'{table}', line {line}: {error}") from error
