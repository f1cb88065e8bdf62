"""Cases of a BIDS dataset, found by file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import Case, PathLike
from .patterns import existing_folder
from .tables import delimited_rows, number_or_word

_NAME = re.compile(
    r"(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9+]+_)+)(?P<suffix>[a-zA-Z0-9]+)\.nii(\.gz)?"
)
_CASE = ("sub", "ses")


def find(folder: PathLike, suffixes: Mapping[str, str]) -> list[Case]:
    """Return the cases of :meth:`.Cohort.from_bids`."""
    root = existing_folder(folder)
    found: dict[str, dict[str, Path]] = {}
    for role, wanted in suffixes.items():
        empty = True
        for id, path in _matches(root, wanted):
            inputs = found.setdefault(id, {})
            if role in inputs:
                raise ValueError(
                    f"{role!r} must be one file of each case, but {wanted!r} matches "
                    f"'{inputs[role]}' and '{path}': put an entity before the suffix, such as "
                    f"'run-1_{wanted.rpartition('/')[2]}'"
                )
            inputs[role], empty = path, False
        if empty:
            raise ValueError(f"no file in '{root}' has the suffix of {role!r}, {wanted!r}")
    participants = _participants(root)
    cases = []
    for id, inputs in found.items():
        missing = {
            role: root / f"{id}_{wanted.rpartition('/')[2]}.nii.gz"
            for role, wanted in suffixes.items()
            if role not in inputs
        }
        subject = id.partition("_")[0]
        cases.append(Case(id, {**inputs, **missing}, participants.get(subject)))
    return cases


def _matches(root: Path, wanted: str) -> list[tuple[str, Path]]:
    """Return the ids and paths of files with a suffix and the entities before it."""
    place, _, name = wanted.rpartition("/")
    *entities, suffix = name.split("_")
    matches = []
    # subjects' folders alone: there are other datasets below, such as derivatives
    for path in sorted((root / place).glob("sub-*/**/*.nii*")):
        match = _NAME.fullmatch(path.name)
        if match is None or match["suffix"] != suffix:
            continue
        given = match["entities"].rstrip("_").split("_")
        if set(entities) <= set(given):
            id = "_".join(each for each in given if each.partition("-")[0] in _CASE)
            matches.append((id, path))
    return matches


def _participants(root: Path) -> dict[str, dict[str, Any]]:
    """Return the columns of participants.tsv by subject."""
    table = root / "participants.tsv"
    if not table.is_file():
        return {}
    rows = {}
    for _, row in delimited_rows(table):
        subject = row.pop("participant_id", "")
        rows[subject] = {
            k: number_or_word(v) for k, v in row.items() if k.isidentifier() and k != "id"
        }
    return rows
