"""Contenders as objects, each in a process and interpreter of its own: the near end of a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from . import environments
from .failure import FailureError
from .machine import ROOT
from .workloads import OURS

#: Columns of the table of features, in its order; the others are timed only.
LIBRARIES = (
    *(OURS, "torchio1", "torchio2", "monai", "cornucopia", "batchgeneratorsv2", "kornia"),
    "batchaug",
)
#: What is timed besides: yardsticks, and other ways to do the same.
YARDSTICKS = ("monai_lazy", "numpy")
NAMES = (*LIBRARIES, *YARDSTICKS)


def interpreters() -> dict[str, str]:
    """Return the interpreter of each: its environment where there is one, or this one."""
    built = environments.built()
    built["monai_lazy"] = built.get("monai", sys.executable)
    return {name: built.get(name, sys.executable) for name in NAMES}


class Contender:
    """A library in another process; has the methods of :class:`benchmarks.worker.Runner`.

    Args:
        name: Of its module in :mod:`benchmarks.rivals`.
        threads: How many threads it may use.
        device: 'cpu', 'cuda', or 'auto' for a GPU if there is one.
        python: Its interpreter, by default that of :func:`interpreters`.

    Raises:
        FailureError: It cannot be started, or its library is not installed.
    """

    def __init__(self, name: str, threads: int, device: str, python: str = "") -> None:
        limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        python = python or interpreters()[name]
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", "benchmarks.worker", name],
                cwd=ROOT,
                env={**os.environ, **dict.fromkeys(limits, str(threads))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the near end, whose end is that of all
            )
        except OSError as error:
            raise FailureError(f"interpreter does not start: {error.strerror}") from error
        try:
            self.facts: dict[str, Any] = self.ask("hello", threads=threads, device=device)
        except FailureError:
            self.close()
            raise
        self.ops: list[str] = ["copy", *self.facts["ops"]]

    def ask(self, what: str, **arguments: Any) -> Any:
        """Return the reply of the worker to one of its methods.

        Raises:
            FailureError: What the worker says, or that it died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise FailureError("its process died")
        reply = json.loads(line)
        if "failure" in reply:
            raise FailureError(reply["failure"])
        return reply["result"]

    def check(self, op: str) -> str | None:
        return self.ask("check", op=op)

    def turn(self, op: str, calls: int) -> list[float]:
        return self.ask("turn", op=op, calls=calls)

    def end_to_end(self, op: str, calls: int) -> list[float]:
        return self.ask("end_to_end", op=op, calls=calls)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
