"""Histories: replay, serialization, validation and size."""

import copy
import json
import math
import pickle
from collections import Counter
from typing import Annotated, get_origin, get_type_hints

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.robustness import records as robustness
from tests.robustness.records import WRITABLE
from tests.volumes import subject
from torchio_gpu.transforms import naming
from torchio_gpu.transforms.base import Transform
from torchio_gpu.transforms.parameters.params import Params
from torchio_gpu.transforms.pipeline import points

pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")


def records(name):
    torch.manual_seed(2)
    return WRITABLE[name]()(subject()).history


@pytest.mark.parametrize("name", WRITABLE)
def test_records_can_be_applied_serialized_and_printed(name):
    s = subject()
    for record in records(name)[:1]:
        assert record.transform.name in repr(record)
        assert "\n" not in repr(record)
        plain = json.loads(json.dumps(record.to_dict()))
        if len(records(name)) == 1:
            torch.manual_seed(2)
            expected = WRITABLE[name]()(s)
            for again in (record(s), tio.from_dict(plain)(s)):
                assert torch.equal(again.t1.data, expected.t1.data)


def test_records_of_deterministic_transforms_show_their_arguments():
    s = tio.Pad((4, 4, 1, 0, 3, 3))(subject())
    assert repr(s.history) == "[Pad(padding=(4, 4, 1, 0, 3, 3))]"
    batch = tio.Pad((4, 4, 1, 0, 3, 3))(tio.SubjectsBatch.from_subjects([subject()] * 2))
    assert repr(batch.history) == f"[{s.history!r}, {s.history!r}]"


def with_reference():
    large = torch.rand(1, 40, 40, 40)
    return {
        "Resample": lambda: tio.Resample(tio.ScalarImage(large)),
        "ToReferenceSpace": lambda: tio.ToReferenceSpace(tio.ScalarImage(large)),
    }


@pytest.mark.parametrize("name", ["Resample", "ToReferenceSpace"])
def test_histories_store_grids_and_not_volumes(name):
    out = with_reference()[name]()(tio.ScalarImage(torch.rand(1, 40, 40, 40)))
    s = with_reference()[name]()(tio.Subject(t1=tio.ScalarImage(torch.rand(1, 40, 40, 40))))
    assert out.spatial_shape == (40, 40, 40)
    assert len(pickle.dumps(s.history)) < 20_000


def test_damaged_records_are_refused_or_read():
    robustness.prepare()
    found = Counter(robustness.run(number, seed=0)[0] for number in range(1500))
    assert set(found) == {"refused", "read", "read: does not fit"}
    assert found["refused"] > 500
    assert found["read"] > 50


def set_at(record, value, *keys):
    """Return a copy of a record with one parameter replaced."""
    record = copy.deepcopy(record)
    part = record["params"]
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    return record


NOISE, PAD, AFFINE = tio.RandomNoise(), tio.Pad(2), tio.RandomAffineElasticDeformation()
INVALID_PARAMETERS = [
    (NOISE, None, ("std",), "std must be a list of numbers, got None"),
    (NOISE, 3, ("std",), "std must be a list of numbers, got 3"),
    (NOISE, [-1], ("mean",), r"mean must be of shape \(B, M, K\), with M=1.* got \(1,\)"),
    (NOISE, [[[1.0], [2.0]]], ("mean",), r"mean must be of shape \(B, M, K\).* got \(1, 2, 1\)"),
    (NOISE, [[[[1.0]]]], ("mean",), r"mean must be of shape \(B, M, K\).* got \(1, 1, 1, 1\)"),
    (NOISE, {"shape": [1, 0]}, ("mean",), r"mean must be of shape .* got \(1, 0\)"),
    (NOISE, [[0.5]], ("seed",), r"seed must hold ints, got \[\[0.5\]\]"),
    (NOISE, [[[True]]], ("std",), r"std must hold numbers, got \[\[\[True\]\]\]"),
    (PAD, True, ("shape",), "shape must be a list of numbers, got True"),
    (PAD, 1, ("undone",), "undone must be a bool, got 1"),
    (PAD, [True], ("undone",), "undone must be a bool, got"),
    (PAD, [2**20] * 3, ("shape", 0, 0), "shape must give images of <= .* in all"),
    (PAD, [2**40] * 3, ("shape", 0, 0), "shape must be <= 1048576 voxels"),
    (PAD, [0, 1, 1], ("before_shape", 0, 0), "before_shape must be integers > 0"),
    (PAD, np.diag([1, 0, 1, 1]).tolist(), ("affine", 0, 0), "affine must be invertible"),
    (AFFINE, [1.0], ("affine", "scales"), r"scales must be of shape \(B, 3\)"),
    (AFFINE, [[1.0, math.nan, 1]], ("affine", "scales"), "scales must be finite"),
    (AFFINE, None, ("bend",), "record of .* does not fit it"),
    (AFFINE, "x", ("bend", "inverse"), "inverse must be a bool, got 'x'"),
]


