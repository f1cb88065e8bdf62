"""The smoke test under compute-sanitizer: ``python -m benchmarks.gpu.sanitizer``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from .. import machine
from . import joined, parser, stamp, tables, write

_SECONDS = 150


def run(device: str) -> dict[str, Any]:
    """Look for accesses to memory out of bounds."""
    found = stamp("sanitizer", device, True)
    tool = shutil.which("compute-sanitizer")
    if tool is None or device != "cuda":
        why = "compute-sanitizer is not installed" if tool is None else "there is no GPU"
        return {**found, "absent": why}
    command = [tool, sys.executable, "-m", "benchmarks.gpu.smoke", "--tiny"]
    try:
        done = subprocess.run(
            command, cwd=machine.ROOT, capture_output=True, encoding="utf-8", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {**found, "absent": f"it took more than {_SECONDS} s"}
    print(done.stdout[-8000:])
    said = re.search(r"ERROR SUMMARY: (\d+) error", done.stdout)
    if said is None:
        return {**found, "absent": "it gave no summary"}
    return {**found, "said": f"{said[1]} errors", "errors": int(said[1])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write what it found."""
    given = parser("sanitizer", __doc__).parse_args(arguments)
    found = run(machine.device(given.device))
    print(tables.text(joined([write(found, given.output)])))


if __name__ == "__main__":
    main()
