"""Batches as mappings: values as torch collates them, devices, copies, and use in training code."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import torchio_gpu as tio
from tests.volumes import subject

X = torch.rand(1, 4, 5, 6)


def batch(**columns):
    """Batch of two subjects, with the values of columns."""
    subjects = []
    for n in range(2):
        s = tio.Subject(t1=tio.ScalarImage(X + n), seg=tio.LabelMap((X > 0.5).int()))
        s.update({name: values[n] for name, values in columns.items()})
        subjects.append(s)
    return tio.SubjectsBatch.from_subjects(subjects)


COLLATED = {
    "integers": [3, 4],
    "floats": [0.5, 1.0],
    "mixed numbers": [1, 0.5],
    "booleans": [True, False],
    "numbers of numpy": [np.float32(1), np.float32(2)],
    "tensors": [torch.rand(2, 3), torch.rand(2, 3)],
    "scalar tensors": [torch.tensor(1), torch.tensor(2)],
    "arrays": [np.arange(3), np.arange(3)],
}
LISTS = {
    "strings": ["a", "b"],
    "None": [None, None],
    "a value and None": [1, None],
    "tensors of two shapes": [torch.rand(2), torch.rand(3)],
    "arrays of strings": [np.array(["a"]), np.array(["b"])],
    "dicts": [{"a": 1}, {"a": 2}],
    "lists": [[1, 2], [3]],
    "points": [tio.Points(torch.zeros(1, 3)), tio.Points(torch.zeros(2, 3))],
}


@pytest.mark.parametrize("kind", COLLATED)
def test_numbers_and_tensors_are_collated_as_by_torch(kind):
    b = batch(y=COLLATED[kind])
    expected = default_collate(list(COLLATED[kind]))
    for found in (b["y"], b.y, b.get("y"), dict(b)["y"], dict(b.items())["y"], list(b.values())[2]):
        assert torch.equal(found, expected)
        assert found.dtype == expected.dtype
    assert list(b.metadata["y"]) == list(COLLATED[kind]) or kind in ("tensors", "arrays")
    assert type(b.metadata["y"]) is list


@pytest.mark.parametrize("kind", LISTS)
def test_other_values_stay_lists(kind):
    b = batch(y=LISTS[kind])
    assert type(b["y"]) is list
    assert len(b["y"]) == 2
    if kind not in ("points", "tensors of two shapes"):
        assert b["y"] == LISTS[kind]


def test_torchio_collates_numbers_in_the_same_types():
    torchio = pytest.importorskip("torchio")
    columns = {"age": [1, 2], "score": [0.5, 1.0], "v": [np.ones(3)] * 2, "name": ["a", "b"]}
    given = [{name: values[n] for name, values in columns.items()} for n in range(2)]
    theirs = [torchio.Subject(t1=torchio.ScalarImage(tensor=X), **each) for each in given]
    expected = torchio.utils.history_collate([torchio.SubjectsDataset(theirs)[n] for n in range(2)])
    mine = [tio.Subject(t1=tio.ScalarImage(X), **each) for each in given]
    found = next(iter(tio.SubjectsLoader(tio.SubjectsDataset(mine), batch_size=2)))
    assert [*found, tio.HISTORY] == list(expected)
    for name in ("age", "score", "v"):
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name])
    assert found["name"] == expected["name"]
    assert set(found["t1"].keys()) >= set(expected["t1"].keys())
    for name in ("data", "affine"):
        assert torch.equal(found["t1"][name], expected["t1"][name])
    for name in ("path", "stem", "type"):
        assert list(found["t1"][name]) == list(expected["t1"][name])


# Devices


def test_values_are_on_the_device_of_the_images_as_a_loss_needs():
    b = batch(y=[0, 1], v=[torch.ones(2)] * 2, name=["a", "b"])
    b["prediction"] = torch.zeros(2, 3)
    moved = b.to("meta")
    assert {moved[name].device.type for name in ("y", "v", "prediction")} == {"meta"}
    assert moved["y"].dtype == torch.int64
    assert moved["name"] == ["a", "b"]
    assert moved.metadata["y"] == [0, 1]
    assert b["prediction"].device.type == b["y"].device.type == "cpu"


def test_dtypes_of_values_stay():
    b = batch(y=[0.5, 1.0])
    b["prediction"] = torch.zeros(2, 3)
    moved = b.to(torch.float16)
    assert moved.t1.data.dtype == torch.float16
    assert moved["y"].dtype == torch.float64
    assert moved["prediction"].dtype == torch.float32


def test_locations_of_patches_stay_on_the_host():
    patches = list(tio.UniformSampler(2)(subject(), 2))
    moved = tio.SubjectsBatch.from_subjects(patches).to("meta")
    assert moved[tio.LOCATION].device.type == "cpu"
    assert torch.equal(moved[tio.LOCATION][1], patches[1][tio.LOCATION])


def test_values_keep_gradients():
    v = torch.ones(2, requires_grad=True)
    batch(v=[v, v])["v"].sum().backward()
    assert v.grad.tolist() == [2, 2]


def test_lightning_moves_a_batch_by_its_method():
    class Model:
        """Move of a batch as Lightning does it: ``to`` of what has one, else the parts."""

        def move(self, each, device):
            return each.to(device, non_blocking=True) if hasattr(each, "to") else each

    b = batch(y=[0, 1])
    moved = Model().move(b, torch.device("meta"))
    assert type(moved) is tio.SubjectsBatch
    assert (moved.t1.device.type, moved["y"].device.type) == ("meta", "meta")
    assert moved.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to pin memory for")
def test_loaders_pin_memory_and_values_move_to_the_gpu():
    dataset = tio.SubjectsDataset([tio.Subject(t1=tio.ScalarImage(X), y=n) for n in range(2)])
    (b,) = DataLoader(dataset, batch_size=2, pin_memory=True)
    assert type(b) is tio.SubjectsBatch
    assert b.t1.data.is_pinned()
    moved = b.to("cuda", non_blocking=True)
    assert moved["y"].is_cuda
    assert moved["y"].tolist() == [0, 1]


# Setting


def test_images_and_values_are_set_and_deleted():
    b = batch(y=[0, 1])
    b["prediction"] = tio.ImagesBatch(torch.zeros(2, 1, 4, 5, 6))
    b.logits = torch.ones(2, 3)
    b.update({"name": ["a", "b"]})
    assert list(b) == ["t1", "seg", "prediction", "y", "logits", "name"]
    assert [name for name, _ in b.items()] == list(b.keys()) == list(dict(b)) == list({**b})
    assert torch.equal(b["logits"], torch.ones(2, 3))
    assert [s.logits.shape for s in b.unbatch()] == [(3,), (3,)]
    assert list(b.get_images_dict(intensity_only=False)) == ["t1", "seg", "prediction"]
    del b.logits, b["prediction"], b.seg
    assert b.pop("name") == ["a", "b"]
    assert b.pop("name", "?") == "?"
    assert list(b) == ["t1", "y"]
    assert not hasattr(b, "seg")
    with pytest.raises(ValueError, match="'t1' is its last one"):
        del b.t1


def test_absent_names_raise():
    b = batch()
    for missing in (lambda: b["x"], lambda: b.pop("x"), lambda: b.__delitem__("x")):
        with pytest.raises(KeyError, match=r"batch has no 'x'; it has \['t1', 'seg'\]"):
            missing()
    with pytest.raises(AttributeError, match="'x'"):
        del b.x
    assert b.get("x") is None
    assert b.get("x", 3) == 3


@pytest.mark.parametrize(
    "value", [3, "ab", b"ab", {"a": 1, "b": 2}, {1, 2}, [1], torch.tensor(1), np.array(2), None]
)
def test_values_must_be_one_for_each_sample(value):
    b = batch()
    with pytest.raises(ValueError, match="'y' must hold one value for each of 2 samples"):
        b["y"] = value
    assert list(b) == ["t1", "seg"]


def test_images_must_fit():
    b = batch(y=[0, 1])
    with pytest.raises(TypeError, match="'t1' must be an ImagesBatch, got Tensor"):
        b["t1"] = torch.zeros(2, 1, 4, 5, 6)
    with pytest.raises(ValueError, match="'x' must have the 2 samples of the batch, got 3"):
        b["x"] = tio.ImagesBatch(torch.zeros(3, 1, 4, 5, 6))
    with pytest.raises(ValueError, match=r"must not be \['shape'\]"):
        b["shape"] = [1, 2]
    b["y"] = b.t1
    assert list(b) == ["t1", "seg", "y"]
    assert b["y"] is b.t1


def test_voxels_and_affines_are_set_by_item():
    b = batch()
    b["t1"][tio.DATA] = b["t1"][tio.DATA] * 2
    assert torch.equal(b.t1.data, 2 * torch.stack([X, X + 1]))
    affine = np.diag([2.0, 2, 2, 1])[None].repeat(2, 0)
    b["t1"][tio.AFFINE] = torch.from_numpy(affine)
    assert [s.t1.spacing for s in b.unbatch()] == [(2, 2, 2)] * 2
    b["t1"]["tensor"] = torch.zeros(2, 3, 2, 2, 2)
    assert b.t1.shape == (2, 3, 2, 2, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data", torch.zeros(3, 1, 2, 2, 2), "data must have 2 samples, got 3"),
        ("data", torch.zeros(1, 2, 2, 2), r"data must have shape \(B, C, I, J, K\)"),
        ("data", 3, "data must be a tensor"),
        ("affine", np.eye(4), r"affine must have shape \(2, 4, 4\), got \(4, 4\)"),
        ("affine", np.full((2, 4, 4), np.nan), "affine must be finite"),
        ("path", ["a", "b"], "only 'data' and 'affine' of images can be set, got 'path'"),
    ],
)
def test_bad_voxels_are_refused(name, value, message):
    b = batch()
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        b["t1"][name] = value
    assert torch.equal(b.t1.data, torch.stack([X, X + 1]))


def test_batches_of_images_are_mappings():
    s = tio.Subject(t1=tio.ScalarImage(X, echo=3))
    images = tio.SubjectsBatch.from_subjects([s, s]).t1
    assert list(images) == images.keys() == ["data", "affine", "type", "path", "stem", "echo"]
    assert dict(images)["echo"] == {**images}["echo"] == images.get("echo") == [3, 3]
    assert images.get("none") is None
    assert images.get("none", 1) == 1
    assert "echo" in images
    assert "none" not in images
    with pytest.raises(KeyError, match="images have no 'none'"):
        images["none"]


# Copies


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, tio.SubjectsBatch.copy, lambda b: pickle.loads(pickle.dumps(b))],
    ids=["copy", "deepcopy", "method", "pickle"],
)
def test_copies_are_independent(again):
    b = tio.Flip(0)(batch(y=[0, 1]))
    before, length = b.t1.data.clone(), len(b.history[0])
    new = again(b)
    assert list(new) == list(b)
    assert torch.equal(new.t1.data, before)
    assert [[r.name for r in each] for each in new.history] == [["Flip"]] * 2
    new.metadata["z"] = [1, 2]
    new["other"] = new.t1
    new["t1"]["data"] = torch.zeros(2, 1, 2, 2, 2)
    new.seg.affine[:, 0, 3] = 9
    new.records.append(new.records[0])
    del new.y
    assert list(b) == ["t1", "seg", "y"]
    assert torch.equal(b.t1.data, before)
    assert b.seg.affine[0, 0, 3] == 0
    assert len(b.history[0]) == length
    assert torch.equal(b.apply_inverse_transform().t1.data, torch.stack([X, X + 1]))


def test_the_dict_that_a_batch_is_made_of_stays():
    given = {"t1": tio.ImagesBatch(torch.stack([X, X]))}
    b = tio.SubjectsBatch(given)
    b["other"] = b.t1
    assert list(given) == ["t1"]


def test_shallow_copies_share_voxels_and_deep_ones_do_not():
    b = batch()
    assert b.copy().t1.data is b.t1.data
    copy.deepcopy(b).t1.data.zero_()
    assert b.t1.data.sum() > 0


def test_the_class_of_subjects_is_kept_in_copies():
    class Patient(tio.Subject):
        pass

    b = tio.SubjectsBatch.from_subjects([Patient(t1=tio.ScalarImage(X))])
    assert [type(s) for s in b.copy().unbatch()] == [Patient]


def test_history_by_item():
    b = tio.Flip(0)(batch())
    for found in (b[tio.HISTORY], b.get("history")):
        assert [[record.name for record in each] for each in found] == [["Flip"]] * 2
    assert tio.HISTORY not in list(b)


# Datasets


def test_datasets_of_batches():
    b = batch(y=[0, 1])
    dataset = tio.SubjectsDataset.from_batch(b)
    assert [s.y for s in dataset] == [0, 1]
    assert torch.equal(dataset[1].t1.data, X + 1)
    with pytest.raises(TypeError, match=r"batch must be a SubjectsBatch, got dict: .*get_subjects"):
        tio.SubjectsDataset.from_batch(dict(b))


def test_datasets_without_loading(tmp_path):
    tio.ScalarImage(X).save(tmp_path / "t1.nii")
    subjects = [tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii"))]
    assert not tio.SubjectsDataset(subjects, load_getitem=False)[0].t1.loaded
    assert tio.SubjectsDataset(subjects)[0].t1.loaded
    lazy = tio.SubjectsDataset(subjects, tio.Flip(0), load_getitem=False)
    assert torch.equal(lazy[0].t1.data, X.flip(1))


@pytest.mark.parametrize("index", [slice(0, 1), (0, 1), [0, 1]])
def test_several_indices_raise(index):
    dataset = tio.SubjectsDataset([subject()])
    with pytest.raises(TypeError, match=r"index must be an integer, got .*Subset"):
        dataset[index]


def test_dataset_in_words():
    dataset = tio.SubjectsDataset([subject()], tio.Flip(0))
    assert repr(dataset) == "SubjectsDataset(1 subjects with t1, seg, transform=Flip(axes=(0,)))"
