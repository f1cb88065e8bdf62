"""Probes of all libraries, each in its interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import records
from ..machine import ROOT
from ..versus import remote
from .table import SUITE

#: This one first, then its peers.
LIBRARIES = (
    *("torchio_gpu", "torchio1", "torchio2", "monai"),
    *("cornucopia", "batchgeneratorsv2", "kornia", "batchaug"),
)

#: Seconds that all probes of a library may take.
LIMIT = 600


def one(name: str, python: str) -> dict[str, Any]:
    """The column of one library, or {'failure': why there is none}."""
    command = [python, "-W", "ignore", "-m", "benchmarks.features.probe", name]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=LIMIT
        )
    except OSError as error:
        return {"failure": f"interpreter does not start: {error.strerror}"}
    except subprocess.TimeoutExpired:
        return {"failure": f"took longer than {LIMIT} s"}
    if not done.stdout:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failure": f"its process died: {last[:200]}"}
    return dict(json.loads(done.stdout))


def run(names: Sequence[str] = LIBRARIES, given: Sequence[str] = ()) -> dict[str, Any]:
    """Ask libraries.

    Args:
        names: Which, of :data:`LIBRARIES`.
        given: Interpreters, "NAME=PYTHON", over those that are found.
    """
    pythons = interpreters(given)
    result = {**records.stamp(SUITE, "cpu", 1), "libraries": [], "missing": {}}
    for name in names:
        column = one(name, pythons.get(name, sys.executable))
        if "failure" in column:
            result["missing"][name] = column["failure"]
        else:
            result["libraries"].append({"key": name, **column})
    return result


def interpreters(given: Sequence[str]) -> Mapping[str, str]:
    """Interpreters by library: those of the speed benchmarks, then those that are given.

    Raises:
        ValueError: One is not written NAME=PYTHON, or there is no such library.
    """
    found = dict(remote.interpreters([]))
    for item in given:
        name, equals, python = (part.strip() for part in item.partition("="))
        if not equals or name not in LIBRARIES:
            known = ", ".join(LIBRARIES)
            raise ValueError(f"a peer must be given as NAME=PYTHON, NAME of {known}; got {item!r}")
        found[name] = python
    return found


def path() -> Path:
    """Where the table's numbers are kept."""
    return records.FOLDER / f"{SUITE}.json"
