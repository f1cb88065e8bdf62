"""What the installed distribution says about itself, and how many transforms it has."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from .answers import Answer, no, unchecked, yes


def facts(library: ModuleType) -> dict[str, Answer]:
    """Rows of facts, by key.

    Args:
        library: A module of :mod:`benchmarks.features.libraries`: its ``DISTRIBUTION``, ``PACKAGE``
            and ``transforms()`` are looked at.
    """
    found = {"transforms": _fact(library.transforms()), "typed": _typed(library.PACKAGE)}
    try:
        about = metadata.metadata(library.DISTRIBUTION)
    except metadata.PackageNotFoundError:
        none = unchecked("not installed as a distribution: no metadata")
        return {**found, **dict.fromkeys(("licence", "python", "dependencies", "status"), none)}
    classifiers = about.get_all("Classifier") or []
    licence = _licence(about.get("License-Expression"), about.get("License"), classifiers)
    status = [c.rpartition(" - ")[2] for c in classifiers if c.startswith("Development Status")]
    return {
        **found,
        "licence": _fact(licence),
        "python": _fact(about.get("Requires-Python") or "not said"),
        "dependencies": _fact(str(len(_required(about.get_all("Requires-Dist") or [])))),
        "status": _fact(status[0] if status else "not said"),
    }


def _fact(text: str) -> Answer:
    return Answer("fact", text)


def _licence(expression: str | None, name: str | None, classifiers: list[str]) -> str:
    given = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License ::")]
    text = expression or (given[0] if given else None) or (name or "").partition("\n")[0]
    # one spelling of the same licence
    for pattern, short in (("apache", "Apache-2.0"), (r"\bmit\b", "MIT")):
        if re.search(pattern, text.lower()):
            return short
    return text or "not said"


def _required(lines: list[str]) -> set[str]:
    """Names of what must be installed, torch left out; extras do not count."""
    always = [line for line in lines if "extra ==" not in line]
    names = {re.split(r"[\s;<>=!~\[(]", line)[0].lower() for line in always}
    return names - {"torch"}


def _typed(package: str) -> Answer:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise ImportError(f"no package {package}")
    return yes() if Path(folders[0], "py.typed").exists() else no("no py.typed")
