"""One contender in a process of its own: checks and times what it is asked for.

Every contender runs like this, whatever its interpreter, so that none shares an allocator, a
thread pool or a warm cache with another. Requests and replies are lines of JSON on stdin and
stdout; see :mod:`benchmarks.contenders` for the other end.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import timer

from . import clock, machine
from .checks import CHECKS, GROUPS, Answer, tried
from .facts import facts
from .failure import FailureError
from .inputs import inputs
from .workloads import WORK, WORKLOADS, Work

#: Calls that take less than this are preceded, at each turn, by one that is not timed.
_QUICK = 0.2  # s


class Runner:
    """Times operations on one batch.

    Args:
        ops: Functions by name, of what :data:`benchmarks.workloads.WORK` says that they are given;
            of the batch, where it says nothing. One more, 'copy', clones the batch: the floor.
        x: The batch.
        host: Time until a call returns, rather than until its work is done. On a GPU the latter
            is the time of the device: see :mod:`benchmarks.clock`.
    """

    def __init__(
        self, ops: Mapping[str, Callable[..., Any]], x: Tensor, host: bool = False
    ) -> None:
        self.ops = {"copy": torch.clone, **ops}
        self.x, self.host = x, host
        self._inputs: dict[str, list[tuple[Tensor, ...]]] = {}
        self._calls = 0

    def check(self, op: str) -> None:
        """Call once and look at the result: the first warm-up.

        Raises:
            FailureError: The call fails, or its result cannot be right.
        """
        given, work = self._given(op), WORK.get(op, Work())
        before = [x.clone() for x in given]
        y, x = self._call(op), given[0]
        if isinstance(y, tuple):
            y = y[0]
        if not isinstance(y, Tensor):
            raise FailureError(f"returns {type(y).__name__}, not a tensor")
        same = work.given in ("patches", "grid")
        shape = self.x.shape if same else torch.Size(work.shape(x.shape))
        wishes = {"shape": shape, "dtype": getattr(torch, work.dtype), "device": x.device}
        for what, wish in wishes.items():
            if getattr(y, what) != wish:
                raise FailureError(f"returns {what} {getattr(y, what)}, expected {wish}")
        if not all(map(torch.equal, given, before)):
            raise FailureError("changes its input")
        if not torch.isfinite(y).all():
            raise FailureError("returns numbers that are not finite")
        flat = y.flatten(1)
        _refuse(flat == flat[:, :1], "fills", "with one number")
        if y.shape == x.shape and op != "copy" and not same:
            _refuse((y == x).flatten(1), "leaves", "as they were")

    def turn(self, op: str, calls: int) -> list[float]:
        """Seconds of each of some calls in a row."""
        times = [self._time(op)]
        if times[0] < _QUICK:
            times.clear()  # threads were asleep and caches someone else's
        while len(times) < calls:
            times.append(self._time(op))
        return times

    def end_to_end(self, op: str, calls: int) -> list[float]:
        """Seconds of each of some calls until their work is done, the host's part included."""
        self._given(op)
        return [clock.end_to_end(lambda: self._call(op), self.x.is_cuda) for _ in range(calls)]

    def memory(self, op: str) -> float:
        """Largest memory in use during a first call, result included, in batches."""
        # large enough for the kernels of the large one
        small = torch.rand(*self.x.shape[:2], 32, 32, 32, device=self.x.device)
        Runner(self.ops, small)._call(op)  # what is loaded once is no memory of the call
        size = self.x.numel() * self.x.element_size()
        self._given(op)  # which does not count either
        return peak_memory(lambda: self._call(op), self.x.is_cuda) / size

    def _given(self, op: str, turn: int = 0) -> tuple[Tensor, ...]:
        """Arguments of an operation; on a GPU there are copies, so that no cache has the next."""
        name = WORK.get(op, Work()).given
        if name not in self._inputs:
            first = inputs(name, self.x)
            size = sum(x.numel() * x.element_size() for x in first)
            more = clock.rotations(size, self.x.device.type) - 1
            copies = [tuple(x.clone() for x in first) for _ in range(more)]
            self._inputs[name] = [first, *copies]
        return self._inputs[name][turn % len(self._inputs[name])]

    def _call(self, op: str, turn: int = 0) -> Any:
        try:
            return self.ops[op](*self._given(op, turn))
        except Exception as error:
            raise FailureError.of(error) from error

    def _time(self, op: str) -> float:
        self._given(op)  # before any clock runs
        if self.x.is_cuda and not self.host:
            self._calls += 1
            return clock.on_device([lambda: self._call(op, self._calls)], 1).seconds[0]
        read = perf_counter if self.host else timer
        start = read()
        result = self._call(op)
        stop = read()
        del result  # after the clock has stopped
        return stop - start


