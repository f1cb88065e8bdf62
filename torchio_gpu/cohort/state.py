"""State of a run, from its records, also while it computes.

Needs nothing but the standard library, so that it is shown at once.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .drafts import Drafts
from .records import FAILED, KILLED, OK, OWN, TIMEOUT, Entry, Records

#: Seconds over which the rate is taken.
_RECENT = 600.0
_NAMES = {OK: "computed", FAILED: "failed", TIMEOUT: "took too long", KILLED: "killed"}
_ID = re.compile(rb'\{"id": "([^"\\]+)"')


@dataclass(frozen=True)
class State:
    """Number of cases of a run, by what became of them.

    Args:
        total: Number of cases.
        outcomes: Number of cases by outcome.
        running: Number of cases that are being computed, or whose process ended.
        rate: Cases a minute, of the last ten minutes.
        idle: Seconds since the latest outcome; None if there is none.
    """

    total: int
    outcomes: Counter[str]
    running: int
    rate: float
    idle: float | None

    @property
    def left(self) -> int:
        """Number of cases without outcome."""
        return self.total - self.outcomes.total()

    @property
    def failed(self) -> int:
        """Number of cases that have an outcome, but no result."""
        return self.outcomes.total() - self.outcomes[OK]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        counts = {name: self.outcomes[name] for name in _NAMES}
        return {
            "cases": self.total,
            **counts,
            "running": self.running,
            "left": self.left,
            "cases_per_minute": round(self.rate, 3),
            "seconds_since_latest": None if self.idle is None else round(self.idle, 1),
        }

    def __str__(self) -> str:
        from .progress import readable

        parts = [f"{self.outcomes[OK]} computed"]
        parts += [f"{self.outcomes[key]} {name}" for key, name in _NAMES.items() if key != OK]
        parts = [part for part in parts if not part.startswith("0 ") or part == parts[0]]
        text = f"{self.total} cases: {', '.join(parts)}, {self.left} left"
        if not self.left:
            return text
        if self.running:
            text += f", of which {self.running} begun"
        if self.idle is not None:
            text += f"\nlatest outcome {readable(self.idle / 60)} ago"
            if self.rate:
                text += f"; {self.rate:.3g} a minute, about {readable(self.left / self.rate)} left"
        return text


class Failure(NamedTuple):
    """Case without result, and why."""

    id: str
    status: str
    error: str
    message: str
    host: str


def records_of(out: str | Path) -> Records:
    """Return the records of a folder; raise if it has none."""
    records = Records(Path(out).expanduser() / OWN)
    if not records.run_file.is_file():
        raise FileNotFoundError(
            f"'{out}' must be a folder that preprocess or fit writes to: there is no "
            f"'{records.run_file}'"
        )
    return records


def state_of(out: str | Path) -> State:
    """Return the state of a run, of the cases that the latest call was given."""
    records, now = records_of(out), time.time()
    recipe = records.recipe()["hash"]
    times = dict.fromkeys(_ids(records), 0.0)  # of outcomes: memory for cases, not for records
    others: dict[str, str] = {}  # outcomes other than OK
    for entry in _latest(records, times, recipe):
        if entry.status != OK:
            others[entry.id] = entry.status
        elif others:
            others.pop(entry.id, None)
    begun = Drafts(records.path / "drafts").begun()
    # other drafts are of processes that ended after the record was written
    running = sum(times[id] < when for id, when in begun.items() if id in times)
    outcomes = Counter(others.values())
    outcomes[OK] = sum(map(bool, times.values())) - outcomes.total()
    latest = max(times.values(), default=0.0)
    recent = [when for when in times.values() if when > now - _RECENT]
    # between outcomes, the first of which began before
    minutes = (now - min(recent)) / 60 if len(recent) > 1 else 0.0
    rate = (len(recent) - 1) / minutes if minutes else 0.0
    return State(len(times), outcomes, running, rate, now - latest if latest else None)


def failures_of(out: str | Path) -> list[Failure]:
    """Return the cases without result, in the order of errors and ids."""
    records = records_of(out)
    times = dict.fromkeys(_ids(records), 0.0)
    found: dict[str, Failure] = {}
    recipe = records.recipe()["hash"]
    for entry in _latest(records, times, recipe):
        if entry.status == OK:
            found.pop(entry.id, None)
        else:
            record = entry.record()
            error = record["error"]
            found[entry.id] = Failure(
                entry.id, entry.status, error["class"], error["message"], record["host"]
            )
    return sorted(found.values(), key=lambda each: (each.status, each.error, each.id))


def _latest(records: Records, times: dict[str, float], recipe: str) -> Iterator[Entry]:
    """Yield records that are later than those before of the same case, and keep their times.

    Args:
        records: The records.
        times: Time by id, of the cases that count.
        recipe: Hash of the recipe whose records count.
    """
    runs: dict[str, int] = {}  # of cases that more than one run has computed
    for entry in records.entries():
        before = times.get(entry.id)
        if (
            before is None
            or entry.recipe != recipe
            or (runs.get(entry.id, 1), before) > (entry.run, entry.time)
        ):
            continue
        times[entry.id] = entry.time
        if entry.run > 1:
            runs[entry.id] = entry.run
        yield entry


def _ids(records: Records) -> Iterator[str]:
    """Yield the ids of the cases."""
    with records.cases_file.open("rb") as file:
        for line in file:
            start = _ID.match(line)
            if start is not None:
                yield start[1].decode()


__all__ = ["Failure", "State", "failures_of", "records_of", "state_of"]
