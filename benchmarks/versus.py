"""Speed beside other libraries, which take turns on the same work: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import Any

from . import machine, records
from .contenders import NAMES, Contender
from .failure import FailureError
from .workloads import DEFAULT, MEMORY, OURS, SUITE, WORK, WORKLOADS

#: Contenders take at most so many turns with one operation; a turn may be several calls.
ROUNDS = 15
#: A slow contender gets no more calls than fit in so many seconds, but a few in any case: one, if
#: not even that fits.
BUDGET, FEWEST = 8.0, 3
#: Calls of each contender that are timed from end to end, on a GPU.
ENDS = 5

Row = dict[str, Any]


def statistics(times: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and least of times in seconds, as milliseconds."""
    ms = [1000 * time for time in times]
    q1, median, q3 = quantiles(ms, n=4, method="inclusive") if len(ms) > 1 else ms * 3
    found = {"median_ms": median, "q1_ms": q1, "q3_ms": q3, "min_ms": min(ms)}
    return {**{name: float(f"{value:.4g}") for name, value in found.items()}, "repeats": len(ms)}


def measure(
    players: Mapping[str, Any], op: str, repeats: int, budget: float = BUDGET, ends: int = 0
) -> list[Row]:
    """Time one operation: A B C A B C ..., so that what slows the machine slows all alike.

    Args:
        players: By name, contenders or runners. Those without the operation sit out; the first also
            times 'copy'.
        op: The operation.
        repeats: Timed calls of each.
        budget: Seconds that the timed calls of one contender may take in all.
        ends: Calls of each that are timed from end to end as well, for times of a device.

    Returns:
        One row per contender: statistics, how many copies the median is worth, and a remark if
        there is one; or a failure.
    """
    jobs = {name: (player, op) for name, player in players.items() if op in player.ops}
    if jobs:
        jobs = {"copy": (next(iter(players.values())), "copy"), **jobs}
    rows: dict[str, Row] = {name: {"op": op, "contender": name} for name in jobs}
    times: dict[str, list[float]] = {}
    wanted: dict[str, int] = {}

    def tried(name: str, calls: int) -> None:
        player, job = jobs[name]
        try:
            if name in times:
                times[name] += player.turn(job, calls)
                return
            if remark := player.check(job):
                rows[name]["remark"] = remark
            (once,) = player.turn(job, 1)
        except FailureError as failure:
            rows[name] = {"op": op, "contender": name, "failure": str(failure)}
            return
        fewest = FEWEST if once <= budget else 1
        wanted[name] = min(repeats, max(fewest, int(budget / max(once, 1e-9))))
        # The slow are warm after one call: no second one need go to waste.
        times[name] = [once] if wanted[name] < repeats else []

    for name in jobs:
        tried(name, 1)
    rounds = min(ROUNDS, repeats)
    for turn in range(1, rounds + 1):
        for name in times:
            # Few calls are spread over all rounds; many are shared out among them.
            calls = turn * wanted[name] // rounds - len(times[name])
            if calls > 0 and "failure" not in rows[name]:
                tried(name, calls)
    for name, row in rows.items():
        if "failure" not in row:
            row.update(statistics(times[name]))
            row["copies"] = float(f"{row['median_ms'] / rows['copy']['median_ms']:.4g}")
            if ends:
                player, job = jobs[name]
                found = statistics(player.end_to_end(job, min(ends, wanted[name])))
                row["end_to_end_ms"] = found["median_ms"]
    return list(rows.values())


