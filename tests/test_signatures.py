"""Annotations of public constructors: each argument has one, and none is ``Any``."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch.distributions import Normal

import torchio_gpu as tio
from torchio_gpu import datasets
from torchio_gpu.transforms.parameters import types

PUBLIC = {
    name: getattr(module, name)
    for module in (tio, tio.transforms, datasets)
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
}
#: Records whose data may be any value that a function of the user returns.
RESULTS = {"Slab"}
NAMES = sorted(PUBLIC.keys() - RESULTS)


def constructor(cls: type) -> Callable[..., Any]:
    """Function whose arguments are those of a class; of a named tuple, it is ``__new__``."""
    return cls.__new__ if issubclass(cls, tuple) else cls.__init__


def arguments(cls: type) -> list[str]:
    """Names of the arguments of a constructor, without ``*args`` and ``**kwargs``."""
    parameters = list(inspect.signature(constructor(cls)).parameters.values())[1:]
    starred = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [p.name for p in parameters if p.kind not in starred]


def nested_hints(hint: Any) -> Iterator[Any]:
    """Yield an annotation and the annotations nested in it."""
    yield hint
    for part in hint if isinstance(hint, list) else get_args(hint):
        yield from nested_hints(part)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_have_annotations_without_any(name):
    cls = PUBLIC[name]
    # fields of a named tuple know the module in which their names have a meaning
    hints = get_type_hints(cls if issubclass(cls, tuple) else constructor(cls))
    for argument in arguments(cls):
        assert argument in hints, f"{argument} of {name} has no annotation"
        found = list(nested_hints(hints[argument]))
        assert Any not in found, f"{argument} of {name} may be Any: {hints[argument]}"
        assert not any(isinstance(part, TypeVar) for part in found)


def test_constructors_are_found():
    assert len(NAMES) > 80
    assert sum(len(arguments(PUBLIC[name])) for name in NAMES) > 280


def test_nested_any_is_found():
    assert Any in nested_hints(dict[str, list[Any]])
    assert Any in nested_hints(Callable[[Any], int] | None)
    assert Any not in nested_hints(types.ByImage[types.PerSample] | None)


NORMAL = Normal(0.0, 1.0)
ACCEPTED = {
    "a range of numpy": lambda: tio.RandomGamma(np.float32(0.3)),
    "a range as a 0-d array": lambda: tio.RandomGamma(np.array(0.3)),
    "a range as a 0-d tensor": lambda: tio.RandomGamma(torch.tensor(0.3)),
    "a range as a list": lambda: tio.RandomAffine(degrees=[1, 2, 3, 4, 5, 6]),
    "a range for each axis": lambda: tio.RandomAffine(degrees=[5, (1, 2), tio.Choice([0, 90])]),
    "a distribution": lambda: tio.RandomNoise(mean=NORMAL),
    "a choice": lambda: tio.RandomGhosting(num_ghosts=tio.Choice([2, 4])),
    "ranges of labels": lambda: tio.RandomLabelsToImage(mean=[1, (2, 3)], std=(1, 1)),
    "axes of numpy": lambda: tio.RandomFlip(np.int64(1)),
    "axes as a tensor": lambda: tio.RandomFlip(torch.tensor([0, 1])),
    "an axis for each sample": lambda: tio.Anisotropy([0, 1], np.float32(2)),
    "a tensor with gradient": lambda: tio.Blur(torch.ones(2, 3, requires_grad=True)),
    "numbers by image": lambda: tio.Noise({"t1": 0}, {"t1": torch.tensor(1.0)}, {"t1": 3}),
    "None by image": lambda: tio.Ghosting(3, {"t1": "LR"}, 0.5, {"t1": None}),
    "poses in lists": lambda: tio.Motion([[[1, 2, 3]]], np.zeros((1, 3)), [0.5]),
    "a size of numpy": lambda: tio.UniformSampler(np.int64(4)),
    "a size as a list": lambda: tio.GridSampler(None, [4, 4, 4], torch.tensor([2, 0, 0])),
    "sizes by output": lambda: tio.PatchAggregator([8] * 3, output_shape={"a": (4, 4, 4)}),
    "a shape with None": lambda: tio.CropOrPad([4, None, np.int64(3)]),
    "a shape in mm": lambda: tio.CropOrPad(np.array([4.5, 4, 3]), units="mm"),
    "a grid": lambda: tio.Resample(((4, 4, 4), np.eye(4))),
    "a spacing as a tensor": lambda: tio.Resample(torch.tensor([1.0, 2.0, 3.0])),
    "a pair of numpy": lambda: tio.RescaleIntensity(np.array([0, 1]), [1, 99], in_min_max=5),
    "an affine in lists": lambda: tio.ScalarImage(torch.ones(1, 2, 2, 2), affine=[*np.eye(4)]),
    "a probability of numpy": lambda: tio.RandomFlip(p=np.float32(0.5)),
    "names in a tuple": lambda: tio.RandomFlip(include=("t1",), keep={"t1": "old"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_types_named_by_annotations_are_accepted(name):
    ACCEPTED[name]()
