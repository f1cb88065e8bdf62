"""End of a run that the user or the system stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class RunEndedError(Exception):
    """The run ended before each case had an outcome; the same call goes on."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM asked the process to end."""


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """Let SIGTERM, which schedulers send before they kill, interrupt the block like Ctrl-C.

    The case that is being computed leaves no draft then, and no attempt is counted. Either signal
    ends the process with 128 and its number, as shells do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except TerminatedError:
        raise SystemExit(128 + signal.SIGTERM) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["RunEndedError", "TerminatedError", "stopped_in_order"]