def _refuse(same: Tensor, verb: str, how: str) -> None:
    """Raise if there are samples in which this is true of all voxels, (B, V)."""
    wrong = same.all(1)
    if wrong.any():
        raise FailureError(f"{verb} {int(wrong.sum())} of {len(wrong)} samples {how}")


def peak_memory(call: Callable[[], Any], on_gpu: bool) -> float:
    """Return the most memory in use during a call, on top of what is in use before, in bytes."""
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    except OSError as error:
        raise FailureError("peak memory can be read on Linux only") from error
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def answer(library: ModuleType, key: str, device: str = "cpu") -> Answer:
    """Try what a library offers for a check; say how it is known where it offers nothing.

    Args:
        library: A module of :mod:`benchmarks.rivals`.
        key: Of :data:`benchmarks.checks.CHECKS`.
        device: Where operations that are timed are tried.
    """
    check, note = CHECKS[key], getattr(library, "NOTES", {}).get(key, "")
    if key not in library.OPS:
        if note:
            return Answer(note[0], note[2:], "read")
        found = [
            name
            for name in library.NAMES
            if not name.startswith("_") and any(word in name.lower() for word in check.words)
        ]
        if found:
            return Answer("!", f"there are names to be tried: {', '.join(found[:4])}", "names")
        return Answer("-", "", "names" if check.words else "run")
    op = library.OPS[key]
    if key in WORK:
        op = _moved(op, device)
    found = tried(lambda: check.run(op), key in WORK)
    return found._replace(note=note) if found.sign == "✓" else found


def _moved(op: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return an operation that is called on a device, and answers on the host."""

    def call(*given: Tensor) -> Any:
        found = op(*(x.to(device) for x in given))
        return tuple(y.cpu() for y in found) if isinstance(found, tuple) else found.cpu()

    return call


class _Requests:
    """Requests by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.remarks: dict[str, str | None] = {"copy": None}

    def hello(self, threads: int, device: str) -> dict[str, Any]:
        torch.set_num_threads(threads)
        self.device = device = machine.device(device)
        try:
            self.library = importlib.import_module(f"benchmarks.rivals.{self.name}")
        except ImportError as error:
            raise FailureError(f"not installed: {error}") from None
        return {
            "name": self.library.NAME,
            "version": self.library.VERSION,
            "ops": [op for op in WORK if op in self.library.OPS],
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": device,
        }

    def load(self, workload: str) -> None:
        chosen = WORKLOADS[workload]
        torch.manual_seed(0)
        self.runner = Runner(
            self.library.OPS, torch.rand(chosen.shape).to(self.device), chosen.host
        )

    def check(self, op: str) -> str | None:
        """Return what is computed instead, where the check of an operation says so."""
        self.runner.check(op)
        if op not in self.remarks:
            found = answer(self.library, op, self.device)
            self.remarks[op] = found.note if found.sign in "~!" else None
        return self.remarks[op]

    def __getattr__(self, name: str) -> Any:
        """Times and memory are asked of the runner."""
        return getattr(self.__dict__["runner"], name)

    def answers(self) -> dict[str, Any]:
        """Return all cells of the table of features, and facts of the distribution."""
        keys = [key for group in GROUPS.values() for key in group]
        return {
            "cells": {key: list(answer(self.library, key)) for key in keys},
            "facts": facts(self.library),
        }


def serve(name: str) -> None:
    """Answer requests until there are no more."""
    # What a library prints must not end up among the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests = _Requests(name)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"result": getattr(requests, request.pop("do"))(**request)}
        except FailureError as failure:
            reply = {"failure": str(failure)}
        except Exception as error:
            reply = {"failure": str(FailureError.of(error))}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
