"""Facts that an installed distribution says about itself, and the number of its transforms."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

TITLES = {
    "transforms": "public transform classes",
    "licence": "licence",
    "python": "Python",
    "dependencies": "required packages besides torch",
    "typed": "typed (py.typed)",
}


def facts(library: ModuleType) -> dict[str, str]:
    """Return facts by the keys of :data:`TITLES`, of a module of :mod:`benchmarks.rivals`."""
    about = metadata.metadata(library.DISTRIBUTION)
    names = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if "License" in c]
    licence = " ".join(
        filter(None, (about.get("License-Expression"), about.get("License"), *names))
    )
    # one spelling of the same licence
    short = re.search(r"apache|\bmit\b", licence.lower())
    always = [line for line in about.get_all("Requires-Dist") or [] if "extra ==" not in line]
    required = {re.split(r"[\s;<>=!~\[(]", line)[0].lower() for line in always} - {"torch"}
    spec = find_spec(library.DISTRIBUTION.replace("-", "_"))
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    return {
        "transforms": str(len(library.TRANSFORMS)),
        "licence": {"apache": "Apache-2.0", "mit": "MIT"}[short[0]] if short else licence[:20],
        "python": about.get("Requires-Python") or "not said",
        "dependencies": str(len(required)),
        "typed": "yes" if (folder / "py.typed").exists() else "no",
    }
