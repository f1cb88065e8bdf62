"""Kernels compiled without a GPU, and their predicted times: ``python -m benchmarks.static``.

``--triton all``, which is ``make static``, compiles with each version that users have.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .. import machine, records
from ..counting import GPUS, about, origin, rounded
from ..failure import FailureError
from ..markdown import number, table

SUITE = "static"
#: Triton that torch 2.11, 2.12, 2.13 and 2.14 pin: kernels must fit into registers under each.
SUPPORTED = ("3.6.0", "3.7.0", "3.7.1", "3.8.0")
#: No torch pins these.
FOR_INFORMATION = ("3.9.0",)
#: Folder of versions of Triton, each in one of its own.
FOLDER = machine.ROOT / ".venv-triton"
#: Registers that a kernel may take of each thread: of more, too few warps fit on a multiprocessor.
REGISTERS = 128
#: Method, for readers of the tables.
HOW = """\
- PREDICTION, not a measurement: no GPU was used. Kernels are compiled for the arguments with \
which the library launches them. Instructions of a voxel: those before and after loops, and those \
within times the trips of the loop, both sides of branches, of all threads together, divided by \
the voxels of the batch. The predicted time of a kernel is the longer of two: for its bytes at \
{0.bandwidth:.3g} B/s, where every tensor passes through memory once, targets of atomic additions \
three times; and for its instructions at {0.sms} x 4 warps a clock of {0.clock:.3g} Hz: an \
{0.name}. Left out are latency, reads that caches do not catch, lanes with nothing to do, \
instructions that take more than one clock, and the cost of launches. Torch's own operators that \
go through a volume, as the minimum that is the fill, take the time of their bytes. A copy reads \
and writes the batch; a budget is in copies, of a backward in forwards."""
_BRIEF = """\
- PREDICTION, not a measurement: no GPU was used. How it is made, and all other calls: \
[benchmarks/RESULTS.md](benchmarks/RESULTS.md)."""

Result = dict[str, Any]


class Row(NamedTuple):
    """A launch, of a kernel or of an operator of torch."""

    kernel: str
    registers: int  # of each thread
    spilled: int  # bytes of each thread
    barriers: int
    instructions: float  # of a voxel
    memory_us: float  # for the bytes alone
    us: float  # predicted
    loads: str  # how many instructions read how many bits: 29x32 4x128
    stores: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, print tables and write results; exit with 1 if a kernel takes too much."""
    every = [*SUPPORTED, *FOR_INFORMATION]
    p = argparse.ArgumentParser(prog="python -m benchmarks.static", description=__doc__)
    p.add_argument("--arch", nargs="+", type=int, choices=GPUS, default=[*GPUS], metavar="N")
    p.add_argument("--case", default="", help="only calls with this in their name")
    p.add_argument("--triton", nargs="+", default=[""], help="the installed one, or 'all'")
    p.add_argument("--output", type=Path, help="folder for JSON files; of all, among the results")
    given = p.parse_args(arguments)
    versions = every if given.triton == ["all"] else given.triton
    folder = given.output or (records.FOLDER if versions == every and not given.case else None)
    try:
        results = run(given.arch, versions, given.case)
    except FailureError as failure:
        sys.exit(f"benchmarks.static: {failure}")
    print("\n\n".join(map(text, results)))
    for result in results if folder else ():
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{SUITE}--{result['arch']}.json"
        file.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if bad := [line for result in results for line in excesses(result)]:
        sys.exit("\n".join(["benchmarks.static: kernels take too much", *bad]))


def run(architectures: Sequence[int], versions: Iterable[str], part: str) -> list[Result]:
    """Compile the calls with ``part`` in their names; return a result for each architecture."""
    from .cases import CASES

    used: list[str] = []
    common = {**about(SUITE), "kernels": digest(), "triton": used, "columns": Row._fields}
    results = {arch: {**common, "arch": f"sm_{arch}", "calls": {}} for arch in architectures}
    wanted = [(arch, name) for arch in architectures for name in CASES if part in name]
    if not wanted:
        raise FailureError(f"no call has {part!r} in its name")
    spawn = multiprocessing.get_context("spawn")
    for version in versions:
        path = [str(_installed(version))] if version else []
        with ProcessPoolExecutor(machine.threads(), spawn, _start, (path,)) as pool:
            looks = pool.map(_look, *zip(*wanted, strict=True))
            for (arch, name), (triton, facts, rows) in zip(wanted, looks, strict=True):
                call = results[arch]["calls"].setdefault(name, {**facts, "kernels": {}})
                call["kernels"][triton] = rows
        used.append(triton)
        print(f"compiled with Triton {triton}", file=sys.stderr, flush=True)
    return list(results.values())


def _start(path: list[str]) -> None:
    """Prepare a process for its Triton, which is to compile kernels and not to interpret."""
    sys.path[:0] = path
    os.environ.pop("TRITON_INTERPRET", None)


def _look(arch: int, name: str) -> tuple[str, dict[str, Any], list[Row]]:
    import triton

    from .predict import look

    return triton.__version__, *look(arch, name)


def _installed(version: str) -> Path:
    """Return the folder of a version of Triton, installed there first if it is not complete."""
    place, part = FOLDER / version, FOLDER / f"{version}.part"
    if not place.exists():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        pip += ["--no-deps", "--upgrade", "--target", str(part), f"triton=={version}"]
        done = subprocess.run(pip, capture_output=True, encoding="utf-8")
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise FailureError(f"triton {version} cannot be installed: {reason}")
        part.rename(place)
    return place


def digest() -> str:
    """Return a hash of the sources of Triton's kernels, which a result is made of."""
    folder = machine.ROOT / "kernels" / "torchio_gpu_kernels"  # those for a CPU are in one below
    sources = b"".join(file.read_bytes() for file in sorted(folder.glob("[!_]*.py")))
    return hashlib.sha256(sources).hexdigest()[:16]


