"""Measure budgets, then peers, on a GPU: ``python -m benchmarks.gpu``.

Options are those of ``python -m benchmarks``. ``--quick`` shows that all of this runs, on any
machine; its numbers mean nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .markdown import number, table

Result = dict[str, Any]

#: How many kernels pipe6 may launch for an image.
LAUNCHES = 3
#: How much more memory than its batch, image and labels, pipe6 may take at its peak.
MEMORY = 1.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write one JSON file."""
    from . import machine, records
    from .__main__ import options, parser
    from .failure import FailureError
    from .versus import harness, tables

    given = parser("benchmarks.gpu").parse_args(arguments)
    import torch

    from . import budgets

    try:
        device = machine.device(given.device)
    except FailureError as failure:
        sys.exit(f"benchmarks.gpu: {failure}")
    repeats = given.repeats or (2 if given.quick else None)
    found = budgets.measure(device, given.quick, repeats)
    print(text(found), flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # others need room
    try:
        result = harness.run(options(given))
    except FailureError as failure:
        sys.exit(f"{harness.OURS}: {failure}")
    result["budgets"] = found
    print(tables.tables(result))
    records.write(result, given.output or (None if given.quick else records.path(result)))


def text(found: Result) -> str:
    """Budgets as markdown."""
    head = ("", "", "ms (quartiles)", "floor", "x floor", "budget", "without kernels")
    rows = [_row(row) for row in found["rows"]]
    notes = [
        f"- pipe6 with labels on {fact['workload']}: {_fact(fact)}." for fact in found["facts"]
    ]
    tiny = ", of batches of a few voxels: these numbers mean nothing" if found.get("tiny") else ""
    return "\n\n".join([f"**Budgets**{tiny}", table(head, rows), "\n".join(notes)])


def _row(row: dict[str, Any]) -> list[str]:
    start = [row["job"], row["workload"]]
    if "failure" in row:
        return [*start, f"failed: {row['failure']}", *["-"] * 4]
    median, q1, q3 = (number(row[name]) for name in ("median_ms", "q1_ms", "q3_ms"))
    host = row["floor"] == "ms"
    floor = "-" if host else f"{row['floor']}, {number(row['floor_ms'])} ms"
    budget = "-"
    if row["most"] is not None:
        verdict = "kept" if row["floors"] <= row["most"] else "**missed**"
        budget = f"{row['most']}{' ms' if host else ''}: {verdict}"
    slow = row.get("reference_ms")
    others = f"{number(slow)} ms, {number(slow / row['median_ms'])}x" if slow else "-"
    times = "-" if host else number(row["floors"])
    return [*start, f"{median} ({q1}-{q3})", floor, times, budget, others]


def _fact(fact: dict[str, Any]) -> str:
    if fact["launches"] is None:
        return "launches, waiting and memory are known on a GPU only"
    copies = {name: n for name, n in fact["launches"].items() if name.startswith("Mem")}
    kernels = {name: n for name, n in fact["launches"].items() if name not in copies}
    count, images = sum(kernels.values()), 2
    verdict = "kept" if count <= LAUNCHES * images else "**missed**"
    names = ", ".join(f"{name} {n}" for name, n in kernels.items())
    memory = "kept" if fact["memory"] <= MEMORY else "**missed**"
    return (
        f"{count} kernels for {images} images ({names}), at most {LAUNCHES} each: {verdict}; "
        f"{sum(copies.values())} copies; "
        f"{'waits for nothing' if fact['waits'] is None else '**waits**: ' + fact['waits']}; "
        f"at its peak {fact['memory']} batches, at most {MEMORY}: {memory}"
    )


if __name__ == "__main__":
    main()
