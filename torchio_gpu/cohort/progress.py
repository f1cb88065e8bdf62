"""Progress of a run: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

from .records import OK

#: Seconds between two lines.
INTERVAL = 30.0


class Progress:
    """Progress of a run, on standard error.

    Args:
        total: Number of cases to compute.
        shown: Show it.
    """

    def __init__(self, total: int, shown: bool = True) -> None:
        self.total, self._shown = total, shown
        self.outcomes: Counter[str] = Counter()
        self._begun = time.monotonic()
        self._bar: Any = None
        self._ended = threading.Event()

    def __enter__(self) -> Progress:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeRemainingColumn(), console=Console(stderr=True),
            )  # fmt: skip
            self._task = self._bar.add_task("cases", total=self.total)
            self._bar.start()
        elif self._shown:
            threading.Thread(target=self._tell, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()

    def _tell(self) -> None:
        while not self._ended.wait(INTERVAL):
            print(self.line(), file=sys.stderr, flush=True)

    def add(self, outcomes: Counter[str]) -> None:
        """Count cases, by outcome."""
        self.outcomes += outcomes
        if self._bar is not None:
            failed = self._failed()
            self._bar.update(
                self._task,
                advance=outcomes.total(),
                description=f"cases, {failed} failed" if failed else "cases",
            )

    def line(self) -> str:
        """Return progress as a sentence."""
        done = self.outcomes.total()
        minutes = (time.monotonic() - self._begun) / 60
        rate = done / minutes if minutes else 0.0
        rest = f", about {readable((self.total - done) / rate)} left" if rate else ""
        return f"{done} of {self.total} cases, {self._failed()} failed, {rate:.3g} a minute{rest}"

    def _failed(self) -> int:
        return self.outcomes.total() - self.outcomes[OK]


def readable(minutes: float) -> str:
    """Return a duration with a unit that suits it.

    >>> readable(0.5), readable(12.3), readable(400)
    ('30 s', '12 min', '6.7 h')
    """
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


__all__ = ["Progress", "readable"]