@pytest.mark.parametrize(("transform", "value", "keys", "message"), INVALID_PARAMETERS)
def test_parameters_are_checked_against_annotations(transform, value, keys, message):
    record = transform(tio.Subject(t1=subject().t1)).history[0].to_dict()
    tio.from_dict(record)
    with pytest.raises(ValueError, match=message):
        tio.from_dict(set_at(record, value, *keys))


def subclasses(cls):
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


def test_all_array_fields_of_parameters_declare_their_axes():
    for cls in subclasses(Params):
        if cls.__module__.startswith("torchio_gpu"):
            for name, hint in get_type_hints(cls, include_extras=True).items():
                plain = name in ("neutral", "channel_arrays") or hint in (bool, str)
                assert plain or get_origin(hint) is Annotated or issubclass(hint, Params), name


class UserDefined(tio.RandomNoise):
    """User-defined transform."""


def test_only_library_classes_and_allowed_classes_are_loaded():
    record = UserDefined()(subject()).history[0].to_dict()
    with pytest.raises(ValueError, match="unknown 'UserDefined'"):
        tio.from_dict(record)
    assert type(tio.from_dict(record, allow=[UserDefined]).transform) is UserDefined
    assert type(tio.from_dict(record, allow=UserDefined).transform) is UserDefined


