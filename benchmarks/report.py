"""Results as tables, losses included: ``python -m benchmarks.report`` also renews the README.

The README's other table, of the transforms there are, is made here too.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Sequence
from pathlib import Path

from . import machine, records, static
from .markdown import line
from .versus import tables


def transforms() -> str:
    """The public transforms as markdown: random ones with their twins, then all others."""
    import torchio_gpu as tio  # results can be shown without it

    names = [n for n in tio.transforms.__all__ if n not in ("Transform", "Recorded", "from_dict")]
    names = [n for n in names if isinstance(getattr(tio, n), type) and n != "Choice"]
    random = [n for n in names if n.startswith("Random")]
    twins = {n.removeprefix("Random") for n in random}
    lines = [line(["at random", "as given", "what it does"]), "|---|---|---|"]
    for name in random:
        twin = name.removeprefix("Random")
        given = f"`{twin}`" if twin in names else "-"
        lines.append(line([f"`{name}`", given, _what(getattr(tio, name))]))
    lines += ["", line(["preprocessing, labels, composition", "what it does"]), "|---|---|"]
    for name in names:
        if name not in (*random, *twins):
            lines.append(line([f"`{name}`", _what(getattr(tio, name))]))
    return "\n".join(lines)


def _what(transform: type) -> str:
    """The first sentence of a docstring, as a cell of a table."""
    first = (inspect.getdoc(transform) or "").partition("\n")[0]
    first = re.sub(r"[:;] see :class:`\w+`", "", first)  # the twin, which stands beside it
    return first.replace("|", r"\|")


def markers(section: str) -> tuple[str, str]:
    """Between them stands a generated section of the README."""
    return f"<!-- {section}:start -->", f"<!-- {section}:end -->"


def renew(readme: Path, section: str, text: str) -> bool:
    """Replace what stands between the markers of a section; False if there are none."""
    old = readme.read_text(encoding="utf-8") if readme.exists() else ""
    first, last = markers(section)
    head, start, rest = old.partition(first)
    _, end, tail = rest.partition(last)
    if not (start and end):
        return False
    readme.write_text(f"{head}{first}\n{text}\n{last}{tail}", encoding="utf-8")
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of all results, and put them and that of transforms into the README."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    p.add_argument("results", nargs="*", type=Path, help="JSON files; by default all that are kept")
    p.add_argument("--readme", type=Path, default=machine.ROOT / "README.md")
    given = p.parse_args(arguments)
    results = records.read(given.results)
    measured = [tables.tables(result) for result in results if result["suite"] != static.SUITE]
    # of predictions, those for the newest GPU
    predicted = [static.brief(result) for result in results if result["suite"] == static.SUITE]
    for section, texts in ("benchmarks", measured), ("static", predicted[-1:]):
        print("\n\n".join(texts))
        if texts:
            renew(given.readme, section, "\n\n".join(texts))
    renew(given.readme, "transforms", transforms())


if __name__ == "__main__":
    main()
