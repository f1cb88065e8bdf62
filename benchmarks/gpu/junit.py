"""Tests of a run, by the report that pytest writes for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

#: Name of the report in the folder of a run.
REPORT = "tests.xml"
#: Failing tests that are named.
_NAMED = 20


def summary(folder: Path) -> dict[str, Any]:
    """Return how many tests passed, failed and were skipped, and which failed.

    Where there is no whole report, all counts are 0: nothing is known, which is not green.
    """
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    red: list[str] = []
    try:
        root = ElementTree.parse(folder / REPORT).getroot()
    except (OSError, ElementTree.ParseError):
        return {**counts, "red": red}
    for case in root.iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        kind = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        counts[kind] += 1
        if bad:
            red.append(f"{case.get('classname')}::{case.get('name')}")
    return {**counts, "red": red[:_NAMED]}


def is_green(tests: dict[str, Any] | None) -> bool:
    """Return whether tests ran and none failed."""
    return bool(tests) and tests["passed"] > 0 and tests["failed"] == 0


def sentence(tests: dict[str, Any] | None) -> str:
    """Return a summary in words."""
    if not tests or not (tests["passed"] or tests["failed"]):
        return "tests did not run"
    counts = ", ".join(f"{tests[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
    red = f": {', '.join(tests['red'])}" if tests["red"] else ""
    return f"tests: {counts}{red}"


def marked(text: str, tests: dict[str, Any] | None) -> str:
    """Mark every number in the tables of a markdown text, unless tests are green."""
    if is_green(tests):
        return text
    mark = " (tests red)" if tests and tests["failed"] else " (untested)"
    lines = text.split("\n")
    body = False
    for n, line in enumerate(lines):
        if not line.startswith("|"):
            body = False
        elif re.fullmatch(r"[|\s-]+", line):
            body = True  # what follows the rule below the head
        elif body:
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            cells[1:] = [cell + mark if re.search(r"\d", cell) else cell for cell in cells[1:]]
            lines[n] = f"| {' | '.join(cells)} |"
    return "\n".join(lines)
