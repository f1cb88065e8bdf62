"""Contenders take turns on the same work; what comes out is a plain dict, fit for JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any, Protocol

from .. import machine, records
from ..failure import FailureError
from . import resume
from .remote import Remote
from .workloads import (
    DEFAULT,
    HOST_OPS,
    MEMORY,
    MEMORY_OPS,
    OPS,
    OURS,
    SUITE,
    WORKLOADS,
    has_own_input,
)

#: Contenders take at most so many turns with one operation; a turn may be several calls.
ROUNDS = 15
#: A slow contender gets no more calls than fit in so many seconds, but a few in any case: one, if
#: not even that fits.
BUDGET = 8.0
FEWEST = 3
#: Calls of each contender that are timed from end to end, on a GPU.
ENDS = 5


class Contender(Protocol):
    """What can be measured."""

    @property
    def ops(self) -> Iterable[str]:
        """Names of its operations; 'copy' is one."""

    def check(self, op: str) -> str | None:
        """Call an operation once and raise FailureError if the result cannot be right.

        Returns:
            A remark on the result, if there is one to be made.
        """

    def turn(self, op: str, calls: int) -> list[float]:
        """Seconds of each of some calls."""

    def end_to_end(self, op: str, calls: int) -> list[float]:
        """Seconds of each of some calls, those of the host included."""


@dataclass(frozen=True)
class Options:
    """What to measure, and with whom.

    Args:
        pythons: Interpreter of each contender; this library is the first.
        device: 'cpu', 'cuda', or 'auto' for a GPU if there is one.
        workloads: Names of workloads; by default those that suit the device.
        ops: Operations; by default all, and on host workloads :data:`HOST_OPS`.
        repeats: Timed calls, instead of each workload's own number.
        threads: For each contender.
    """

    pythons: Mapping[str, str]
    device: str = "auto"
    workloads: Sequence[str] | None = None
    ops: Sequence[str] | None = None
    repeats: int | None = None
    threads: int = field(default_factory=machine.threads)


def statistics(times: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and least of times in seconds, as milliseconds."""
    ms = [1000 * time for time in times]
    q1, median, q3 = quantiles(ms, n=4, method="inclusive") if len(ms) > 1 else ms * 3
    found = {"median_ms": median, "q1_ms": q1, "q3_ms": q3, "min_ms": min(ms)}
    return {**{name: float(f"{value:.4g}") for name, value in found.items()}, "repeats": len(ms)}


def measure(
    contenders: Mapping[str, Contender],
    op: str,
    repeats: int,
    budget: float = BUDGET,
    ends: int = 0,
) -> list[dict[str, Any]]:
    """Time one operation: A B C A B C ..., so that what slows the machine slows all alike.

    Args:
        contenders: By name. Those without the operation sit out.
        op: The operation. The first contender also times 'copy', the floor, in turn.
        repeats: Timed calls of each.
        budget: Seconds that the timed calls of one contender may take in all.
        ends: Calls of each that are timed from end to end as well, for times of a device.

    Returns:
        One row per contender: statistics, how many copies the median is worth, and a remark if
        there is one; or a failure.
    """
    players = {name: (c, op) for name, c in contenders.items() if op in c.ops}
    if players:
        players = {"copy": (next(iter(contenders.values())), "copy"), **players}
    failures: dict[str, str] = {}
    remarks: dict[str, str] = {}
    wanted: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    for name, (contender, job) in players.items():
        try:
            if remark := contender.check(job):
                remarks[name] = remark
            (once,) = contender.turn(job, 1)
            fewest = FEWEST if once <= budget else 1
            wanted[name] = min(repeats, max(fewest, int(budget / max(once, 1e-9))))
            # The slow are warm after one call: no second one need go to waste.
            times[name] = [once] if wanted[name] < repeats else []
        except FailureError as failure:
            failures[name] = str(failure)
    rounds = min(ROUNDS, repeats)
    for turn in range(rounds):
        for name, (contender, job) in players.items():
            if name in failures:
                continue
            # Few calls are spread over all rounds; many are shared out among them.
            calls = (turn + 1) * wanted[name] // rounds - len(times[name])
            if calls > 0:
                try:
                    times[name] += contender.turn(job, calls)
                except FailureError as failure:
                    failures[name] = str(failure)
    rows: list[dict[str, Any]] = []
    for name in players:
        facts = {"failure": failures[name]} if name in failures else statistics(times[name])
        if name in remarks and name not in failures:
            facts["remark"] = remarks[name]
        if ends and name not in failures:
            contender, job = players[name]
            found = statistics(contender.end_to_end(job, min(ends, wanted[name])))
            facts["end_to_end_ms"] = found["median_ms"]
        rows.append({"op": op, "contender": name, **facts})
    floor = rows[0].get("median_ms") if rows else None
    for row in rows:
        if floor and "median_ms" in row:
            row["copies"] = float(f"{row['median_ms'] / floor:.4g}")
    return rows


