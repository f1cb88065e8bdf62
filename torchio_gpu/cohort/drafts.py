"""Drafts: folders of cases that are being computed, by which attempts are counted, too.

Needs nothing but the standard library, so that the state of a run is shown at once.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .records import host_name, process_name

#: Seconds between signs of life of a draft, and those without one after which the process of
#: another machine is taken to have ended. Clocks may differ by some minutes.
_SIGN, _SILENCE = 60, 900
_FORMER = ".former"
_EXITING = 4  # PF_EXITING, proc(5)


@dataclass(frozen=True)
class Drafts:
    """Folders ``<id>@<process>``, which become those of cases.

    A process that ends while it computes a case leaves its draft. So these count the attempts at a
    case that ended with their process, until the case has an outcome.

    Args:
        path: Folder that holds them.
    """

    path: Path

    def create(self, id: str) -> Path:
        """Create the draft of this process for a case."""
        draft = self._own(id)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        return draft

    def former(self, id: str) -> Path:
        """Return a path, beside the draft of this process, for what it replaces."""
        own = self._own(id)
        return own.with_name(own.name + _FORMER)

    def begun(self) -> dict[str, float]:
        """Return the cases that have drafts, and when the last of these was begun or changed."""
        found: dict[str, float] = {}
        for path, id, _ in self:
            if id.startswith("_"):  # no case: a file about the run is written
                continue
            try:
                found[id] = max(found.get(id, 0.0), path.stat().st_mtime)
            except FileNotFoundError:  # a process has just removed it
                continue
        return found

    def ended(self) -> Counter[str]:
        """Count, for each case, the attempts whose process has ended, as far as is known."""
        return Counter(
            id
            for path, id, process in self
            if not path.name.endswith(_FORMER) and not _lives(path, process)
        )

    def of_living(self, ids: Container[str]) -> list[Path]:
        """Return the drafts of cases whose processes run, as far as is known."""
        return [path for path, id, process in self if id in ids and _lives(path, process)]

    def remove(self, id: str, ended: bool = True) -> None:
        """Remove the draft of this process for a case, and those of processes that have ended.

        Args:
            id: Case, which has an outcome.
            ended: Remove those of processes that have ended.
        """
        for path, each, process in self:
            own = process == process_name()
            if each == id and (own or (ended and not _lives(path, process))):
                remove(path)

    @contextmanager
    def living(self, draft: Path) -> Iterator[None]:
        """Give a sign of life of a draft now and then, for other machines."""
        ended = threading.Event()

        def touch() -> None:
            while not ended.wait(_SIGN):
                with suppress(OSError):
                    os.utime(draft)

        threading.Thread(target=touch, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def __iter__(self) -> Iterator[tuple[Path, str, str]]:
        """Yield the path of each draft, its case and the name of its process."""
        for name in os.listdir(self.path) if self.path.is_dir() else ():
            id, _, process = name.partition("@")
            if process.count("-") >= 2:  # else a file that a system has put there
                yield self.path / name, id, process.removesuffix(_FORMER)

    def _own(self, id: str) -> Path:
        return self.path / f"{id}@{process_name()}"


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, a file or a link; nothing else may be left."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _lives(path: Path, process: str) -> bool:
    """Return True if the process of a draft runs, as far as is known."""
    host, number, _ = process.rsplit("-", 2)
    if host != host_name():
        return _age(path) < _SILENCE
    if int(number) == os.getpid():
        return process == process_name()  # else one that had the same number
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    # one that is ending, or that has ended and that nothing collects, as in some containers
    return not int(fields[6]) & _EXITING and fields[0] not in "ZX"


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


__all__ = ["Drafts", "remove"]
