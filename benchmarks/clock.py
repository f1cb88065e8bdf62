"""Times of a call: on the host, from end to end, and on the device.

Events around a call, as in ``triton.testing.do_bench``, time the host where it is slower than the
GPU. Here the GPU sleeps while all that is timed is queued behind it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import torch

Call = Callable[[], Any]

_CYCLES = 2.0e9  # a second of torch.cuda._sleep, at the highest clock of a multiprocessor
_LONGEST = 0.1  # seconds of sleep: a call that queues for longer waits for the GPU by itself
_CACHES = 4  # all inputs that are rotated are together so many times as large as the L2 cache


class DeviceTime(NamedTuple):
    """Seconds of a call at each measurement; ``late`` where they are those of the host."""

    seconds: list[float]
    late: bool


def rotations(bytes_each: int, device: str) -> int:
    """Return how many inputs to rotate so that none is found in the L2 cache."""
    if device != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, min(32, -(-_CACHES * cache // max(bytes_each, 1))))


def host_and_end(call: Call, cuda: bool) -> tuple[float, float]:
    """Return the seconds until a call returns, and until its work is done, on an idle device."""
    wait = torch.cuda.synchronize if cuda else lambda: None
    wait()
    start = perf_counter()
    result = call()
    returned = perf_counter() - start
    wait()
    done = perf_counter() - start
    del result  # after the clock has stopped
    return returned, done


def end_to_end(call: Call, cuda: bool) -> float:
    """Return the seconds until the work of a call is done, on an idle device."""
    return host_and_end(call, cuda)[1]


def on_device(calls: Sequence[Call], repeats: int, cuda: bool = True) -> DeviceTime:
    """Time warm calls that do the same work on different inputs; without a GPU one by one."""
    if not cuda:
        return DeviceTime([end_to_end(calls[n % len(calls)], False) for n in range(repeats)], False)
    torch.cuda.synchronize()
    start = perf_counter()
    for call in calls:
        call()
    sleep = 1.5 * (perf_counter() - start) + 2e-4
    torch.cuda.synchronize()
    seconds: list[float] = []
    late = False
    while len(seconds) < repeats:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(min(sleep, _LONGEST) * _CYCLES))
        first.record()
        for call in calls:
            call()
        last.record()
        late = bool(first.query())  # the GPU woke up before all was queued
        torch.cuda.synchronize()
        if late and sleep < _LONGEST:
            sleep *= 2
        else:
            seconds.append(first.elapsed_time(last) / 1000 / len(calls))
    return DeviceTime(seconds, late)


@contextmanager
def waits_refused() -> Iterator[None]:
    """Let torch raise where the host would wait for the GPU; without a GPU nothing waits."""
    set_mode = torch.cuda.set_sync_debug_mode if torch.cuda.is_available() else lambda mode: None
    with warnings.catch_warnings():
        # torch warns once, and where warnings are errors it would not set the mode
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype feature")
        set_mode("error")
    try:
        yield
    finally:
        set_mode("default")
