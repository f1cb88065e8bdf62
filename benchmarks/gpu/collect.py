"""Join the results of a run on a GPU to those kept: ``python -m benchmarks.gpu.collect FOLDER``.

Parts of one machine and card go to one file of benchmarks/results, which holds the newest part of
each name; results of other suites get files of their own. The tests of the run mark them all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import records
from . import SUITE, joined, junit

Result = dict[str, Any]


def collect(folder: Path, into: Path) -> list[Path]:
    """Join the results in a folder to those that are kept.

    Args:
        folder: A run's ``$OUT``.
        into: Folder of the results that are kept.

    Returns:
        The files that were written.
    """
    tests = junit.summary(folder)
    written: list[Path] = []
    for file in sorted(folder.glob("*.json")):
        result: Result = {**json.loads(file.read_text(encoding="utf-8")), "tests": tests}
        kept = into / records.path(result).name
        if result["suite"] == SUITE:
            before = _parts(kept)
            result = joined([*before, result])
        records.write(result, kept)
        written.append(kept)
    return list(dict.fromkeys(written))


def _parts(file: Path) -> list[Result]:
    if not file.exists():
        return []
    return list(json.loads(file.read_text(encoding="utf-8"))["parts"].values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Join, and name the files."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.collect", description=__doc__)
    p.add_argument("folder", type=Path, help="the $OUT of a run of benchmarks/gpu.sh")
    p.add_argument("--into", type=Path, default=records.FOLDER)
    given = p.parse_args(arguments)
    written = collect(given.folder, given.into)
    if not written:
        sys.exit(f"benchmarks.gpu.collect: there are no results in {given.folder}")
    print("\n".join(file.name for file in written))


if __name__ == "__main__":
    main()
