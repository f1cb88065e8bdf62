"""CT artifacts on 256³, and projection beside scikit-image: ``python -m benchmarks.ct``.

Memory is the most that a call needs on top of the image, its result included. scikit-image is timed
where it is installed; its ``radon`` takes one slice at a time.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark.utils.timer import timer  # waits for the GPU

import torchio_gpu as tio

from . import machine, records
from .markdown import number, table
from .worker import peak_memory

SUITE = "ct"
SIZE, VIEWS = 256, 360
#: Slices and views of the projection that scikit-image is asked for too.
SLICES, RADON_VIEWS = 16, 180
ARTIFACTS = (
    *("RandomLowDose", "RandomStreaks", "RandomBeamHardening", "RandomMetal", "RandomRings"),
    *("RandomSparseView", "RandomLimitedAngle", "RandomReconstructionKernel"),
    *("RandomSliceThickness", "RandomWindow"),
)


def phantom(size: int, slices: int, device: str) -> torch.Tensor:
    """Return a head in Hounsfield units with a metal rod, (1, I, J, K), float32."""
    place = np.linspace(-1, 1, size)
    radius = np.hypot(place[:, None], place * 0.85)
    plane = np.where(radius < 0.85, np.where(radius > 0.78, 900.0, 40.0), -1000.0)
    plane[size // 2 - 2 : size // 2 + 2, size // 3 : size // 3 + 4] = 3000
    return torch.from_numpy(plane)[None, :, :, None].repeat(1, 1, 1, slices).float().to(device)


def timed(name: str, call: Callable[[], Any]) -> dict[str, Any]:
    """Return a row with the times of two calls after one that is not timed."""
    times = [1000 * s for s in timeit.repeat(call, timer=timer, repeat=3, number=1)[1:]]
    ms = {"ms": median(times), "low": min(times), "high": max(times)}
    return {"name": name, **{key: round(value, 2) for key, value in ms.items()}}


def measure(device: str, size: int) -> Iterator[dict[str, Any]]:
    """Yield rows of projections, also by scikit-image if it is installed, and of artifacts."""
    x = phantom(SIZE, SLICES, device)[None]
    sinogram = tio.functional.project(x, RADON_VIEWS, 1.0)
    fbp = tio.functional.filtered_back_projection
    calls: dict[str, Callable[[], Any]] = {
        "project": lambda: tio.functional.project(x, RADON_VIEWS, 1.0),
        "filtered_back_projection": lambda: fbp(sinogram, RADON_VIEWS, x.shape[2:], 1.0),
    }
    if its := machine.version("scikit-image"):
        from skimage.transform import iradon, radon

        options = {"theta": np.arange(RADON_VIEWS) * (180 / RADON_VIEWS), "circle": False}
        planes = list(x[0, 0].cpu().double().numpy().transpose(2, 0, 1) + 1000)
        theirs = [radon(plane, **options) for plane in planes]
        calls[f"scikit-image {its} radon"] = lambda: [radon(p, **options) for p in planes]
        calls[f"scikit-image {its} iradon"] = lambda: [iradon(s, **options) for s in theirs]
    for name, call in calls.items():
        yield timed(f"{name}, {SLICES} slices of {SIZE}², {RADON_VIEWS} views", call)
    image = phantom(size, size, device)
    for name in ARTIFACTS:
        transform = getattr(tio, name)()
        transform(phantom(16, 2, device))  # compiles kernels
        row = timed(name, lambda: transform(image))  # noqa: B023
        peak = peak_memory(lambda: transform(image), image.is_cuda)  # noqa: B023
        yield {**row, "memory_mb": round(peak / 2**20), "image_mb": round(image.nbytes / 2**20)}


def text(result: dict[str, Any]) -> str:
    """Return the table and where it was measured."""
    head = ["", "median, ms", "from", "to", "memory on top of the image, MB"]
    rows = [
        [r["name"], *(number(r[key]) for key in ("ms", "low", "high")), str(r.get("memory_mb", ""))]
        for r in result["rows"]
    ]
    return (
        f"Artifacts with default arguments, of which the projector has {result['views']} views, on "
        f"one image of {result['size']}³ voxels, {result['rows'][-1]['image_mb']} MB.\n\n"
        f"{table(head, rows)}\n\n- {records.origin(result)}"
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(prog="python -m benchmarks.ct", description=__doc__)
    p.add_argument("--device", type=machine.device, default="auto", help="cpu, cuda or auto")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--size", type=int, default=SIZE, help="voxels along each axis")
    given = p.parse_args()
    torch.set_num_threads(given.threads)
    result = records.stamp(SUITE, given.device, given.threads)
    result |= {"size": given.size, "views": VIEWS, "rows": list(measure(given.device, given.size))}
    print(text(result))
    records.write(result, records.path(result) if given.size == SIZE else None)
