"""Growth of time and memory with the work: ``python -m benchmarks.scaling``.

A copy of the same voxels, the floor, is timed at every point. From the points of a sweep follows an
exponent, time ~ work ** exponent, which must not exceed 1.
"""

from __future__ import annotations

import ctypes
import sys
import timeit
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.benchmark.utils.timer import timer  # waits for the GPU

import torchio_gpu as tio

from . import records
from . import workloads as w
from .failure import FailureError
from .inputs import inputs
from .markdown import number, table
from .rivals import torchio_gpu as ours
from .versus import statistics
from .worker import peak_memory

SUITE = "scaling"
COUNTS = (1, 2, 4, 8, 16)
#: By name: values along the axis, and its title.
SWEEPS = {
    "size": ((32, 48, 64, 96, 128, 192, 256), "voxels along an axis, one volume"),
    "batch": (COUNTS, "volumes of 64³"),
    "channels": (COUNTS, "channels of 64³"),
    "control points": ((5, 7, 10, 14, 20), "control points along an axis, 96³"),
    "patches": (COUNTS, "patches of 48³ of a volume of 192³"),
}
#: Operations whose input is the batch, or labels made of it; and those of batches and channels.
SIZED = [op for op, work in w.WORK.items() if work.given in ("batch", "labels") and op in ours.OPS]
COUNTED = ("affine_elastic", "noise", "motion", "blur", "pipe6")
#: Timed calls of a point, and seconds after which there are no more.
CALLS, SECONDS = 7, 1.5
#: Memory of smaller batches drowns in what a process holds for itself.
LEAST_BYTES = 3 * 2**20
#: Voxels of the points that an exponent of sizes is made of: below, a call costs what it costs;
#: above, all memory is new at each call, and copies jump as well.
FEWEST, MOST = 250_000, 8_000_000
#: Excess of exponents over 1: volumes leave the caches, and n log n grows as n ** 1.06.
SLACK = 0.15

Ops = Mapping[str, Callable[..., Tensor]]


