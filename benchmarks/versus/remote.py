"""The near end of a worker: contenders as objects, each in a process and interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from ..failure import FailureError
from ..machine import ROOT
from . import environments

#: Interpreters of peers, instead of those in :mod:`environments`: "NAME=PYTHON,NAME=PYTHON".
VARIABLE = "TORCHIO_GPU_BENCH_PEERS"


def peers() -> list[str]:
    """Contenders that there are modules for; this library is the first."""
    names = sorted(
        path.stem for path in (ROOT / "benchmarks" / "versus" / "peers").glob("[!_]*.py")
    )
    return sorted(names, key=lambda name: name != "torchio_gpu")


def interpreters(given: list[str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Interpreters by peer: those built, then of the variable, then of options "NAME=PYTHON"."""
    found = environments.built()
    for item in [*filter(None, environment.get(VARIABLE, "").split(",")), *given]:
        name, equals, python = (part.strip() for part in item.partition("="))
        if not equals or name not in peers():
            known = ", ".join(peers())
            raise ValueError(f"a peer must be given as NAME=PYTHON, NAME of {known}; got {item!r}")
        found[name] = python
    return found


class Remote:
    """A contender in another process; has the methods of :class:`benchmarks.versus.worker.Runner`.

    Args:
        peer: Name of its module in :mod:`benchmarks.versus.peers`.
        python: Its interpreter.
        threads: How many threads it may use.
        device: 'cpu', 'cuda', or 'auto' for a GPU if there is one.

    Raises:
        FailureError: It cannot be started, or its library is not installed.
    """

    def __init__(self, peer: str, python: str, threads: int, device: str) -> None:
        limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        environment = {**os.environ, **{name: str(threads) for name in limits}}
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", "benchmarks", "--worker", peer],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the near end, whose end is that of all
            )
        except OSError as error:
            raise FailureError(f"interpreter does not start: {error.strerror}") from error
        try:
            self.facts: dict[str, Any] = self._ask("hello", threads=threads, device=device)
        except FailureError:
            self.close()
            raise
        self.ops: list[str] = ["copy", *self.facts["ops"]]

    def load(self, workload: str) -> None:
        """Make the batch that the next calls are about."""
        self._ask("load", workload=workload)

    def check(self, op: str) -> str | None:
        """As :meth:`benchmarks.versus.worker.Runner.check`."""
        remark: str | None = self._ask("check", op=op)
        return remark

    def turn(self, op: str, calls: int) -> list[float]:
        """As :meth:`benchmarks.versus.worker.Runner.turn`."""
        return list(self._ask("turn", op=op, calls=calls))

    def end_to_end(self, op: str, calls: int) -> list[float]:
        """As :meth:`benchmarks.versus.worker.Runner.end_to_end`."""
        return list(self._ask("end_to_end", op=op, calls=calls))

    def memory(self, op: str) -> float:
        """As :meth:`benchmarks.versus.worker.Runner.memory`."""
        return float(self._ask("memory", op=op))

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

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, what: str, **arguments: Any) -> Any:
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
