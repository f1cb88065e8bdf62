"""Compare the trainers after as many steps: ``python -m benchmarks.nnunet``; needs nnunetv2."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from .. import machine, records
from . import SUITE, text
from .toy import Toy

TRAINERS = {"ShortDefault": "nnU-Net's own", "ShortTorchIOGPU": "torchio_gpu"}


def run(toy: Toy, epochs: int, steps: int) -> records.Result:
    """Train with each trainer, one after another, and return what was measured.

    The first epoch, in which the workers of nnU-Net begin, does not count for times.
    """
    toy.make()
    toy.plan()
    rows = []
    for trainer, title in TRAINERS.items():
        found = toy.train(trainer, epochs, steps)
        each = [1e3 * seconds / steps for seconds in found["epoch_s"][1:]]
        losses = found["losses"]
        rows.append(
            {
                "trainer": title,
                "dice": round(found["dice"], 4),
                "step_ms": round(statistics.median(each), 1),
                "fastest_ms": round(min(each), 1),
                "slowest_ms": round(max(each), 1),
                "first_loss": round(statistics.mean(losses[:steps]), 4),
                "last_loss": round(statistics.mean(losses[-steps:]), 4),
            }
        )
    versions = {name: machine.version(name) for name in ("nnunetv2", "batchgeneratorsv2")}
    setup = {"epochs": epochs, "steps": steps, "patch": toy.patch, "workers": toy.workers}
    return {
        **records.stamp(SUITE, "cpu", machine.threads()),
        **versions,
        "setup": {**setup, "cases": toy.cases, "size": toy.size, "batch": 2},
        "rows": rows,
    }


def main() -> None:
    """Run, print the table, and keep the result."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.nnunet", description=__doc__)
    p.add_argument("--epochs", type=int, default=5)
    p.add_argument("--steps", type=int, default=40, help="of each epoch")
    p.add_argument("--workers", type=int, default=2, help="processes of nnU-Net's data loader")
    p.add_argument("--output", type=Path, help="JSON file; by default in benchmarks/results")
    given = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        toy = Toy(Path(folder), cases=10, workers=given.workers)
        result = run(toy, given.epochs, given.steps)
    print(text(result))
    records.write(result, given.output or records.path(result))


if __name__ == "__main__":
    main()
