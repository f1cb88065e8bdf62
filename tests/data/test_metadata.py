"""Metadata by attribute and by item; reserved names are refused."""

import copy
import pickle

import pytest
import torch

import torchio_gpu as tio


def image(**metadata):
    return tio.ScalarImage(torch.rand(1, 4, 4, 4), **metadata)


def test_attribute_and_item_access_to_metadata_agree():
    x = image(name="x")
    x.name = "y"
    assert x["name"] == x.name == x.metadata["name"] == "y"
    x["name"] = "z"
    assert x["name"] == x.name == "z"
    x.site = "London"
    assert x["site"] == "London"
    x["site"] = "Paris"
    for same in (x, copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), tio.Flip(0)(x)):
        assert same.site == same["site"] == "Paris"


NAMES_OF_IMAGES = [n for n in dir(tio.ScalarImage) if not n.startswith("__")] + ["metadata", "path"]


@pytest.mark.parametrize("name", NAMES_OF_IMAGES)
def test_attributes_of_an_image_are_refused_as_metadata_names(name):
    x = image()
    if name not in ("data", "affine"):
        with pytest.raises(ValueError, match=rf"metadata must not be \['{name}'\]"):
            x[name] = "label"
    if name not in ("path", "type", "affine", "spacing", "tensor"):  # which are arguments
        with pytest.raises(ValueError, match=rf"metadata must not be \['{name}'\]"):
            image(**{name: 3})
    assert name not in x.metadata


def test_attributes_of_a_user_defined_image_class_are_kept():
    class UserDefined(tio.ScalarImage):
        colour = "red"

        def __init__(self, *args, **kwargs):
            self.early = 1
            super().__init__(*args, **kwargs)
            self.late = 2

    x = UserDefined(torch.rand(1, 2, 2, 2))
    x.colour = "blue"
    assert (x.colour, x.early, x["early"], x.late, x["late"]) == ("blue", 1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"\['colour'\]"):
        x["colour"] = "green"


def public_names(cls):
    return [name for name in dir(cls) if not name.startswith("__")]


RESERVED = sorted(
    {*public_names(tio.Subject), *public_names(tio.SubjectsBatch), "history", "images", "records"}
)


@pytest.mark.parametrize("name", RESERVED)
def test_attributes_of_subjects_and_batches_are_refused_as_names(name):
    message = rf"names of a Subject must not be \['{name}'\]"
    s = tio.Subject(t1=image())
    batch = tio.SubjectsBatch.from_subjects([s])
    for value in (5, image()):
        with pytest.raises(ValueError, match=message):
            tio.Subject(t1=image(), **{name: value})
        with pytest.raises(ValueError, match=message):
            tio.Subject({"t1": image(), name: value})
        with pytest.raises(ValueError, match=message):
            s[name] = value
    with pytest.raises(ValueError, match=message):
        s.add_image(image(), name)
    with pytest.raises(ValueError, match=message):
        tio.SubjectsBatch(batch.images, {name: [5]})
    with pytest.raises(ValueError, match=message):
        batch[name] = [5]
    if name not in ("history", "streams"):
        with pytest.raises(ValueError, match=message):
            setattr(s, name, 5)
    assert list(s.keys()) == list(batch.keys()) == ["t1"]


def test_common_names_of_values_are_allowed():
    """Includes the names of TorchIO's examples and datasets."""
    names = ["t1", "t2", "mri", "label", "image", "seg", "brain", "name", "age", "sex", "path"]
    names += ["type", "affine", "data", "subject_id", "label_name", "location", "weight", "site"]
    names += ["session", "index", "id", "orientation", "size", "modality", "diagnosis", "dti"]
    s = tio.Subject(dict.fromkeys(names, 3), x=image())
    for each in (s, tio.RandomNoise()(s), copy.copy(s)):
        assert all(each[name] == getattr(each, name) == 3 for name in names)
    batch = next(iter(tio.SubjectsLoader(tio.SubjectsDataset([s, s]), batch_size=2)))
    assert all(batch[name].tolist() == getattr(batch, name).tolist() == [3, 3] for name in names)


def test_dicts_may_have_any_keys():
    x = {"images": torch.rand(1, 4, 4, 4), "shape": (4, 4, 4), "device": "Prisma"}
    out = tio.Flip(0)(x)
    assert torch.equal(out["images"], x["images"].flip(1))
    assert (out["shape"], out["device"]) == ((4, 4, 4), "Prisma")


def test_attributes_of_a_user_defined_subject_class_are_refused_as_names():
    class UserDefined(tio.Subject):
        site = "London"

    s = UserDefined(t1=image())
    s.site = "Paris"
    assert s.site == "Paris"
    with pytest.raises(ValueError, match=r"\['site'\]"):
        s["site"] = "Rome"
