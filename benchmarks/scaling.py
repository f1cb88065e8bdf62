"""How time and memory grow with the work: ``python -m benchmarks.scaling``.

Volumes of 32³ to 256³, batches of 1 to 16, channels, control points and numbers of patches. A copy
of the same voxels, the floor, is timed at every point. From the points of a sweep follows an
exponent: time ~ size ** exponent. Nothing may grow faster than its voxels do.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio

from . import machine, records
from .failure import FailureError
from .markdown import number, table
from .versus import workloads as w
from .versus.harness import statistics
from .versus.peers import torchio_gpu as ours
from .versus.worker import Runner

SUITE = "scaling"
#: Timed calls of a point, and seconds after which there are no more.
CALLS, SECONDS = 7, 1.5
#: Below so many bytes what a process holds for itself drowns what a call takes.
LEAST = 3 * 2**20
#: Points that an exponent of sizes is made of hold at least so many voxels, or a call costs what it
#: costs, and at most so many: of larger ones all memory is new at each call, and its pages cost
#: more than most work; there the copy jumps as well.
ENOUGH, MOST = 250_000, 8_000_000
#: What an exponent may exceed 1 by: volumes leave the caches, where the copy's own exponent shows
#: what that costs, and n log n grows as n ** 1.06.
SLACK = 0.15

Ops = Mapping[str, Callable[..., Tensor]]


@dataclass(frozen=True)
class Point:
    """One size of the work.

    Args:
        at: Where it stands along the sweep.
        shape: Of the batch.
        ops: What is timed; they are called with the batch.
        work: What time is held against: voxels, or what else there is more of.
    """

    at: int
    shape: tuple[int, ...]
    ops: Ops
    work: int


@lru_cache(maxsize=1)
def _batched() -> dict[str, Callable[..., Tensor]]:
    """Operations whose input is the batch, or labels made of it."""
    names = [op for op, work in w.WORK.items() if work.given in ("batch", "labels")]
    return {name: ours.OPS[name] for name in names if name in ours.OPS}


def _some(*names: str) -> Ops:
    return {name: _batched()[name] for name in names}


def sizes(quick: bool) -> Iterator[Point]:
    for n in (16, 24) if quick else (32, 48, 64, 96, 128, 192, 256):
        yield Point(n, (1, 1, n, n, n), _batched(), n**3)


def batches(quick: bool) -> Iterator[Point]:
    n, ops = (8 if quick else 64), _some("affine_elastic", "noise", "motion", "blur", "pipe6")
    for b in (1, 2) if quick else (1, 2, 4, 8, 16):
        yield Point(b, (b, 1, n, n, n), ops, b * n**3)


def channels(quick: bool) -> Iterator[Point]:
    n, ops = (8 if quick else 64), _some("affine_elastic", "noise", "motion", "blur", "pipe6")
    for c in (1, 2) if quick else (1, 2, 4, 8, 16):
        yield Point(c, (1, c, n, n, n), ops, c * n**3)


def control_points(quick: bool) -> Iterator[Point]:
    size = 16 if quick else 96
    for n in (5, 6) if quick else (5, 7, 10, 14, 20):
        bend = {**w.ELASTIC, "num_control_points": n, "max_displacement": 0.3 * size / n}
        step = tio.RandomElasticDeformation(**bend)
        yield Point(n, (1, 1, size, size, size), {"elastic": step}, n**3)


def patches(quick: bool) -> Iterator[Point]:
    """Patches that a queue cuts out of one volume and augments, and patches put together."""
    size = 32 if quick else 192
    for n in (1, 2) if quick else (1, 2, 4, 8, 16):

        def queue(x: Tensor, n: int = n) -> Tensor:
            sampler = tio.UniformSampler(x.shape[2] // 4)
            queue = tio.DeviceQueue(
                [tio.Subject(image=tio.ScalarImage(x[0]))],
                sampler,
                ours.PIPE6,
                patches_per_volume=n,
                device=x.device,
            )
            return torch.cat([batch.image.data for batch in queue])

        def stitch(x: Tensor, n: int = n) -> Tensor:
            patch = x.shape[2] // 4
            aggregator = tio.PatchAggregator((n * patch, patch, patch), overlap_mode="hann")
            cut = x[:, :, :patch, :patch, :patch]
            for first in range(n):
                begin = first * patch
                aggregator.add_batch(cut, [[begin, 0, 0, begin + patch, patch, patch]])
            return aggregator.get_output()[None]

        ops = {"patches of a queue": queue, "patches put together": stitch}
        yield Point(n, (1, 1, size, size, size), ops, n * (size // 4) ** 3)


#: By name: the points, and what the axis of the plot says.
SWEEPS: dict[str, tuple[Callable[[bool], Iterator[Point]], str]] = {
    "size": (sizes, "voxels along an axis, one volume"),
    "batch": (batches, "volumes of 64³"),
    "channels": (channels, "channels of 64³"),
    "control points": (control_points, "control points along an axis, 96³"),
    "patches": (patches, "patches of 48³ of a volume of 192³"),
}


def run(
    device: str, threads: int, sweeps: Sequence[str], ops: Sequence[str] = (), quick: bool = False
) -> dict[str, Any]:
    """Measure everything; returns the result as a plain dict.

    Args:
        device: 'cpu' or 'cuda'.
        threads: For torch.
        sweeps: Names in :data:`SWEEPS`.
        ops: Operations; by default all that a sweep has.
        quick: Tiny volumes: shows that all of this runs.
    """
    torch.set_num_threads(threads)
    result = {**records.stamp(SUITE, device, threads), "rows": []}
    for sweep in sweeps:
        for point in SWEEPS[sweep][0](quick):
            torch.manual_seed(0)
            # inputs are made of a batch: labels, most of all
            given = {name: op for name, op in point.ops.items() if not ops or name in ops}
            runner = Runner(given, torch.rand(point.shape, device=device))
            for op in ("copy", *given):
                facts = measure(runner, op)
                row = {"sweep": sweep, "op": op, "at": point.at, "work": point.work, **facts}
                result["rows"].append(row)
                told = facts.get("failure") or f"{facts['median_ms']:10.3f} ms"
                print(f"{sweep:14} {point.at:4} {op:20} {told}", file=sys.stderr, flush=True)
    return result


def measure(runner: Runner, op: str) -> dict[str, Any]:
    """Times and peak memory of an operation, or why there are none."""
    try:
        (once,) = runner.turn(op, 1)
        facts = statistics(runner.turn(op, max(2, min(CALLS, int(SECONDS / max(once, 1e-9))))))
        if runner.x.numel() * runner.x.element_size() >= LEAST:
            _give_back()
            facts["batches"] = round(runner.memory(op), 2)
        return facts
    except FailureError as failure:
        return {"failure": str(failure)}


def _give_back() -> None:
    """Return freed memory to the system, which else would not see it being used again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def exponents(result: dict[str, Any]) -> list[dict[str, Any]]:
    """How each operation grows along each sweep.

    Returns:
        Rows with ``sweep``, ``op``, the exponents of ``time`` and ``memory``, None where there are
        too few points, and the ``last`` point of the sweep.
    """
    found: list[dict[str, Any]] = []
    for sweep, op in dict.fromkeys((row["sweep"], row["op"]) for row in result["rows"]):
        rows = [r for r in result["rows"] if (r["sweep"], r["op"]) == (sweep, op)]
        rows = [r for r in rows if "median_ms" in r]
        chosen = [r for r in rows if sweep != "size" or ENOUGH <= r["work"] <= MOST]
        known = [r for r in rows if "batches" in r]
        found.append(
            {
                "sweep": sweep,
                "op": op,
                # whatever else a machine does makes calls slower, not quicker
                "time": _slope([r["work"] for r in chosen], [r["min_ms"] for r in chosen]),
                "memory": _slope(
                    [r["work"] for r in known], [r["batches"] * r["work"] for r in known]
                )
                if sweep == "size"
                else None,
                "last": rows[-1] if rows else None,
            }
        )
    return found