class Scheduled(tio.RandomNoise):
    """User-defined transform with an argument of its own."""

    def __init__(self, alpha, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha


def test_arguments_of_user_defined_classes_may_be_changed():
    transform = Scheduled(3)
    transform.alpha = 4
    assert transform.alpha == 4
    with pytest.raises(AttributeError, match="std of Scheduled cannot be changed"):
        transform.std = 1


class TestImagesAddedLater:
    """An image added after a motion is inverted only if it lies in the space of the others."""

    def moved(self):
        torch.manual_seed(0)
        return tio.RandomAffine(degrees=20, translation=5)(subject())

    def test_an_image_in_another_space_raises_a_warning(self):
        out = self.moved()
        out.add_image(tio.LabelMap(out.seg.data), "prediction")  # identity
        with pytest.warns(RuntimeWarning, match=r"'prediction' was added .* lies elsewhere"):
            out.apply_inverse_transform()
        with pytest.warns(RuntimeWarning, match=r"'prediction' was added .* lies elsewhere"):
            out.get_composed_history()(tio.Subject(prediction=out.prediction))
        again = tio.from_dict(json.loads(json.dumps(out.history[0].to_dict())))
        with pytest.warns(RuntimeWarning, match=r"'prediction' was added .* lies elsewhere"):
            again(out)

    def test_an_image_in_the_same_space_raises_no_warning(self):
        out = self.moved()
        out.add_image(tio.LabelMap(out.seg.data, affine=out.seg.affine), "prediction")
        coarse = tio.Resample(4)(tio.LabelMap(out.seg.data, affine=out.seg.affine))
        out.add_image(coarse, "coarse")
        out.apply_inverse_transform()


@pytest.mark.parametrize(
    "make", ["Affine", "RandomAffine", "RandomElasticDeformation", "RandomFlip"]
)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_landmarks_that_are_not_moved_raise_one_warning(make, kind, monkeypatch):
    monkeypatch.setattr(points, "_WARNED", set())
    s = subject()
    s["landmarks"], s["vector"] = kind((5, 3)), kind((3,))
    options = {"Affine": {"translation": 1}, "Flip": {"axes": 0}}.get(make, {})
    transform = getattr(tio, make)(**options)
    with pytest.warns(RuntimeWarning, match=r"'landmarks' has shape \(5, 3\)"):
        transform(s)
    transform(s)
    monkeypatch.setattr(points, "_WARNED", set())
    with pytest.warns(RuntimeWarning, match="'landmarks'"):
        transform({"x": s.t1.data, "landmarks": kind((5, 3))})
    monkeypatch.setattr(points, "_WARNED", set())
    tio.RandomNoise()(s)
    tio.Crop(1)(s)  # landmarks in the world stay where they are


@pytest.mark.parametrize("name", [n for n in WRITABLE if n not in ("Compose",)])
def test_arguments_are_fixed_once_a_transform_is_made(name):
    transform = WRITABLE[name]()
    own = set(naming.frozen_arguments(type(transform))) - {"self", "kwargs"}
    for argument in own:
        with pytest.raises(AttributeError, match=f"{argument} of .* cannot be changed"):
            setattr(transform, argument, 0)
    for argument, value in {"p": 0.5, "include": ("t1",), "exclude": None, "copy": False}.items():
        setattr(transform, argument, value)
    assert isinstance(transform, Transform)


GIVEN = {
    "Affine, translation": lambda w: tio.Affine(1, 0, translation=w[0, :3]),
    "Affine, degrees": lambda w: tio.Affine(1, degrees=w[0, :3]),
    "Affine, scales": lambda w: tio.Affine(scales=w[0, :3]),
    "ElasticDeformation": lambda w: tio.ElasticDeformation(w.reshape(5, 5, 5, 3)),
    "BiasField": lambda w: tio.BiasField(w[0, :20]),
    "Gamma": lambda w: tio.Gamma(w[0, :1]),
    "Noise": lambda w: tio.Noise(std=w[0, :1]),
    "Blur": lambda w: tio.Blur(w[0, :3]),
    "Motion": lambda w: tio.Motion(w[:1, :3], w[:1, 3:6], [0.4]),
    "Ghosting": lambda w: tio.Ghosting(4, 0, w[0, :1]),
    "Spike": lambda w: tio.Spike(w[:1, :3] / 8, w[0, :1]),
    "Resample": lambda w: tio.Resample(w[0, :3]),
}


@pytest.mark.filterwarnings("ignore:max_displacement should stay below")
@pytest.mark.parametrize("kind", ["numpy", "float64", "float32"])
@pytest.mark.parametrize("name", GIVEN)
def test_histories_do_not_change_with_the_given_array(name, kind):
    values = np.random.RandomState(1).uniform(1, 2, (5, 75))
    given = values if kind == "numpy" else torch.tensor(values, dtype=getattr(torch, kind))
    transform, s = GIVEN[name](given), subject()
    out = transform(s)
    given[:] = 0
    again = out.get_composed_history()(s)
    assert torch.equal(again.t1.data, out.t1.data)
    assert torch.equal(transform(s).t1.data, out.t1.data)


def test_unfused_steps_are_replayed_unfused():
    a = tio.Affine(1, (10, 0, 0), (1, 0, 0))
    b = tio.Affine(1, (-10, 0, 0), (0, 1, 0))
    s = subject()
    for fuse in (False, True):
        out = tio.Compose([tio.Pad(2), a, b], fuse=fuse)(s)
        history = out.get_composed_history()
        assert torch.equal(history(s).t1.data, out.t1.data)
        written = [tio.from_dict(json.loads(json.dumps(r.to_dict()))) for r in out.history]
        assert torch.equal(tio.Compose(written)(s).t1.data, out.t1.data)
