"""Environments of the libraries that we compare with, which ``nox -s rivals`` makes in ``.nox/``.

They hold what a library brings along. Torch, and whatever else suits it, is that of the interpreter
which runs nox: installing torch for each would take gigabytes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .machine import ROOT

FOLDER = ROOT / ".nox"
#: What is installed for each; TorchIO 1 comes with this library's extra 'parity'.
RIVALS = {
    "monai": "monai[skimage,pydicom]==1.6.1",  # which some of its transforms need
    "torchio2": "torchio==2.0.0a2",
    "cornucopia": "cornucopia==0.5.1",
    "batchgeneratorsv2": "batchgeneratorsv2==0.3.6",
    "kornia": "kornia==0.9.0",
    "batchaug": "git+https://github.com/halleewong/batchaug",
}


def shared() -> str:
    """Return the folders with packages of this interpreter, torch among them, one a line."""
    return "\n".join(path for path in sys.path if path.endswith("-packages"))


def asked(name: str) -> str:
    """Return what pip is asked for; no index has BatchAug: the variable may name its folder."""
    return (name == "batchaug" and os.environ.get("TORCHIO_GPU_BENCH_BATCHAUG")) or RIVALS[name]


def facts(name: str) -> str:
    """Return what must be the same for an environment to be used again."""
    return f"{RIVALS[name]}\n{shared()}"


def mark(name: str) -> Path:
    """Return the file that is written last into an environment: without it, it is not used."""
    return FOLDER / f"rivals-{name}" / "ready"


def built() -> dict[str, str]:
    """Return the interpreters of the libraries that have an environment for this interpreter."""
    made = {name: mark(name) for name in RIVALS}
    whole = [n for n, m in made.items() if m.exists() and m.read_text("utf-8") == facts(n)]
    return {name: str(made[name].parent / "bin" / "python") for name in whole}
