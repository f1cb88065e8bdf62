"""Computation of one case: outcome, record, retries and time limit."""

from __future__ import annotations

import errno
import os
import platform
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..version import __version__
from .folder import OutputFolder
from .inputs import describe_inputs
from .manifest import Case
from .records import FAILED, KILLED, MAX_ATTEMPTS, OK, TIMEOUT
from .stopping import RunEndedError

#: Warnings of a case that its record keeps, at most.
_MAX_WARNINGS = 10
#: Errors after which no other case can be written either.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Job(Protocol):
    """Computation for each case, which workers get."""

    @property
    def recipe(self) -> str:
        """Hash of the description."""

    @property
    def description(self) -> dict[str, Any]:
        """Values that results depend on, except for the inputs, and their hash."""

    def run(self, case: Case, draft: Path) -> dict[str, Any]:
        """Compute a case.

        Args:
            case: The case.
            draft: Empty folder, which becomes that of the case if anything is written to it.

        Returns:
            Values for the record, which JSON can hold.
        """


@dataclass(frozen=True)
class Limits:
    """Limits of each case.

    Args:
        retries: Further attempts after an error of reading or writing, which may pass.
        timeout: Seconds that it may take; None for any number.
        checksum: Identify inputs by checksums of their bytes, not by size and time.
        kills: Let a case that takes too long end the process, which is that of a worker.
    """

    retries: int = 0
    timeout: float | None = None
    checksum: bool = False
    kills: bool = False


class OutputError(RunEndedError, OSError):
    """Nothing can be written: the disk is full, or the folder cannot be written to."""


def run_case(job: Job, case: Case, folder: OutputFolder, limits: Limits, run: int) -> str:
    """Compute a case, append its record, and return its outcome.

    Errors become part of the record. A process that ends leaves its draft, which counts as an
    attempt; one that is stopped does not.

    Args:
        job: Computation.
        case: The case.
        folder: Folder of results and records.
        limits: Limits of the case.
        run: Number of the run, which its record gets.

    Raises:
        OutputError: Nothing can be written.
    """
    started = time.perf_counter()
    killed = folder.drafts.ended()[case.id] >= MAX_ATTEMPTS
    try:
        record = _killed(case, folder) if killed else _attempt(job, case, folder, limits, run)
        seconds = round(time.perf_counter() - started, 3)
        with _writing(folder):
            folder.records.append(_head(job, case, run) | {"seconds": seconds} | record)
    except BaseException:  # the run ends: by the user or the system, or as nothing can be written
        folder.drafts.remove(case.id, ended=False)
        raise
    folder.drafts.remove(case.id)
    status: str = record["status"]
    return status


def _killed(case: Case, folder: OutputFolder) -> dict[str, Any]:
    folder.discard(case.id)
    error = {
        "class": "ProcessEnded",
        "message": f"the process ended {MAX_ATTEMPTS} times while it computed this case: it ran "
        "out of memory, or a library crashed",
    }
    return {"status": KILLED, "error": error}


def _attempt(
    job: Job, case: Case, folder: OutputFolder, limits: Limits, run: int
) -> dict[str, Any]:
    """Compute a case, again after errors that may pass, and return values for its record."""
    for attempt in range(1, limits.retries + 2):
        record: dict[str, Any] = {"attempts": attempt}
        with _writing(folder):
            draft = folder.drafts.create(case.id)
        with (
            folder.drafts.living(draft),
            warnings.catch_warnings(record=True) as caught,
            _one_thread(),
            _peak_memory() as peak,
        ):
            warnings.simplefilter("always")
            try:
                with _time_limit(limits, lambda: _note_timeout(job, case, folder, limits, run)):
                    record["inputs"] = describe_inputs(case, limits.checksum)
                    record |= job.run(case, draft)
                    if any(draft.iterdir()):
                        folder.publish(draft, case.id)
                record["status"] = OK
            except TimeLimitError as error:
                record |= {"status": TIMEOUT, "error": _described(error)}
            except (Exception, SystemExit) as error:
                record |= {"status": FAILED, "error": _described(error)}
                if _has_no_room(error):
                    raise _cannot_write(folder, error) from error
                passing = isinstance(error, OSError) and not isinstance(error, _LASTING)
                if passing and attempt <= limits.retries:
                    time.sleep(min(2.0**attempt, 60))
                    continue
        if record["status"] != OK:
            folder.discard(case.id)  # of an earlier recipe, or of other inputs
        texts = dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in caught)
        return record | {"warnings": list(texts)[:_MAX_WARNINGS], "peak_memory": peak()}
    raise AssertionError


@contextmanager
def _writing(folder: OutputFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: OutputFolder, error: BaseException) -> OutputError:
    return OutputError(
        f"'{folder.path}' cannot be written to ({error}): the same command goes on with the cases "
        "that are left"
    )


def _has_no_room(error: BaseException | None) -> bool:
    """Return True if an error, or what caused it, is that a disk is full or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__
    return False


#: Errors of files that are the same in a second attempt.
_LASTING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class TimeLimitError(BaseException):
    """A case took longer than it may; no transform or reader takes it for an error of its own."""


@contextmanager
def _time_limit(limits: Limits, note: Callable[[], None]) -> Iterator[None]:
    """Raise in the block, or end the process of a worker, after so many seconds.

    A thread of a worker cannot be interrupted; its process is begun anew.
    """
    if limits.timeout is None:
        yield
        return
    if limits.kills:
        ending, done = threading.Lock(), threading.Event()

        def end() -> None:
            with ending:  # which the case waits for at its end
                if not done.is_set():
                    try:
                        note()
                    finally:
                        os._exit(1)

        timer = threading.Timer(limits.timeout, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            with ending:
                done.set()
            timer.cancel()
        return

    def interrupt(*_: object) -> None:
        raise TimeLimitError(_too_long(limits))

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limits.timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _note_timeout(job: Job, case: Case, folder: OutputFolder, limits: Limits, run: int) -> None:
    error = {"class": TimeLimitError.__name__, "message": _too_long(limits)}
    folder.discard(case.id)
    folder.records.append(_head(job, case, run) | {"status": TIMEOUT, "error": error})


def _too_long(limits: Limits) -> str:
    return f"it took more than {limits.timeout:g} s"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _peak_memory() -> Iterator[Callable[[], int | None]]:
    """Measure the largest resident memory of the process, in bytes; None where it is unknown."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the largest value, proc(5)
    except OSError:
        yield lambda: None
        return

    def peak() -> int | None:
        lines = status.read_text().splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        return found[0] * 1024 if found else None

    yield peak


def _described(error: BaseException) -> dict[str, str]:
    """Return the class of an error and its first line."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return {"class": type(error).__name__, "message": message.partition("\n")[0][:1000]}


def _head(job: Job, case: Case, run: int) -> dict[str, Any]:
    """Return what a record begins with."""
    versions = {
        "torchio_gpu": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    return {
        "id": case.id,
        "recipe": job.recipe,
        "run": run,
        "host": platform.node(),
        "versions": versions,
    }


__all__ = ["Job", "Limits", "OutputError", "run_case"]
