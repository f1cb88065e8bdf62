"""CT artifacts on 256³, and projection beside scikit-image: ``python -m benchmarks.ct``.

Memory is the most that a call needs on top of the image, its result included. scikit-image is timed
where it is installed; its ``radon`` takes one slice at a time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import torchio_gpu as tio

from . import machine, records
from .markdown import number, table
from .versus.worker import peak_memory

SUITE = "ct"
SIZE, VIEWS = 256, 360
#: Slices and views of the projection that scikit-image is asked for too.
SLICES, RADON_VIEWS = 16, 180
ARTIFACTS = (
    ("RandomLowDose", {}),
    ("RandomStreaks", {}),
    ("RandomBeamHardening", {}),
    ("RandomMetal", {}),
    ("RandomRings", {}),
    ("RandomSparseView", {}),
    ("RandomLimitedAngle", {}),
    ("RandomReconstructionKernel", {}),
    ("RandomSliceThickness", {}),
    ("RandomWindow", {}),
)


def phantom(size: int, slices: int) -> torch.Tensor:
    """Return a head in Hounsfield units with a metal rod, (1, I, J, K), float32."""
    place = np.linspace(-1, 1, size)
    radius = np.hypot(place[:, None], place * 0.85)
    plane = np.where(radius < 0.85, np.where(radius > 0.78, 900.0, 40.0), -1000.0)
    plane[size // 2 - 2 : size // 2 + 2, size // 3 : size // 3 + 4] = 3000
    return torch.from_numpy(plane.astype(np.float32))[None, :, :, None].repeat(1, 1, 1, slices)


def seconds(call: Callable[[], Any], device: str, repeats: int = 2) -> list[float]:
    """Return the times of a call after one that is not timed."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return found[1:]


def artifact(name: str, arguments: dict[str, Any], size: int, device: str) -> dict[str, Any]:
    """Return time and memory of one artifact."""
    transform = getattr(tio, name)(**arguments)
    transform(phantom(16, 2).to(device))  # compiles kernels
    x = phantom(size, size).to(device)
    row = _row(name, seconds(lambda: transform(x), device))
    row["memory_mb"] = round(peak_memory(lambda: transform(x), x.is_cuda) / 2**20)
    return {**row, "image_mb": round(x.nbytes / 2**20)}


def projection(device: str) -> list[dict[str, Any]]:
    """Return times of the projection of some slices, also by scikit-image if it is installed."""
    x = phantom(SIZE, SLICES).to(device)[None]
    angles = np.arange(RADON_VIEWS) * (180 / RADON_VIEWS)
    label = f"{SLICES} slices of {SIZE}², {RADON_VIEWS} views"
    sinogram = tio.functional.project(x, RADON_VIEWS, 1.0)
    calls: dict[str, Callable[[], Any]] = {
        f"project, {label}": lambda: tio.functional.project(x, RADON_VIEWS, 1.0),
        f"filtered_back_projection, {label}": lambda: tio.functional.filtered_back_projection(
            sinogram, RADON_VIEWS, x.shape[2:], 1.0
        ),
    }
    try:
        import skimage
        from skimage.transform import iradon, radon
    except ImportError:
        print("scikit-image is not installed, so that it is not timed")
    else:
        planes = x[0, 0].cpu().double().numpy() + 1000
        its = [radon(planes[..., n], theta=angles, circle=False) for n in range(SLICES)]
        calls[f"scikit-image {skimage.__version__} radon, {label}"] = lambda: [
            radon(planes[..., n], theta=angles, circle=False) for n in range(SLICES)
        ]
        calls[f"scikit-image {skimage.__version__} iradon, {label}"] = lambda: [
            iradon(each, theta=angles, circle=False) for each in its
        ]
    return [_row(name, seconds(call, device)) for name, call in calls.items()]


def run(device: str, threads: int, size: int) -> dict[str, Any]:
    """Time projections, then artifacts, and return the result."""
    torch.set_num_threads(threads)
    rows = projection(device)
    for row in rows:
        print(_line(row), flush=True)
    for name, arguments in ARTIFACTS:
        rows.append(artifact(name, arguments, size, device))
        print(_line(rows[-1]), flush=True)
    return {**records.stamp(SUITE, device, threads), "size": size, "views": VIEWS, "rows": rows}


def text(result: dict[str, Any]) -> str:
    """Return the table and where it was measured."""
    rows = [
        [row["name"], number(row["ms"]), f"{number(row['low'])} to {number(row['high'])}"]
        + [str(row.get("memory_mb", ""))]
        for row in result["rows"]
    ]
    head = ["what", "median, ms", "from, to", "memory on top of the image, MB"]
    n, views = result["size"], result["views"]
    image = max(row.get("image_mb", 0) for row in result["rows"])
    return (
        f"Artifacts with default arguments, of which the projector has {views} views, on one image "
        f"of {n} x {n} x {n} voxels, {image} MB.\n\n"
        f"{table(head, rows)}\n\n- {records.origin(result)}"
    )


def _row(name: str, times: list[float]) -> dict[str, Any]:
    low, middle, high = (1000 * f(times) for f in (min, statistics.median, max))
    return {"name": name, "ms": round(middle, 2), "low": round(low, 2), "high": round(high, 2)}


def _line(row: dict[str, Any]) -> str:
    memory = f"  {row['memory_mb']} MB" if "memory_mb" in row else ""
    return f"{row['name']:60} {row['ms']:10.1f} ms ({row['low']:.1f}-{row['high']:.1f}){memory}"


def main() -> None:
    """Measure, print and keep the result."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.ct", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--threads", type=int, default=machine.threads(), help="default: all cores")
    p.add_argument("--size", type=int, default=SIZE, help="voxels along each axis")
    given = p.parse_args()
    result = run(machine.device(given.device), given.threads, given.size)
    print(text(result))
    records.write(result, records.path(result) if given.size == SIZE else None)


if __name__ == "__main__":
    main()
