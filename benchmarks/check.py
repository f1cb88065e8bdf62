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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from . import machine, records
from .failure import FailureError
from .versus import workloads as w
from .versus.worker import Runner

SUITE = "ratios"
#: Turns of a measurement; of each contender the first quartile of its times counts, since whatever
#: else a machine does makes calls slower, not quicker.
ROUNDS = 9
#: Measurements that a stored ratio is the median of, and how often a check measures at most.
PASSES, TRIES = 3, 3
#: A band is what the passes were apart, and so much more; never narrower than the second number.
MARGIN, LEAST = 1.15, 1.25

Ops = Mapping[str, Callable[..., Tensor]]


@dataclass(frozen=True)
class Setting:
    """A batch, and how many calls make a turn: enough for a clock to see them."""

    shape: tuple[int, int, int, int, int]
    calls: int
    ops: tuple[str, ...]


_BATCHED = tuple(
    op
    for op, work in w.WORK.items()
    if work.given in ("batch", "labels", "pair") and op not in w.PATCH_OPS
)
SETTINGS = {
    "96³": Setting((2, 1, 96, 96, 96), 1, _BATCHED),
    # where only what a call costs the host counts
    "8³": Setting((8, 1, 8, 8, 8), 20, tuple(op for op in _BATCHED if op in w.HOST_OPS)),
}


def pace(x: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Plain torch to hold operations against."""
    turn = torch.tensor([[0.9, 0.1, 0, 0], [-0.1, 0.9, 0, 0], [0, 0, 1, 0]], device=x.device)
    grid = affine_grid(turn.expand(len(x), 3, 4), list(x.shape), align_corners=False)
    return {
        "copy": torch.clone,
        "exponential": torch.exp,
        "sampling": lambda x: grid_sample(x, grid, align_corners=False),
    }


def ratios(ops: Ops, setting: Setting, device: str) -> dict[str, float]:
    """Time of each operation over the pace of the machine.

    Raises:
        FailureError: An operation fails, or its result cannot be right.
    """
    torch.manual_seed(0)
    x = torch.rand(setting.shape, device=device)
    plain = pace(x)
    runner = Runner({**plain, **ops}, x)
    found = {}
    for op in ops:
        runner.check(op)
        times: dict[str, list[float]] = {name: [] for name in (op, *plain)}
        for _ in range(ROUNDS):
            for name in times:
                times[name].append(sum(runner.turn(name, setting.calls)) / setting.calls)
        quick = {name: quantiles(each, n=4)[0] for name, each in times.items()}
        found[op] = quick[op] / prod(quick[name] for name in plain) ** (1 / len(plain))
    return found


def planted(ops: Ops, slow: Sequence[str]) -> dict[str, Callable[..., Tensor]]:
    """The operations, some of them called twice."""

    def twice(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def both(*inputs: Tensor) -> Tensor:
            op(*inputs)
            return op(*inputs)

        return both

    return {name: twice(op) if name in slow else op for name, op in ops.items()}


def store(ops: Ops, device: str, threads: int) -> dict[str, Any]:
    """Measure what later checks compare with."""
    result = {**records.stamp(SUITE, device, threads), "rows": []}
    for name, setting in SETTINGS.items():
        chosen = {op: ops[op] for op in setting.ops if op in ops}
        passes = [ratios(chosen, setting, device) for _ in range(PASSES)]
        for op in chosen:
            values = [each[op] for each in passes]
            band = max(LEAST, MARGIN * max(values) / min(values))
            row = {"batch": name, "op": op, "ratio": median(values), "band": band}
            row = {k: v if isinstance(v, str) else float(f"{v:.4g}") for k, v in row.items()}
            result["rows"].append(row)
    return result


def compare(stored: Mapping[str, Any], ops: Ops, device: str) -> list[dict[str, Any]]:
    """Rows of what was stored with the ratio ``now`` and a ``verdict``: 'same', 'slower', 'faster'.

    What is outside its band is measured again, and the best of its ratios counts.
    """
    rows = [dict(row) for row in stored["rows"] if row["op"] in ops]
    for name, setting in SETTINGS.items():
        mine = {row["op"]: row for row in rows if row["batch"] == name}
        again = list(mine)
        for _ in range(TRIES):
            for op, ratio in ratios({op: ops[op] for op in again}, setting, device).items():
                mine[op]["now"] = min(ratio, mine[op].get("now", ratio))
            again = [op for op in again if mine[op]["now"] > mine[op]["ratio"] * mine[op]["band"]]
            if not again:
                break
    for row in rows:
        change = row["now"] / row["ratio"]
        row["verdict"] = (
            "slower" if change > row["band"] else "faster" if change < 1 / row["band"] else "same"
        )
    return rows


def kept(device: str) -> dict[str, Any] | None:
    """What was stored on a machine like this one, if anything was."""
    here = records.path({"suite": SUITE, "machine": machine.describe(device), "device": device})
    return records.read([here])[0] if here.exists() else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Store, or compare and exit with 1 where anything is slower."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--store", action="store_true", help="keep what is measured, for later checks")
    p.add_argument("--against", type=Path, help="what was stored; default: in benchmarks/results")
    p.add_argument("--ops", nargs="+", choices=_BATCHED, default=list(_BATCHED))
    p.add_argument(
        "--plant",
        nargs="+",
        choices=_BATCHED,
        default=[],
        metavar="OP",
        help="call an operation twice, to see that this is noticed",
    )
    given = p.parse_args(arguments)
    from .versus.peers.torchio_gpu import OPS

    try:
        device = machine.device(given.device)
    except FailureError as failure:
        sys.exit(f"benchmarks.check: {failure}")
    torch.set_num_threads(given.threads)
    ops = planted({op: OPS[op] for op in given.ops}, given.plant)
    if given.store:
        result = store(ops, device, given.threads)
        records.write(result, given.against or records.path(result))
        for row in result["rows"]:
            print(f"{row['batch']:4} {row['op']:20} {row['ratio']:8.3f} x pace, "
                  f"band {row['band']:.2f}")  # fmt: skip
        return
    stored = records.read([given.against])[0] if given.against else kept(device)
    if stored is None:
        sys.exit("benchmarks.check: nothing was stored on a machine like this; use --store first")
    print(records.origin(stored))
    rows = compare(stored, ops, device)
    for row in rows:
        print(
            f"{row['batch']:4} {row['op']:20} {row['ratio']:8.3f} x pace, now {row['now']:8.3f}: "
            f"{row['now'] / row['ratio']:.2f}, band {row['band']:.2f}: {row['verdict']}"
        )
    slower = [f"{row['op']} on {row['batch']}" for row in rows if row["verdict"] == "slower"]
    if slower:
        sys.exit(f"benchmarks.check: slower than what was stored: {', '.join(slower)}")


if __name__ == "__main__":
    main()
