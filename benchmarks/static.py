"""Kernels compiled without a GPU, and their predicted times: ``make static``."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import Any

from . import machine, records
from .cases import CASES
from .counting import GPUS, about, origin, rounded
from .markdown import number, table

SUITE = "static"
#: Triton that no torch pins; kernels must fit into registers under the others.
FOR_INFORMATION = ("3.9.0",)
#: Registers that a kernel may take of each thread: of more, too few warps fit on a multiprocessor.
REGISTERS = 128
#: Method, for readers of the tables.
HOW = """\
- PREDICTION, not a measurement: no GPU was used. Kernels are compiled for the arguments with \
which the library launches them. Instructions of a voxel: those of all threads together, within \
loops times their trips, both sides of branches, divided by the voxels of the batch. The predicted \
time of a kernel is the longer of two: for its bytes at {0.bandwidth:.3g} B/s, where every tensor \
passes through memory once, targets of atomic additions three times; and for its instructions at \
{0.sms} x 4 warps a clock of {0.clock:.3g} Hz: an {0.name}. Left out are latency, reads that \
caches do not catch, idle lanes, instructions of more than one clock, and the cost of launches. \
Torch's own operators that go through a volume, as the minimum that is the fill, take the time of \
their bytes. A copy reads and writes the batch; a budget is in copies, of a backward in forwards."""
_BRIEF = """\
- PREDICTION, not a measurement: no GPU was used. How it is made, and all other calls: \
[benchmarks/RESULTS.md](benchmarks/RESULTS.md)."""

Result = dict[str, Any]


def run(arch: int, triton: Sequence[str], case: Sequence[str]) -> Result:
    """Compile calls, by their names, by Triton in folders, '' as installed."""
    rows: dict[str, Result] = {}
    spawn = multiprocessing.get_context("spawn")
    for folder in triton:
        with ProcessPoolExecutor(machine.threads(), spawn, _start, (folder,)) as pool:
            for row in pool.map(_look, repeat(arch), case):
                launches = rows.setdefault(row["case"], row)["launches"]
                for launch, same in zip(launches, row["launches"], strict=True):
                    launch.update(same)
        print(f"compiled with Triton {folder}", file=sys.stderr, flush=True)
    _, _, *versions = rows[case[0]]["launches"][0]  # beside what all have in common
    facts = {**about(SUITE), "arch": f"sm_{arch}", "kernels": digest(), "triton": versions}
    return {**facts, "rows": [*rows.values()]}


def _start(folder: str) -> None:
    """Prepare a process for its Triton, which is to compile kernels and not to interpret."""
    sys.path[:0] = [folder] * bool(folder)
    os.environ.pop("TRITON_INTERPRET", None)


def _look(arch: int, name: str) -> Result:
    from .compiled import look  # which imports Triton

    return look(arch, name)


def digest() -> str:
    """Return a hash of the sources of Triton's kernels, which a result is made of."""
    folder = machine.ROOT / "kernels" / "torchio_gpu_kernels"  # those for a CPU are in one below
    sources = b"".join(file.read_bytes() for file in sorted(folder.glob("[!_]*.py")))
    return hashlib.sha256(sources).hexdigest()[:16]


def excesses(result: Result) -> list[str]:
    """Return a line for each kernel that spills or takes too much, under a Triton of users."""
    return [
        f"{result['arch']}, Triton {triton}: {launch['kernel']} in {row['case']!r} takes "
        f"{launch[triton]['registers']} registers" + " and spills" * bool(launch[triton]["spilled"])
        for triton in result["triton"]
        for row in result["rows"]
        for launch in row["launches"]
        if launch[triton]["registers"] > REGISTERS or launch[triton]["spilled"]
        if triton not in FOR_INFORMATION
    ]


def text(result: Result) -> str:
    """Return tables of calls and of kernels by version of Triton, and the method."""
    kernels: dict[tuple[str, ...], str] = {}
    for row in result["rows"]:
        for launch in row["launches"]:
            compiled = map(_kernel, map(launch.get, result["triton"]))
            cells = launch["kernel"], number(launch["memory_us"]), *compiled
            kernels.setdefault(cells, row["case"])
    head = ["kernel", "memory, µs", *result["triton"], "first in"]
    shown = table(head, [[*cells, case] for cells, case in kernels.items()])
    what = "registers, barriers, instructions of a voxel, predicted µs, by Triton"
    how = HOW.format(GPUS[int(result["arch"].removeprefix("sm_"))])
    kernels_shown = f"**{result['arch']}, kernels: {what}**\n\n{shown}"
    return f"{_calls(result, result['rows'])}\n\n{kernels_shown}\n\n{how}\n{origin(result)}"


def _kernel(k: Result) -> str:
    numbers = f"{k['registers']}, {k['barriers']}, {number(k['instructions'])}, {number(k['us'])}"
    return numbers + f" **spills {k['spilled']} B**" * bool(k["spilled"])


def brief(result: Result) -> str:
    """Return the table of calls that have a budget, and when they were compiled."""
    rows = [row for row in result["rows"] if row["budget"]]
    return f"{_calls(result, rows)}\n\n{_BRIEF}\n{origin(result)}"


def _calls(result: Result, rows: Sequence[Result]) -> str:
    made = []
    for row in rows:
        cells = [f"{row['case']} ({row['workload']})", "", str(row["budget"] or "-")]
        for triton in result["triton"]:
            us: dict[bool, list[float]] = {True: [], False: []}
            for launch in row["launches"]:
                us["backward" in launch["kernel"]].append(launch[triton]["us"])
            forward, backward = (rounded(sum(us[kind])) for kind in (False, True))
            time, bound = (backward, forward) if backward else (forward, row["copy_us"])
            cell = f"{number(time)} ({number(time / row['copy_us'])}x)"
            if row["budget"]:
                cell += f", {time / bound:.2f} x forward" * bool(backward)
                cell += ": kept" if rounded(time / bound) <= row["budget"] else ": **missed**"
            cells[1] = str(len(us[bool(backward)]))
            cells.append(cell)
        made.append(cells)
    head = ["call", "launches", "budget", *(f"Triton {triton}" for triton in result["triton"])]
    return f"**{result['arch']}, calls: µs, and in copies of the batch**\n\n{table(head, made)}"


main = records.command(
    __doc__,
    run,
    text,
    excesses,
    arch={"type": int, "choices": GPUS, "default": 90},
    triton={"nargs": "+", "default": [""], "help": "folders; the installed one"},
    case={"nargs": "+", "choices": CASES, "default": [*CASES], "metavar": "NAME"},
)

if __name__ == "__main__":
    main()
