"""Subjects, batches of them, datasets."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.volumes import oblique_affine, subject


def test_values_are_read_by_item_and_by_attribute():
    s = tio.Subject({"t1": tio.ScalarImage(torch.rand(1, 2, 2, 2))}, age=45, t2=None)
    assert s.t1 is s["t1"]
    assert s.age == s["age"] == 45
    assert s.t2 is None
    assert s.get_images_names() == ["t1"]
    assert len(s) == 1
    assert "age" in s
    assert s.metadata == {"age": 45, "t2": None}
    s.age = 46
    assert s["age"] == 46
    s.site = "London"
    assert tio.RandomNoise()(s).site == "London"
    s.t2 = tio.ScalarImage(torch.rand(1, 2, 2, 2))
    assert s.get_images_names() == ["t1", "t2"]
    del s["t2"]
    with pytest.raises(AttributeError, match="'t2'; it has"):
        s.t2  # noqa: B018
    with pytest.raises(KeyError, match="subject has no 't2'"):
        s["t2"]


def test_images_are_selected():
    s = subject()
    assert list(s.get_images_dict(intensity_only=False)) == s.get_images_names() == ["t1", "seg"]
    assert list(s.get_images_dict()) == ["t1"]
    assert s.get_images() == [s.t1]
    assert list(s.get_images_dict(False, exclude=["t1"])) == ["seg"]
    batch = tio.SubjectsBatch.from_subjects([s])
    assert list(batch.get_images_dict()) == ["t1"]
    assert list(batch.get_images_dict(intensity_only=False)) == ["t1", "seg"]
    assert s.get_first_image() is s.t1
    s.add_image(s.t1, "other")
    s.remove_image("t1")
    assert s.get_images_names() == ["seg", "other"]
    with pytest.raises(KeyError, match="no image 't1'"):
        s.remove_image("t1")


@pytest.mark.parametrize("items", [{}, {"age": 45}, {"t1": None}])
def test_a_subject_without_images_is_refused(items):
    with pytest.raises(ValueError, match="at least one image"):
        tio.Subject(items)


def test_consistency_checks_of_images():
    s = subject()
    s.check_consistent_space()
    assert s.spatial_shape == (12, 14, 16)
    moved = oblique_affine()
    moved[0, 3] += 0.5
    s.add_image(tio.ScalarImage(s.t1.data, affine=moved), "moved")
    with pytest.raises(ValueError, match=r"'t1' and 'moved' are up to 0\.5 mm apart"):
        s.check_consistent_space()
    s.add_image(tio.ScalarImage(torch.zeros(1, 2, 2, 2)), "small")
    with pytest.raises(ValueError, match="images must share spatial_shape"):
        s.spatial_shape  # noqa: B018


def test_copies_do_not_share_containers():
    s = subject()
    for again in (copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        again.t1.set_data(torch.zeros(1, 2, 2, 2))
        again["age"] = 1
        again.history.append("x")
        assert s.t1.shape == (1, 12, 14, 16)
        assert s.age == 45
        assert s.history == []


def test_conversion_to_a_batch_and_back():
    subjects = [subject(seed=n) for n in range(3)]
    batch = tio.SubjectsBatch.from_subjects(subjects)
    assert batch.batch_size == len(batch) == 3
    assert batch.t1.data is batch["t1"][tio.DATA]
    assert batch["t1"]["type"] == ["intensity"] * 3
    assert batch.seg.data.dtype == torch.uint8
    assert batch.metadata["age"] == batch.age.tolist() == [45] * 3
    for s, again in zip(subjects, batch.unbatch(), strict=True):
        assert type(again.seg) is tio.LabelMap
        assert torch.equal(again.t1.data, s.t1.data)
        np.testing.assert_array_equal(again.t1.affine, s.t1.affine)
        assert again.age == 45
    assert batch.to(torch.float64).t1.data.dtype == torch.float64
    with pytest.raises(AttributeError, match="'t9'"):
        batch.t9  # noqa: B018


def test_unbatching_keeps_the_class_of_subjects():
    class Patient(tio.Subject):
        pass

    patient = Patient(t1=tio.ScalarImage(torch.rand(1, 4, 4, 4)))
    assert type(tio.RandomNoise()(patient)) is Patient


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"t1": torch.zeros(1, 4, 4, 5)}, r"sample 0 has \(1, 4, 4, 4\), sample 1 has .*CropOrPad"),
        ({"t2": torch.zeros(1, 4, 4, 4)}, r"sample 0 has \['t1'\], sample 1 has \['t2'\]"),
    ],
)
def test_samples_that_do_not_match_are_named(others, message):
    first = tio.Subject(t1=tio.ScalarImage(torch.zeros(1, 4, 4, 4)))
    second = tio.Subject({name: tio.ScalarImage(x) for name, x in others.items()})
    with pytest.raises(ValueError, match=message):
        tio.SubjectsBatch.from_subjects([first, second])
    mixed = tio.Subject(t1=tio.LabelMap(torch.zeros(1, 4, 4, 4)))
    with pytest.raises(ValueError, match="must be of one type"):
        tio.SubjectsBatch.from_subjects([first, mixed])
    with pytest.raises(ValueError, match="at least one subject"):
        tio.SubjectsBatch.from_subjects([])


def test_dataset_loads_copies_and_not_its_subjects(tmp_path):
    tio.ScalarImage(torch.rand(1, 4, 4, 4)).save(tmp_path / "t1.nii")
    subjects = [tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii")) for _ in range(2)]
    dataset = tio.SubjectsDataset(subjects, transform=tio.RandomNoise())
    assert len(dataset) == 2
    assert dataset[0].t1.loaded
    assert dataset[torch.tensor(1)].history
    assert not subjects[0].t1.loaded
    dataset.set_transform(None)
    assert dataset[0].history == []
    assert dataset.dry_iter()[0] is subjects[0]


def test_plain_dataloader_yields_batches():
    dataset = tio.SubjectsDataset([subject(seed=n) for n in range(3)])
    batches = list(DataLoader(dataset, batch_size=2))
    assert [type(batch) for batch in batches] == [tio.SubjectsBatch] * 2
    assert batches[0]["t1"][tio.DATA].shape == (2, 1, 12, 14, 16)


def test_history_goes_through_batches():
    transform = tio.Compose([tio.RandomGamma(p=0.5), tio.Flip(0)])
    subjects = [transform(subject(seed=n)) for n in range(6)]
    lengths = [len(s.history) for s in subjects]
    assert set(lengths) == {1, 2}
    batch = tio.Noise(std=1)(tio.SubjectsBatch.from_subjects(subjects))
    assert [len(s.history) for s in batch.unbatch()] == [n + 1 for n in lengths]
    back = batch.apply_inverse_transform()
    for s, original in zip(back.unbatch(), (subject(seed=n) for n in range(6)), strict=True):
        torch.testing.assert_close(s.t1.data, original.t1.data, atol=1e-5, rtol=1e-4)
        assert s.history == []


@pytest.mark.parametrize("subjects", [[], [1]])
def test_bad_datasets_are_named(subjects):
    with pytest.raises((ValueError, TypeError), match="subjects must"):
        tio.SubjectsDataset(subjects)
    with pytest.raises(TypeError, match="transform must be a function"):
        tio.SubjectsDataset([subject()], transform=3)


def test_reserved_names_are_refused():
    with pytest.raises(ValueError, match=r"must not be \['history'\]"):
        tio.Subject(t1=tio.ScalarImage(torch.rand(1, 2, 2, 2)), history="smoker")


def test_a_pickled_batch_holds_its_voxels_once():
    subjects = [tio.Subject(t1=tio.ScalarImage(torch.rand(1, 32, 32, 32))) for _ in range(2)]
    batch = tio.SubjectsBatch.from_subjects(subjects)
    assert len(pickle.dumps(batch)) < 1.1 * batch.t1.data.numel() * 4
