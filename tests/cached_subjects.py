"""Subjects in files, and their comparison, for tests of CachedDataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import torchio_gpu as tio

AFFINE = np.array([[0, -1, 0, 5], [1.5, 0, 0, -6], [0, 0, 2, 0.125], [0, 0, 0, 1]])


def write_files(folder: Path) -> list[Path]:
    """Write images and label maps of three subjects; return the paths of the images."""
    folder.mkdir()
    paths = []
    for n in range(3):
        paths.append(folder / f"{n}.nii")
        tio.ScalarImage(torch.rand(1, 14, 15, 16), affine=AFFINE).save(paths[-1])
        tio.LabelMap(torch.rand(1, 14, 15, 16) > 0.5, affine=AFFINE).save(folder / f"{n}_seg.nii")
    return paths


def subjects(paths: list[Path]) -> list[tio.Subject]:
    return [
        tio.Subject(
            t1=tio.ScalarImage(path, echo=3),
            seg=tio.LabelMap(path.with_name(f"{path.stem}_seg.nii")),
            age=n,
        )
        for n, path in enumerate(paths)
    ]


def assert_equal(one: tio.Subject, other: tio.Subject) -> None:
    assert list(one) == list(other)
    for name, image in one.get_images_dict(intensity_only=False).items():
        twin = other[name]
        assert type(image) is type(twin)
        assert image.dtype == twin.dtype
        assert torch.equal(image.data, twin.data)
        assert np.array_equal(image.affine, twin.affine)
        assert image.path == twin.path
        assert list(image.metadata) == list(twin.metadata)
    assert [r.to_dict() for r in one.history] == [r.to_dict() for r in other.history]
