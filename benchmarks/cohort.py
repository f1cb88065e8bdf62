"""Preparation of a cohort: volumes a minute by workers, ``python -m benchmarks.cohort``.

The time of workers is held against that of one process, divided by the number of workers; the start
of workers is timed by itself.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

import torchio_gpu as tio
from torchio_gpu.cohort.schedulers import Workers, client_of

from . import machine, records

SUITE = "cohort"


def write(folder: Path, count: int, size: int) -> tio.Cohort:
    """Write volumes of a smooth texture in noise, whose files compress as images do."""
    folder.mkdir()
    for n in range(count):
        generator = torch.Generator().manual_seed(n)
        coarse = torch.rand(1, 1, 8, 8, 8, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (size,) * 3, mode="trilinear")[0]
        noisy = 1000 * smooth + 20 * torch.randn(1, size, size, size, generator=generator)
        affine = torch.diag(torch.tensor([-1.0, -1.0, 1.2, 1.0])).numpy()
        tio.ScalarImage(noisy.short(), affine=affine).save(folder / f"{n:04}.nii.gz")
    return tio.Cohort.from_pattern(folder, {"t1": "{id}.nii.gz"})


def pipeline(size: int) -> tio.Compose:
    return tio.Compose(
        [tio.ToCanonical(), tio.Resample(1), tio.CropOrPad(size), tio.ZNormalization()]
    )


def seconds(cohort: tio.Cohort, out: Path, size: int, workers: int) -> dict[str, float]:
    """Time a run, and before it the start of its workers."""
    begun = time.perf_counter()
    with client_of(Workers(None, workers)) as client:
        client.run(_warm_up)
        start = time.perf_counter() - begun
        summary = tio.preprocess(
            pipeline(size), cohort, out, scheduler=client, workers=workers, progress=False
        )
    assert summary.failed == 0
    return {"start": start, "run": time.perf_counter() - begun - start}


def _warm_up() -> None:
    pipeline(8)(tio.Subject(t1=tio.ScalarImage(torch.rand(1, 8, 8, 8))))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--volumes", type=int, default=200)
    p.add_argument("--size", type=int, default=96, help="voxels along each axis")
    p.add_argument("--workers", type=int, default=machine.threads())
    given = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = write(folder / "data", given.volumes, given.size)
        _warm_up()
        begun = time.perf_counter()
        tio.preprocess(pipeline(given.size), cohort, folder / "one", progress=False)
        alone = time.perf_counter() - begun
        found = seconds(cohort, folder / "many", given.size, given.workers)
    row = {
        "volumes": given.volumes,
        "size": given.size,
        "workers": given.workers,
        "one_process_s": round(alone, 2),
        **{f"{name}_s": round(value, 2) for name, value in found.items()},
        "ratio": round(found["run"] / (alone / given.workers), 3),
        "volumes_per_minute": round(60 * given.volumes / found["run"], 1),
    }
    print("  ".join(f"{name} {value}" for name, value in row.items()))
    result = {**records.stamp(SUITE, "cpu", given.workers), "rows": [row]}
    records.write(result, records.path(result) if given.volumes >= 200 else None)


if __name__ == "__main__":
    main()
