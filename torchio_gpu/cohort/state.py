"""State of a run, from its records, also while it computes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .drafts import Drafts
from .records import FAILED, KILLED, OK, OWN, TIMEOUT, Records

#: Minutes over which the rate is taken.
_RECENT = 10.0
_NAMES = {OK: "computed", FAILED: "failed", TIMEOUT: "took too long", KILLED: "killed"}


@dataclass(frozen=True)
class State:
    """Number of cases of a run, by what became of them.

    Args:
        total: Number of cases.
        outcomes: Number of cases by outcome.
        running: Number of cases that are being computed, or whose process ended.
        rate: Cases a minute, of the last ten minutes.
    """

    total: int
    outcomes: Counter[str]
    running: int
    rate: float

    @property
    def left(self) -> int:
        """Number of cases without outcome."""
        return self.total - self.outcomes.total()

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        names = (OK, FAILED, TIMEOUT, KILLED)
        counts = {name: self.outcomes[name] for name in names}
        return {"cases": self.total, **counts, "running": self.running, "left": self.left} | {
            "cases_per_minute": round(self.rate, 3)
        }

    def __str__(self) -> str:
        from .progress import readable

        parts = [f"{self.outcomes[key]} {name}" for key, name in _NAMES.items()]
        text = f"{self.total} cases: {', '.join(parts)}, {self.left} left"
        if self.running:
            text += f" ({self.running} begun)"
        if self.left and self.rate:
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
    """Return the state of a run."""
    records, now = records_of(out), time.time()
    latest = records.latest(
        records.recipe()["hash"], lambda record: (record["status"], record["time"])
    )
    with records.cases_file.open("rb") as file:
        total = sum(1 for _ in file)
    since = now - 60 * _RECENT
    times = [when for _, when in latest.values() if when > since]
    minutes = min(_RECENT, (now - min(times)) / 60) if times else 0.0
    begun = Drafts(records.path / "drafts").begun()
    running = [id for id, when in begun.items() if latest.get(id, ("", 0))[1] < when]
    return State(
        total,
        Counter(status for status, _ in latest.values()),
        len(running),
        len(times) / minutes if minutes else 0.0,
    )


def failures_of(out: str | Path) -> list[Failure]:
    """Return the cases without result, in the order of errors and ids."""
    records = records_of(out)

    def failure(record: dict[str, Any]) -> Failure | None:
        if record["status"] == OK:
            return None
        error = record["error"]
        return Failure(
            record["id"], record["status"], error["class"], error["message"], record["host"]
        )

    latest = records.latest(records.recipe()["hash"], failure)
    found = [each for each in latest.values() if each is not None]
    return sorted(found, key=lambda each: (each.status, each.error, each.id))


__all__ = ["Failure", "State", "failures_of", "records_of", "state_of"]
