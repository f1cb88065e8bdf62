"""Results of GPUs as markdown, losses included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import records
from ..markdown import number, table
from . import junit

Result = dict[str, Any]

#: How many kernels pipe6 may launch for an image.
LAUNCHES = 3
#: How much more memory than its batch, image and labels, pipe6 may take at its peak.
MEMORY = 1.5


def text(result: Result) -> str:
    """Return all parts of a machine and card, each with its origin; red tests mark every number."""
    machine = result["machine"]
    title = machine["gpu"] or f"{machine['cpu']}, no GPU: these numbers mean nothing"
    parts = [f"**{title}**"]
    order = {name: n for n, name in enumerate(_PARTS)}
    for name, part in sorted(result["parts"].items(), key=lambda item: order[_kind(item[0])]):
        parts.append(junit.marked(_PARTS[_kind(name)](part), part.get("tests")))
        tiny = " A rehearsal on a few voxels: these numbers mean nothing." if part["tiny"] else ""
        tests = junit.sentence(part.get("tests"))
        parts.append(f"- {name}: {records.origin(part)}{tiny} At that commit: {tests}.")
    return "\n\n".join(part for part in parts if part)


def _kind(name: str) -> str:
    return name.partition("-")[0]


def _versions(part: Result) -> str:
    card, copy = part.get("card"), part["copy"]
    about = ""
    if card:
        about = (
            f"{card['multiprocessors']} multiprocessors, {card['memory_gb']} GB, L2 of "
            f"{card['l2_mb']} MB, CUDA {card['cuda']}; "
        )
    rows = [[f"{number(copy['bytes'] / 2**30)} GB read and written", f"{copy['tb_per_s']} TB/s"]]
    return table((f"{about}copy", "bandwidth"), rows)


def _smoke(part: Result) -> str:
    rows = []
    for row in part["rows"]:
        verdict = row.get("failure") or ("right" if row["right"] else "**wrong**")
        error = f"{row['error']:.1e} of {row['of']}" if "error" in row else "-"
        time = f"{number(row['median_ms'])} ms" if "median_ms" in row else "-"
        rows.append([row["launch"], verdict, error, time])
    return table(("launch", "against float64", "error", "on the device"), rows)


def _budgets(part: Result) -> str:
    head = ("", "", "device, ms (quartiles)", "replayed", "end to end", "host", "bound")
    head = (*head, "of the bound", "budget", "plain torch")
    notes = [f"- pipe6 with labels on {fact['workload']}: {_fact(fact)}." for fact in part["facts"]]
    notes += [
        f"- {row['job']} on {row['workload']}: not replayed: {row['replay_failure']}."
        for row in part["rows"]
        if "replay_failure" in row
    ]
    rows = [_row(row) for row in part["rows"]]
    return "\n\n".join(filter(None, [table(head, rows), "\n".join(notes)]))


def _row(row: Mapping[str, Any]) -> list[str]:
    start = [row["job"], row["workload"]]
    if "failure" in row:
        return [*start, f"failed: {row['failure']}", *["-"] * 7]
    times = [_ms(row.get(name)) for name in ("replay", "end_to_end", "host")]
    device = _ms(row.get("device"))
    if row.get("late"):
        device += ", waits for the host"
    bound = row.get("bound")
    share = "-"
    if bound and row.get("device"):
        share = f"{100 * bound['median_ms'] / row['device']['median_ms']:.0f} %"
    named = f"{row['floor']}, {number(bound['median_ms'])} ms" if bound else "-"
    budget = "-"
    if row.get("ratio") is not None and row["most"] is not None:
        unit = " ms" if row["floor"] == "ms" else "x"
        verdict = "kept" if row["ratio"] <= row["most"] else "**missed**"
        budget = f"{number(row['ratio'])} of {row['most']}{unit}: {verdict}"
    slow = row.get("reference")
    others = "-"
    if slow:
        of = row.get("device") or row["end_to_end"]
        ratio = slow["median_ms"] / of["median_ms"]
        others = f"{number(slow['median_ms'])} ms, {number(ratio)}x"
    return [*start, device, *times, named, share, budget, others]


def _ms(time: Mapping[str, Any] | None) -> str:
    if time is None:
        return "-"
    median, q1, q3 = (number(time[name]) for name in ("median_ms", "q1_ms", "q3_ms"))
    return f"{median} ({q1}-{q3})"


def _fact(fact: Mapping[str, Any]) -> str:
    if fact["launches"] is None:
        return "launches, waits and memory are known on a GPU only"
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


def _counters(part: Result) -> str:
    """Hardware counters of the profiler, a column for each."""
    if "absent" in part:
        return f"Hardware counters: {part['absent']}."
    names = list(dict.fromkeys(name for row in part["rows"] for name in row["metrics"]))
    rows = [
        [row["kernel"], *(f"{row['metrics'].get(name, '-')}" for name in names)]
        for row in part["rows"]
    ]
    return table(("kernel", *names), rows)


def _sanitizer(part: Result) -> str:
    return f"compute-sanitizer on the smoke test: {part['absent' if 'absent' in part else 'said']}."


_PARTS = {
    "versions": _versions,
    "smoke": _smoke,
    "budgets": _budgets,
    "host": _budgets,
    "counters": _counters,
    "sanitizer": _sanitizer,
}
