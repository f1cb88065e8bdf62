"""Subjects as mappings: a dict beside each says what its methods do; TorchIO says the rest."""

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.volumes import oblique_affine, subject

X = torch.rand(1, 6, 7, 8)


def values():
    return {"t1": tio.ScalarImage(X), "age": 45, "t2": None, "seg": tio.LabelMap((X > 0.5).int())}


def both():
    """Return a subject and a dict of the same values."""
    given = values()
    return tio.Subject(given), dict(given)


STEPS = {
    "set": lambda m: m.__setitem__("site", "London"),
    "replace": lambda m: m.__setitem__("age", 46),
    "delete": lambda m: m.__delitem__("age"),
    "pop": lambda m: m.pop("age"),
    "pop the default": lambda m: m.pop("site", "?"),
    "popitem": lambda m: m.popitem(),
    "setdefault": lambda m: m.setdefault("site", "London"),
    "setdefault of a value": lambda m: m.setdefault("t2", 3),
    "update": lambda m: m.update({"age": 46, "site": "London"}, sex="F"),
    "update by pairs": lambda m: m.update([("age", 46)]),
    "update by keywords": lambda m: m.update(age=46),
    "get": lambda m: (m.get("age"), m.get("site"), m.get("site", "?"), m.get("t2", 3)),
    "in": lambda m: ("age" in m, "site" in m, 3 in m),
    "clear": lambda m: m.clear(),
    "names": lambda m: (list(m), list(m.keys())),
    "values": lambda m: list(m.values()),
    "items": lambda m: list(m.items()),
    "dict": lambda m: dict(m),
    "unpacked": lambda m: {**m, "age": 1},
}


@pytest.mark.parametrize("step", STEPS)
def test_methods_are_those_of_a_dict(step):
    mine, theirs = both()
    assert STEPS[step](mine) == STEPS[step](theirs)
    assert dict(mine) == theirs
    assert list(mine) == list(theirs)
    assert all(getattr(mine, name) is value for name, value in theirs.items())


@pytest.mark.parametrize(
    "step", [lambda m: m["site"], lambda m: m.pop("site"), lambda m: m.__delitem__("site")]
)
def test_absent_names_raise_as_in_a_dict(step):
    for mapping in both():
        with pytest.raises(KeyError, match="'site'"):
            step(mapping)
    with pytest.raises(KeyError, match=r"subject has no 'site'; it has \['t1', 'age', 't2', 'seg'"):
        step(tio.Subject(values()))


def test_views_follow_the_subject():
    s = tio.Subject(values())
    names, items = s.keys(), s.items()
    s.site = "London"
    assert "site" in names
    assert ("site", "London") in items


def test_length_and_names_are_those_of_torchio():
    torchio = pytest.importorskip("torchio")
    theirs = torchio.Subject(
        t1=torchio.ScalarImage(tensor=X), age=45, seg=torchio.LabelMap(tensor=(X > 0.5).int())
    )
    mine = tio.Subject(t1=tio.ScalarImage(X), age=45, seg=tio.LabelMap((X > 0.5).int()))
    assert len(mine) == len(theirs) == 2
    assert list(mine) == list(theirs)
    for arguments in ({}, {"intensity_only": False}, {"include": ["seg"]}, {"exclude": ["t1"]}):
        assert list(mine.get_images_dict(**arguments)) == list(theirs.get_images_dict(**arguments))
        assert len(mine.get_images(**arguments)) == len(theirs.get_images(**arguments))
    assert mine.get_images_names() == theirs.get_images_names()


def test_attributes_are_set_and_deleted_as_values():
    s = tio.Subject(values())
    s.site = "London"
    assert s["site"] == "London"
    del s.site, s.age
    assert list(s) == ["t1", "t2", "seg"]
    for missing in ("site", "age", "nothing"):
        with pytest.raises(AttributeError, match=missing):
            delattr(s, missing)
        assert not hasattr(s, missing)


@pytest.mark.parametrize("name", ["shape", "history", "keys", "images", "metadata", "to"])
def test_reserved_names_are_refused_however_they_are_set(name):
    s = tio.Subject(values())
    before = dict(s)
    changes = [
        lambda: s.__setitem__(name, 1),
        lambda: s.update({"age": 1, name: 2}),
        lambda: s.update(**{"age": 1, name: 2}),
        lambda: s.setdefault(name, 1),
        lambda: s.add_image(s.t1, name),
        lambda: tio.Subject(s, **{name: 1}),
    ]
    for change in changes:
        with pytest.raises(ValueError, match=rf"must not be \['{name}'\]"):
            change()
    assert dict(s) == before


def test_names_must_be_strings():
    s = tio.Subject(values())
    for change in (lambda: s.__setitem__(3, 1), lambda: s.update({3: 1})):
        with pytest.raises(TypeError, match="must be strings, got 3"):
            change()


