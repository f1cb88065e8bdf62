"""Measure training with augmentation: ``python -m benchmarks.training``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import machine, records
from ..failure import FailureError
from . import text
from .sources import CONTENDERS


def parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="default: by device")
    p.add_argument("--seconds", type=float, help="of each contender, but for a round it began")
    p.add_argument("--quick", action="store_true", help="a few steps on tiny heads")
    p.add_argument(
        "--output",
        type=Path,
        help="JSON file; a run that leaves nothing out goes to benchmarks/results by default",
    )
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p


def main() -> None:
    """Run the contenders and print the table."""
    given = parser().parse_args()
    from .harness import run, serve

    if given.worker:
        serve(given.worker)
        return
    from .setup import QUICK, Setup

    try:
        device = machine.device(given.device)
    except FailureError as failure:
        sys.exit(f"benchmarks.training: {failure}")
    changed = {"threads": machine.threads(), **(QUICK if given.quick else {})}
    if given.seconds is not None:
        changed["seconds"] = given.seconds
    names = given.contenders or [n for n, c in CONTENDERS.items() if device in c.devices]
    result = run(Setup(device=device, **changed), names)
    print(text(result))
    whole = not (given.quick or given.contenders or given.seconds)
    records.write(result, given.output or (records.path(result) if whole else None))


if __name__ == "__main__":
    main()
