"""Results of the side-by-side suite as markdown, losses included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import records
from .contenders import YARDSTICKS
from .markdown import bullets, number, table
from .workloads import OURS, WORK, WORKLOADS

#: Marks what a note has a remark on.
_DAGGER = "†"
#: How many times as fast as a library pipe6 is to be on two cores.
AHEAD = {"torchio2": 12.0, "torchio1": 45.0, "monai": 25.0}
#: Milliseconds that a call of pipe6 may take the host, and batches that it may take at its peak.
HOST, MEMORY = 1.0, 2.5
#: Medians of two runs of the same code differ by so much: closer than that is level.
LEVEL = 0.95

Result = dict[str, Any]
Row = dict[str, Any]


def title(result: Result, contender: str) -> str:
    """A contender's name and version."""
    facts = result["contenders"].get(contender, {})
    return f"{facts.get('name', contender)} {facts.get('version', '')}".strip()


def rivals(result: Result) -> list[str]:
    """Other libraries that were measured, yardsticks left out."""
    there = {row["contender"] for row in result["rows"]} - {OURS, *YARDSTICKS}
    return [contender for contender in result["contenders"] if contender in there]


def _cells(result: Result) -> dict[tuple[str, str], dict[str, Row]]:
    """Rows by workload and operation, then by contender."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in result["rows"]:
        found.setdefault((row["workload"], row["op"]), {})[row["contender"]] = row
    return found


def _ratio(row: Row, ours: Row) -> float | None:
    known = "median_ms" in row and "median_ms" in ours
    return row["median_ms"] / ours["median_ms"] if known else None


def _words(op: str) -> str:
    return op.replace("_", " ")


def _times(row: Row, ours: Row) -> str:
    """A rival's time over ours; bold where the rival is ahead, with a dagger at a remark."""
    ratio = _ratio(row, ours)
    if ratio is None:
        return "failed" if "failure" in row else "-"
    times = f"{number(ratio)}x"
    return (times if ratio >= 1 else f"**{times}**") + _DAGGER * ("remark" in row)


def brief(result: Result) -> str:
    """Our times and how many times those of others are: one table, without quartiles."""
    peers, rows = rivals(result), []
    for (workload, op), cells in _cells(result).items():
        host, ours = WORKLOADS[workload].host, cells.get(OURS, {})
        if host and op != "pipe6":
            continue
        name = _words(op) + (", host time of 8x8³" if host else "")
        mine = f"{number(ours['median_ms'])} ms" if "median_ms" in ours else "failed"
        rows.append([name, mine, *(_times(cells.get(peer, {}), ours) for peer in peers)])
    head = ["time of a call", title(result, OURS), *(title(result, peer) for peer in peers)]
    shapes = [f"{w}: {WORKLOADS[w]}" for w in dict.fromkeys(r["workload"] for r in result["rows"])]
    notes = [
        records.origin(result),
        f"{'; '.join(shapes)}; patches are of P. {_DAGGER}: the result is another than it should "
        "be. What each row is, quartiles, remarks, plain numpy and scipy, all of W0, memory: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        *(f"Not measured: {c} ({facts['failure']})." for c, facts in result["contenders"].items()
          if "failure" in facts),
    ]  # fmt: skip
    return f"{table(head, rows)}\n\n{bullets(notes)}"


def losses(result: Result) -> list[str]:
    """Return where others are ahead of us, in words: one line for each operation."""
    found = []
    for (workload, op), cells in _cells(result).items():
        ours = cells.get(OURS, {})
        ahead = [
            f"{title(result, c)}{_DAGGER * ('remark' in row)} {number(ratio)}x"
            for c, row in cells.items()
            if c not in (OURS, "copy") and (ratio := _ratio(row, ours)) and ratio < 1
        ]
        if ahead:
            found.append(f"{_words(op)} on {workload}: {', '.join(ahead)}")
    return found


