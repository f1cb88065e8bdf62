"""Values of subjects that CachedDataset keeps in a folder, and what it refuses."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.cached_subjects import AFFINE, assert_equal, subjects, write_files

FIXED = [tio.ToCanonical(), tio.Resample(2), tio.CropOrPad(8), tio.ZNormalization()]


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return write_files(tmp_path / "images")


def rich(path: Path) -> tio.Subject:
    return tio.Subject(
        t1=tio.ScalarImage(path, site="A", matrix=np.eye(2, dtype=np.float32)),
        half=tio.ScalarImage(torch.rand(2, 4, 5, 6).bfloat16(), affine=AFFINE),
        mask=tio.LabelMap(torch.rand(1, 4, 5, 6) > 0.5),
        phase=tio.ScalarImage(torch.rand(1, 4, 5, 6, dtype=torch.complex64)),
        weights=tio.Image(torch.rand(1, 4, 5, 6), type="sampling_map"),
        tips=tio.Points([[1.0, 2, 3], [4, 5, 6]], axes="LPS", labels=["a", "b"], side="left"),
        boxes=tio.BoundingBoxes([[0.0, 0, 0, 2, 2, 2]], affine=AFFINE, labels=[3]),
        none=None,
        text="naïve ☃ \ud800",
        number=3.25,
        nan=float("nan"),
        large=2**80,
        flag=True,
        path=Path("/data/x"),
        nested={"a": [1, (2, {"b": torch.arange(3)})], 5: np.arange(4)[::2]},
        scalar=np.float32(0.1),
        big=np.array([1, 2], ">i4"),
        empty=torch.empty(0, 3),
        date=np.datetime64("2024-02-03"),
        names=np.array(["x", "yz"]),
    )


def test_values_return_from_a_folder(tmp_path, files):
    given = rich(files[0])
    folder = tmp_path / "cache"
    tio.CachedDataset(tio.SubjectsDataset([given]), folder)[0]
    back = tio.CachedDataset(tio.SubjectsDataset([given]), folder)[0]
    expected = tio.SubjectsDataset([given])[0]
    assert_equal(back, expected)
    assert back.weights.kind == "sampling_map"
    assert np.array_equal(back.t1.matrix, np.eye(2))
    assert back.t1.matrix.dtype == np.float32
    back.t1.matrix[0] = 5  # writable
    for name in ("tips", "boxes"):
        assert type(back[name]) is type(given[name])
        assert torch.equal(back[name].data, given[name].data)
        assert torch.equal(back[name].world(), given[name].world())
        assert back[name].labels == given[name].labels
        assert back[name].axes == given[name].axes
    assert back.tips.side == "left"
    for name in ("none", "text", "number", "large", "flag", "path", "scalar", "date"):
        assert back[name] == given[name]
        assert type(back[name]) is type(given[name])
    assert np.isnan(back.nan)
    assert torch.equal(back.nested["a"][1][1]["b"], torch.arange(3))
    assert type(back.nested["a"][1]) is tuple
    assert back.nested[5].tolist() == [0, 2]
    assert back.big.tolist() == [1, 2]
    assert back.empty.shape == (0, 3)
    assert back.names.tolist() == ["x", "yz"]


def test_headers_and_histories_return_from_a_folder(tmp_path):
    image = tio.ScalarImage(torch.rand(3, 8, 8, 8), affine=AFFINE)
    image.save(tmp_path / "x.nii")
    subject = tio.Subject(t1=tio.ScalarImage(tmp_path / "x.nii"))
    subject.t1.load()
    transform = tio.Compose([tio.Flip(0), tio.CropOrPad((6, 9, 8)), tio.Pad(1), tio.Transpose()])
    expected = tio.SubjectsDataset([subject], transform)[0]
    for _ in range(2):
        back = tio.CachedDataset(tio.SubjectsDataset([subject], transform), tmp_path / "cache")[0]
        assert_equal(back, expected)
        one, other = (each.apply_inverse_transform(warn=False) for each in (back, expected))
        assert torch.equal(one.t1.data, other.t1.data)
        assert back.applied_map("t1").affine.tolist() == expected.applied_map("t1").affine.tolist()
    plain = tio.CachedDataset(tio.SubjectsDataset([subject]), tmp_path / "cache")
    for _ in range(2):
        plain[0].t1.save(tmp_path / "y.nii")
        assert (tmp_path / "y.nii").read_bytes() == (tmp_path / "x.nii").read_bytes()


class Own(tio.ScalarImage):
    pass


class Person(tio.Subject):
    pass


def test_classes_of_the_user(tmp_path, files):
    image = tio.ScalarImage(files[0])
    for folder in (None, tmp_path / "cache"):
        for _ in range(2):
            person = tio.CachedDataset(tio.SubjectsDataset([Person(t1=image)]), folder)[0]
            assert type(person) is Person
    cached = tio.CachedDataset(tio.SubjectsDataset([tio.Subject(t1=Own(files[0]))]))
    assert type(cached[0].t1) is Own
    cached = tio.CachedDataset(tio.SubjectsDataset([tio.Subject(t1=Own(files[0]))]), folder)
    with pytest.raises(TypeError, match="image 't1' must be a ScalarImage itself to be kept in a"):
        cached[0]


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), len, np.array([None]), 1j, [b"x"], np.ma.array([1, 2], mask=[0, 1])]
)
def test_values_that_cannot_be_kept(tmp_path, files, value):
    subject = tio.Subject(t1=tio.ScalarImage(files[0]), thing=value)
    assert tio.CachedDataset(tio.SubjectsDataset([subject]))[0].thing.__class__ is type(value)
    cached = tio.CachedDataset(tio.SubjectsDataset([subject] * 2), tmp_path / "cache")
    with pytest.raises(TypeError, match=r"value 'thing' must be None, a number, .*folder, got"):
        cached[1]
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_arguments(tmp_path, files, monkeypatch):
    given = subjects(files)
    with pytest.raises(TypeError, match="dataset must be a SubjectsDataset, got list"):
        tio.CachedDataset(given)

    class Odd(tio.SubjectsDataset):
        def __getitem__(self, index):
            return None

    with pytest.raises(TypeError, match="Odd has a __getitem__ of its own"):
        tio.CachedDataset(Odd(given))
    cached = tio.CachedDataset(tio.SubjectsDataset(given, tio.Compose([*FIXED, tio.RandomFlip()])))
    assert "prepared=Compose([ToCanonical(), Resample(" in repr(cached)
    with pytest.raises(TypeError, match="index must be an integer"):
        cached[:2]
    with pytest.raises(IndexError):
        cached[3]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        tio.CachedDataset(tio.SubjectsDataset(given), tmp_path / "file")


@pytest.mark.parametrize("suffix", [".mhd", ".nrrd"])
def test_voxels_of_another_name_beside_a_header_are_stamped(tmp_path, suffix):
    voxels, header = tmp_path / "voxels.raw", tmp_path / f"x{suffix}"
    voxels.write_bytes(bytes(27))
    header.write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 3 3 3\nElementType = MET_UCHAR\n"
        "ElementDataFile = voxels.raw\n"
        if suffix == ".mhd"
        else "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 3 3\nencoding: raw\n"
        "data file: voxels.raw\n"
    )
    cached = tio.CachedDataset(tio.SubjectsDataset([tio.Subject(t1=tio.ScalarImage(header))]))
    assert not cached[0].t1.data.any()
    voxels.write_bytes(b"\1" * 27)
    os.utime(voxels, ns=(1, 1))
    assert cached[0].t1.data.all()


def test_metadata_in_memory_are_not_shared(files):
    subject = tio.Subject(t1=tio.ScalarImage(files[0], echoes=[1]), ages=[1], tensor=torch.ones(2))
    cached = tio.CachedDataset(tio.SubjectsDataset([subject]))
    for _ in range(2):
        sample = cached[0]
        assert (sample.ages, sample.t1.echoes, sample.tensor.tolist()) == ([1], [1], [1, 1])
        sample.ages.append(2)
        sample.t1.echoes.append(2)
        sample.tensor.zero_()


def test_replaced_voxels_are_freed():
    subject = tio.Subject(t1=tio.ScalarImage(torch.ones(1, 4, 4, 4)))
    cached = tio.CachedDataset(tio.SubjectsDataset([subject]))
    for n in range(3):
        subject.t1.set_data(torch.full((1, 4, 4, 4), float(n)))
        assert (cached[0].t1.data == n).all()
    gc.collect()
    assert len(cached._stamps._digests) == 1
