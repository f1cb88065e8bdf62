"""Profiles of operations: ``python -m benchmarks.profiles``, on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from . import records
from .inputs import inputs
from .markdown import bullets, number
from .workloads import WORK, WORKLOADS

SUITE = "profiles"
#: Calls with the profiler, and operators that are named.
CALLS, NAMED = 5, 5


def look(call: Callable[[], Any]) -> dict[str, Any]:
    """Return ms of a call, how many operators it calls, and the shares of time within these.

    The profiler itself slows each operator by some µs: times are those of the slowed call.
    """
    for _ in range(3):
        call()
    found = profile(activities=[ProfilerActivity.CPU], acc_events=True)
    with found, record_function("whole"):
        for _ in range(CALLS):
            call()
    events = {event.key: event for event in found.key_averages()}
    whole = events["whole"].cpu_time_total
    torchs = {key[6:]: event for key, event in events.items() if key.startswith("aten::")}
    shares = {name: event.self_cpu_time_total / whole for name, event in torchs.items()}
    most = sorted(shares, key=shares.__getitem__, reverse=True)[:NAMED]
    return {
        "ms": round(whole / 1000 / CALLS, 2),
        "calls": sum(event.count for event in torchs.values()) // CALLS,
        "within": round(min(1.0, sum(shares.values())), 3),
        "most": {name: round(shares[name], 3) for name in most},
    }


def run(ops: Sequence[str], threads: int) -> records.Result:
    """Profile operations of this library."""
    from .rivals.torchio_gpu import OPS

    torch.set_num_threads(threads)
    result = {**records.stamp(SUITE, "cpu", threads), "rows": []}
    for op in ops:
        workload = "P" if WORK[op].given in WORKLOADS["P"].takes else "CPU"
        torch.manual_seed(0)
        given = inputs(WORK[op].given, torch.rand(WORKLOADS[workload].shape))
        result["rows"].append({"op": op, **look(partial(OPS[op], *given))})
    return result


def text(result: records.Result) -> str:
    """As a list."""
    lines = []
    for row in result["rows"]:
        most = ", ".join(f"`{name}` {100 * share:.0f} %" for name, share in row["most"].items())
        lines.append(
            f"{row['op'].replace('_', ' ')}, {number(row['ms'])} ms: {100 * row['within']:.0f} % "
            f"within {row['calls']} calls of torch's operators ({most}), the rest in compiled "
            "kernels, Python, numpy and memory."
        )
    return bullets([*lines, records.origin(result)])


def profiles(threads: int, ops: Sequence[str]) -> records.Result:
    """Profile without warnings of folding, on small volumes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return run(ops, threads)


if __name__ == "__main__":
    ops: dict[str, Any] = {"nargs": "+", "choices": [*WORK], "default": ["pipe6"]}
    records.command(__doc__, profiles, text, threads={}, ops=ops)(None)
