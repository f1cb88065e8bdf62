"""Files of points: tables (.csv, .tsv), and lists of 3D Slicer (.fcsv, .mrk.json).

- .csv, .tsv: a line for each point, with x, y and z in millimetres along RAS+, separated by commas
  or tabs. A first line of names may come before them, in any order and case: x, y and z are needed,
  label (or name) is read, other columns are not. Without it, a line is x, y, z and, if there is a
  fourth field, a label. Lines that are empty or begin with # are skipped.
- .fcsv: lines of fields that a comment names (``# columns = id,x,y,z,…``), in the system of another
  comment (``# CoordinateSystem = LPS``, ``RAS``, or in older versions 0 for RAS and 1 for LPS). RAS
  without it, as old versions wrote.
- .mrk.json: one list of markups, of schema 1; its ``coordinateSystem`` is LPS if it is not given.

Coordinates are float64, and nan marks a missing point; in .mrk.json, a point whose position is not
defined. Labels that are all empty are none. A label of a table that is only a number stays text.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .guards import check_exists, expanded
from .voxels import failing_as, shown
from .writing import write_text

TABLES = {".csv": ",", ".tsv": "\t"}
#: Suffixes of files of points.
POINTS = (*TABLES, ".fcsv", ".mrk.json")

_SYSTEMS = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}  # 2 is IJK
_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
_Line = tuple[int, list[str]]  # number in the file, from 1, and fields


class PointsFile(NamedTuple):
    """Coordinates (N, 3) float64, labels if there are any, and their system, 'RAS' or 'LPS'."""

    rows: np.ndarray
    labels: list[str] | None
    system: str


def read_points(path: str | os.PathLike[str]) -> PointsFile:
    """Return the points of a file; its format is that of the suffix.

    Raises FileNotFoundError if there is no such file, ValueError if its suffix is unknown, OSError
    if it is damaged, with the line or the point.
    """
    path = expanded(path)
    suffix = _suffix(path)
    check_exists(path)
    with failing_as(f"'{shown(path)}' could not be read"):
        text = path.read_text(encoding="utf-8-sig")
        if not text.strip():
            raise ValueError("a file of points must not be empty")
        if suffix == ".mrk.json":
            return _from_markups(text)
        return _from_fcsv(text) if suffix == ".fcsv" else _from_table(text, TABLES[suffix])


def points_system(path: str | os.PathLike[str], axes: str) -> str:
    """Return the system, 'RAS' or 'LPS', in which points with some axes are written to a file."""
    return "RAS" if axes == "RAS" or _suffix(Path(path)) in TABLES else "LPS"


def write_points(
    rows: np.ndarray, labels: Sequence[str | int] | None, system: str, path: Path
) -> None:
    """Write points, whole or not at all, in the format that the suffix names.

    Args:
        rows: Coordinates (N, 3).
        labels: Label of each point.
        system: That of the coordinates, as :func:`points_system` returns it.
        path: The file.
    """
    path = expanded(path)
    suffix = _suffix(path)
    coordinates: list[list[float]] = rows.astype(np.float64).tolist()
    names = None if labels is None else [str(label) for label in labels]
    if suffix == ".mrk.json":
        text = _to_markups(coordinates, names, system)
    elif suffix == ".fcsv":
        text = _to_fcsv(coordinates, names, system)
    else:
        text = _to_table(coordinates, names, TABLES[suffix])
    write_text(text, path)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in POINTS:
        if name.endswith(suffix):
            return suffix
    raise ValueError(f"path of points must end in one of {', '.join(POINTS)}: got '{shown(path)}'")


# ---- Lines of fields


def _lines(text: str, delimiter: str) -> Iterator[_Line]:
    """Yield the lines that hold fields, each with its number in the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if any(field.strip() for field in fields) and not fields[0].lstrip().startswith("#"):
                yield reader.line_num, [field.strip() for field in fields]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _number(text: str, place: str) -> float:
    """Return a coordinate, which is finite or nan."""
    try:
        value = float("none" if "_" in text else text)  # Python takes 1_0 for 10
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(f"{place} must be a finite number or nan, got {text!r:.60}")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _points(
    lines: Sequence[_Line], columns: Sequence[int], label: int | None, system: str
) -> PointsFile:
    """Return the points of lines, whose coordinates and label lie in given columns."""
    rows, labels = [], []
    for number, fields in lines:
        if len(fields) <= max(columns):
            raise ValueError(
                f"line {number} must have {max(columns) + 1} fields or more, got {len(fields)}"
            )
        pairs = zip("xyz", columns, strict=True)
        rows.append([_number(fields[at], f"{name} in line {number}") for name, at in pairs])
        labels.append(fields[label] if label is not None and label < len(fields) else "")
    return _file(rows, labels, system)


def _file(rows: list[list[float]], labels: list[str], system: str) -> PointsFile:
    coordinates = np.array(rows, np.float64).reshape(-1, 3)
    return PointsFile(coordinates, labels if any(labels) else None, system)


def _from_table(text: str, delimiter: str) -> PointsFile:
    lines = list(_lines(text, delimiter))
    if not lines or any(_is_number(field) for field in lines[0][1][:3]):
        wide = [(number, len(fields)) for number, fields in lines if len(fields) > 4]
        if wide:
            number, count = wide[0]
            raise ValueError(
                f"line {number} must be x, y, z and perhaps a label, without a line of names "
                f"before it, got {count} fields"
            )
        return _points(lines, (0, 1, 2), 3, "RAS")
    number, fields = lines[0]
    names = [field.lower() for field in fields]
    return _points(lines[1:], *_columns(names, f"line {number}"), "RAS")


