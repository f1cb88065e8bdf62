"""Features of each library, found by trying them: ``python -m benchmarks.features``.

A feature is a check of :mod:`benchmarks.checks`, on tiny volumes, of what a library offers in
:mod:`benchmarks.rivals`, in its own interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import records
from .checks import CHECKS, GROUPS
from .contenders import LIBRARIES, Contender
from .facts import TITLES
from .failure import FailureError
from .markdown import table

SUITE = "features"
#: Marks a cell that rests on public names or on reading, and on nothing that was run.
_MARKS = {"run": "", "names": "ᴺ", "read": "ᴰ"}


def run(libraries: Sequence[str] = LIBRARIES) -> records.Result:
    """Ask libraries, each in a process of its own."""
    result = {**records.stamp(SUITE, "cpu", 1), "libraries": [], "missing": {}}
    for name in libraries:
        try:
            with Contender(name, 1, "cpu") as contender:
                about = {k: contender.facts[k] for k in ("name", "version")}
                result["libraries"].append({"key": name, **about, **contender.ask("answers")})
        except FailureError as failure:
            result["missing"][name] = str(failure)
    return result


def _head(result: records.Result) -> list[str]:
    return [f"{library['name']} {library['version']}" for library in result["libraries"]]


def _origin(result: records.Result) -> str:
    dirty = " with changes not committed" if result["dirty"] else ""
    return (
        f"Tried {result['date'][:10]} at commit {result['commit']}{dirty}; "
        f"torch {result['torch']}, Python {result['python']}, on {result['machine']['os']}."
    )


def brief(result: records.Result) -> str:
    """One table without notes, of what the checks of this version ask."""
    libraries = result["libraries"]
    rows = []
    for group, keys in GROUPS.items():
        rows.append([f"**{group}**", *[""] * len(libraries)])
        for key in keys:
            signs = [library["cells"].get(key, "?")[0] for library in libraries]
            rows.append([CHECKS[key].title, *signs])
    rows += [[TITLES[f], *(library["facts"][f] for library in libraries)] for f in TITLES]
    notes = [
        "✓ right, ~ in part or something else, - not offered or wrong, ? cannot be tried on this "
        "machine. What exactly was tried, and notes: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        _origin(result),
    ]
    return "\n".join([table(["", *_head(result)], rows), "", *(f"- {note}" for note in notes)])


def text(result: records.Result) -> str:
    """Features down, libraries across; then notes, what was asked, and who is left out."""
    notes: dict[str, int] = {}  # equal notes share a number

    def cell(found: Any) -> str:
        sign, note, by = found
        number = f" [{notes.setdefault(note, len(notes) + 1)}]" if note else ""
        return f"{sign}{_MARKS[by]}{number}"

    libraries, parts = result["libraries"], [_origin(result)]
    for group, keys in GROUPS.items():
        rows = [
            [CHECKS[k].title, *(cell(lib["cells"].get(k, ("?", "", "run"))) for lib in libraries)]
            for k in keys
        ]
        parts.append(table([group, *_head(result)], rows))
    legend = [
        "Found by a script that runs the library and looks at the numbers; ! where the script "
        f"broke, which says nothing about the library. {_MARKS['names']}: by looking for public "
        f"names. {_MARKS['read']}: read, not run.",
        *(f"Not installed here: {name} ({why})." for name, why in result["missing"].items()),
    ]
    asked = [f"{CHECKS[k].title}: {CHECKS[k].asked}" for keys in GROUPS.values() for k in keys]
    parts.append("\n".join(f"- {line}" for line in legend))
    parts.append("\n".join(f"{number}. {note}" for note, number in notes.items()))
    parts.append("\n".join(f"- {line}" for line in asked))
    return "\n\n".join(filter(None, parts))


main = records.command(
    __doc__,
    run,
    text,
    libraries={"nargs": "+", "choices": LIBRARIES, "default": LIBRARIES},
)

if __name__ == "__main__":
    main(None)
