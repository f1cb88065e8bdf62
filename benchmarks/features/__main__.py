"""Print the table of features, and keep it: ``python -m benchmarks.features``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import records
from .run import LIBRARIES, path, run
from .table import asked, text


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask all libraries that are installed."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    p.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    p.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="a library with an interpreter of its own, over those found by benchmarks.versus",
    )
    p.add_argument("--asked", action="store_true", help="also print what each row means")
    p.add_argument(
        "--output",
        type=Path,
        help="JSON file; a run of all libraries goes to benchmarks/results by default",
    )
    given = p.parse_args(arguments)
    try:
        result = run(given.libraries, given.peer)
    except ValueError as error:
        sys.exit(str(error))
    print(text(result))
    if given.asked:
        print(f"\n{asked()}")
    whole = set(given.libraries) == set(LIBRARIES)
    records.write(result, given.output or (path() if whole else None))


if __name__ == "__main__":
    main()
