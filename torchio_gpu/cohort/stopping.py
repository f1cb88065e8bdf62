"""End of a run that the user or the system stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """Let SIGTERM, which schedulers send before they kill, end the block like an exit.

    The case that is being computed leaves no draft then, and no attempt is counted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["stopped_in_order"]
