"""Arguments and members of transforms that scripts for TorchIO 1 use, against TorchIO."""

import importlib
import json
import pickle
import warnings

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import subject
from torchio_gpu.transforms import naming

X = torch.rand(1, 12, 14, 16)
LANDMARKS = {"t1": np.linspace(0, 100, 13)}


@pytest.fixture(autouse=True)
def _no_name_was_warned_of(monkeypatch):
    monkeypatch.setattr(naming, "_absent", set())


def both(function, **images):
    """Return the voxels of t1 after a transform, of this library and of TorchIO."""
    torchio = pytest.importorskip("torchio")
    results = []
    for module in (tio, torchio):
        s = module.Subject(t1=module.ScalarImage(tensor=X), **{
            name: module.LabelMap(tensor=data) for name, data in images.items()
        })  # fmt: skip
        results.append(function(module)(s).t1.data)
    return results


# Masks

BOUNDS = [2, 0, (1, 2, 3), [1, 2, 3], (1, 2, 3, 0, 1, 2), [0, 0, 0, 0, 0, 5]]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_statistics_within_bounds_are_those_of_torchio(bounds):
    mine, theirs = both(lambda m: m.ZNormalization(masking_method=bounds))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)  # float32 sums of TorchIO
    mine, theirs = both(
        lambda m: m.RescaleIntensity((-1, 1), percentiles=(5, 95), masking_method=bounds)
    )
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_statistics_within_bounds_are_those_of_a_crop(bounds):
    inside = tio.Crop(bounds)(X)
    found = tio.ZNormalization(bounds)(X)
    expected = (X - inside.mean()) / inside.std()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)  # float32 sums


def test_bounds_are_those_of_the_axes_of_each_sample():
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.stack([X, 3 * X.flip(1) + 1]))})
    found = tio.ZNormalization((4, 0, 0, 0, 0, 0))(batch).t1.data
    for n, x in enumerate(batch.t1.data):
        inside = x[:, 4:]
        torch.testing.assert_close(
            found[n], (x - inside.mean()) / inside.std(), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("bounds", [6, 20, (0, 12, 0, 0, 0, 0), (0, 15, 0, 0, 0, 0)], ids=str)
def test_bounds_that_leave_nothing_leave_the_image(bounds):
    with pytest.warns(RuntimeWarning, match="its mask is empty"):
        found = tio.ZNormalization(bounds)(X)
    assert torch.equal(found, X)


@pytest.mark.parametrize("bounds", [-1, (1, 2), (1, 2, 3, 4), [1, "a", 3], (0.5, 1, 1), True, 2.0])
def test_bad_bounds_are_named(bounds):
    for transform in (tio.ZNormalization, tio.RescaleIntensity):
        with pytest.raises((ValueError, TypeError), match="masking_method must be"):
            transform(masking_method=bounds)


@pytest.mark.parametrize("labels", [(1,), (2, 3)])
def test_labels_by_name_are_those_of_torchio(labels):
    data = (4 * torch.rand(1, 12, 14, 16)).int()
    data = torch.where(torch.isin(data, torch.tensor(labels)), data, 0)
    mine, theirs = both(lambda m: m.ZNormalization("brain"), brain=data)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "create",
    [
        lambda m: m.ZNormalization(m.ZNormalization.mean),
        lambda m: m.RescaleIntensity(masking_method=m.RescaleIntensity.mean),
        lambda m: m.HistogramStandardization(LANDMARKS, m.ZNormalization.mean),
    ],
    ids=["ZNormalization", "RescaleIntensity", "HistogramStandardization"],
)
def test_the_mean_as_a_mask_is_that_of_torchio(create):
    mine, theirs = both(create)
    torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-5)  # float32 sums of TorchIO


