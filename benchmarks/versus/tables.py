"""Results of the side-by-side suite as markdown, losses included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import records
from ..markdown import line, number
from .workloads import MEANING, OURS, OWN, PATCH_OPS, WORK, WORKLOADS, Work, has_own_input

#: Medians of the same copy over one run may differ by this factor.
_QUIET = 2
#: Marks what a note has a remark on.
_DAGGER = "†"

Result = dict[str, Any]
Row = dict[str, Any]


def tables(result: Result) -> str:
    """A result as markdown: one table per workload, and what a reader must know about them."""
    names = dict.fromkeys(row["workload"] for row in result["rows"])
    parts = [_table(result, name) for name in names]
    parts += [part for part in (_rates(result), _memory(result), _notes(result)) if part]
    return "\n\n".join(parts)


#: Contenders that are yardsticks, not libraries to choose between: not in the short table.
YARDSTICKS = ("numpy", "scipy", "torchio_gpu_whole")


def rivals(result: Result) -> list[str]:
    """Other libraries that were measured."""
    there = {row["contender"] for row in result["rows"]} - {OURS, *YARDSTICKS}
    return [contender for contender in result["contenders"] if contender in there]


def brief(result: Result) -> str:
    """Our times and how many times those of others are: one table, without quartiles."""
    peers = rivals(result)
    cells = {(row["workload"], row["op"], row["contender"]): row for row in result["rows"]}
    lines = [line(["time of a call", title(result, OURS), *(title(result, c) for c in peers)])]
    lines.append("|---" * (len(peers) + 2) + "|")
    for workload, op in dict.fromkeys((row["workload"], row["op"]) for row in result["rows"]):
        host = WORKLOADS[workload].host if workload in WORKLOADS else False
        ours = cells.get((workload, op, OURS), {})
        if host and op != "pipe6":
            continue
        name = op.replace("_", " ") + (", host time of 8x8³" if host else "")
        median = ours.get("median_ms")
        entries = [name, "failed" if median is None else f"{number(median)} ms"]
        lines.append(line([*entries, *(_times(cells.get((workload, op, c)), ours) for c in peers)]))
    shapes = [str(WORKLOADS[w]) for w in dict.fromkeys(row["workload"] for row in result["rows"])]
    absent = [f"{c} ({facts['failure']})" for c, facts in result["contenders"].items()
              if "failure" in facts]  # fmt: skip
    notes = [
        records.origin({**result["contenders"][OURS], **result}),
        f"{'; '.join(shapes)}; patches are of P. {_DAGGER}: the result is another than it should "
        "be. What each row is, quartiles, remarks, plain numpy and scipy, all of W0, memory: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
    ]
    if absent:
        notes.append(f"Not measured: {', '.join(absent)}.")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def _times(row: Row | None, ours: Row) -> str:
    """A peer's time over ours; bold where the peer is ahead."""
    if row is None:
        return "-"
    if "median_ms" not in row or "median_ms" not in ours:
        return "failed"
    ratio = row["median_ms"] / ours["median_ms"]
    times = f"{number(ratio)}x"
    return (times if ratio >= 1 else f"**{times}**") + _DAGGER * ("remark" in row)


def ahead(result: Result) -> list[str]:
    """Where others are ahead of us, as words: one line for each operation."""
    ours = {(r["workload"], r["op"]): r for r in result["rows"] if r["contender"] == OURS}
    found: dict[tuple[str, str], list[str]] = {}
    for row in result["rows"]:
        mine = ours.get((row["workload"], row["op"]), {})
        if row["contender"] in (OURS, "copy") or not ("median_ms" in row and "median_ms" in mine):
            continue
        ratio = row["median_ms"] / mine["median_ms"]
        if ratio < 1:
            mark = _DAGGER * ("remark" in row)
            peers = found.setdefault((row["op"], row["workload"]), [])
            peers.append(f"{title(result, row['contender'])}{mark} {number(ratio)}x")
    return [
        f"{op.replace('_', ' ')} on {workload}: {', '.join(peers)}"
        for (op, workload), peers in found.items()
    ]


def title(result: Result, contender: str) -> str:
    """A contender's name and version."""
    facts = result["contenders"].get(contender, {})
    return f"{facts.get('name', contender)} {facts.get('version', '')}".strip()


def _table(result: Result, workload: str) -> str:
    rows = [row for row in result["rows"] if row["workload"] == workload]
    cells = {(row["op"], row["contender"]): row for row in rows}
    order = [c for c in result["contenders"] if any(row["contender"] == c for row in rows)]
    host = workload in WORKLOADS and WORKLOADS[workload].host
    scale, unit = (1000, "µs") if host else (1, "ms")
    what = "host time of a call" if host else "time of a call"
    floors = "" if host else "x copy"
    lines = [
        f"**{WORKLOADS.get(workload, workload)}**, {what}, {unit}",
        "",
        line(["", title(result, OURS), *filter(None, [floors]), *_titles(result, order)]),
    ]
    lines.append("|---" * (lines[-1].count("|") - 1) + "|")
    for op in dict.fromkeys(row["op"] for row in rows):
        ours = cells.get((op, OURS), {})
        entries = [op.replace("_", " "), _cell(ours, scale)]
        if floors:
            entries.append(number(ours["copies"]) if "copies" in ours else "-")
        entries += [_cell(cells.get((op, c), {}), scale, ours) for c in order if c != OURS]
        lines.append(line(entries))
    return "\n".join(lines)