def _columns(names: Sequence[str], place: str) -> tuple[tuple[int, ...], int | None]:
    """Return the columns of x, y and z, and that of the label, among names in lower case."""
    if any(names.count(axis) != 1 for axis in "xyz"):
        raise ValueError(f"{place} must name each of x, y and z once, got {','.join(names)!r:.80}")
    label = next((names.index(name) for name in ("label", "name") if name in names), None)
    return tuple(names.index(axis) for axis in "xyz"), label


def _from_fcsv(text: str) -> PointsFile:
    comments = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") and "=" in line:
            key, _, value = line[1:].partition("=")
            comments[key.strip().lower()] = number, value.strip()
    number, code = comments.get("coordinatesystem", (0, "0"))
    if code.upper() not in _SYSTEMS:
        raise ValueError(
            f"CoordinateSystem in line {number} must be LPS, RAS, 0 or 1, got {code!r:.60}"
        )
    number, columns = comments.get("columns", (0, _COLUMNS))
    names = [name.strip().lower() for name in columns.split(",")]
    lines = list(_lines(text, ","))
    return _points(lines, *_columns(names, f"columns in line {number}"), _SYSTEMS[code.upper()])


def _to_table(rows: list[list[float]], labels: list[str] | None, delimiter: str) -> str:
    names = ["x", "y", "z"] if labels is None else ["x", "y", "z", "label"]
    ends: list[list[str]] = [[]] * len(rows) if labels is None else [[label] for label in labels]
    lines = [[*map(repr, row), *end] for row, end in zip(rows, ends, strict=True)]
    return _joined([names, *lines], delimiter)


def _to_fcsv(rows: list[list[float]], labels: list[str] | None, system: str) -> str:
    head = "# Markups fiducial file version = 4.11\n"
    head += f"# CoordinateSystem = {system}\n# columns = {_COLUMNS}\n"
    lines = [
        [str(n), *map(repr, row), *"0001110", label, "", ""]
        for n, (row, label) in enumerate(zip(rows, labels or [""] * len(rows), strict=True), 1)
    ]
    return head + _joined(lines, ",")


def _joined(lines: list[list[str]], delimiter: str) -> str:
    """Return lines of fields as text; fields are quoted where they have to be."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    return text.getvalue()


# ---- Markups of 3D Slicer


def _from_markups(text: str) -> PointsFile:
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON must not be nested so deeply") from error
    schema = _member(content, "@schema", str, "", "the file")
    if "markups-schema-v1." not in schema.lower():
        raise ValueError(f"@schema must be version 1 of markups, got {schema!r:.120}")
    lists = _member(content, "markups", list, [], "the file")
    if len(lists) != 1:
        raise ValueError(f"markups must hold one list of points, got {len(lists)}")
    system = _member(lists[0], "coordinateSystem", str, "LPS", "markups[0]")
    unit = lists[0].get("coordinateUnits", "mm")
    if system.upper() not in _SYSTEMS:
        raise ValueError(f"coordinateSystem of markups[0] must be LPS or RAS, got {system!r:.60}")
    if unit != "mm" and not (isinstance(unit, list) and unit[:2] == ["UCUM", "mm"]):
        raise ValueError(f"coordinateUnits of markups[0] must be 'mm', got {unit!r:.60}")
    rows, labels = [], []
    for n, point in enumerate(_member(lists[0], "controlPoints", list, [], "markups[0]")):
        place = f"controlPoints[{n}]"
        labels.append(_member(point, "label", str, "", place))
        status = _member(point, "positionStatus", str, "defined", place)
        known = status == "defined"
        rows.append(_position(point.get("position"), place) if known else [math.nan] * 3)
    return _file(rows, labels, _SYSTEMS[system.upper()])


def _member(owner: Any, name: str, kind: type, default: Any, place: str) -> Any:
    """Return a member of a JSON object; raise if the owner or the member is something else."""
    if not isinstance(owner, dict):
        raise ValueError(f"{place} must be a JSON object, got {owner!r:.60}")
    value = owner.get(name, default)
    if not isinstance(value, kind):
        wish = "a list" if kind is list else "a string"
        raise ValueError(f"{name} of {place} must be {wish}, got {value!r:.60}")
    return value


def _position(position: Any, place: str) -> list[float]:
    if isinstance(position, list) and len(position) == 3:
        numbers = [x for x in position if isinstance(x, (int, float)) and not isinstance(x, bool)]
        if len(numbers) == 3 and all(abs(x) < 1e300 for x in numbers):
            return [float(x) for x in numbers]
    raise ValueError(f"position of {place} must be three finite numbers, got {position!r:.60}")


def _to_markups(rows: list[list[float]], labels: list[str] | None, system: str) -> str:
    points = []
    for n, (row, label) in enumerate(zip(rows, labels or [""] * len(rows), strict=True), 1):
        known = all(map(math.isfinite, row))  # JSON has no nan
        points.append(
            {
                "id": str(n),
                "label": label,
                "description": "",
                "associatedNodeID": "",
                **({"position": row} if known else {}),
                "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined" if known else "missing",
            }
        )
    markups = {
        "type": "Fiducial",
        "coordinateSystem": system,
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
        "measurements": [],
    }
    return json.dumps({"@schema": _SCHEMA, "markups": [markups]}, indent=2, ensure_ascii=False)
