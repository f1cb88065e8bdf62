"""Times of a call: on the device, replayed from a CUDA graph, from end to end, and of the host.

A GPU works while the host goes on. Events around a call that the GPU waits for measure the host, so
the GPU is put to sleep first: all that is timed is queued behind it, and the first event comes when
it wakes up. Whether the host was in time is looked at, and said where it was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from .failure import FailureError

Call = Callable[[], Any]

#: Cycles a second of ``torch.cuda._sleep``, at the highest clock of a multiprocessor.
_CYCLES = 2.0e9
#: Longest sleep: a call that queues for longer waits for the GPU by itself.
_LONGEST = 0.1  # s
#: Inputs of several calls together are so many times as large as the L2 cache.
_CACHES = 4


@dataclass(frozen=True)
class DeviceTime:
    """Seconds of calls on the device.

    Args:
        seconds: Of each measurement, for one call.
        late: Whether the host was still queueing when the device began, in all tries: then the
            time is that of the host, or of a call that waits for the device.
    """

    seconds: list[float]
    late: bool


def rotations(bytes_each: int, device: str) -> int:
    """Return how many inputs to rotate so that none is found in the L2 cache."""
    if device != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, min(32, -(-_CACHES * cache // max(bytes_each, 1))))


def host(call: Call, cuda: bool) -> float:
    """Return the seconds until a call returns, on an idle device."""
    if cuda:
        torch.cuda.synchronize()
    start = perf_counter()
    result = call()
    seconds = perf_counter() - start
    del result
    return seconds


def end_to_end(call: Call, cuda: bool) -> float:
    """Return the seconds until the work of a call is done, on an idle device."""
    if cuda:
        torch.cuda.synchronize()
    start = perf_counter()
    result = call()
    if cuda:
        torch.cuda.synchronize()
    seconds = perf_counter() - start
    del result  # after the clock has stopped
    return seconds


def on_device(calls: Sequence[Call], repeats: int) -> DeviceTime:
    """Time calls in a row on the GPU, with all of them queued before the clock starts.

    Args:
        calls: The same work on different inputs; warm.
        repeats: Measurements.
    """
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
        late = bool(first.query())  # the sleep was over before all was queued
        torch.cuda.synchronize()
        if late and sleep < _LONGEST:
            sleep *= 2
            seconds.clear()
            continue
        seconds.append(first.elapsed_time(last) / 1000 / len(calls))
    return DeviceTime(seconds, late)


def replayed(calls: Sequence[Call], repeats: int) -> DeviceTime:
    """Capture calls in a CUDA graph, and time its replays.

    Numbers that calls of this library bring to the device are brought before.

    Raises:
        FailureError: The calls cannot be captured.
    """
    from torchio_gpu.functional.dispatch.launch import PackedCopies

    def run() -> list[Any]:
        return [call() for call in calls]

    graph = torch.cuda.CUDAGraph()
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        copies = PackedCopies()
        with torch.cuda.stream(stream), copies.running():
            run()
        torch.cuda.current_stream().wait_stream(stream)
        served = [buffer.cuda() for buffer in copies.buffers]
        torch.cuda.synchronize()
        with (
            torch.cuda.graph(graph, capture_error_mode="thread_local"),
            PackedCopies(served).running(),
        ):
            results = run()
    except Exception as error:
        torch.cuda.synchronize()
        raise FailureError.of(error) from error
    graph.replay()
    time = on_device([graph.replay], repeats)
    del results, served
    return DeviceTime([seconds / len(calls) for seconds in time.seconds], time.late)