def _titles(result: Result, order: Iterable[str]) -> list[str]:
    return [title(result, contender) for contender in order if contender != OURS]


def _cell(row: Row, scale: float, ours: Row | None = None) -> str:
    """Median (quartiles) and, of a peer, how many times ours; bold where the peer is ahead.

    A dagger stands where there is a remark.
    """
    if not row:
        return "-"
    if "failure" in row:
        return "failed"
    median, q1, q3 = (number(row[name] * scale) for name in ("median_ms", "q1_ms", "q3_ms"))
    cell = f"{median} ({q1}-{q3})" + _DAGGER * ("remark" in row)
    if "end_to_end_ms" in row:  # of a GPU, where the median is the time of the device
        cell += f", end to end {number(row['end_to_end_ms'] * scale)}"
    if ours is None or "median_ms" not in ours:
        return cell
    ratio = row["median_ms"] / ours["median_ms"]
    times = f"{number(ratio)}x"
    return f"{cell} {times}" if ratio >= 1 else f"{cell} **{times} ahead of us**"


def _rates(result: Result) -> str:
    """How many patches contenders make in a second: one line for each operation."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in result["rows"]:
        count = WORK.get(row["op"], Work()).patches
        if count and "median_ms" in row and row["contender"] != "copy":
            rate = number(1000 * count / row["median_ms"])
            rates = found.setdefault((row["op"], row["workload"]), [])
            rates.append(f"{title(result, row['contender'])} {rate}")
    return "\n\n".join(
        f"Patches per second, {op.replace('_', ' ')} of a volume on {workload}: {', '.join(rates)}."
        for (op, workload), rates in found.items()
    )


def _memory(result: Result) -> str:
    """One line for each operation."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in result["memory"]:
        amount = row.get("failure") or f"{row['batches']:.1f}x"
        amounts = found.setdefault((row["op"], row["workload"]), [])
        amounts.append(f"{title(result, row['contender'])} {amount}")
    return "\n\n".join(
        f"Peak extra memory of {op.replace('_', ' ')} on {workload}, its result included, "
        f"in multiples of the batch: {', '.join(amounts)}."
        for (op, workload), amounts in found.items()
    )


def _notes(result: Result) -> str:
    """Machine, versions, and whatever a table cannot show."""
    ours = result["contenders"][OURS]
    notes = [
        records.origin({**ours, **result}),
        "Median (quartiles); a peer's x is its time over ours. "
        f"A copy is `clone` of the batch, timed in the same run{_floor(result)}.",
    ]
    notes += [
        f"{op.replace('_', ' ')} is of {OWN[WORK[op].given]}, whatever the batch."
        for op in dict.fromkeys(row["op"] for row in result["rows"])
        if has_own_input(op)
    ]
    words = {**MEANING, **PATCH_OPS}
    notes += [
        f"{op.replace('_', ' ')} {words[op]}."
        for op in dict.fromkeys(row["op"] for row in result["rows"])
        if op in words
    ]
    notes += [
        f"{title(result, c)} runs on Python {facts['python']}, torch {facts['torch']}."
        for c, facts in result["contenders"].items()
        if "torch" in facts and (facts["python"], facts["torch"]) != (ours["python"], ours["torch"])
    ]
    notes.append(f"Timed calls: {_calls(result)}.")
    notes += [
        f"{title(result, row['contender'])} {row['op'].replace('_', ' ')} on {row['workload']} "
        f"failed: {row['failure']}."
        for row in result["rows"]
        if "failure" in row
    ]
    notes += [
        f"{_DAGGER} {title(result, row['contender'])} {row['op'].replace('_', ' ')} on "
        f"{row['workload']}: {row['remark']}."
        for row in result["rows"]
        if "remark" in row
    ]
    notes += [
        f"{contender}: {facts['failure']}."
        for contender, facts in result["contenders"].items()
        if "failure" in facts
    ]
    return "\n".join(f"- {note}" for note in notes)


def _floor(result: Result) -> str:
    """How long a copy took in each workload where that says something."""
    found: dict[str, list[float]] = {}
    for row in result["rows"]:
        host = row["workload"] in WORKLOADS and WORKLOADS[row["workload"]].host
        if row["contender"] == "copy" and "median_ms" in row and not host:
            found.setdefault(row["workload"], []).append(row["median_ms"])
    texts = []
    for name, copies in found.items():
        low, high = min(copies), max(copies)
        # Copies are timed with every operation: were they not alike, something else was running.
        busy = ": the machine was not quiet" if high > _QUIET * low else ""
        texts.append(f"{number(low)}-{number(high)} ms on {name}{busy}")
    return f" ({', '.join(texts)})" if texts else ""


def _calls(result: Result) -> str:
    """Number of timed calls, and who got fewer."""
    texts = []
    for workload in dict.fromkeys(row["workload"] for row in result["rows"]):
        rows = [r for r in result["rows"] if r["workload"] == workload and "repeats" in r]
        most = max((row["repeats"] for row in rows), default=0)
        fewest: dict[str, int] = {}
        for row in sorted(rows, key=lambda row: -row["repeats"]):
            if row["repeats"] < most:
                fewest[row["contender"]] = row["repeats"]
        slow = ", ".join(f"{title(result, c)} {n}" for c, n in fewest.items())
        texts.append(f"{most} on {workload}" + (f" (fewer where slow: {slow})" if slow else ""))
    return "; ".join(texts)
