"""One contender in a process of its own: checks and times what it is asked for.

Every contender runs like this, whatever its interpreter, so that none shares an allocator, a
thread pool or a warm cache with another. Requests and replies are lines of JSON on stdin and
stdout; see :mod:`benchmarks.versus.remote` for the other end.
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
from typing import Any

import torch
from torch import Tensor

from .. import clock, machine
from ..failure import FailureError
from . import probes
from .inputs import inputs
from .workloads import WORK, WORKLOADS, Work, Workload

#: Calls that take less than this are preceded, at each turn, by one that is not timed.
_QUICK = 0.2  # s


class Runner:
    """Checks and times operations on one batch.

    Args:
        ops: Functions by name, of what :data:`benchmarks.versus.workloads.WORK` says that they are
            given; of the batch, where it says nothing. One more, 'copy', clones the batch: the
            floor.
        x: The batch.
        host: Time until a call returns, rather than until its work is done. On a GPU the latter
            is the time of the device: see :mod:`benchmarks.clock`.
        clock: Seconds.
        remarks: What probes said of operations, which do not depend on the batch; by default
            nothing is known yet.
    """

    def __init__(
        self,
        ops: Mapping[str, Callable[..., Tensor]],
        x: Tensor,
        host: bool = False,
        clock: Callable[[], float] = perf_counter,
        remarks: dict[str, str | None] | None = None,
    ) -> None:
        self.ops = {"copy": torch.clone, **ops}
        self.x, self.host, self.clock = x, host, clock
        self.remarks = {} if remarks is None else remarks
        self._inputs: dict[str, list[tuple[Tensor, ...]]] = {}
        self._calls = 0

    def check(self, op: str) -> str | None:
        """Probe what is computed, call once and look at the result: the first warm-up.

        Returns:
            What is computed instead, or how the result is wrong, where it may be.

        Raises:
            FailureError: The call fails, or its result cannot be right.
        """
        if op not in self.remarks:  # first, so that nothing of another size was called since
            self.remarks[op] = probes.remark(op, self.ops[op], self.x.device)
        given, work = self._given(op), _work(op)
        before = [x.clone() for x in given]
        y = self._call(op)
        if not isinstance(y, Tensor):
            raise FailureError(f"returns {type(y).__name__}, not a tensor")
        x = given[0]
        shape = self.x.shape if work.identity else torch.Size(work.shape(x.shape))
        dtype = getattr(torch, work.dtype)
        for what, wish in (("shape", shape), ("dtype", dtype), ("device", x.device)):
            if getattr(y, what) != wish:
                raise FailureError(f"returns {what} {getattr(y, what)}, expected {wish}")
        if not all(map(torch.equal, given, before)):
            raise FailureError("changes its input")
        if not torch.isfinite(y).all():
            raise FailureError("returns numbers that are not finite")
        each = y.flatten(1)
        _refuse(each == each[:, :1], "fills", "with one number")
        if work.identity:
            return _difference(y, self.x)
        if y.shape == x.shape and op != "copy":
            _refuse(y == x, "leaves", "as they were")
        return self.remarks[op]

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
        name = _work(op).given
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
        if self.x.is_cuda:
            torch.cuda.synchronize()
        start = self.clock()
        result = self._call(op)
        stop = self.clock()
        del result  # after the clock has stopped
        return stop - start


def _work(op: str) -> Work:
    return WORK.get(op, Work())


def _difference(y: Tensor, x: Tensor) -> str | None:
    """How much of a batch of numbers in [0, 1) is not what it should be, if any is."""
    # A weighted mean of up to 8 equal voxels, at most 1: some 30 roundings of half an epsilon each,
    # in weights that are products of three, their sum, their products with voxels, the sum of
    # these, and a quotient.
    off = (y - x).abs() > 20 * torch.finfo(y.dtype).eps
    if not off.any():
        return None
    share, most = 100 * off.double().mean().item(), (y - x).abs().max().item()
    return f"{share:.3g} % of voxels, all between 0 and 1, are wrong by up to {most:.2g}"


def _refuse(same: Tensor, verb: str, how: str) -> None:
    """Raise if there are samples in which this is true of all voxels."""
    wrong = same.flatten(1).all(1)
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


class _Requests:
    """What can be asked for, by name."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.runner: Runner
        self.remarks: dict[str, str | None] = {}

    def hello(self, threads: int, device: str) -> dict[str, Any]:
        torch.set_num_threads(threads)
        self.device = device = machine.device(device)
        try:
            module = importlib.import_module(f"benchmarks.versus.peers.{self.peer}")
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) or "is asked for" in str(error)
            raise FailureError(f"not installed: {error}") if missing else error from None
        self.ops = module.OPS
        return {
            "name": module.NAME,
            "version": module.VERSION,
            "ops": list(self.ops),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": device,
        }

    def load(self, workload: str) -> None:
        chosen: Workload = WORKLOADS[workload]
        torch.manual_seed(0)
        x = torch.rand(chosen.shape).to(self.device)
        self.runner = Runner(self.ops, x, chosen.host, remarks=self.remarks)

    def check(self, op: str) -> str | None:
        return self.runner.check(op)

    def turn(self, op: str, calls: int) -> list[float]:
        return self.runner.turn(op, calls)

    def end_to_end(self, op: str, calls: int) -> list[float]:
        return self.runner.end_to_end(op, calls)

    def memory(self, op: str) -> float:
        return self.runner.memory(op)


def serve(peer: str) -> None:
    """Answer requests until there are no more."""
    # What a library prints must not end up among the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests = _Requests(peer)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"result": getattr(requests, request.pop("do"))(**request)}
        except FailureError as failure:
            reply = {"failure": str(failure)}
        except Exception as error:
            reply = {"failure": str(FailureError.of(error))}
        print(json.dumps(reply), file=replies, flush=True)
