"""Has anything become slower? ``python -m benchmarks.check`` compares with what was stored.

Times differ between machines and hours; ratios differ less. Each operation is held against the pace
of the machine: the geometric mean of the times of a copy, an exponential and a linear sampling of
the same batch in plain torch, taken in turn with the operation. ``--store`` measures several times
and keeps the median of the ratios and how far they were apart: the noise band of the operation. A
check fails where a ratio leaves its band, and stays outside when it is measured again.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median, quantiles
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.benchmark.utils.timer import timer  # waits for the GPU

from . import machine, records
from . import workloads as w
from .inputs import inputs
from .markdown import table
from .rivals.torchio_gpu import OPS

SUITE = "ratios"
#: Turns of a measurement; of each call the first quartile of its times counts, since whatever else
#: a machine does makes calls slower, not quicker.
ROUNDS = 9
#: Measurements that a stored ratio is the median of, and how often a check measures at most.
PASSES, TRIES = 3, 3
#: A band is what the passes were apart, and so much more; never narrower than the second number.
MARGIN, LEAST = 1.15, 1.25
CHECKED = tuple(
    op for op, work in w.WORK.items() if work.given in ("batch", "labels", "pair") and op in OPS
)
#: Batches: their shape, calls that make a turn, enough for a clock to see them, and operations. On
#: the small one the host alone counts.
SETTINGS = {
    "96³": ((2, 1, 96, 96, 96), 1, CHECKED),
    "8³": ((8, 1, 8, 8, 8), 20, CHECKED[CHECKED.index("motion") :]),
}

Ops = Mapping[str, Callable[..., Tensor]]


def ratio(batch: str, op: str, ops: Ops, device: str) -> float:
    """Return the time of an operation on a batch over the pace of the machine."""
    torch.manual_seed(0)
    shape, number, _ = SETTINGS[batch]
    x = torch.rand(shape, device=device)
    turn = torch.tensor([[0.9, 0.1, 0, 0], [-0.1, 0.9, 0, 0], [0, 0, 1, 0]], device=device)
    grid = affine_grid(turn.expand(len(x), 3, 4), list(shape), align_corners=False)
    sampling = partial(grid_sample, x, grid, align_corners=False)
    calls = [partial(ops[op], *inputs(w.WORK[op].given, x)), x.clone, x.exp, sampling]
    # of two turns in a row the second counts: in the first threads and caches wake up
    times = [
        [timeit.repeat(call, timer=timer, repeat=2, number=number)[1] for call in calls]
        for _ in range(ROUNDS)
    ]
    quick, *pace = (quantiles(each, n=4)[0] for each in zip(*times, strict=True))
    return quick / geometric_mean(pace)


def planted(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an operation that is called twice."""
    return lambda *given: (op(*given), op(*given))[1]


def store(ops: Ops, device: str, threads: int) -> dict[str, Any]:
    """Measure what later checks compare with."""
    cases = [(batch, op) for batch, (*_, names) in SETTINGS.items() for op in names if op in ops]
    passes = [[ratio(*case, ops, device) for case in cases] for _ in range(PASSES)]
    rows = []
    for (batch, op), values in zip(cases, zip(*passes, strict=True), strict=True):
        numbers = median(values), max(LEAST, MARGIN * max(values) / min(values))
        middle, band = (float(f"{number:.4g}") for number in numbers)
        rows.append({"batch": batch, "op": op, "ratio": middle, "band": band})
    return {**records.stamp(SUITE, device, threads), "rows": rows}


def compare(stored: Mapping[str, Any], ops: Ops, device: str) -> list[dict[str, Any]]:
    """Return stored rows with their ``change`` and a ``verdict``: 'same', 'slower', 'faster'.

    What is outside its band is measured again, and the best of its ratios counts.
    """
    rows = [{**row, "change": float("inf")} for row in stored["rows"] if row["op"] in ops]
    for _ in range(TRIES):
        for row in rows:
            if row["change"] > row["band"]:
                now = ratio(row["batch"], row["op"], ops, device)
                row["change"] = round(min(row["change"], now / row["ratio"]), 3)
    for row in rows:
        slower, faster = row["change"] > row["band"], row["change"] < 1 / row["band"]
        row["verdict"] = "slower" if slower else "faster" if faster else "same"
    return rows


def main() -> None:
    """Store, or compare and exit with 1 where anything is slower."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    p.add_argument("--device", type=machine.device, default="auto", help="cpu, cuda or auto")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--store", action="store_true", help="keep what is measured, for later checks")
    p.add_argument("--against", type=Path, help="what was stored; default: in benchmarks/results")
    ops = {"nargs": "+", "choices": CHECKED, "metavar": "OP"}
    p.add_argument("--ops", **ops, default=CHECKED, help="default: all")
    p.add_argument("--plant", **ops, default=(), help="call these twice, to see it noticed")
    given = p.parse_args()
    torch.set_num_threads(given.threads)
    chosen = {op: planted(OPS[op]) if op in given.plant else OPS[op] for op in given.ops}
    file = given.against or records.path(
        {"suite": SUITE, "machine": machine.describe(given.device)}
    )
    if given.store:
        rows = (result := store(chosen, given.device, given.threads))["rows"]
        records.write(result, file)
    elif file.exists():
        rows = compare(records.read([file])[0], chosen, given.device)
    else:
        sys.exit("benchmarks.check: nothing was stored on a machine like this; use --store first")
    print(table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    slower = [f"{r['op']} on {r['batch']}" for r in rows if r.get("verdict") == "slower"]
    if slower:
        sys.exit(f"benchmarks.check: slower than what was stored: {', '.join(slower)}")


if __name__ == "__main__":
    main()
