"""Time of each transform by itself, for its card in the gallery: ``python -m benchmarks.costs``.

What is timed is said by ``torchio_gpu.bench``: default parameters, two volumes of 128³ with label
maps.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from . import machine, records

SUITE = "costs"
SHAPE, BATCH = (128, 128, 128), 2


def run(device: str, threads: int, wanted: list[str] | None = None) -> dict[str, Any]:
    """Time transforms, all by default, and return the result."""
    import torch

    from torchio_gpu import bench

    torch.set_num_threads(threads)
    rows = []
    for cost in bench.measure(SHAPE, BATCH, device=device, wanted=wanted):
        print(f"{cost.name:32} {cost.median:9.2f} ms ({cost.low:.2f}-{cost.high:.2f})", flush=True)
        numbers = {name: v for name, v in asdict(cost).items() if name != "name"}
        rows.append({"name": cost.name} | {n: float(f"{v:.4g}") for n, v in numbers.items()})
    return {**records.stamp(SUITE, device, threads), "shape": SHAPE, "batch": BATCH, "rows": rows}


def newest(device: str = "cpu") -> dict[str, Any] | None:
    """Return the newest stored result of a device; None if there is none."""
    found = [r for r in records.read() if (r["suite"], r.get("device")) == (SUITE, device)]
    return max(found, key=lambda result: str(result["date"]), default=None)


def main() -> None:
    """Time all transforms, and keep the result."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    given = p.parse_args()
    result = run(machine.device(given.device), given.threads)
    records.write(result, records.path(result))


if __name__ == "__main__":
    main()
