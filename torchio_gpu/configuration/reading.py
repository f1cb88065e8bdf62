"""Plain values from YAML and JSON, with the lines that they are on.

Files may come from anyone. YAML is read event by event: anchors, tags of other types and duplicate
keys are refused where they stand, and numbers are those of YAML 1.2, in which ``1e-3`` is one and
``no`` is a word.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..data.io import expanded
from ..shapes import brief

#: Bytes of a file, values in it and levels of nesting, at most.
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 2**20, 100_000, 60
#: Characters of a whole number, at most; 64 bits take 20.
_DIGITS = 30
YAML_SUFFIXES, JSON_SUFFIX = (".yaml", ".yml"), ".json"
#: Words of YAML 1.2's core schema, and what they stand for.
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
FLOAT = re.compile(
    r"([-+]?((\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN))\Z"
)
_CORE = "tag:yaml.org,2002:"
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "null": type(None)}

Place = tuple[str | int, ...]


class Document(NamedTuple):
    """Plain values of a file or a text.

    Args:
        value: What it holds.
        name: Name of the file, '' for a text.
        lines: Line of each value, by keys and positions that lead to it; empty for JSON.
    """

    value: Any
    name: str
    lines: dict[Place, int]

    def located(self, problem: str, place: Place, words: str) -> str:
        """Return an error message that begins with the line, or else with keys and positions.

        Args:
            problem: The message.
            place: Keys and positions that lead to the value.
            words: The same as text.
        """
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines.get(place)
        if line is not None:
            return f"{_at(self.name, line)}: {problem}"
        return ": ".join(part for part in (self.name, words, problem) if part)


def read(source: str | os.PathLike[str]) -> Document:
    """Return the values of a file or of a text.

    Args:
        source: Path of a file .yaml, .yml or .json; or a text, which is a string with a line break
            or one that begins with a brace.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The suffix is another, or the content is not as above.
        ImportError: It is YAML, and PyYAML is not installed.
    """
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return _read_text(source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"path_or_text must be a path or a string, got {brief(source)}")
    path = expanded(source)
    suffix = path.suffix.lower()
    check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"path_or_text must name a file, '{path}' is none")
    text = _decoded(path)
    return _read_json(text, str(path)) if suffix == JSON_SUFFIX else _read_yaml(text, str(path))


def check_suffix(path: Path) -> None:
    """Raise a ValueError unless a path ends like YAML or JSON."""
    if path.suffix.lower() not in (*YAML_SUFFIXES, JSON_SUFFIX):
        raise ValueError(f"path must end in .yaml, .yml or .json, got '{path}'")


def import_yaml() -> Any:
    """Return PyYAML.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            'YAML needs PyYAML: pip install "torchio-gpu[config]"; JSON needs nothing'
        ) from error
    return yaml