def _slope(work: Sequence[float], cost: Sequence[float]) -> float | None:
    """Slope of the line through the logarithms, by least squares."""
    if len(work) < 2 or min(cost) <= 0:
        return None
    return round(float(np.polyfit(np.log(work), np.log(cost), 1)[0]), 2)


def too_steep(result: dict[str, Any]) -> list[str]:
    """Sweeps and operations whose time, or memory, grows faster than the work."""
    return [
        f"{row['op']}: {what} ~ {row['sweep']} ** {row[what]}"
        for row in exponents(result)
        for what in ("time", "memory")
        if row["op"] != "copy" and row[what] is not None and row[what] > 1 + SLACK
    ]


def brief(result: dict[str, Any]) -> str:
    """Exponents as two sentences."""
    grown = [row for row in exponents(result) if row["time"] is not None and row["op"] != "copy"]
    said = []
    for sweep in SWEEPS:
        rows = sorted((row for row in grown if row["sweep"] == sweep), key=lambda row: row["time"])
        if rows:
            most = rows[-1]
            middle = rows[len(rows) // 2]["time"]
            said.append(
                f"{sweep} {middle:.2f} (at most {most['time']:.2f}, {most['op'].replace('_', ' ')})"
            )
    steep = too_steep(result)
    verdict = f"Too steep: {'; '.join(steep)}." if steep else "Nothing grows faster than its work."
    return (
        f"Time grows as work to the power of, as the median: {'; '.join(said)}. {verdict}\n\n"
        + (f"- {records.origin(result)}")
    )


def text(result: dict[str, Any]) -> str:
    """Exponents as markdown."""
    head = ("", "grows with", "time ~ work to the", "memory", "at the end, ms", "x copy", "batches")
    rows = []
    copies = {
        (row["sweep"], row["at"]): row["median_ms"]
        for row in result["rows"]
        if row["op"] == "copy" and "median_ms" in row
    }
    for row in exponents(result):
        last = row["last"] or {}
        floor = copies.get((row["sweep"], last.get("at")))
        rows.append(
            (
                row["op"].replace("_", " "),
                row["sweep"],
                *("-" if row[e] is None else f"{row[e]:.2f}" for e in ("time", "memory")),
                number(last["median_ms"]) if last else "failed",
                number(last["median_ms"] / floor) if last and floor else "-",
                f"{last['batches']:.1f}" if "batches" in last else "-",
            )
        )
    steep = too_steep(result)
    verdict = "; ".join(steep) if steep else "nothing grows faster than its voxels"
    notes = [
        records.origin(result),
        "Sizes: " + "; ".join(f"{name}: {axis}" for name, (_, axis) in SWEEPS.items()) + ".",
        f"An exponent along 'size' is of voxels, between {ENOUGH} and {MOST} of them; above, all "
        f"memory is new at each call, and copies jump, too. Up to {1 + SLACK} counts as "
        f"proportional: {verdict}.",
        "Batches: peak memory of a call beyond its input, result included, in multiples of the "
        "input.",
    ]
    return "\n\n".join([table(head, rows), "\n".join(f"- {note}" for note in notes)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the exponents, and write one JSON file."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--sweep", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    p.add_argument("--ops", nargs="+", default=[], help="default: all")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--quick", action="store_true", help="tiny volumes; the numbers mean nothing")
    p.add_argument("--output", type=Path, help="JSON file; by default in benchmarks/results")
    given = p.parse_args(arguments)
    try:
        device = machine.device(given.device)
    except FailureError as failure:
        sys.exit(f"benchmarks.scaling: {failure}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of folding, on small volumes
        result = run(device, given.threads, given.sweep, given.ops, given.quick)
    print(text(result))
    whole = not (given.quick or given.ops or len(given.sweep) < len(SWEEPS))
    records.write(result, given.output or (records.path(result) if whole else None))


if __name__ == "__main__":
    main()
