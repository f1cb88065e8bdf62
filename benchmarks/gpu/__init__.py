"""Steps of ``benchmarks/gpu.sh``, which measures this library on a machine with a GPU.

Each step writes one JSON file, a *part*, as soon as it is done; :mod:`.collect` joins the parts of
a run to those that are kept of the same machine and card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import machine, records
from . import junit

SUITE = "gpu"

Result = dict[str, Any]


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return the options that all steps have."""
    p = argparse.ArgumentParser(prog=f"python -m benchmarks.gpu.{module}", description=description)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--tiny", action="store_true", help="a few voxels; numbers mean nothing")
    p.add_argument("--output", type=Path, help="JSON file; by default only a table is printed")
    return p


def stamp(part: str, device: str, tiny: bool) -> Result:
    """Return what a part begins with: its name, date, commit, machine and versions."""
    import torch

    about = {"part": part, "tiny": tiny}
    return {**records.stamp(SUITE, device, torch.get_num_threads()), **about}


def write(result: Result, file: Path | None) -> Result:
    """Write a part, if there is a file for it; return it with the tests of the same run."""
    if file is not None:
        result = {**result, "tests": junit.summary(file.parent)}
        records.write(result, file)
    return result


def joined(parts: Sequence[Result]) -> Result:
    """Join parts of one machine and card in one result: of each name, the newest."""
    newest: dict[str, Result] = {}
    for part in sorted(parts, key=lambda part: str(part["date"])):
        newest[part["part"]] = part
    last = max(newest.values(), key=lambda part: str(part["date"]))
    about = {name: last[name] for name in ("suite", "date", "commit", "dirty", "machine", "device")}
    return {**about, "parts": newest}


__all__ = ["SUITE", "joined", "machine", "parser", "stamp", "write"]
