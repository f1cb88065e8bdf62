"""Kinds of transforms: names of members and arguments of user-defined classes."""

import numpy as np
import pytest
import torch
from torch import nn

import torchio_gpu as tio
from torchio_gpu.transforms.naming import COMMON, ENGINE, HOOKS

KINDS = (
    tio.SpatialTransform, tio.IntensityTransform, tio.PointwiseTransform, tio.VolumeTransform,
    tio.LabelTransform, tio.RandomTransform,
)  # fmt: skip
FAMILIES = {
    "spatial": tio.SpatialTransform, "grid": tio.SpatialTransform, "kspace": tio.VolumeTransform,
    "labels": tio.LabelTransform, "mixing": tio.BatchTransform,
}  # fmt: skip


def classes():
    found = [getattr(tio, name) for name in tio.transforms.__all__]
    return [c for c in found if isinstance(c, type) and issubclass(c, tio.Transform)]


def test_base_classes_have_few_public_members():
    own = {name for name in vars(tio.Transform) if not name.startswith("_")}
    assert len(own) <= 15, own
    for kind in KINDS:
        hooks = {name for name in vars(kind) if not name.startswith("_")}
        assert len(hooks - own) <= 5, hooks


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_classes_are_of_the_kind_of_their_family(cls):
    family = cls.__module__.split(".")[2]
    assert issubclass(cls, FAMILIES.get(family, tio.Transform))
    drawn = cls.__name__.startswith("Random") or cls in (tio.OneOf, tio.SomeOf)
    drawn = drawn or issubclass(cls, tio.BatchTransform)
    assert issubclass(cls, tio.RandomTransform) == drawn
    assert not (issubclass(cls, tio.LabelTransform) and issubclass(cls, tio.IntensityTransform))


@pytest.mark.parametrize("name", sorted([*ENGINE, "apply", "train", "eval"]))
def test_methods_of_the_engine_and_of_torch_are_not_redefined(name):
    with pytest.raises(TypeError, match=f"Own must not define '{name}', which is a method of"):
        type("Own", (tio.VolumeTransform,), {name: lambda self: None})


@pytest.mark.parametrize("name", sorted(HOOKS | {"plan", "apply", "forward", "parameters", "half"}))
def test_arguments_are_not_named_like_hooks_or_methods(name):
    space = {}
    exec(f"def __init__(self, {name}=1, **kwargs): pass", space)
    with pytest.raises(TypeError, match=f"Own must not name an argument '{name}', which is a hook"):
        type("Own", (tio.VolumeTransform,), {"__init__": space["__init__"]})


@pytest.mark.parametrize("name", [*COMMON, "type", "scale"])
def test_common_arguments_may_be_named_and_passed_on(name):
    space = {}
    exec(f"def __init__(self, {name}=None, **kwargs): pass", space)
    type("Own", (tio.VolumeTransform,), {"__init__": space["__init__"]})


@pytest.mark.parametrize(
    ("name", "value"), [("p", 2), ("p", "x"), ("keep", 0.5), ("include", "t1"), ("copy", 3)]
)
def test_common_arguments_are_checked_whenever_they_are_set(name, value):
    transform = tio.RandomNoise()
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        setattr(transform, name, value)


def test_module_methods_of_torch_are_inherited():
    model = nn.Sequential(nn.Conv3d(1, 1, 1), tio.Compose([tio.RandomNoise()]))
    seen = []
    model.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Conv3d", "RandomNoise", "Compose", "Sequential"]
    assert not model.eval()[1][0].training
    landmarks = tio.HistogramStandardization({"t1": np.linspace(0, 100, 13)})
    assert not landmarks.train(False).training


def test_changing_an_inner_transform_updates_the_plan():
    inner = tio.RandomNoise(p=1)
    pipeline = tio.Compose([tio.Compose([inner])])
    x = torch.zeros(1, 4, 4, 4)
    before = pipeline.plan()
    assert pipeline.plan() is before
    tio.RandomGamma(p=0.3)  # another transform has nothing to do with it
    assert pipeline.plan() is before
    inner.p = 0.0
    assert pipeline.plan() is not before
    assert torch.equal(pipeline(x), x)
