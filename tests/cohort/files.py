"""Cohorts of small files."""

from __future__ import annotations

from pathlib import Path

import torch

import torchio_gpu as tio

PATTERNS = {"t1": "{id}_T1w.nii.gz", "seg:label": "{id}_seg.nii.gz"}


def write_cohort(folder: Path, count: int = 4, size: int = 8) -> tio.Cohort:
    """Write a T1 and its labels for each case, and return the cohort."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        generator = torch.Generator().manual_seed(n)
        voxels = torch.rand(1, size, size + 1, size + 2, generator=generator)
        affine = torch.diag(torch.tensor([1.0, 1.5, 2.0, 1.0])).numpy()
        tio.ScalarImage(100 * voxels + n, affine=affine).save(folder / f"c{n}_T1w.nii.gz")
        labels = (voxels > 0.5).to(torch.uint8)
        tio.LabelMap(labels, affine=affine).save(folder / f"c{n}_seg.nii.gz")
    return tio.Cohort.from_pattern(folder, PATTERNS)


def pipeline() -> tio.Compose:
    return tio.Compose([tio.ToCanonical(), tio.Resample(2), tio.ZNormalization()])


def augmentation() -> tio.Compose:
    return tio.Compose([tio.RandomAffine(), tio.RandomNoise(std=(0, 1))])


def results(out: Path) -> dict[str, bytes]:
    """Return the bytes of all files but those of the run itself."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in files
        if "_cohort" not in path.parts
    }


def leftovers(out: Path) -> list[str]:
    """Return what a run must not leave behind."""
    own = out / "_cohort"
    left = (own / "drafts").iterdir()
    return [str(path) for path in (*left, *out.rglob(".*"))]
