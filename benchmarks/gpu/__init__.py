"""Results of ``benchmarks/gpu.sh`` as markdown, losses included; red tests mark every number."""

from __future__ import annotations

import re
from typing import Any

from .. import records
from ..markdown import number, table

SUITE = "gpu"

Result = dict[str, Any]


def text(result: Result) -> str:
    """Return the parts of a machine and card, each with its origin and tests."""
    shown = [f"**{result['machine']['gpu'] or 'no GPU'}**: medians and quartiles in ms"]
    for name, part in result["parts"].items():
        head = list(dict.fromkeys(column for row in part["rows"] for column in row))
        body = [[_cell(row.get(column, "-")) for column in head] for row in part["rows"]]
        tiny = " A rehearsal on a few voxels: these numbers mean nothing." if part["tiny"] else ""
        about = f"- {name}: {records.origin(part)}{tiny}"
        shown.append(with_tests(f"{table(head, body)}\n\n{about}", part))
    return "\n\n".join(shown)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "{} ({}-{})".format(*(number(value[f"{key}_ms"]) for key in ("median", "q1", "q3")))
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return number(value) if isinstance(value, float) else str(value).replace("|", "/")


def with_tests(text: str, result: Result) -> str:
    """Return a text and the tests of its commit; unless these passed, each number is marked."""
    tests = result.get("tests") or {"passed": 0, "failed": 0, "skipped": 0, "red": []}
    if tests["failed"] or not tests["passed"]:
        text = _marked(text, "(tests red)" if tests["failed"] else "(untested)")
    counts = ", ".join(f"{tests[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
    return f"{text}\n\nTests at that commit: {counts}. {' '.join(tests['red'][:20])}".rstrip()


def _marked(text: str, mark: str) -> str:
    """Mark each cell with a digit in the bodies of tables, but for names in the first column."""
    cell = re.compile(r"(?!^)(\|[^|\n]*\d[^|\n]*?) *(?=\|)", re.MULTILINE)
    bodies = re.compile(r"^(\|[-| ]+\n)((?:\|.*\n?)+)", re.MULTILINE)
    return bodies.sub(lambda rows: rows[1] + cell.sub(rf"\1 {mark} ", rows[2]), text)
