"""Formats that users register, and those of installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from torchio_gpu.data.io import sources

AFFINE = np.array([[0, -2, 0.1, 5], [1.5, 0, 0, -60], [0, 0.3, 3, 0.125], [0, 0, 0, 1]])
SHAPE = (2, 5, 6, 7)


class Raw:
    """Numbers in a file, int16 (C, I, J, K); shape and affine are always the same."""

    def __init__(self, path):
        self.voxels = np.memmap(path, np.int16, "r", shape=SHAPE)
        self.header = tio.Header(SHAPE, AFFINE, torch.int16)
        self.boxes = []

    def read(self, box):
        BOXES.append(box)
        return self.voxels[(slice(None), *box)]


BOXES: list = []


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_OPENERS", {})
    BOXES.clear()
    file = tmp_path / "Scan.IMS"
    file.write_bytes(np.arange(420, dtype=np.int16).tobytes())
    return file


def test_a_registered_format_is_read_wherever_a_path_is_taken(path):
    tio.register_source(".ims", Raw)
    expected = torch.arange(420, dtype=torch.int16).view(SHAPE)
    image = tio.ScalarImage(path)
    assert image.shape == SHAPE
    assert np.array_equal(image.affine, AFFINE)
    assert not BOXES
    part = image[1:3, :, 2]
    assert [(slice(1, 3, 1), slice(0, 6, 1), slice(2, 3, 1))] == BOXES
    assert torch.equal(part.data, expected[:, 1:3, :, 2:3])
    part.data[:] = 0  # a copy
    assert torch.equal(image.data, expected)
    stacked = tio.ScalarImage([path, path])
    assert stacked[2:4].shape == (4, 2, 6, 7)
    moved = tio.Flip(0)(tio.Subject(t1=tio.ScalarImage(path))).t1
    assert torch.equal(moved.data, expected.flip(1))


def test_workers_read_it(path):
    tio.register_source("ims".join((".", "")), Raw)
    dataset = tio.SubjectsDataset([tio.Subject(t1=tio.ScalarImage(path))] * 4)
    dataset.dry_iter()[0].t1[1:2].load()
    for batch in DataLoader(dataset, num_workers=2, multiprocessing_context="fork"):
        assert batch.t1.data.shape == (1, *SHAPE)


def test_the_longest_suffix_counts_before_formats_of_the_library(path, tmp_path):
    def other(path):
        source = Raw(path)
        source.header = tio.Header(SHAPE, torch.eye(4), torch.float32)
        return source

    tio.register_source(".gz", Raw)
    tio.register_source(".NII.gz", other)
    for name, dtype in (("x.nii.gz", torch.float32), ("x.raw.gz", torch.int16)):
        (tmp_path / name).write_bytes(path.read_bytes())
        image = tio.ScalarImage(tmp_path / name)
        assert image.dtype == dtype == image.data.dtype
        assert image.data.flatten()[-1] == 419


def test_folders_and_members(path):
    seen = []
    tio.register_source(".study", lambda file: seen.append(file) or Raw(path))
    folder = path.with_name("x.study")
    folder.mkdir()
    assert tio.ScalarImage(folder).shape == SHAPE
    assert tio.ScalarImage(f"{folder}::/2").shape == SHAPE
    assert seen == [folder, Path(f"{folder}::/2")]


@pytest.mark.parametrize("suffix", ["ims", ".", ""])
def test_a_suffix_begins_with_a_dot(suffix):
    with pytest.raises(ValueError, match="suffix must begin with a dot"):
        tio.register_source(suffix, Raw)


def test_types_of_arguments():
    with pytest.raises(TypeError, match="suffix must be a string, got 3"):
        tio.register_source(3, Raw)
    with pytest.raises(TypeError, match="opener must be a function, got 'raw'"):
        tio.register_source(".ims", "raw")


def source(header=None, **members):
    made = Raw.__new__(Raw)
    made.header = header or tio.Header(SHAPE, AFFINE, torch.int16)
    for name, value in members.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("opened", "error", "message"),
    [
        (lambda path: 1 / 0, OSError, "division by zero"),
        (lambda path: None, OSError, "must return a header and a function read, got NoneType"),
        (lambda path: (1, 2), OSError, "must return a header and a function read, got tuple"),
        (lambda path: source(read=None), OSError, "must return a header and a function read"),
        (
            lambda path: source(tio.Header((5, 6, 7), AFFINE, torch.int16)),
            OSError,
            r"must have a shape \(C, I, J, K\) and a dtype of torch, got \(5, 6, 7\)",
        ),
        (lambda path: source(tio.Header(SHAPE, AFFINE, "int16")), OSError, "got .* and 'int16'"),
        (lambda path: source(tio.Header(SHAPE, np.zeros((4, 4)), torch.int16)), ValueError, "inv"),
        (lambda path: source(tio.Header(SHAPE, "a", torch.int16)), OSError, "string to float"),
        (
            lambda path: source(read=lambda box: np.zeros((2, 5, 6))),
            OSError,
            r"must return voxels \(2, 5, 6, 7\), got \(2, 5, 6\)",
        ),
        (lambda path: source(read=lambda box: None), OSError, "got NoneType"),
        (lambda path: source(read=lambda box: 1 / 0), OSError, "division by zero"),
    ],
)
def test_mistakes_are_sentences_with_the_file(path, opened, error, message):
    tio.register_source(".ims", opened)
    with pytest.raises(error, match=rf"Scan\.IMS' .*{message}"):
        tio.ScalarImage(path).load()


def test_the_command_line_knows_formats_of_installed_packages(path, tmp_path):
    package = tmp_path / "packages"
    (package / "ims_reader-1.0.dist-info").mkdir(parents=True)
    (package / "ims_reader-1.0.dist-info/METADATA").write_text("Name: ims-reader\nVersion: 1.0\n")
    (package / "ims_reader-1.0.dist-info/entry_points.txt").write_text(
        f"[{sources.GROUP}]\nims = ims_reader:open_ims\n"
    )
    (package / "ims_reader.py").write_text(
        "import numpy as np, torch, torchio_gpu as tio\n"
        "class open_ims:\n"
        "    header = tio.Header((2, 5, 6, 7), np.diag([2, 2, 4, 1]), torch.int16)\n"
        "    def __init__(self, path):\n"
        "        self.voxels = np.fromfile(path, np.int16).reshape(2, 5, 6, 7)\n"
        "    def read(self, box):\n"
        "        return self.voxels[(slice(None), *box)]\n"
    )
    search = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "torchio_gpu", "transform", str(path), str(tmp_path), "Flip"],
        capture_output=True, encoding="utf-8", timeout=120,
        env={**os.environ, "PYTHONPATH": search},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image = tio.ScalarImage(tmp_path / "Scan.nii.gz")
    assert image.spacing == (2, 2, 4)
    assert torch.equal(image.data, torch.arange(420).view(SHAPE).flip(1).short())


def test_tensors_of_a_source_are_copied(path):
    kept = torch.zeros(SHAPE)

    class Kept:
        header = tio.Header(SHAPE, torch.eye(4, dtype=torch.float64), torch.float32)

        def read(self, box):
            return kept[(slice(None), *box)]

    tio.register_source(".ims", lambda path: Kept())
    tio.ScalarImage(path).data.add_(1)
    assert not kept.any()
