"""Cases found by patterns of file names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .manifest import Case, PathLike

_FIELD = re.compile(r"\{(\w+)\}")


def find(folder: PathLike, patterns: Mapping[str, str]) -> list[Case]:
    """Return the cases of :meth:`.Cohort.from_pattern`."""
    root = existing_folder(folder)
    if not patterns:
        raise ValueError("patterns must name at least one role, got none")
    names: list[str] = []
    found: dict[str, dict[str, Path]] = {}  # by id and role
    fields_of: dict[str, dict[str, str]] = {}
    for role, pattern in patterns.items():
        fields = list(dict.fromkeys(_FIELD.findall(pattern)))
        names = names or fields
        if "id" not in fields or set(fields) != set(names):
            wanted = " and ".join(f"{{{name}}}" for name in names if "id" in names) or "{id}"
            raise ValueError(f"the pattern of {role!r} must have {wanted}, got {pattern!r}")
        empty = True
        for path, values in _matches(root, pattern):
            id = "_".join(values[name] for name in names)
            inputs = found.setdefault(id, {})
            if role in inputs:
                raise ValueError(
                    f"the pattern of {role!r} must match one file of each case, but for case "
                    f"{id!r} it matches '{inputs[role]}' and '{path}'"
                )
            inputs[role], fields_of[id], empty = path, values, False
        if empty:
            raise ValueError(f"the pattern of {role!r} matches no file in '{root}': {pattern!r}")
    cases = []
    for id, inputs in found.items():
        values = fields_of[id]
        # a path that does not exist, where a file is missing
        missing = {role: root / _filled(pattern, values) for role, pattern in patterns.items()}
        others = {name: value for name, value in values.items() if name != "id"}
        cases.append(Case(id, missing | inputs, others))
    return cases


def existing_folder(folder: PathLike) -> Path:
    """Return a folder as a path; raise if there is none."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"'{root}' must be a folder: it does not exist or is a file")
    return root


def _matches(root: Path, pattern: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the files that a pattern matches, in order, and the values of its fields."""
    root, pattern = _base(root, pattern)
    expression = _expression(pattern)
    for path in sorted(root.glob(_FIELD.sub("*", pattern))):
        parts = path.relative_to(root).parts
        match = expression.fullmatch("/".join(parts))
        if match is not None and not any(part.startswith(".") for part in parts):
            yield path, match.groupdict()


def _base(root: Path, pattern: str) -> tuple[Path, str]:
    """Return the folder that the first words of a pattern name, and the rest of the pattern."""
    path = os.path.normpath(os.path.join(root, os.path.expanduser(pattern)))
    parts = Path(path).parts
    wild = next((n for n, part in enumerate(parts) if re.search(r"[{*?]", part)), len(parts) - 1)
    return Path(*parts[:wild]), "/".join(parts[wild:])


def _expression(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for a pattern, with a group for each field."""
    parts, seen = [], set()
    for token in re.split(r"(\{\w+\}|\*\*/|\*|\?)", pattern):
        field = _FIELD.fullmatch(token)
        if field is not None:
            name = field[1]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
        else:
            wild = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
            parts.append(wild.get(token, re.escape(token)))
    return re.compile("".join(parts))


def _filled(pattern: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: values[match[1]], pattern)