def targets(result: Result) -> Iterator[tuple[str, str, str, bool | None]]:
    """Yield targets of two cores: in words, what is wanted, what was found, whether it is met."""
    cells = _cells(result)
    pipe6 = cells.get(("CPU", "pipe6"), {})
    for peer, wanted in AHEAD.items():
        ratio = _ratio(pipe6.get(peer, {}), pipe6.get(OURS, {}))
        found = "not measured" if ratio is None else f"{number(ratio)}x"
        kept = ratio and ratio >= wanted
        yield f"pipe6 against {title(result, peer)}", f">= {wanted:g}x", found, kept
    host = cells.get(("W0", "pipe6"), {}).get(OURS, {}).get("median_ms")
    if host:
        yield "host time of pipe6 on W0", f"<= {HOST:g} ms", f"{number(host)} ms", host <= HOST
    for row in result["memory"]:
        if (row["op"], row["contender"]) == ("pipe6", OURS) and "batches" in row:
            found, kept = f"{row['batches']:.1f} batches", row["batches"] <= MEMORY
            yield "peak extra memory of pipe6", f"<= {MEMORY:g} batches", found, kept
    single = {  # operations by themselves, against the quickest library that has each
        (workload, op): min(ratios)
        for (workload, op), of in cells.items()
        if not WORKLOADS[workload].host and op not in ("pipe6", "prep6", "with_labels")
        if (ratios := [r for p in rivals(result) if (r := _ratio(of.get(p, {}), of.get(OURS, {})))])
    }
    level = sum(ratio >= LEVEL for ratio in single.values())
    if single:
        yield (
            "single operations at least level with the quickest library that has them "
            f"(within {100 * (1 - LEVEL):.0f} %)",
            *(f"{len(single)}", f"{level}", level == len(single)),
        )


def wishes(result: Result) -> str:
    """The targets as a table."""
    verdict = {True: "kept", False: "**missed**", None: "-"}
    rows = [(what, wanted, found, verdict[kept]) for what, wanted, found, kept in targets(result)]
    return table(["asked of two CPU cores", "wanted", "found", ""], rows)


def text(result: Result) -> str:
    """One table per workload, and what a reader must know about them."""
    parts = []
    for workload in dict.fromkeys(row["workload"] for row in result["rows"]):
        rows = {op: of for (name, op), of in _cells(result).items() if name == workload}
        there = [c for c in result["contenders"] if any(c in of for of in rows.values())]
        host = WORKLOADS[workload].host
        scale, unit = (1000, "µs") if host else (1, "ms")
        lines = [
            [
                _words(op),
                *(_cell(of.get(c, {}), of.get(OURS, {}), scale) for c in there),
                number(of[OURS]["copies"]) if "copies" in of.get(OURS, {}) else "-",
            ]
            for op, of in rows.items()
        ]
        head = ["", *(title(result, contender) for contender in there), "x copy"]
        what = "host time of a call" if host else "time of a call"
        parts.append(f"**{workload}: {WORKLOADS[workload]}**, {what}, {unit}")
        parts.append(table(head, lines))
    return "\n\n".join([*parts, bullets(_notes(result))])


def _cell(row: Row, ours: Row, scale: float) -> str:
    """Median (quartiles) and, of a rival, how many times ours."""
    if "median_ms" not in row:
        return "failed" if row else "-"
    median, q1, q3 = (number(row[name] * scale) for name in ("median_ms", "q1_ms", "q3_ms"))
    cell = f"{median} ({q1}-{q3})"
    if "end_to_end_ms" in row:  # of a GPU, where the median is the time of the device
        cell += f", end to end {number(row['end_to_end_ms'] * scale)}"
    return cell if row is ours else f"{cell} {_times(row, ours)}"


def _notes(result: Result) -> Iterator[str]:
    """Machine, versions, and whatever a table cannot show."""
    yield records.origin(result)
    yield "Median (quartiles); a rival's x is its time over ours, bold where it is ahead."
    copies = [r["median_ms"] for r in result["rows"] if r["contender"] == "copy" and "copies" in r]
    if copies:
        yield "A copy is `clone` of the batch, timed in the same turns."
    for op in dict.fromkeys(row["op"] for row in result["rows"]):
        if WORK[op].words:
            yield f"{_words(op)}: {WORK[op].words}."
    for row in result["rows"]:
        who = f"{title(result, row['contender'])} {_words(row['op'])} on {row['workload']}"
        if "remark" in row:
            yield f"{_DAGGER} {who}: {row['remark']}."
        if "failure" in row:
            yield f"{who} failed: {row['failure']}."
        if (count := WORK[row["op"]].patches) and "median_ms" in row and row["contender"] != "copy":
            yield f"{who}: {number(1000 * count / row['median_ms'])} patches per second."
    for row in result["memory"]:
        amount = row.get("failure") or f"{row['batches']:.1f} batches"
        who = f"{_words(row['op'])} on {row['workload']}, {title(result, row['contender'])}"
        yield f"Peak extra memory of {who}: {amount}, the result included."
    for contender, facts in result["contenders"].items():
        yield f"{title(result, contender)}: {facts.get('failure') or _versions(facts)}."


def _versions(facts: dict[str, Any]) -> str:
    return f"Python {facts['python']}, torch {facts['torch']}"
