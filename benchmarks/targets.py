"""What two CPU cores are asked for, and whether the side-by-side suite found it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .markdown import number, table
from .versus.tables import rivals, title
from .versus.workloads import OURS, PATCH_OPS, WORKLOADS

#: How many times as fast as a peer pipe6 is to be.
AHEAD = {"torchio2": 12.0, "torchio1": 45.0, "monai": 25.0}
#: Milliseconds that a call of pipe6 may take the host.
HOST = 1.0
#: Batches that pipe6 may take at its peak.
MEMORY = 2.5
#: Medians of two runs of the same code differ by so much: closer than that is level.
LEVEL = 0.95
#: Operations that are several.
_PIPELINES = ("pipe6", "prep6", "with_labels")

Result = dict[str, Any]


class Target(NamedTuple):
    """One wish.

    Args:
        what: In words.
        wanted, found: In words and numbers.
        kept: None where there is nothing to compare.
        work: Workload and operation, where a profile can say more.
    """

    what: str
    wanted: str
    found: str
    kept: bool | None
    work: tuple[str, str]


def targets(result: Result) -> list[Target]:
    """All wishes, for a result of the side-by-side suite on a CPU."""
    cells = {
        (row["workload"], row["op"], row["contender"]): row["median_ms"]
        for row in result["rows"]
        if "median_ms" in row
    }
    names = {peer: title(result, peer) for peer in rivals(result)}
    found = [_warp(cells, names)]
    for peer, times in AHEAD.items():
        ours, theirs = (cells.get(("CPU", "pipe6", c)) for c in (OURS, peer))
        ratio = theirs / ours if ours and theirs else None
        found.append(
            Target(
                f"pipe6 against {names.get(peer, peer)}",
                f">= {times:g}x",
                "not measured" if ratio is None else f"{number(ratio)}x",
                None if ratio is None else ratio >= times,
                ("CPU", "pipe6"),
            )
        )
    host = cells.get(("W0", "pipe6", OURS))
    found.append(
        Target(
            "host time of pipe6 on W0",
            f"<= {HOST:g} ms",
            "not measured" if host is None else f"{number(host)} ms",
            None if host is None else host <= HOST,
            ("W0", "pipe6"),
        )
    )
    found += _single(cells, names)
    for row in result["memory"]:
        if (row["workload"], row["op"], row["contender"]) == ("CPU", "pipe6", OURS):
            batches = row.get("batches")
            found.append(
                Target(
                    "peak extra memory of pipe6",
                    f"<= {MEMORY:g} batches",
                    row.get("failure") or f"{batches:.1f}",
                    None if batches is None else batches <= MEMORY,
                    ("CPU", "pipe6"),
                )
            )
    return found


def _warp(cells: Mapping[tuple[str, str, str], float], names: Mapping[str, str]) -> Target:
    ours = cells.get(("CPU", "with_labels", OURS))
    peers = {
        peer: ms
        for (workload, op, peer), ms in cells.items()
        if (workload, op) == ("CPU", "affine") and peer in names
    }
    best = min(peers, key=peers.__getitem__, default=None)
    known = ours is not None and best is not None
    return Target(
        "affine and elastic warp with its label map against the quickest affine alone",
        "ahead",
        f"{number(ours)} ms against {number(peers[best])} of {names[best]}"
        if known
        else "not measured",
        ours < peers[best] if known else None,
        ("CPU", "with_labels"),
    )


def _single(
    cells: Mapping[tuple[str, str, str], float], names: Mapping[str, str]
) -> Iterable[Target]:
    """Each operation against the quickest library that has it."""
    for workload, op in dict.fromkeys((w, op) for w, op, _ in cells):
        host = workload in WORKLOADS and WORKLOADS[workload].host
        ours = cells.get((workload, op, OURS))
        peers = {
            peer: ms
            for (w, o, peer), ms in cells.items()
            if (w, o) == (workload, op) and peer in names
        }
        if op in _PIPELINES or host or ours is None or not peers:
            continue
        best = min(peers, key=peers.__getitem__)
        ratio = peers[best] / ours
        name = f"{op.replace('_', ' ')} against {names[best]}"
        wanted, kept = ("ahead", ratio > 1) if op in PATCH_OPS else ("level", ratio >= LEVEL)
        yield Target(name, wanted, f"{number(ratio)}x", kept, (workload, op))


def text(result: Result, explained: Mapping[tuple[str, str], str]) -> str:
    """Wishes as markdown. Those of single operations are counted; what is missed has a row.

    Args:
        result: Of the side-by-side suite on a CPU.
        explained: By workload and operation, where the time of what was missed goes.
    """
    found = targets(result)
    single = list(_single_of(found))
    rows = [t for t in found if t not in single or t.kept is False]
    head = ("wanted of two CPU cores", "", "found", "", "where the time goes")
    verdict = {True: "kept", False: "**missed**", None: "-"}
    cells = [
        (t.what, t.wanted, t.found, verdict[t.kept])
        + (explained.get(t.work, "-") if t.kept is False else "",)
        for t in rows
    ]
    kept = sum(t.kept is True for t in single)
    note = (
        f"- Of {len(single)} single operations {kept} are at least level with the quickest "
        f"library that has them (level: within {100 * (1 - LEVEL):.0f} %), patches ahead of it."
    )
    return "\n\n".join([table(head, cells), note])


def _single_of(found: Iterable[Target]) -> Iterable[Target]:
    return (t for t in found if t.wanted in ("ahead", "level") and t.work[1] not in _PIPELINES)


def missed(result: Result) -> list[tuple[str, str]]:
    """Workloads and operations of what was missed."""
    return list(dict.fromkeys(t.work for t in targets(result) if t.kept is False))
