"""Worker processes that are restarted after crashes and hangs."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = 20  # seconds for one case, on a busy machine
MEMORY = 1 << 30  # bytes that a case may take on top of the libraries


@dataclass
class Report:
    """Counts of outcomes, and details of the failed cases."""

    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, number: int, outcome: str, detail: str) -> None:
        self.counts[outcome] += 1
        if outcome.startswith("bad"):
            self.bad.append(f"case {number}: {outcome}: {detail}")

    def __str__(self) -> str:
        lines = [f"{count:7d}  {outcome}" for outcome, count in sorted(self.counts.items())]
        lines.append(f"{self.counts.total():7d}  in {self.seconds:.0f} s, {len(self.bad)} bad")
        return "\n".join([*lines, *self.bad[:50]])


class Worker:
    """Process that runs cases of a fuzzer, restarted after a crash."""

    def __init__(self, fuzzer: str, seed: int) -> None:
        self._command = [sys.executable, "-m", "tests.robustness.worker", fuzzer, str(seed)]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None

    def run(self, number: int) -> tuple[str, str]:
        """Return outcome and details of one case."""
        process = self._process if self._process is not None else self._start()
        assert process.stdin is not None
        process.stdin.write(f"{number}\n".encode())
        process.stdin.flush()
        line = self._line(TIMEOUT)
        if line is None:
            tail = self._tail()
            self.close()
            return "bad: hang", f"no answer in {TIMEOUT} s\n{tail}"
        if not line:
            code, tail = process.wait(), self._tail()
            self.close()
            return "bad: crash", f"the process ended with {code}\n{tail}"
        outcome, detail = json.loads(line)
        return outcome, detail

    def _start(self) -> subprocess.Popen[bytes]:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            cwd=ROOT, env=environment,
        )  # fmt: skip
        if self._line(120) != b"ready\n":
            raise RuntimeError(f"the worker did not start:\n{self._tail()}")
        return self._process

    def _line(self, timeout: float) -> bytes | None:
        """Return the next line of output, empty at the end; None after a timeout."""
        assert self._process is not None
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            if not selector.select(timeout):
                return None
        return output.readline()

    def _tail(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2000))
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()
            self._log.close()
            self._process = None


def fuzz(
    fuzzer: str, count: int, seed: int = 0, first: int = 0, seconds: float = float("inf")
) -> Report:
    """Run cases `first`, `first + 1`, … of a fuzzer, up to a number or a time limit."""
    report, start = Report(), time.monotonic()
    worker = Worker(fuzzer, seed)
    try:
        for number in range(first, first + count):
            if time.monotonic() - start > seconds:
                break
            report.add(number, *worker.run(number))
    finally:
        worker.close()
    report.seconds = time.monotonic() - start
    return report
