"""Predictions as markdown: a column for each version of Triton."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..markdown import number, table

Result = dict[str, Any]
Case = Mapping[str, Any]


def text(result: Result) -> str:
    """Return tables of calls and kernels by version, of kernels in detail, and the method."""
    by_version = {triton: _launching(cases) for triton, cases in result["cases"].items()}
    first = next(iter(by_version))
    parts = [_calls(result, by_version)]
    head = ("kernel", "first in", *by_version)
    parts += [
        f"**{result['arch']}, registers a thread, and instructions a voxel, by Triton**",
        table(head, _registers(by_version)),
        f"**{result['arch']}, kernels by Triton {first}**",
        table(_COLUMNS, _kernels(by_version[first])),
        f"- {result['how']}\n- {_origin(result)}",
    ]
    return "\n\n".join(parts)


def brief(result: Result) -> str:
    """Return the table of calls that have a budget, and when they were compiled."""
    by_version = {
        triton: [case for case in _launching(cases) if "budget" in case]
        for triton, cases in result["cases"].items()
    }
    how = (
        "PREDICTION, not a measurement: no GPU was used. How it is made, and all other calls: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md)."
    )
    return f"{_calls(result, by_version)}\n\n- {how}\n- {_origin(result)}"


def spills(row: Mapping[str, Any]) -> bool:
    """Return whether a kernel keeps in memory what does not fit into registers."""
    return any(row[name] for name in ("stack", "local", "local_loads", "local_stores"))


def registers_over(row: Mapping[str, Any], most: int) -> bool:
    """Return whether a kernel takes more than so many registers of each thread."""
    return bool(row["registers"] > most)


def _launching(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case["kernels"]]


def _calls(result: Result, by_version: Mapping[str, Sequence[Case]]) -> str:
    """Calls of all versions: times in copies, and whether each keeps its budget."""
    versions = list(by_version)
    head = ("call", "launches", "torch's own", "budget", *(f"Triton {v}" for v in versions))
    rows = []
    for same in zip(*by_version.values(), strict=True):
        case = same[0]
        name = case["case"] + ("" if case["workload"] == "W1" else f" ({case['workload']})")
        budget = "-"
        if "budget" in case:
            budget = f"{case['budget']['most']} x {case['budget']['of']}"
        others = ", ".join(f"{each['op']} {number(each['copies'])}x" for each in case["torch"])
        cells = [name, str(case["launches"]), others or "-", budget]
        rows.append([*cells, *map(_time, same)])
    return f"**{result['arch']}, calls: µs, and in copies of the batch**\n\n{table(head, rows)}"


def _time(case: Case) -> str:
    cell = f"{number(case['predicted_us'])} ({number(case['copies'])}x)"
    if "budget" not in case:
        return cell
    most, of, found = (case["budget"][key] for key in ("most", "of", "is"))
    unit = "" if of == "copy" else f", {found:.2f} x {of}"
    return cell + unit + (": kept" if found <= most else ": **missed**")


def _registers(by_version: Mapping[str, Sequence[Case]]) -> list[list[str]]:
    """A row for each form of a kernel under the first version."""
    rows: dict[str, list[str]] = {}
    for same in zip(*by_version.values(), strict=True):
        for kernels in zip(*(case["kernels"] for case in same), strict=True):
            cells = [kernels[0]["kernel"].removesuffix("_kernel"), same[0]["case"]]
            for row in kernels:
                spilled = " **spills**" if spills(row) else ""
                per_voxel = number(row["instructions_per_voxel"])
                cells.append(f"{row['registers']}, {per_voxel}{spilled}")
            rows.setdefault(kernels[0]["form"], cells)
    return list(rows.values())


_COLUMNS = (
    *("kernel", "first in", "spilled, B", "shared, B"),
    *("loads of bits", "stores of bits", "atomics", "barriers"),
    *("bytes a voxel", "predicted, µs", "bound by", "x copy"),
)


def _kernels(calls: Sequence[Case]) -> list[list[str]]:
    """A row for each form of a kernel, with the first call that launches it."""
    rows: dict[str, list[str]] = {}
    for case in calls:
        for row in case["kernels"]:
            bound = "memory" if row["memory_us"] >= row["issue_us"] else "instructions"
            cells = [row["kernel"].removesuffix("_kernel"), case["case"]]
            cells += [f"**{row['stack']}**" if spills(row) else "0", str(row["shared"])]
            cells += [_widths(row[name]) for name in ("loads", "stores", "atomics")]
            cells += [str(row["barriers"]), number(row["bytes_per_voxel"])]
            cells += [number(row["predicted_us"]), bound, number(row["copies"])]
            rows.setdefault(row["form"], cells)
    return list(rows.values())


def _widths(counts: Mapping[Any, int]) -> str:
    """Counts by width: '29x32 2x128'."""
    return " ".join(f"{count}x{bits}" for bits, count in counts.items()) or "-"


def _origin(result: Result) -> str:
    return (
        f"Compiled {result['date'][:10]} for {result['arch']} at commit {result['commit']}"
        f"{' with changes not committed' * bool(result['dirty'])} by Triton "
        f"{', '.join(result['cases'])}; a call of W1 where it does not say otherwise."
    )
