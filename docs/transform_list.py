"""The list of transforms in docs/transforms.md: ``python -m docs.transform_list``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import torchio_gpu as tio

from .sections import renew


def transforms() -> str:
    """Return the public transforms as markdown: random ones with their twins, then all others."""
    names = [
        name
        for name in tio.transforms.__all__
        if inspect.isclass(found := getattr(tio, name))
        and issubclass(found, tio.Transform)
        and not (inspect.isabstract(found) or name == "Recorded")
    ]
    random = [n for n in names if n.startswith("Random")]
    twins = {n.removeprefix("Random") for n in random}
    lines = ["| at random | as given | what it does |", "|---|---|---|"]
    for name in random:
        twin = name.removeprefix("Random")
        given = f"`{twin}`" if twin in names else "-"
        lines.append(f"| `{name}` | {given} | {_what(name)} |")
    lines += ["", "| preprocessing, labels, composition | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {_what(name)} |" for name in names if name not in (*random, *twins)]
    return "\n".join(lines)


def _what(name: str) -> str:
    """Return the first sentence of a docstring, as a cell of a table."""
    first = (inspect.getdoc(getattr(tio, name)) or "").partition("\n")[0]
    first = re.sub(r"[:;] see :class:`\w+`", "", first)  # the twin, which stands beside it
    return first.replace("|", r"\|")


if __name__ == "__main__":
    renew(Path(__file__).parent / "transforms.md", "transforms", transforms())
