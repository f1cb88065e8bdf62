"""Kernels compiled without a GPU, and their predicted times: ``python -m benchmarks.static``.

Everything here is a prediction until a GPU has spoken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import machine, records
from ..markdown import number, table

SUITE = "static"
ARCHITECTURES = (90, 80)

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, print tables and write results."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.static", description=__doc__)
    p.add_argument(
        "--arch", nargs="+", type=int, choices=ARCHITECTURES, default=ARCHITECTURES, metavar="N"
    )
    p.add_argument("--kernel", default="", help="only kernels with this in their name")
    p.add_argument("--case", default="", help="only calls with this in their name")
    p.add_argument(
        "--output",
        type=Path,
        help="folder for JSON files; a run that leaves nothing out writes to benchmarks/results",
    )
    given = p.parse_args(arguments)
    whole = not (given.kernel or given.case)
    folder = given.output or (records.FOLDER if whole else None)
    results = run(given.arch, given.kernel, given.case)
    print("\n\n".join(text(result) for result in results))
    for result in results:
        records.write(result, folder and folder / f"{SUITE}--{result['arch']}.json")


def run(architectures: Sequence[int], kernel: str = "", case: str = "") -> list[Result]:
    """Compile the kernels of all calls, on all cores.

    Args:
        architectures: What to compile for: 90 for sm_90.
        kernel, case: What names of kernels and calls must hold.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(machine.threads(), spawn, initializer=_compile) as pool:
        names, versions, how = pool.submit(_about).result()
        wanted = [(arch, name) for arch in architectures for name in names if case in name]
        looks = [pool.submit(_look, arch, name, kernel) for arch, name in wanted]
        cases = [look.result() for look in looks]
    about = {
        "suite": SUITE,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **machine.commit(),
        **versions,
    }
    return [
        {
            **about,
            "arch": f"sm_{arch}",
            "how": how[arch],
            "cases": [row for (to, _), row in zip(wanted, cases, strict=True) if to == arch],
        }
        for arch in architectures
    ]


def _compile() -> None:
    """Kernels are to be compiled, not interpreted: Triton looks at this when it is imported."""
    os.environ.pop("TRITON_INTERPRET", None)


def _about() -> tuple[list[str], dict[str, str], dict[int, str]]:
    """Names of the calls; versions; what predictions rest on, by architecture."""
    import torch
    import triton

    from .cases import CASES
    from .predict import GPUS

    versions = {"torch": torch.__version__, "triton": triton.__version__}
    return list(CASES), versions, {arch: gpu.how() for arch, gpu in GPUS.items()}


def _look(arch: int, name: str, kernel: str) -> dict[str, Any]:
    from .predict import look

    return look(arch, name, kernel)


def text(result: Result) -> str:
    """A result as markdown: calls, then kernels, then how the numbers came about."""
    kernels = [f"**{result['arch']}, kernels**", table(_COLUMNS, _kernels(_launching(result)))]
    notes = f"- {result['how']}\n- {_origin(result)}"
    return "\n\n".join([_calls(result, _launching(result)), *kernels, notes])


def brief(result: Result) -> str:
    """Calls that there is a budget for, and when they were compiled."""
    cases = [case for case in _launching(result) if "budget" in case]
    how = (
        "PREDICTION, not a measurement: no GPU was used. How it is made, and all other calls: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md)."
    )
    return f"{_calls(result, cases)}\n\n- {how}\n- {_origin(result)}"


def _calls(result: Result, cases: Sequence[dict[str, Any]]) -> str:
    head = ("call", "launches", "predicted, µs", "x copy", "budget")
    return f"**{result['arch']}, calls**\n\n{table(head, map(_call, cases))}"


def _launching(result: Result) -> list[dict[str, Any]]:
    return [case for case in result["cases"] if case["kernels"]]


def _origin(result: Result) -> str:
    return (
        f"Compiled {result['date'][:10]} for {result['arch']} at commit {result['commit']}"
        f"{' with changes not committed' * bool(result['dirty'])} by Triton {result['triton']}; "
        "a call of W1 where it does not say otherwise."
    )


def _call(case: dict[str, Any]) -> list[str]:
    name = case["case"] + ("" if case["workload"] == "W1" else f" ({case['workload']})")
    budget = "-"
    if "budget" in case:
        most, of, found = (case["budget"][key] for key in ("most", "of", "is"))
        verdict = "kept" if found <= most else "**missed**"
        budget = f"{found:.2f} of {most} x {of}: {verdict}"
    times = number(case["predicted_us"]), number(case["copies"])
    return [name, str(case["launches"]), *times, budget]


_COLUMNS = (
    *("kernel", "first in", "registers", "spilled, B", "shared, B"),
    *("loads of bits", "stores of bits", "atomics", "barriers"),
    *("instructions a voxel", "bytes a voxel", "predicted, µs", "bound by", "x copy"),
)


def _kernels(calls: Sequence[dict[str, Any]]) -> list[list[str]]:
    """One row for each form of a kernel, with the first call that launches it."""
    rows: dict[str, list[str]] = {}
    for case in calls:
        for row in case["kernels"]:
            bound = "memory" if row["memory_us"] >= row["issue_us"] else "instructions"
            cells = [row["kernel"].removesuffix("_kernel"), case["case"]]
            spilled = f"**{row['stack']}**" if spills(row) else "0"
            cells += [str(row["registers"]), spilled, str(row["shared"])]
            cells += [_widths(row[name]) for name in ("loads", "stores", "atomics")]
            cells += [str(row["barriers"])]
            cells += [number(row[f"{name}_per_voxel"]) for name in ("instructions", "bytes")]
            cells += [number(row["predicted_us"]), bound, number(row["copies"])]
            rows.setdefault(row["form"], cells)
    return list(rows.values())


def spills(row: dict[str, Any]) -> bool:
    """Whether a kernel keeps in memory what does not fit into registers."""
    return any(row[name] for name in ("stack", "local", "local_loads", "local_stores"))


def _widths(counts: dict[int, int]) -> str:
    """How many of how many bits: '29x32 2x128'."""
    return " ".join(f"{count}x{bits}" for bits, count in counts.items()) or "-"


if __name__ == "__main__":
    main()
