"""Names of the classes of a package that are not all in its front room."""

from __future__ import annotations

import importlib
import inspect
import pkgutil


def classes(package: str, base: str) -> list[str]:
    """Names of public classes that descend from a class named so, itself left out."""
    root = importlib.import_module(package)
    found = set()
    for entry in pkgutil.walk_packages(root.__path__, f"{package}."):
        try:
            module = importlib.import_module(entry.name)
        except ImportError:  # it wants what is not installed
            continue
        for name, what in vars(module).items():
            bases = [each.__name__ for each in what.__mro__[1:]] if inspect.isclass(what) else []
            if base in bases and not name.startswith("_"):
                found.add(name)
    return sorted(found)