def test_a_subject_is_no_mapping_that_torch_takes_apart():
    s = tio.Subject(values())
    assert not isinstance(s, Mapping)
    assert bool(s)
    assert s == s
    assert s != s.copy()
    dataset = tio.SubjectsDataset([s, s])
    for arguments in ({}, {"num_workers": 1}):
        loaded = list(DataLoader(dataset, batch_size=None, **arguments))
        assert [type(each) for each in loaded] == [tio.Subject] * 2
        assert list(loaded[1]) == list(s)
        assert torch.equal(loaded[1].t1.data, X)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, tio.Subject.copy, lambda s: pickle.loads(pickle.dumps(s))],
    ids=["copy", "deepcopy", "method", "pickle"],
)
def test_copies_are_independent_mappings(again):
    s = tio.Flip(0)(subject())
    s.points = tio.Points(torch.zeros(1, 3), affine=s.t1.affine)
    new = again(s)
    assert type(new) is tio.Subject
    assert list(new) == list(s)
    assert torch.equal(new.t1.data, s.t1.data)
    assert [str(record) for record in new.history] == [str(record) for record in s.history]
    new.t1.affine[:3, 3] = 7
    new.t1["echo"] = 1
    del new.age
    new.site = "London"
    new.history.clear()
    assert s.age == 45
    assert "site" not in s
    assert "echo" not in s.t1
    assert len(s.history) == 1
    np.testing.assert_array_equal(s.t1.affine, subject().t1.affine)
    torch.testing.assert_close(s.apply_inverse_transform().t1.data, subject().t1.data)


def test_deep_copies_share_no_voxels():
    s = subject()
    shallow, deep = s.copy(), copy.deepcopy(s)
    assert shallow.t1.data is s.t1.data
    deep.t1.data.zero_()
    assert s.t1.data.abs().sum() > 0


class Patient(tio.Subject):
    """Subject with members of its own, one of which is set before the constructor is called."""

    kind = "in"

    def __init__(self, *args, **kwargs):
        self.early = 1
        super().__init__(*args, **kwargs)
        self.late = 2

    @property
    def name(self):
        return f"{self.late}{self.kind}"


def test_subclasses_have_members_of_their_own():
    p = Patient(t1=tio.ScalarImage(X))
    assert (p.early, p.late, p.name) == (1, 2, "2in")
    assert list(p) == ["t1", "late"]
    p.kind = "out"
    assert list(p) == ["t1", "late"]
    again = [copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p)), p[1:3], p.to("cpu")]
    for each in [*again, tio.RandomNoise()(p), tio.Compose([tio.Flip(0)])(p)]:
        assert type(each) is Patient
        assert list(each) == ["t1", "late"]
    assert all((each.early, each.kind) == (1, "out") for each in again)
    with pytest.raises(ValueError, match=r"must not be \['name'\]"):
        Patient(t1=tio.ScalarImage(X), name="Ann")


# Slices

SLICES = [
    slice(2, 5),
    slice(None),
    slice(-3, None),
    2,
    (slice(None), slice(4, 10)),
    (slice(2, 5), slice(None), slice(4, None)),
    (1, 2, 3),
]


@pytest.mark.parametrize("item", SLICES, ids=str)
def test_slices_are_those_of_torchio(item):
    torchio = pytest.importorskip("torchio")
    affine = oblique_affine()
    theirs = torchio.Subject(t1=torchio.ScalarImage(tensor=X, affine=affine), age=45)[item]
    s = tio.Subject(t1=tio.ScalarImage(X, affine=affine), age=45)
    mine = s[item]
    assert torch.equal(mine["t1"].data, theirs["t1"].data)
    np.testing.assert_allclose(mine["t1"].affine, theirs["t1"].affine, atol=1e-9)
    assert mine.age == 45
    assert torch.equal(s.t1.data, X)
    mine.t1.data.zero_()
    assert torch.equal(s.t1.data, X)


def test_slices_move_points_with_the_grid_and_keep_world_positions():
    s = subject()
    inside = torch.tensor([[3.0, 5, 6]])
    s.marks = tio.Points(inside, axes="IJK", affine=s.t1.affine)
    part = s[2:, 4:, 1:]
    world = lambda each: each.marks.to_axes("RAS").data  # noqa: E731
    torch.testing.assert_close(world(part), world(s))
    torch.testing.assert_close(part.marks.data, torch.tensor([[1.0, 1, 5]]))
    assert torch.equal(part.seg.data, s.seg.data[:, 2:, 4:, 1:])


@pytest.mark.parametrize("item", [slice(None, None, 2), slice(3, 3), 12, (0, 0, 0, 0), "none"])
def test_bad_slices_raise(item):
    with pytest.raises((IndexError, KeyError), match=r"index|indices|'none'"):
        subject()[item]


def test_negative_indices_count_from_the_end():
    s = tio.Subject(t1=tio.ScalarImage(X))
    assert torch.equal(s[-1].t1.data, X[:, -1:])  # where TorchIO returns an empty image
    assert s[-1].t1.origin == (5, 0, 0)


def test_slices_need_one_shape():
    s = subject()
    s.small = tio.ScalarImage(X)
    with pytest.raises(ValueError, match=r"images must share spatial_shape, got .*'small': \(6, 7"):
        s[1:]