def excesses(result: Result) -> list[str]:
    """Return a line for each kernel that spills or takes too much, under a Triton of users."""
    return [
        f"{result['arch']}, Triton {triton}: {row.kernel} in {name!r} takes {row.registers} "
        "registers" + " and spills" * bool(row.spilled)
        for name, call in result["calls"].items()
        for triton, rows in call["kernels"].items()
        for row in map(Row._make, rows)
        if triton not in FOR_INFORMATION and (row.registers > REGISTERS or row.spilled)
    ]


def text(result: Result) -> str:
    """Return tables of calls and of kernels by version of Triton, and the method."""
    shown: dict[tuple[str, ...], str] = {}  # kernels, and the first call of each
    for name, call in result["calls"].items():
        for same in zip(*call["kernels"].values(), strict=True):
            rows = [Row._make(row) for row in same]
            cells = [rows[0].kernel, number(rows[0].memory_us), rows[0].loads, rows[0].stores]
            for row in rows:
                numbers = f"{row.registers}, {row.barriers}, {number(row.instructions)}"
                spilled = f" **spills {row.spilled} B**" * bool(row.spilled)
                cells.append(f"{numbers}, {number(row.us)}{spilled}")
            shown.setdefault(tuple(cells), name)
    head = [
        "kernel",
        "memory, µs",
        "loads of bits",
        "stores of bits",
        *result["triton"],
        "first in",
    ]
    what = "registers, barriers, instructions of a voxel, predicted µs, by Triton"
    how = HOW.format(GPUS[int(result["arch"].removeprefix("sm_"))])
    return (
        f"{_calls(result, result['calls'])}\n\n**{result['arch']}, kernels: {what}**\n\n"
        f"{table(head, ([*cells, name] for cells, name in shown.items()))}\n\n{how}\n"
        f"{origin(result)}"
    )


def brief(result: Result) -> str:
    """Return the table of calls that have a budget, and when they were compiled."""
    calls = [name for name, call in result["calls"].items() if call["budget"]]
    return f"{_calls(result, calls)}\n\n{_BRIEF}\n{origin(result)}"


def _calls(result: Result, names: Iterable[str]) -> str:
    made = []
    for name in names:
        call = result["calls"][name]
        budget, copy, workload = call["budget"], call["copy_us"], call["workload"]
        cells = [f"{name} ({workload})", "", str(budget or "-")]
        for rows in call["kernels"].values():
            launched = [Row._make(row) for row in rows]
            # the time of a backward counts, in forwards
            counted = [row for row in launched if "backward" in row.kernel] or launched
            us = rounded(sum(row.us for row in counted))
            forward = rounded(sum(row.us for row in launched if row not in counted))
            cell, ratio = f"{number(us)} ({number(us / copy)}x)", rounded(us / (forward or copy))
            if budget:
                cell += f", {ratio:.2f} x forward" * bool(forward)
                cell += ": kept" if ratio <= budget else ": **missed**"
            cells[1] = str(len(counted))
            cells.append(cell)
        made.append(cells)
    head = ["call", "launches", "budget", *(f"Triton {triton}" for triton in result["triton"])]
    return f"**{result['arch']}, calls: µs, and in copies of the batch**\n\n{table(head, made)}"
