"""Images as mappings: names, values, reserved names, and what a mapping must not break."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import torchio_gpu as tio

NAMES = ["type", "path", "stem"]


@pytest.fixture
def path(tmp_path):
    tio.ScalarImage(torch.rand(1, 4, 5, 6)).save(tmp_path / "sub-1.t1.nii.gz")
    return tmp_path / "sub-1.t1.nii.gz"


def image(**metadata):
    return tio.ScalarImage(torch.rand(1, 4, 4, 4), **metadata)


def test_path_and_stem(path):
    one = tio.ScalarImage(path)
    assert one[tio.PATH] == str(path)
    assert one[tio.STEM] == one.stem == "sub-1"
    several = tio.ScalarImage([path, path])
    assert several["path"] == [str(path), str(path)]
    assert several["stem"] == several.stem == ["sub-1", "sub-1"]
    assert image()["path"] == image()["stem"] == ""


def test_keys_values_and_items_read_no_file(path):
    lazy = tio.ScalarImage(path, age=45)
    assert lazy.keys() == list(lazy) == [*NAMES, "age"]
    assert lazy.values() == ["intensity", str(path), "sub-1", 45]
    assert lazy.items() == list(zip(lazy.keys(), lazy.values(), strict=True))
    assert len(lazy) == 4
    assert "age" in lazy
    assert "data" not in lazy
    assert "site" not in lazy
    assert not lazy.loaded
    assert lazy["data"] is lazy.data
    assert lazy.keys() == ["data", "affine", *NAMES, "age"]
    assert dict(lazy)["data"] is {**lazy}["data"] is lazy.data


def test_the_keys_are_those_of_torchio(path):
    torchio = pytest.importorskip("torchio")
    ours, theirs = tio.ScalarImage(path, age=45), torchio.ScalarImage(path, age=45)
    for read in (False, True):
        if read:
            ours.load()
            theirs.load()
        assert set(ours.keys()) == set(theirs.keys())
        assert len(ours) == len(theirs)
        for name in ("type", "path", "stem", "age"):
            assert ours[name] == theirs[name]


def test_get_finds_values_or_the_default(path):
    x = tio.ScalarImage(path, age=45)
    assert (x.get("age"), x.get("site"), x.get("site", "?"), x.get("stem")) == (
        *(45, None, "?"),
        "sub-1",
    )
    assert x.get("data") is x.data
    with pytest.raises(KeyError, match=r"image has no 'site'; it has .*'stem', 'age'"):
        x["site"]


def test_metadata_are_set_and_removed():
    x = image(age=45)
    x.update({"site": "London"}, echo=2)
    x.update([("age", 46)])
    assert x.setdefault("age", 0) == 46
    assert x.setdefault("sex", "F") == x.sex == "F"
    assert x.metadata == {"age": 46, "site": "London", "echo": 2, "sex": "F"}
    assert x.pop("echo") == 2
    assert x.pop("echo", None) is None
    del x["sex"]
    assert x.metadata == {"age": 46, "site": "London"}
    for missing in (lambda: x.pop("echo"), lambda: x.__delitem__("echo")):
        with pytest.raises(KeyError):
            missing()
    voxels = torch.zeros(1, 4, 4, 4)
    x.update(data=voxels, affine=np.diag([2.0, 2, 2, 1]))
    assert x.data is voxels
    assert x.spacing == (2, 2, 2)


@pytest.mark.parametrize("name", ["type", "path", "stem", "shape"])
def test_reserved_names_are_refused(name):
    x = image(age=45)
    for change in (
        lambda: x.update({"age": 1, name: 2}),
        lambda: x.setdefault(name, 2) if name == "shape" else x.__setitem__(name, 2),
        lambda: x.pop(name),
        lambda: x.__delitem__(name),
    ):
        with pytest.raises(ValueError, match=rf"names of metadata must not be \['{name}'\]"):
            change()
    assert x.age == 45
    with pytest.raises(ValueError, match=r"must not be \['data'\]"):
        x.pop("data")


def test_copies_are_independent():
    x = image(age=45)
    for again in (x.copy(), copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(again) is tio.ScalarImage
        again["age"] = 46
        assert torch.equal(again.data, x.data)
        assert x.age == 45
    assert x.copy().data is x.data


def test_images_are_equal_only_to_themselves():
    x = image()
    assert x == x
    assert x != x.copy()
    assert len({x, x, x.copy()}) == 2
    assert bool(x)


def test_batches_are_made_by_this_library():
    x = image()
    with pytest.raises(TypeError):
        default_collate([x, x])
    subjects = tio.SubjectsDataset([tio.Subject(t1=x), tio.Subject(t1=x)])
    (batch,) = tio.SubjectsLoader(subjects, batch_size=2)
    assert batch.t1.data.shape == (2, 1, 4, 4, 4)
