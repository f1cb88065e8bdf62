"""Time of each transform by itself, for its card in the gallery: ``python -m benchmarks.costs``.

What is timed is said by ``torchio_gpu.bench``: default parameters, two volumes of 128³ with label
maps.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import records

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
        rows.append({k: float(f"{v:.4g}") if k != "name" else v for k, v in asdict(cost).items()})
    return {**records.stamp(SUITE, device, threads), "shape": SHAPE, "batch": BATCH, "rows": rows}


def newest() -> dict[str, Any] | None:
    """Return the newest stored result of a CPU; None if there is none."""
    found = [r for r in records.read() if (r["suite"], r.get("device")) == (SUITE, "cpu")]
    return max(found, key=lambda result: str(result["date"]), default=None)


if __name__ == "__main__":
    records.command(__doc__, run, records.origin, device={}, threads={})(None)
