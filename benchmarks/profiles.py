"""Where the time of what misses its target goes: ``python -m benchmarks.profiles``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from . import machine, records, targets
from .markdown import number
from .versus import workloads
from .versus.inputs import inputs
from .versus.workloads import WORK, WORKLOADS, Work

SUITE = "profiles"
#: Calls with the profiler; without it, as many at least, and as many as fit into so many seconds.
PROFILED, SECONDS = 5, 1.0
#: Operators that are named.
NAMED = 5

Result = dict[str, Any]


def run(wanted: Sequence[tuple[str, str]], threads: int) -> Result:
    """Profile operations on a CPU: for each, its time, and that within operators of torch."""
    from .versus.peers.torchio_gpu import OPS

    torch.set_num_threads(threads)
    result = {**records.stamp(SUITE, "cpu", threads), "rows": []}
    for workload, op in wanted:
        torch.manual_seed(0)
        given = inputs(WORK.get(op, Work()).given, torch.rand(WORKLOADS[workload].shape))
        result["rows"].append({"workload": workload, "op": op, **look(lambda: OPS[op](*given))})  # noqa: B023
    return result


def look(call: Any) -> Result:
    """Median time of a call in ms, and of one call: operators, how often, and the time within.

    The profiler itself slows each operator by some µs: shares are those of the slowed call.
    """
    for _ in range(3):
        call()
    times: list[float] = []
    while len(times) < PROFILED or sum(times) < SECONDS:
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
        start = perf_counter()
        for _ in range(PROFILED):
            call()
        whole = perf_counter() - start
    events = [e for e in found.key_averages() if e.device_type == DeviceType.CPU]
    events = [e for e in events if e.key.startswith("aten::")]
    within = {e.key.removeprefix("aten::"): e.self_cpu_time_total / 1e6 for e in events}
    most = sorted(within, key=within.__getitem__, reverse=True)[:NAMED]
    return {
        "median_ms": float(f"{1000 * median(times):.4g}"),
        "profiled_ms": float(f"{1000 * whole / PROFILED:.4g}"),
        "calls": sum(e.count for e in events) // PROFILED,
        "within": float(f"{min(1.0, sum(within.values()) / whole):.3g}"),
        "most": {name: float(f"{within[name] / whole:.3g}") for name in most},
    }


def sentences(result: Result) -> dict[tuple[str, str], str]:
    """By workload and operation: where its time goes."""
    found = {}
    for row in result["rows"]:
        most = ", ".join(f"`{name}` {100 * share:.0f} %" for name, share in row["most"].items())
        found[row["workload"], row["op"]] = (
            f"{100 * row['within']:.0f} % within {row['calls']} calls of torch's operators "
            f"({most}), the rest in Python, numpy and memory"
        )
    return found


def text(result: Result) -> str:
    """As markdown."""
    told = sentences(result)
    lines = [
        f"- {row['op'].replace('_', ' ')} on {row['workload']}, {number(row['median_ms'])} ms: "
        f"{told[row['workload'], row['op']]}."
        for row in result["rows"]
    ]
    return "\n".join([*lines, f"- {records.origin(result)}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile, print, and write one JSON file."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.profiles", description=__doc__)
    p.add_argument("--of", type=Path, help="result of the side-by-side suite; default: that kept")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--output", type=Path, help="JSON file; by default in benchmarks/results")
    given = p.parse_args(arguments)
    here = {"suite": workloads.SUITE, "machine": machine.describe(), "device": "cpu"}
    (versus,) = records.read([given.of or records.path(here)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of folding, on small volumes
        result = run(targets.missed(versus), given.threads)
    print(text(result))
    records.write(result, given.output or records.path(result))


if __name__ == "__main__":
    main()