def point(sweep: str, n: int, quick: bool = False) -> tuple[tuple[int, ...], Ops, int]:
    """Return shape of the batch, operations and amount of work of a point of a sweep."""
    if sweep == "size":
        return (1, 1, n, n, n), {op: ours.OPS[op] for op in SIZED}, n**3
    side = {"control points": 96, "patches": 192}.get(sweep, 64) // (6 if quick else 1)
    if sweep == "control points":
        bend = {**w.ELASTIC, "num_control_points": n, "max_displacement": 0.3 * side / n}
        return (1, 1, side, side, side), {"elastic": tio.RandomElasticDeformation(**bend)}, n**3
    if sweep == "patches":
        return (1, 1, side, side, side), _patches(n, side // 4), n * (side // 4) ** 3
    batch, channels = (n, 1) if sweep == "batch" else (1, n)
    counted = {op: ours.OPS[op] for op in COUNTED}
    return (batch, channels, side, side, side), counted, n * side**3


def _patches(n: int, size: int) -> Ops:
    """Return operations on patches: cut from a volume and augmented, and put together."""

    def queue(x: Tensor) -> Tensor:
        subject = tio.Subject(image=tio.ScalarImage(x[0]))
        options = {"patches_per_volume": n, "device": x.device}
        made = tio.DeviceQueue([subject], tio.UniformSampler(size), ours.PIPE6, **options)
        return torch.cat([batch.image.data for batch in made])

    def stitch(x: Tensor) -> Tensor:
        aggregator = tio.PatchAggregator((n * size, size, size), overlap_mode="hann")
        for first in range(0, n * size, size):
            place = [[first, 0, 0, first + size, size, size]]
            aggregator.add_batch(x[:, :, :size, :size, :size], place)
        return aggregator.get_output()[None]

    return {"patches of a queue": queue, "patches put together": stitch}


def measure(op: Callable[..., Tensor], given: Sequence[Tensor]) -> dict[str, Any]:
    """Return times and peak memory of an operation, in batches, or why there are none."""
    call = partial(op, *given)
    try:
        call()
        (once,) = timeit.repeat(call, timer=timer, repeat=1, number=1)
        calls = max(2, min(CALLS, int(SECONDS / max(once, 1e-9))))
        facts = statistics(timeit.repeat(call, timer=timer, repeat=calls, number=1))
        if given[0].nbytes >= LEAST_BYTES:
            if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
                libc.malloc_trim(0)  # freed memory that is used again would not be seen
            peak = peak_memory(call, given[0].is_cuda)
            facts["batches"] = round(peak / given[0].nbytes, 2)
        return facts
    except Exception as error:
        return {"failure": str(FailureError.of(error))}


def run(
    device: str, threads: int, sweep: Sequence[str], ops: Sequence[str] = (), quick: bool = False
) -> dict[str, Any]:
    """Measure sweeps, with all their operations by default; quick ones on tiny volumes."""
    torch.set_num_threads(threads)
    result = {**records.stamp(SUITE, device, threads), "rows": []}
    for name in sweep:
        for n in SWEEPS[name][0][: 2 if quick else None]:
            torch.manual_seed(0)
            shape, found, work = point(name, n, quick)
            x = torch.rand(shape, device=device)
            chosen = {op: found[op] for op in found if not ops or op in ops}
            for op, function in {"copy": torch.clone, **chosen}.items():
                given = inputs(w.WORK[op].given if op in w.WORK else "batch", x)
                row = {"sweep": name, "op": op, "at": n, "work": work, **measure(function, given)}
                result["rows"].append(row)
                print(*row.values(), file=sys.stderr, flush=True)
    return result


def exponents(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return exponents of time and memory, None where unknown, and the last point, by operation."""
    found: list[dict[str, Any]] = []
    for sweep, op in dict.fromkeys((row["sweep"], row["op"]) for row in result["rows"]):
        rows = [r for r in result["rows"] if (r["sweep"], r["op"]) == (sweep, op)]
        rows = [r for r in rows if "failure" not in r]
        timed = [r for r in rows if sweep != "size" or FEWEST <= r["work"] <= MOST]
        known = [r for r in rows if sweep == "size" and "batches" in r]
        # whatever else a machine does makes calls slower, not quicker
        time = _slope([(r["work"], r["min_ms"]) for r in timed])
        memory = _slope([(r["work"], r["batches"] * r["work"]) for r in known])
        last = rows[-1] if rows else None
        found.append({"sweep": sweep, "op": op, "time": time, "memory": memory, "last": last})
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope of the line through the logarithms, by least squares."""
    if len(points) < 2 or min(cost for _, cost in points) <= 0:
        return None
    return round(float(np.polyfit(*np.log(points).T, 1)[0]), 2)


def too_steep(result: dict[str, Any]) -> list[str]:
    """Return operations whose time, or memory, grows faster than the work."""
    return [
        f"{row['op']}: {what} ~ {row['sweep']} ** {row[what]}"
        for row in exponents(result)
        for what in ("time", "memory")
        if row["op"] != "copy" and (row[what] or 0) > 1 + SLACK
    ]


def brief(result: dict[str, Any]) -> str:
    """Return the exponents as two sentences."""
    grown: dict[str, list[tuple[float, str]]] = {}
    for row in exponents(result):
        if row["time"] is not None and row["op"] != "copy":
            grown.setdefault(row["sweep"], []).append((row["time"], row["op"].replace("_", " ")))
    said = [
        f"{sweep} {sorted(found)[len(found) // 2][0]:.2f} (at most {max(found)[0]:.2f}, "
        f"{max(found)[1]})"
        for sweep, found in grown.items()
    ]
    steep = too_steep(result)
    verdict = f"Too steep: {'; '.join(steep)}." if steep else "Nothing grows faster than its work."
    return (
        f"Time grows as work to the power of, as the median: {'; '.join(said)}. {verdict}\n\n"
        f"- {records.origin(result)}"
    )


def text(result: dict[str, Any]) -> str:
    """Return the exponents as a table."""
    head = ("", "grows with", "time ~ work to the", "memory", "at the end, ms", "x copy", "batches")
    rows, copies = [], {(r["sweep"], r["at"]): r for r in result["rows"] if r["op"] == "copy"}
    for row in exponents(result):
        if last := row["last"]:
            floor = copies[row["sweep"], last["at"]]["median_ms"]
            last = {"ms": last["median_ms"], "x": last["median_ms"] / floor} | last
        cells = [row["time"], row["memory"], *((last or {}).get(k) for k in ("ms", "x", "batches"))]
        shown = ("-" if cell is None else number(cell) for cell in cells)
        rows.append((row["op"].replace("_", " "), row["sweep"], *shown))
    axes = "; ".join(f"{name}: {axis}" for name, (_, axis) in SWEEPS.items())
    steep = "; ".join(too_steep(result)) or "nothing grows faster than its voxels"
    return (
        f"{table(head, rows)}\n\n- {records.origin(result)}\n- Sizes: {axes}.\n- Exponents along "
        f"'size' are of {FEWEST} to {MOST} voxels; above, copies jump. Up to {1 + SLACK} counts "
        f"as proportional: {steep}.\n- Batches: peak memory of a call beyond its input, result "
        "included, in inputs."
    )


main = records.command(
    __doc__,
    run,
    text,
    device={},
    threads={},
    sweep={"nargs": "+", "choices": SWEEPS, "default": [*SWEEPS]},
    ops={"nargs": "+", "default": [], "help": "default: all"},
    quick={"action": "store_true", "help": "tiny volumes; the numbers mean nothing"},
)

if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of folding, on small volumes
        main(None)
