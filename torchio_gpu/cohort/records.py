"""Records of a run: one line for each case that was computed.

Needs nothing but the standard library, so that the state of a run is shown at once.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

#: Folder within that of a run.
OWN = "_cohort"
#: Attempts after which a case is not tried again, if all ended with the process.
MAX_ATTEMPTS = 3
#: Outcomes of a case.
OK, FAILED, KILLED, TIMEOUT = "ok", "failed", "killed", "timeout"


#: Start of a line of records; ids and hashes hold nothing that JSON escapes.
_START = re.compile(
    rb'\{"time":([\d.]+),"id":"([^"\\]+)","recipe":"(\w+)","status":"(\w+)","run":(\d+)'
)


class Entry(NamedTuple):
    """Record of which only the start is parsed, since there may be many."""

    id: str
    recipe: str
    status: str
    run: int
    time: float
    line: bytes

    def record(self) -> dict[str, Any]:
        """Return the whole record."""
        record: dict[str, Any] = json.loads(self.line)
        return record


@dataclass(frozen=True)
class Records:
    """Recipe, cases and records of a run.

    Args:
        path: Folder that holds them.
    """

    path: Path

    @property
    def run_file(self) -> Path:
        """File of the recipe."""
        return self.path / "run.json"

    @property
    def cases_file(self) -> Path:
        """File of the cases, one a line."""
        return self.path / "cases.jsonl"

    def recipe(self) -> dict[str, Any]:
        """Return the recipe."""
        recipe: dict[str, Any] = json.loads(self.run_file.read_text())
        return recipe

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one line to the records of this process, and wait until it is on disk."""
        start = {name: record[name] for name in ("id", "recipe", "status", "run")}
        line = json.dumps({"time": time.time(), **start, **record}, separators=(",", ":")) + "\n"
        path = self.path / "records" / f"{process_name()}.jsonl"
        with path.open("ab+") as file:
            if file.tell() and _last_byte(file) != b"\n":  # a former line was torn
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Remove all records."""
        for path in (self.path / "records").glob("*.jsonl"):
            path.unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """Yield all records, in no order; lines that are torn are left out."""
        for path in sorted((self.path / "records").glob("*.jsonl")):
            with path.open("rb") as file:
                for line in file:
                    start = _START.match(line)
                    # a torn line lacks a brace; where texts hold some, parsing tells
                    if start is None or line.count(b"{") != line.count(b"}"):
                        yield from _parsed(line)
                        continue
                    id, recipe, status = (word.decode() for word in start.group(2, 3, 4))
                    yield Entry(id, recipe, status, int(start[5]), float(start[1]), line)

    def latest(
        self, recipe: str, keep: Callable[[dict[str, Any]], Any] = lambda record: record
    ) -> dict[str, Any]:
        """Return the latest record of each case, by id.

        Latest is what the last run wrote, since clocks of machines differ.

        Args:
            recipe: Hash of the recipe whose records count.
            keep: Function that returns what is to be kept of a record, since there may be many.
        """
        found: dict[str, tuple[tuple[int, float], Any]] = {}
        for entry in self.entries():
            when = entry.run, entry.time
            if entry.recipe == recipe and (entry.id not in found or found[entry.id][0] <= when):
                found[entry.id] = when, keep(entry.record())
        return {id: kept for id, (_, kept) in found.items()}


_TOKENS: dict[int, str] = {}


def process_name() -> str:
    """Return the name of this process: machine, number, and a word that no other one has."""
    number = os.getpid()
    token = _TOKENS.setdefault(number, uuid.uuid4().hex[:8])
    return f"{host_name()}-{number}-{token}"


def host_name() -> str:
    return socket.gethostname().replace("/", "_")


def _parsed(line: bytes) -> Iterator[Entry]:
    """Yield the record of a line, unless it was not written to its end."""
    try:
        record = json.loads(line)
        names = ("id", "recipe", "status", "run", "time")
        yield Entry(**{name: record[name] for name in names}, line=line)
    except (ValueError, KeyError, TypeError):
        return


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    last: bytes = file.read(1)
    return last


__all__ = [
    "FAILED",
    "KILLED",
    "MAX_ATTEMPTS",
    "OK",
    "OWN",
    "TIMEOUT",
    "Entry",
    "Records",
    "host_name",
    "process_name",
]
