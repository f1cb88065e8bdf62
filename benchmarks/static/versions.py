"""Versions of Triton that kernels are compiled with, each in a folder of its own.

``pip install torch`` brings the Triton that torch pins, so these are the versions that users have.
They lie in ``.venv-triton/``, outside the environment: a version is used by a process whose
``PYTHONPATH`` begins with its folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..failure import FailureError
from ..machine import ROOT

#: The Triton that each torch pins.
PINNED = {"2.11": "3.6.0", "2.12": "3.7.0", "2.13": "3.7.1", "2.14": "3.8.0"}
#: Kernels must fit into registers under all of these.
SUPPORTED = tuple(PINNED.values())
#: No torch pins these.
FOR_INFORMATION = ("3.9.0",)
FOLDER = ROOT / ".venv-triton"
#: Written last into the folder of a version: one without it was interrupted.
_MARKER = "ready"


def folder(version: str) -> Path:
    """Return the folder of a version; install it there first if it is not complete.

    Raises:
        FailureError: pip cannot install it.
    """
    place = FOLDER / version
    if not (place / _MARKER).exists():
        shutil.rmtree(place, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        wish = ["--no-deps", "--target", str(place), f"triton=={version}"]
        done = subprocess.run([*pip, *wish], capture_output=True, encoding="utf-8")
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise FailureError(f"triton {version} cannot be installed: {reason}")
        (place / _MARKER).touch()
    return place


def environment(version: str) -> dict[str, str]:
    """Return the variables of a process that compiles with a version."""
    paths = [str(folder(version)), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
