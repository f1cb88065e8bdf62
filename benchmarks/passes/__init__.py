"""Launches, bytes and Fourier passes of transforms of volumes: ``python -m benchmarks.passes``.

Counted on ``meta`` tensors, on the path that a GPU takes: a prediction until a GPU has spoken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import machine, records
from ..markdown import number, table

SUITE = "passes"
WORKLOAD = "W1"
#: How it is done, for those who read the table.
HOW = (
    "PREDICTION, not a measurement: no GPU was used. Counted: every operator of torch and every "
    "kernel of this library that a call launches for voxels on a GPU, and the bytes that each "
    "must move, with each of its tensors once; Fourier transforms once for each axis, with the "
    "copies and the scaling that torch adds. An operator takes the longest of three: its bytes at "
    "{bandwidth} TB/s, the multiplications of a matrix product in the FMA units ({sms} x 128 a "
    "clock of {clock} GHz) or, in the kernel for products along an axis, {instructions} compiled "
    "instructions for each, and {launch} µs from one launch to the next. Other kernels of this "
    "library count by their bytes alone. A copy reads and writes the image."
)
#: Instructions of a thread for each multiplication of a product along an axis, as compiled for
#: sm_90 by Triton 3.6 to 3.9: what it prepares for tensor cores takes longer than these do.
INSTRUCTIONS = 1.05
#: Microseconds from one launch to the next, where launches are queued.
LAUNCH = 2.0

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, print the table and write the result; exit with 1 if a budget is exceeded."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.passes", description=__doc__)
    p.add_argument("--case", default="", help="only transforms with this in their name")
    p.add_argument("--output", type=Path, help="JSON file; of all cases, among the results")
    given = p.parse_args(arguments)
    result = run(given.case)
    print(text(result))
    file = given.output or (None if given.case else records.FOLDER / f"{SUITE}.json")
    records.write(result, file)
    if missed := [row["case"] for row in result["rows"] if over_budget(row)]:
        sys.exit(f"benchmarks.passes: over budget: {', '.join(missed)}")


def run(case: str = "") -> Result:
    """Count the transforms with this in their name."""
    import torch

    from ..static.predict import GPUS
    from .cases import CASES

    gpu = GPUS[90]
    how = HOW.format(
        bandwidth=gpu.bandwidth / 1e12,
        sms=gpu.sms,
        clock=gpu.clock / 1e9,
        instructions=INSTRUCTIONS,
        launch=LAUNCH,
    )
    return {
        "suite": SUITE,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **machine.commit(),
        "torch": torch.__version__,
        "gpu": gpu.name,
        "how": how,
        "rows": [look(name) for name in CASES if case in name],
    }


def look(name: str) -> Result:
    """Count what one transform launches, and predict its time."""
    import numpy as np
    import torch

    import torchio_gpu as tio

    from ..static.predict import GPUS
    from ..versus.workloads import WORKLOADS
    from .cases import CASES
    from .counting import counted

    case, gpu, shape = CASES[name], GPUS[90], WORKLOADS[WORKLOAD].shape
    image = torch.empty(shape, device="meta")
    labels = torch.empty(shape, dtype=torch.uint8, device="meta")
    images = {"image": tio.ImagesBatch(image), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    batch, transform = tio.SubjectsBatch(images), case.make()

    def call() -> None:
        batch.streams = tio.random.Streams(np.arange(shape[0]))
        transform(batch)

    counts = counted(call)
    moved = 2 * image.numel() * image.element_size()
    us = sum(_time(each, gpu) for each in counts.launched)
    return {
        "case": name,
        "launches": counts.launches,
        "passes": len(counts.over(image.numel() // 2)),
        "fourier": counts.fourier,
        "bytes_copies": _round(counts.bytes / moved),
        "predicted_us": _round(us),
        "copies": _round(us / gpu.moves(moved)),
        "budget": case.budget._asdict(),
    }


def _time(launch: Any, gpu: Any) -> float:
    """Return the microseconds that one operator takes."""
    rate = gpu.sms * 128 * gpu.clock / 1e6  # multiplications in a microsecond
    if launch.tensor_cores:
        rate /= INSTRUCTIONS
    least = LAUNCH * launch.launches
    return float(max(gpu.moves(launch.bytes), launch.multiplications / rate, least))


def over_budget(row: Result) -> list[str]:
    """Return the names of what takes more than its budget."""
    return [name for name, most in row["budget"].items() if row[name] > most]


def text(result: Result) -> str:
    """Return the table and how it was made."""
    head = [
        *("transform", "launches", "of them over volumes", "Fourier passes"),
        *("moved, copies", "predicted, µs", "predicted, copies", "budget, copies"),
    ]
    rows = []
    for row in result["rows"]:
        most = row["budget"]
        cells = [row["case"], f"{row['launches']} (of {most['launches']})", str(row["passes"])]
        cells += [f"{row['fourier']} (of {most['fourier']})", number(row["bytes_copies"])]
        cells += [number(row["predicted_us"]), number(row["copies"])]
        missed = ", ".join(over_budget(row))
        cells.append(f"{most['copies']:g}: " + (f"**{missed} missed**" if missed else "kept"))
        rows.append(cells)
    origin = (
        f"Counted {result['date'][:10]} at commit {result['commit']}"
        f"{' with changes not committed' * bool(result['dirty'])}, torch {result['torch']}, for "
        f"{result['gpu']}, on the image and label map of {WORKLOAD}."
    )
    return f"{table(head, rows)}\n\n- {result['how']}\n- {origin}"


def _round(value: float) -> float:
    return float(f"{value:.4g}")
