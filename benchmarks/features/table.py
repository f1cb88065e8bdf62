"""The table as markdown, with notes below it."""

from __future__ import annotations

from typing import Any

from ..markdown import table
from .answers import SHOWN, UNNAMED
from .questions import FACTS, GROUPS

#: Name of the suite among the results.
SUITE = "features"
#: Marks a cell that rests on public names or on reading, and on nothing that was run.
MARKS = {"script": "", "declared": "", "names": "ᴺ", "documentation": "ᴰ"}


def text(result: dict[str, Any]) -> str:
    """Features down, libraries across; then notes, what was asked, and who is left out."""
    libraries = result["libraries"]
    notes: dict[str, int] = {}  # equal notes share a number
    parts = [f"**{origin(result)}**"]
    head = [f"{library['name']} {library['version']}" for library in libraries]
    for group, questions in GROUPS.items():
        rows = [
            [question.title, *(_cell(library["cells"][key], notes) for library in libraries)]
            for key, question in questions.items()
        ]
        parts.append(table([group, *head], rows))
    rows = [
        [title, *(_cell(library["cells"][key], notes) for library in libraries)]
        for key, title in FACTS.items()
    ]
    parts.append(table(["Facts, from metadata", *head], rows))
    parts.append(_legend(result))
    parts.append("\n".join(f"{number}. {note}" for note, number in notes.items()))
    return "\n\n".join(filter(None, parts))


#: Outcomes in the short table.
_SIGNS = {"yes": "✓", "partly": "~", "no": "-", "unchecked": "?", "failed": "!"}


def brief(result: dict[str, Any]) -> str:
    """One table without notes."""
    libraries = result["libraries"]
    head = ["", *(f"{library['name']} {library['version']}" for library in libraries)]
    rows = []
    for group, questions in GROUPS.items():
        rows.append([f"**{group}**", *[""] * len(libraries)])
        for key, question in questions.items():
            cells = [_SIGNS[library["cells"][key]["outcome"]] for library in libraries]
            rows.append([question.title, *cells])
    rows += [
        [title, *(library["cells"][key]["note"] for library in libraries)]
        for key, title in FACTS.items()
        if key in ("transforms", "licence")
    ]
    lines = [
        "✓ yes, ~ partly, - no, ? cannot be tried on this machine. What exactly was asked, and "
        "notes: [benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        f"{origin(result)}.",
    ]
    return "\n".join([table(head, rows), "", *(f"- {line}" for line in lines)])


def asked() -> str:
    """What each row means, as a list."""
    return "\n".join(
        f"- {question.title}: {question.asked}"
        for questions in GROUPS.values()
        for question in questions.values()
    )


def origin(result: dict[str, Any]) -> str:
    """When, of what and where."""
    dirty = " with changes not committed" if result["dirty"] else ""
    return (
        f"Tried {result['date'][:10]} at commit {result['commit']}{dirty}; "
        f"torch {result['torch']}, Python {result['python']}, on {result['machine']['os']}"
    )


def _cell(cell: dict[str, str], notes: dict[str, int]) -> str:
    note = cell["note"].replace("|", r"\|").replace("\n", " ")
    if cell["outcome"] == "fact":
        return note
    shown = SHOWN[cell["outcome"]] + MARKS[cell["by"]]
    if not note or cell["by"] == "declared" or note.startswith(UNNAMED):
        return shown
    return f"{shown} [{notes.setdefault(note, len(notes) + 1)}]"


def _legend(result: dict[str, Any]) -> str:
    lines = [
        "yes, partly, no: found by a script that runs the library and looks at the numbers; "
        "a no without a note: the library offers nothing to try.",
        f"{MARKS['names']}: by looking for public names. {MARKS['documentation']}: read, not run.",
    ]
    cells = [cell for library in result["libraries"] for cell in library["cells"].values()]
    if any(cell["outcome"] == "failed" for cell in cells):
        lines.append(f"{SHOWN['failed']}: the script broke; it says nothing about the library.")
    if result["missing"]:
        left = "; ".join(f"{name} ({why})" for name, why in result["missing"].items())
        lines.append(f"Not installed here, so without a column: {left}.")
    return "\n".join(f"- {line}" for line in lines)
