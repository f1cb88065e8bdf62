"""Long runs of the fuzzers: ``python -m tests.robustness --files 5000``; ``make fuzz``."""

from __future__ import annotations

import argparse
import sys

from . import FUZZERS
from .pool import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in FUZZERS:
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help="number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="most for each fuzzer")
    options = parser.parse_args()
    bad = 0
    for name in FUZZERS:
        count = getattr(options, name)
        if count:
            report = fuzz(name, count, options.seed, options.first, options.seconds)
            print(f"{name}, seed {options.seed}\n{report}", flush=True)
            bad += len(report.bad)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