def test_the_mean_is_a_mask_of_voxels():
    x = torch.tensor([1.0, 2, 3, 10]).view(1, 4, 1, 1)
    assert tio.ZNormalization.mean(x).flatten().tolist() == [False, False, False, True]
    for dtype in (torch.int16, torch.float16):  # whose mean does not exist, or is rounded to 2050
        x = torch.tensor([2048, 2050, 2050], dtype=dtype).view(1, 3, 1, 1)
        assert tio.ZNormalization.mean(x).flatten().tolist() == [False, True, True]


# Names of images


def test_keys_are_the_older_name_of_include():
    s = tio.Subject(t1=tio.ScalarImage(X), t2=tio.ScalarImage(X))
    with pytest.warns(FutureWarning, match="keys is the older name of include"):
        noise = tio.RandomNoise(keys=["t1"])
    assert noise.include == ("t1",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = [noise, pickle.loads(pickle.dumps(noise)), instantiate(noise.to_hydra_config())]
        for each in again:
            result = each(s)
            assert torch.equal(result.t2.data, X)
            assert not torch.equal(result.t1.data, X)
            assert repr(each) == "RandomNoise(include=('t1',))"


@pytest.mark.parametrize(
    "create", [tio.RandomFlip, tio.ZNormalization, lambda **k: tio.Pad(1, **k)]
)
def test_keys_are_taken_by_all(create):
    with pytest.warns(FutureWarning, match="keys"):
        assert create(keys=("t1",)).include == ("t1",)


@pytest.mark.filterwarnings("ignore:keys:FutureWarning")
def test_bad_keys_are_named():
    with pytest.raises(ValueError, match="include must be given once, got it twice; keys is the"):
        tio.RandomNoise(keys=["t1"], include=["t1"])
    with pytest.raises(TypeError, match="keys must be a sequence of names or None, got 't1'"):
        tio.RandomNoise(keys="t1")


def test_without_parsing_only_subjects_and_batches_are_taken():
    flip = tio.Flip(0, parse_input=False)
    s = tio.Subject(t1=tio.ScalarImage(X))
    batch = tio.SubjectsBatch.from_subjects([s])
    assert torch.equal(flip(s).t1.data, X.flip(1))
    assert torch.equal(flip(batch).t1.data[0], X.flip(1))
    for other in (X, X.numpy(), s.t1, {"t1": X}, batch.t1):
        with pytest.raises(
            TypeError, match="Flip with parse_input=False takes a Subject or a batch"
        ):
            flip(other)
    assert torch.equal(tio.Compose([flip])(X), X.flip(1))
    assert repr(flip) == "Flip(axes=(0,), parse_input=False)"
    for bad in (None, 3, "no"):
        with pytest.raises(TypeError, match="parse_input must be True or False"):
            tio.Flip(0, parse_input=bad)


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_absent_names_are_left_out_with_one_warning(argument):
    names = ["t1", "none"] if argument == "include" else ["none"]
    flips = [tio.Flip(0, **{argument: names}) for _ in range(3)]
    with pytest.warns(
        RuntimeWarning, match=r"Flip should name images .*, 'none' is none of"
    ) as all_:
        results = [flip(tio.Subject(t1=tio.ScalarImage(X))) for flip in flips]
    assert len(all_) == 1
    assert all(torch.equal(result.t1.data, X.flip(1)) for result in results)
    with pytest.warns(RuntimeWarning, match="'other' is none of"):
        tio.Flip(0, **{argument: ["other"]})(tio.Subject(t1=tio.ScalarImage(X)))
    with pytest.warns(RuntimeWarning, match="of Pad should .*'none' is none of"):
        tio.Pad(1, **{argument: names})(tio.Subject(t1=tio.ScalarImage(X)))


def test_only_absent_names_leave_the_subject_as_it_is():
    with pytest.warns(RuntimeWarning, match="'none'"):
        result = tio.Flip(0, include=["none"])(tio.Subject(t1=tio.ScalarImage(X)))
    assert torch.equal(result.t1.data, X)


def test_values_that_are_no_images_are_no_absent_names():
    s = tio.Subject(t1=tio.ScalarImage(X), t2=None, seg=tio.LabelMap(X > 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = tio.RandomNoise(include=["t1", "t2", "seg"])(s)
        tio.RandomNoise(exclude=["t2"])(s)
        for each in result.get_applied_transforms():  # the record names no image of others
            each(tio.Subject(t1=tio.ScalarImage(X)))
    assert torch.equal(result.seg.data, s.seg.data)


# Configurations


def instantiate(value):
    """Construct what a configuration describes, as ``hydra.utils.instantiate`` does."""
    if isinstance(value, list):
        return [instantiate(each) for each in value]
    if not isinstance(value, dict):
        return value
    arguments = {key: instantiate(each) for key, each in value.items() if key != "_target_"}
    if "_target_" not in value:
        return arguments
    module, _, name = value["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**arguments)


class Halve(tio.IntensityTransform):
    """Transform of a user, with an argument."""

    def __init__(self, share=0.5, **kwargs):
        super().__init__(**kwargs)
        self.share = share

    def apply_transform(self, subject):
        for image in self.get_images(subject):
            image.set_data(image.data * self.share)
        return subject


CONFIGURED = {
    "plain": lambda: tio.RandomAffine(),
    "ranges": lambda: tio.RandomAffine(scales=(0.9, 1.2), degrees=5, translation=(1, 2, 3), p=0.9),
    "names": lambda: tio.RandomNoise(include=["t1"], keep={"t1": "before"}),
    "flags": lambda: tio.RandomFlip((0, "AP"), copy=False),
    "composition": lambda: tio.Compose([tio.ToCanonical(), tio.Compose([tio.RandomBlur(2)])]),
    "named": lambda: tio.Compose({"a": tio.RandomFlip(), "b": tio.RandomGamma()}),
    "one of": lambda: tio.OneOf([tio.RandomFlip(), tio.RandomNoise()]),
    "weights": lambda: tio.OneOf({tio.RandomFlip(): 1, tio.RandomBlur(): 2}),
    "choices": lambda: tio.RandomGamma(tio.Choice([0.1, 0.2])),
    "some of": lambda: tio.SomeOf([tio.RandomFlip(), tio.RandomNoise()], num_transforms=1),
    "integer keys": lambda: tio.RemapLabels({1: 2, 2: 1}),
    "arrays": lambda: tio.HistogramStandardization(LANDMARKS),
    "bounds": lambda: tio.ZNormalization((1, 2, 3)),
    "types": lambda: tio.To(torch.float16),
    "tensors": lambda: tio.Affine(scales=torch.tensor([1.1, 1, 1]), degrees=3, translation=0),
    "one's own": lambda: Halve(0.25),
    "in a composition": lambda: tio.Compose([Halve(), tio.Clamp(0, 1)]),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_configurations_construct_an_equal_transform(name):
    transform = CONFIGURED[name]()
    given = transform.to_hydra_config()
    assert given["_target_"].rpartition(".")[2] == type(transform).__name__
    again = instantiate(given)
    assert type(again) is type(transform)
    assert again.to_hydra_config() == given
    results = []
    for each in (transform, again):
        torch.manual_seed(3)
        results.append(each(subject()))
    assert list(results[0]) == list(results[1])
    for image, other in zip(*(r.get_images(False) for r in results), strict=True):
        assert torch.equal(image.data, other.data)
    if name != "integer keys":  # which JSON makes strings
        assert json.loads(json.dumps(given)) == given


def test_configurations_are_short():
    assert tio.RandomAffine(degrees=5, p=0.5).to_hydra_config() == {
        "_target_": "torchio_gpu.RandomAffine",
        "degrees": 5,
        "p": 0.5,
    }
    assert Halve().to_hydra_config() == {"_target_": f"{__name__}.Halve"}


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: tio.Lambda(torch.abs), "function of Lambda must be a number, a string"),
        (lambda: tio.Compose([tio.ZNormalization(torch.abs)]), "masking_method of ZNormalization"),
    ],
)
def test_what_no_configuration_holds_is_named(create, message):
    with pytest.raises(TypeError, match=message):
        create().to_hydra_config()


# Ghosts, padding, inverses


@pytest.mark.parametrize(
    "create",
    [lambda m: m.RandomGhosting(num_ghosts=0), lambda m: m.Ghosting(0, 1, 0.5, 0.02)],
    ids=["random", "given"],
)
def test_no_ghosts_change_nothing(create):
    mine, theirs = both(create)
    assert torch.equal(mine, X)
    assert torch.equal(theirs, X)


def test_no_ghosts_in_one_sample_of_a_batch():
    batch = tio.ImagesBatch(torch.stack([X, X]))
    found = tio.Ghosting([0, 4], 1, [0.5, 0.5])(batch).data
    assert torch.equal(found[0], X)
    torch.testing.assert_close(found[1], tio.Ghosting(4, 1, 0.5)(X))
    assert not torch.allclose(found[1], X, atol=0.01)


@pytest.mark.parametrize("number", [1, -1, 2.5, (0, 1)])
def test_bad_numbers_of_ghosts_are_named(number):
    with pytest.raises((ValueError, TypeError), match="num_ghosts must be"):
        tio.RandomGhosting(num_ghosts=number)


def test_padding_modes_are_those_of_torchio():
    torchio = pytest.importorskip("torchio")
    assert set(tio.Pad.PADDING_MODES) == set(torchio.Pad.PADDING_MODES)
    assert len(tio.Pad.PADDING_MODES) == len(torchio.Pad.PADDING_MODES)
    for mode in tio.Pad.PADDING_MODES:
        mine, theirs = both(lambda m, mode=mode: m.Pad((1, 2, 3, 0, 2, 1), padding_mode=mode))
        if mode == "empty":
            mine, theirs = (x[:, 1:-2, 3:, 2:-1] for x in (mine, theirs))
            assert torch.equal(mine, X)
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("create", [lambda: tio.Flip((0, 2)), lambda: tio.Pad(2), tio.Transpose])
def test_inverses_are_methods(create):
    transform = create()
    assert transform.is_invertible()
    assert torch.equal(transform.inverse()(transform(X)), X)
    assert not tio.ZNormalization().is_invertible()


# Images of label maps


def shares(seed=0, labels=3):
    data = torch.rand(labels, 8, 9, 10, generator=torch.Generator().manual_seed(seed))
    return data / data.sum(0, keepdim=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"used_labels": [0, 2]},
        {"used_labels": [1]},
        {"used_labels": [1, 2], "ignore_background": True},
        {"ignore_background": True},
        {"discretize": True},
        {"discretize": True, "used_labels": [1, 2]},
        {"discretize": True, "ignore_background": True},
    ],
    ids=str,
)
def test_means_of_shares_are_those_of_torchio(arguments):
    torchio = pytest.importorskip("torchio")
    fixed = {"label_key": "seg", "image_key": "t1", "mean": [1.0, 20, 300], "std": [0.0] * 3}
    results = []
    for module in (tio, torchio):
        s = module.Subject(seg=module.LabelMap(tensor=shares()))
        results.append(module.LabelsToImage(**fixed, **arguments)(s).t1.data)
    torch.testing.assert_close(*results)


def test_means_of_used_labels_alone():
    s = tio.Subject(seg=tio.LabelMap(shares()))
    fixed = {"label_key": "seg", "image_key": "t1", "used_labels": [0, 2]}
    short = tio.LabelsToImage(mean=[1, 300], std=[0, 0], **fixed)(s).t1.data
    long = tio.LabelsToImage(mean=[1, 20, 300], std=[0, 0, 0], **fixed)(s).t1.data
    assert torch.equal(short, long)
    expected = 1 * shares()[0] + 300 * shares()[2]
    torch.testing.assert_close(short[0], expected)
    with pytest.raises(
        ValueError, match="mean must have 2 entries, for used_labels, or > 2, got 1"
    ):
        tio.LabelsToImage(mean=[1], std=[0], **fixed)