def run(
    names: Sequence[str],
    device: str,
    threads: int,
    workloads: Sequence[str] = (),
    ops: Sequence[str] = (),
    repeats: int | None = None,
    file: Path | None = None,
) -> records.Result:
    """Measure; return the result as a plain dict.

    Args:
        names: Contenders; this library is the first.
        device: 'cpu', 'cuda', or 'auto' for a GPU if there is one.
        threads: For each contender.
        workloads: Names of workloads; by default those that suit the device.
        ops: Operations; by default all.
        repeats: Timed calls, instead of each workload's own number.
        file: Where rows are kept as they are measured, beside it, for a run that goes on after an
            interruption: one with the same commit, contenders and options takes them over.

    Raises:
        FailureError: This library itself cannot be started.
    """
    with ExitStack() as stack:
        contenders, result = _start(names, device, threads, stack)
        device = result["device"]
        about = [str(each) for each in (workloads, ops, repeats, result["contenders"])]
        result["about"] = [result["commit"], result["dirty"], *about]
        part = file and file.with_name(f".{file.name}.part")
        if part and part.exists() and not result["dirty"]:
            before = json.loads(part.read_text(encoding="utf-8"))
            result = before if before["about"] == result["about"] else result
        there = {(row["workload"], row["op"]) for row in result["rows"]}
        for name in workloads or DEFAULT[device]:
            chosen = WORKLOADS[name]
            jobs = [op for op, work in WORK.items() if work.given in chosen.takes]
            jobs = [op for op in jobs if (op in ops or not ops) and (name, op) not in there]
            loaded = _loaded(contenders, name) if jobs else {}
            for op in jobs:
                ends = ENDS if device == "cuda" and not chosen.host else 0
                rows = measure(loaded, op, repeats or chosen.repeats, ends=ends)
                result["rows"] += [_told({"workload": name, **row}) for row in rows]
                peers = [row["contender"] for row in rows if row["contender"] != "copy"]
                if chosen.memory and op in MEMORY:
                    found = [_memory(peer, op, name, threads, device) for peer in peers]
                    result["memory"] += found
                records.write(result, part)
    if part:
        part.unlink(missing_ok=True)
    del result["about"]
    return result


def _start(
    names: Sequence[str], device: str, threads: int, stack: ExitStack
) -> tuple[dict[str, Contender], records.Result]:
    """Return contenders that could be started, and a result in which nothing is measured."""
    found: dict[str, Any] = {}
    contenders: dict[str, Contender] = {}
    for name in names:
        try:
            contender = stack.enter_context(Contender(name, threads, device))
        except FailureError as failure:
            if name == OURS:
                raise
            found[name] = {"failure": str(failure)}
        else:
            device = contender.facts["device"]  # all go where this library goes
            contenders[name] = contender
            found[name] = {k: v for k, v in contender.facts.items() if k not in ("ops", "device")}
        log(f"{name}: {found[name].get('version') or found[name]['failure']}")
    stamp = records.stamp(SUITE, device, threads)
    return contenders, {**stamp, "contenders": found, "rows": [], "memory": []}


def _loaded(contenders: Mapping[str, Contender], workload: str) -> dict[str, Contender]:
    """Let contenders make the batch of a workload; return those that could."""
    loaded = {}
    for peer, contender in contenders.items():
        try:
            contender.ask("load", workload=workload)
            loaded[peer] = contender
        except FailureError as failure:  # no memory for the batch, no such device
            log(f"{workload:4} {peer}: {failure}")
    return loaded


def _memory(peer: str, op: str, workload: str, threads: int, device: str) -> Row:
    """Return the peak memory of a call in a fresh process, whose heap nothing has stretched."""
    row: Row = {"workload": workload, "op": op, "contender": peer}
    try:
        with Contender(peer, threads, device) as contender:
            contender.ask("load", workload=workload)
            row["batches"] = round(contender.ask("memory", op=op), 2)
    except FailureError as failure:
        row["failure"] = str(failure)
    return _told(row)


def _told(row: Row) -> Row:
    """Print a row as it is measured."""
    found = ("failure", "median_ms", "batches")
    what = next(f"{row[key]} {key}" for key in found if key in row)
    log(f"{row['workload']:4} {row['op']:15} {row['contender']:18} {what}")
    return row


def log(line: str) -> None:
    """Print progress, apart from the tables on stdout."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks and print the tables."""
    p = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--workload", nargs="+", choices=[*WORKLOADS], default=[], help="by device")
    p.add_argument("--ops", nargs="+", choices=[*WORK], default=[])
    p.add_argument("--repeats", type=int, help="timed calls; fewer for slow contenders")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--no-peers", action="store_true", help="this library only")
    p.add_argument("--contenders", nargs="+", choices=NAMES, help="beside this library")
    p.add_argument("--output", type=Path, help="by default in benchmarks/results, if all is run")
    given = p.parse_args(arguments)
    names = [OURS] if given.no_peers else [OURS, *(given.contenders or NAMES[1:])]
    whole = not (given.workload or given.ops or given.repeats or len(names) < len(NAMES))
    about = {"suite": SUITE, "machine": machine.describe(given.device)}
    file = given.output or (records.path(about) if whole else None)
    chosen = given.workload, given.ops, given.repeats, file
    try:
        result = run(list(dict.fromkeys(names)), given.device, given.threads, *chosen)
    except FailureError as failure:
        sys.exit(f"{OURS}: {failure}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    records.write(result, file)