def run(
    options: Options, where: Callable[[dict[str, Any]], Path | None] = lambda result: None
) -> dict[str, Any]:
    """Measure everything; returns the result as a plain dict.

    Args:
        options: What to measure.
        where: From the stamp of the result to the file that it is to be in, if to any. Beside it
            is kept what is measured so far: see :mod:`benchmarks.versus.resume`.

    Raises:
        FailureError: This library itself cannot be started.
    """
    with ExitStack() as stack:
        contenders, result = _start(options, stack)
        workloads = options.workloads or DEFAULT[result["device"]]
        wishes = {"workloads": workloads, "ops": options.ops, "repeats": options.repeats}
        file, conditions = where(result), resume.conditions(result, wishes)
        if file is not None:
            result, remark = resume.go_on(file, result, conditions)
            log(remark or f"{resume.part(file).name} keeps what is measured so far")
        there = {(row["workload"], row["op"]) for row in result["rows"]}
        ops = {
            name: [op for op in chosen(name, options) if (name, op) not in there]
            for name in workloads
        }
        known = {(row["workload"], row["op"], row["contender"]) for row in result["memory"]}
        peaks = [
            job
            for job in _peaks(contenders, workloads, options, result["device"])
            if job not in known
        ]
        jobs, begun = sum(map(len, ops.values())) + len(peaks), perf_counter()
        finished = count(1)

        def save() -> None:
            if file is not None:
                resume.keep(file, result, conditions)
            number = next(finished)
            minutes = (perf_counter() - begun) / number * (jobs - number) / 60
            log(f"{number} of {jobs} done, some {minutes:.0f} min left")

        for name, wanted in ops.items():
            ends = ENDS if result["device"] == "cuda" and not WORKLOADS[name].host else 0
            for rows in _workload(contenders, name, wanted, options, ends):
                result["rows"] += rows
                save()
        for name, op, peer in peaks:
            result["memory"].append(_memory(peer, op, name, options, result["device"]))
            save()
    return result


def _start(options: Options, stack: ExitStack) -> tuple[dict[str, Remote], dict[str, Any]]:
    """Contenders that could be started, and a result in which nothing is measured."""
    result: dict[str, Any] = {"contenders": {}, "rows": [], "memory": []}
    device = options.device
    contenders: dict[str, Remote] = {}
    for peer, python in options.pythons.items():
        try:
            remote = stack.enter_context(Remote(peer, python, options.threads, device))
        except FailureError as failure:
            if peer == OURS:
                raise
            result["contenders"][peer] = {"failure": str(failure)}
            log(f"{peer}: {failure}")
            continue
        contenders[peer], facts = remote, dict(remote.facts)
        device = facts.pop("device")  # all go where this library goes
        del facts["ops"]
        result["contenders"][peer] = facts
        log(f"{peer}: {facts['name']} {facts['version']}")
        if peer == OURS:
            stamp = records.stamp(SUITE, device, options.threads)
            result = {**stamp, **result}
    return contenders, result


def chosen(name: str, options: Options) -> list[str]:
    """Operations that are measured on a workload."""
    workload = WORKLOADS[name]
    wanted = options.ops or (HOST_OPS if workload.host else OPS)
    ops = [op for op in wanted if workload.takes(op)]
    if options.ops and len(ops) < len(wanted):
        log(f"{name}: {', '.join(op for op in wanted if op not in ops)} are measured elsewhere")
    return ops


def _peaks(
    contenders: Mapping[str, Remote], workloads: Sequence[str], options: Options, device: str
) -> Iterator[tuple[str, str, str]]:
    """Where peak memory is measured: workload, operation, contender."""
    for name in MEMORY[device]:
        for op in MEMORY_OPS if name in workloads else ():
            for peer, contender in contenders.items():
                takes = WORKLOADS[name].takes(op) and op in contender.ops
                if takes and op in (options.ops or MEMORY_OPS):
                    yield name, op, peer


def _workload(
    contenders: Mapping[str, Remote],
    name: str,
    ops: Sequence[str],
    options: Options,
    ends: int = 0,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of one operation after another."""
    if not ops:
        return
    loaded: dict[str, Contender] = {}
    failed: list[dict[str, Any]] = []
    for peer, contender in contenders.items():
        try:
            contender.load(name)
            loaded[peer] = contender
        except FailureError as failure:  # no memory for the batch, no such device
            log(f"{peer}: {failure}")
            failed.append({"workload": name, "contender": peer, "failure": str(failure)})
    for op in ops:
        rows = [{**facts, "op": op} for facts in failed]
        repeats = options.repeats or WORKLOADS[name].repeats
        for row in measure(loaded, op, repeats, ends=ends):
            if has_own_input(op):
                row.pop("copies", None)  # the copy is that of the batch
            rows.append({"workload": name, **row})
            what = row.get("failure") or f"{row['median_ms']:10.3f} ms"
            log(f"{name:4} {op:15} {row['contender']:12} {what}")
        yield rows


def _memory(peer: str, op: str, workload: str, options: Options, device: str) -> dict[str, Any]:
    """Peak memory of a call in a fresh process, whose heap nothing has stretched before."""
    row: dict[str, Any] = {"workload": workload, "op": op, "contender": peer}
    try:
        with Remote(peer, options.pythons[peer], options.threads, device) as remote:
            remote.load(workload)
            row["batches"] = round(remote.memory(op), 2)
    except FailureError as failure:
        row["failure"] = str(failure)
    log(f"{workload:4} {op + ' memory':15} {peer:12} {row.get('batches', row.get('failure'))}")
    return row


def log(line: str) -> None:
    """Progress, apart from the tables on stdout."""
    print(line, file=sys.stderr, flush=True)