def test_slices_of_files_read_the_part_alone(tmp_path):
    tio.ScalarImage(X).save(tmp_path / "t1.nii")
    s = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii"))
    part = s[1:3]
    assert not s.t1.loaded
    assert torch.equal(part.t1.data, X[:, 1:3])


# Consistency

MOVED = np.diag([1.0, 1, 1, 1])
MOVED[0, 3] = 0.5
OTHERS = {
    "same": {},
    "shape": {"tensor": X[:, 1:]},
    "affine": {"affine": MOVED},
    "spacing": {"affine": np.diag([2.0, 1, 1, 1])},
    "orientation": {"affine": np.diag([-1.0, 1, 1, 1])},
    "nearly": {"affine": np.diag([1 + 1e-9, 1, 1, 1])},
}
CHECKS = ("affine", "orientation", "spatial_shape", "space")


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("check", CHECKS)
def test_checks_agree_with_torchio(check, other):
    torchio = pytest.importorskip("torchio")

    def passes(module):
        more = {"tensor": X, **OTHERS[other]}
        s = module.Subject(a=module.ScalarImage(tensor=X), b=module.LabelMap(**more), age=3)
        try:
            getattr(s, f"check_consistent_{check}")()
        except (RuntimeError, ValueError):
            return False
        return True

    assert passes(tio) == passes(torchio)


def test_tolerances_and_message_of_a_check():
    s = tio.Subject(a=tio.ScalarImage(X), b=tio.ScalarImage(X, affine=np.diag([1.01, 1, 1, 1])))
    s.check_consistent_attribute("spacing", relative_tolerance=0.1)
    s.check_consistent_attribute("spacing", 0, 0.011)
    with pytest.raises(ValueError, match=r"images must share spacing, got \{'a': \(1.0, 1.0, 1.0"):
        s.check_consistent_attribute("spacing", 0, 0.009)
    with pytest.raises(ValueError, match=r"^resample: \{'a'.*'b'"):
        s.check_consistent_attribute("spacing", message="resample: {}")
    with pytest.raises(AttributeError, match="'foo'"):
        s.check_consistent_attribute("foo")


def test_two_dimensional_subjects():
    flat = tio.ScalarImage(X[..., :1])
    assert tio.Subject(a=flat, b=flat).is_2d()
    assert not tio.Subject(a=flat, b=tio.ScalarImage(X)).is_2d()


def test_images_by_kind():
    s = subject()
    assert s.get_image("seg") is s.get_label_map("seg") is s.seg
    assert s.get_scalar_image("t1") is s.t1
    with pytest.raises(TypeError, match="'seg' must be a scalar image, got LabelMap"):
        s.get_scalar_image("seg")
    with pytest.raises(TypeError, match="'t1' must be a label map, got ScalarImage"):
        s.get_label_map("t1")
    for name in ("age", "none"):
        with pytest.raises(KeyError, match=rf"no image '{name}'; its images are \['t1', 'seg'\]"):
            s.get_image(name)
    with pytest.raises(TypeError, match="image must be an Image, got int"):
        s.add_image(3, "x")


def test_unload_reads_again_from_the_file(tmp_path):
    tio.ScalarImage(X).save(tmp_path / "t1.nii")
    s = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii"))
    s.load()
    assert s.t1.loaded
    s.unload()
    assert not s.t1.loaded
    assert torch.equal(s.t1.data, X)


# History


def test_applied_transforms_are_names_and_plain_parameters():
    s = tio.Compose([tio.RandomFlip((0, 1), flip_probability=1), tio.RandomNoise()])(subject())
    (flip, flipped), (noise, given) = s.applied_transforms
    assert (flip, noise) == ("RandomFlip", "RandomNoise")
    assert flipped["axes"] == [[True, True, False]]
    assert set(given) >= {"std"}
    assert [t.name for t in s.get_applied_transforms()] == ["RandomFlip", "RandomNoise"]
    assert [t.name for t in s.get_applied_transforms(ignore_intensity=True)] == ["RandomFlip"]
    repeated = subject()
    for transform in s.get_applied_transforms():
        repeated = transform(repeated)
    torch.testing.assert_close(repeated.t1.data, s.t1.data)


def test_a_transform_that_was_added_is_undone_like_one_that_was_applied():
    s = subject()
    flipped = s.t1.data.flip(1)
    s.t1.set_data(flipped)
    s.add_transform(tio.Flip(0))
    assert torch.equal(s.t1.data, flipped)
    assert [name for name, _ in s.applied_transforms] == ["Flip"]
    back = s.apply_inverse_transform()
    assert torch.equal(back.t1.data, subject().t1.data)
    assert back.history == []
    s.clear_history()
    s.add_transform(tio.Flip(0), {"axes": (1, 2)})
    assert s.applied_transforms[0][1]["axes"] == [[False, True, True]]
    with pytest.raises(ValueError, match="transform must draw no numbers"):
        s.add_transform(tio.RandomFlip())
