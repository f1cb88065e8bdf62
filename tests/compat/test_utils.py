"""Functions of TorchIO's utils, against TorchIO where it has an answer."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.volumes import oblique_affine, subject
from torchio_gpu import utils

X = torch.rand(1, 4, 5, 6)


def batch_of_torchio(torchio, transform=None):
    """Batch as TorchIO 1 makes it: nested dicts."""
    one = {"affine": oblique_affine(), "tensor": X}
    subjects = [
        torchio.Subject(
            t1=torchio.ScalarImage(**one), seg=torchio.LabelMap(**one), age=n, name=f"s{n}"
        )
        for n in range(2)
    ]
    return next(iter(torchio.SubjectsLoader(torchio.SubjectsDataset(subjects), batch_size=2)))


@pytest.mark.parametrize(
    "arguments", [(1, 3), ([1, 2], 3), ((1,), 3), ("abc", 2), (None, 2), (1,), (range(2),)]
)
def test_tuples(arguments):
    torchio = pytest.importorskip("torchio")
    assert utils.to_tuple(*arguments) == torchio.utils.to_tuple(*arguments)


@pytest.mark.parametrize(
    "path", ["/a/b.nii.gz", "t1.nii", Path("a/sub-1.t1.mha"), "none", ["a.nii", "c/b.nii.gz"]]
)
def test_stems(path):
    torchio = pytest.importorskip("torchio")
    assert utils.get_stem(path) == torchio.utils.get_stem(path)


@pytest.mark.parametrize("shape", [3, (1, 2, 3), [4, 5, 6]])
def test_spatial_shapes(shape):
    torchio = pytest.importorskip("torchio")
    assert utils.parse_spatial_shape(shape) == torchio.utils.parse_spatial_shape(shape)


@pytest.mark.parametrize("shape", [0, -1, 1.5, (1, 2), (1, 2, 3, 4), "3"])
def test_bad_spatial_shapes(shape):
    with pytest.raises(ValueError, match="shape must be integers > 0, one or three"):
        utils.parse_spatial_shape(shape)


def test_subclasses_of_subclasses():
    class A:
        pass

    class B(A):
        pass

    class C(B):
        pass

    class D(A):
        pass

    assert utils.get_subclasses(A) == [B, D, C]
    assert utils.get_subclasses(C) == []


def test_the_first_batch():
    loader = tio.SubjectsLoader(tio.SubjectsDataset([subject(seed=n) for n in range(3)]), 2)
    first = utils.get_first_item(loader)
    assert torch.equal(first.t1.data[1], subject(seed=1).t1.data)


@pytest.mark.parametrize("form", ["SubjectsBatch", "dict", "collate function"])
def test_subjects_of_a_batch_are_those_that_were_batched(form):
    given = [tio.Flip(0)(subject(seed=n)) for n in range(2)]
    if form == "collate function":
        loader = DataLoader(given, batch_size=2, collate_fn=utils.history_collate)
        batch = utils.get_first_item(loader)
    else:
        batch = tio.SubjectsBatch.from_subjects(given)
    found = utils.get_subjects_from_batch(dict(batch) if form == "dict" else batch)
    assert utils.get_batch_images_and_size(batch) == (["t1", "seg"], 2)
    for mine, s in zip(found, given, strict=True):
        assert [type(each) for each in mine.get_images(False)] == [tio.ScalarImage, tio.LabelMap]
        assert torch.equal(mine.t1.data, s.t1.data)
        np.testing.assert_array_equal(mine.seg.affine, s.seg.affine)
        assert mine.age == 45
        assert form == "dict" or [record.name for record in mine.history] == ["Flip"]


def test_subjects_of_a_batch_of_torchio():
    torchio = pytest.importorskip("torchio")
    batch = batch_of_torchio(torchio)
    assert utils.get_batch_images_and_size(batch) == torchio.utils.get_batch_images_and_size(batch)
    theirs = torchio.utils.get_subjects_from_batch(batch)
    mine = utils.get_subjects_from_batch(batch)
    assert [type(s) for s in mine] == [tio.Subject] * 2
    for one, other in zip(mine, theirs, strict=True):
        assert set(one) == set(other)
        assert (one.age, one.name) == (other.age, other.name)
        assert type(one.seg) is tio.LabelMap
        assert torch.equal(one.t1.data, other.t1.data)
        np.testing.assert_array_equal(one.t1.affine, other.t1.affine)


def test_batches_without_images_are_named():
    with pytest.raises(ValueError, match=r"batch must hold images, got \['age'\]"):
        utils.get_subjects_from_batch({"age": [1, 2]})


def test_history_is_collated_or_left_out():
    given = [tio.Flip(0)(subject()), tio.Compose([tio.Flip(1), tio.Flip(2)])(subject())]
    batch = utils.history_collate(given)
    assert [[record.name for record in each] for each in batch["history"]] == [
        ["Flip"],
        ["Flip", "Flip"],
    ]
    assert utils.history_collate(given, collate_transforms=False)["history"] == [[], []]


@pytest.mark.parametrize("class_", [None, tio.LabelMap])
def test_predictions_are_added_on_the_grid_of_the_first_image(class_):
    subjects = [subject(affine=oblique_affine(origin=(n, 0, 0))) for n in range(2)]
    prediction = torch.rand(2, 3, 12, 14, 16)
    utils.add_images_from_batch(subjects, prediction, class_)
    for n, s in enumerate(subjects):
        assert type(s.prediction) is (class_ or tio.ScalarImage)
        assert torch.equal(s.prediction.data, prediction[n])
        np.testing.assert_array_equal(s.prediction.affine, oblique_affine(origin=(n, 0, 0)))
    utils.add_images_from_batch(subjects, prediction, name="logits")
    assert "logits" in subjects[1]
    with pytest.raises(ValueError, match="tensor must have 2 samples, got 3"):
        utils.add_images_from_batch(subjects, torch.rand(3, 1, 12, 14, 16))


def test_dummy_datasets_are_written_once(tmp_path):
    subjects = utils.create_dummy_dataset(3, (10, 20), tmp_path)
    assert len(subjects) == 3
    for s in subjects:
        assert not s.one_modality.loaded
        assert all(10 <= n < 20 for n in s.spatial_shape)
        assert set(s.segmentation.data.unique().tolist()) == {0, 1, 2}
        assert type(s.segmentation) is tio.LabelMap
    again = utils.create_dummy_dataset(3, (30, 40), tmp_path)
    assert [s.spatial_shape for s in again] == [s.spatial_shape for s in subjects]
    new = utils.create_dummy_dataset(1, (30, 40), tmp_path, suffix=".mha", force=True)
    assert all(30 <= n < 40 for n in new[0].spatial_shape)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["image_0.mha", "label_0.mha"]


def test_dummy_datasets_have_the_files_of_torchio(tmp_path):
    torchio = pytest.importorskip("torchio")
    utils.create_dummy_dataset(1, (10, 20), tmp_path / "mine")
    torchio.utils.create_dummy_dataset(1, (10, 20), tmp_path / "theirs")
    mine, theirs = (
        {str(path.relative_to(tmp_path / each)) for path in (tmp_path / each).rglob("*.gz")}
        for each in ("mine", "theirs")
    )
    assert mine == theirs


@pytest.mark.parametrize("class_", ["ScalarImage", "LabelMap"])
def test_transforms_are_applied_to_files(tmp_path, capsys, class_):
    labels = (X > 0.5).to(torch.uint8)
    tio.LabelMap(labels).save(tmp_path / "in.nii")
    paths = tmp_path / "in.nii", tmp_path / "out.nii"
    utils.apply_transform_to_file(paths[0], tio.Flip(0), paths[1], class_=class_)
    assert torch.equal(tio.ScalarImage(paths[1]).data, labels.flip(1))
    assert capsys.readouterr().out == ""
    utils.apply_transform_to_file(paths[0], tio.Noise(std=0), paths[1], class_, verbose=True)
    assert ("Noise" in capsys.readouterr().out) == (class_ == "ScalarImage")
    utils.apply_transform_to_file(paths[0], lambda s: s, paths[1])
    assert torch.equal(tio.ScalarImage(paths[1]).data, labels)
    with pytest.raises(ValueError, match="class_ must be 'ScalarImage' or 'LabelMap', got 'Image'"):
        utils.apply_transform_to_file(*paths[:1], tio.Flip(0), paths[1], class_="Image")


def test_files_are_compressed(tmp_path):
    tio.ScalarImage(X).save(tmp_path / "x.nii")
    assert utils.compress(tmp_path / "x.nii") == tmp_path / "x.nii.gz"
    assert torch.equal(tio.ScalarImage(tmp_path / "x.nii.gz").data, X)
    other = utils.compress(tmp_path / "x.nii", str(tmp_path / "y.gz"))
    assert gzip.decompress(other.read_bytes()) == (tmp_path / "x.nii").read_bytes()