def _decoded(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    _check_size(len(data), str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: text must be in UTF-8, byte {error.start} is not") from error


def _check_size(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{name or 'text'} must have at most {MAX_BYTES} bytes, got more")


def _read_text(text: str) -> Document:
    _check_size(len(text.encode("utf-8", "surrogatepass")), "")
    if text.lstrip().startswith("{"):  # JSON, or YAML in braces
        try:
            return _read_json(text, "")
        except json.JSONDecodeError as error:
            try:
                import_yaml()
            except ImportError:
                raise ValueError(str(error)) from error
    return _read_yaml(text, "")


def _at(name: str, line: int) -> str:
    return f"{name}:{line}" if name else f"line {line}"


# JSON


def _read_json(text: str, name: str) -> Document:
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_int=_integer)
    except json.JSONDecodeError as error:
        if not name:
            raise
        raise ValueError(f"{_at(name, error.lineno)}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError(_too_deep(name)) from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error
    for count, depth in enumerate(_depths(value), 1):
        if depth > MAX_DEPTH:
            raise ValueError(_too_deep(name))
        if count > MAX_VALUES:
            raise ValueError(f"{name or 'text'} must hold at most {MAX_VALUES} values")
    return Document(value, name, {})


def count_values(value: Any) -> int:
    """Return the number of values in nested lists and dicts."""
    return sum(1 for _ in _depths(value))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {brief(key)} must stand once in a dict, got it twice")
        found[key] = value
    return found


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"whole numbers must have at most 64 bits, got {len(text)} digits")
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _too_deep(where: str) -> str:
    return f"{where or 'text'}: values must be nested at most {MAX_DEPTH} deep"


def _depths(value: Any) -> Iterator[int]:
    """Yield the depth of each value."""
    left = [(value, 1)]
    while left:
        each, depth = left.pop()
        yield depth
        if isinstance(each, (dict, list)):
            inner = each.values() if isinstance(each, dict) else each
            left.extend((part, depth + 1) for part in inner)


# YAML


def _read_yaml(text: str, name: str) -> Document:
    yaml = import_yaml()
    reader = _Reader(yaml, text, name)
    try:
        return Document(reader.document(), name, reader.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{_at(name, mark.line + 1)}: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"{_at(name, line)}: {error.reason}") from error
    except (OverflowError, IndexError, yaml.YAMLError) as error:  # escapes of no character
        raise ValueError(f"{name or 'text'} must be YAML: {error}") from error


class _Reader:
    """Values of the events of a YAML text."""

    def __init__(self, yaml: Any, text: str, name: str) -> None:
        self._yaml, self._name = yaml, name
        # of libyaml where PyYAML has it: ten times as fast
        self._events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._count = 0
        self.lines: dict[Place, int] = {}

    def document(self) -> Any:
        """Return the value of the only document."""
        self._next()  # start of the stream
        event = self._next()
        if isinstance(event, self._yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), ())
        self._next()  # end of the document
        event = self._next()
        if not isinstance(event, self._yaml.StreamEndEvent):
            self._fail(event, "a file must hold one document, this is a second one")
        return value

    def _next(self) -> Any:
        try:
            return next(self._events)
        except ValueError as error:  # of a character that does not exist
            raise ValueError(f"{self._name or 'text'} must be YAML: {error}") from error

    def _fail(self, event: Any, problem: str) -> NoReturn:
        raise ValueError(f"{_at(self._name, event.start_mark.line + 1)}: {problem}")

    def _value(self, event: Any, place: Place) -> Any:
        """Return the value that begins with an event.

        Args:
            event: Scalar, or start of a list or dict.
            place: Keys and positions that lead to it.
        """
        yaml = self._yaml
        self._count += 1
        if self._count > MAX_VALUES:
            self._fail(event, f"a file must hold at most {MAX_VALUES} values")
        if len(place) >= MAX_DEPTH:
            self._fail(event, f"values must be nested at most {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._fail(event, f"anchors and aliases are not read, got {brief(event.anchor)}")
        self.lines.setdefault(place, event.start_mark.line + 1)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        kind = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if event.tag not in (None, "!", _CORE + kind):
            self._fail(event, f"tags other than those of plain YAML are not read, got {event.tag}")
        if kind == "seq":
            return self._list(place)
        return self._dict(place)

    def _list(self, place: Place) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), self._yaml.SequenceEndEvent):
            found.append(self._value(event, (*place, len(found))))
        return found

    def _dict(self, place: Place) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        while not isinstance(event := self._next(), self._yaml.MappingEndEvent):
            if not isinstance(event, self._yaml.ScalarEvent):
                self._fail(event, "keys must be names or whole numbers")
            key = self._scalar(event)
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                self._fail(event, f"keys must be names or whole numbers, got {event.value}")
            if key in found:
                self._fail(event, f"key {brief(key)} must stand once in a dict, got it twice")
            if event.anchor is not None:
                self._fail(event, f"anchors and aliases are not read, got {brief(event.anchor)}")
            inner = (*place, key)
            self.lines[inner] = event.start_mark.line + 1
            found[key] = self._value(self._next(), inner)
        return found

    def _scalar(self, event: Any) -> Any:
        """Return the number, word or string of a scalar, by YAML 1.2's core schema."""
        text, tag = event.value, event.tag
        if tag in ("!", _CORE + "str") or (tag is None and event.style):
            return text
        try:
            value = _resolved(text)
        except ValueError as error:
            self._fail(event, str(error))
        if tag is None:
            return value
        wanted = _TYPES.get(tag.removeprefix(_CORE)) if tag.startswith(_CORE) else None
        if wanted is None:
            self._fail(event, f"tags other than those of plain YAML are not read, got {tag}")
        if type(value) is int and wanted is float:
            return float(value)
        if type(value) is not wanted:
            self._fail(event, f"{brief(text)} must be as its tag says, {tag.removeprefix(_CORE)}")
        return value


def _resolved(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if INTEGER.match(text):
        return _integer(text)
    if FLOAT.match(text):
        return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
    return text


__all__ = ["Document", "check_suffix", "count_values", "import_yaml", "read"]
