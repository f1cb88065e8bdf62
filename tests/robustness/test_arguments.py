"""Bad values for each argument of the public interface; see :mod:`tests.robustness.arguments`."""

import json
import os
from collections import Counter

import numpy as np
import pytest
import torch

import torchio_gpu as tio
import torchio_gpu.functional as F
from tests.robustness import arguments
from tests.robustness.arguments import CALLS, VALUES, Call, names_of, run, subject, trial
from torchio_gpu.signature import is_number

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs alarms")
arguments.prepare()


@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments_are_refused_by_name(name):
    call = CALLS[name]
    assert trial(call, {})[0] == "used"
    found: Counter[str] = Counter()
    for argument in names_of(call):
        for value in VALUES:
            outcome, detail = trial(call, {argument: VALUES[value]})
            assert not outcome.startswith("bad"), f"{argument}={value}: {outcome}: {detail}"
            found[outcome] += 1
    assert found["refused"]


def test_two_bad_arguments_at_once():
    outcomes = [run(number, seed=2) for number in range(10**6, 10**6 + 300)]
    bad = [detail for outcome, detail in outcomes if outcome.startswith("bad")]
    assert not bad, bad[:5]


def test_flags_numbers_and_names_are_distinguished():
    for make, message in (
        (lambda: tio.RandomNoise(rician=1), "rician must be True or False, got 1"),
        (lambda: tio.RandomAffine(degrees=True), "degrees must be"),
        (lambda: tio.RandomAffine(isotropic="yes"), "isotropic must be True or False"),
        (lambda: tio.Affine(1, 2, 3, default_pad_label=True), "default_pad_label must be a number"),
        (lambda: tio.functional.blur([1], 1), r"x must be a tensor of shape \(B, C, I, J, K\)"),
        (lambda: tio.Resize(10**9), "target_shape must be numbers of voxels from 1 to"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make()


X = torch.rand(2, 1, 6, 6, 6)
TAKEN = {
    "size as a tensor": lambda: F.resample(X, torch.tensor([4, 4, 4])),
    "size as a list": lambda: F.resample(X, [4, 4, 4]),
    "size as torch.Size": lambda: F.window(X, (0, 0, 0), torch.Size([4, 4, 4])),
    "value as a tensor": lambda: F.mask_voxels(X, X > 0.5, torch.tensor(0.0)),
    "fill as a tensor": lambda: F.fill_value(X, torch.tensor(1.0)),
    "flag of numpy": lambda: tio.RandomNoise(copy=np.bool_(True))(X),
    "p as a tensor": lambda: tio.RandomFlip(p=torch.tensor(0.5))(X),
    "axes of a generator": lambda: tio.RandomFlip(axes=(n for n in range(3)))(X),
    "names of a generator": lambda: tio.RandomNoise(include=(n for n in ["t1"]))(subject()).t1.data,
    "padding of numpy": lambda: tio.Pad(1, padding_mode=np.float32(3))(X),
    "fill of numpy": lambda: tio.RandomAffine(default_pad_value=np.float32(1))(X),
    "count of numpy": lambda: tio.OneHot(num_classes=np.int64(2))(tio.LabelMap(X[0] > 0.5)).data,
    "range as an array": lambda: tio.RandomGamma(log_gamma=np.array([-0.3, 0.3]))(X),
    "weight of numpy": lambda: tio.OneOf({tio.RandomNoise(): np.float32(0.5)})(X),
    "index of numpy": lambda: tio.ScalarImage(X[0])[:, :, np.int64(2)].data,
    "affine as a list": lambda: tio.ImagesBatch(X[:1], [np.eye(4).tolist()]).data,
    "affine as a tensor": lambda: tio.Crop(1)(tio.ImagesBatch(X[:1], torch.eye(4)[None])).data,
}


@pytest.mark.parametrize("name", TAKEN)
def test_scalars_and_sequences_of_all_types_are_accepted(name):
    assert TAKEN[name]().isfinite().all()


def test_numpy_arguments_are_serialized():
    for transform in (tio.CropOrPad(np.int64(5)), tio.Clamp(np.float32(0.25), np.float32(0.5))):
        record = json.loads(json.dumps(transform(subject()).history[0].to_dict()))
        assert torch.equal(tio.from_dict(record)(subject()).t1.data, transform(subject()).t1.data)


def test_values_on_a_device_are_not_read():
    x = torch.zeros(2, 1, 4, 4, 4, device="meta")
    out = tio.functional.gamma(x, torch.full((2,), float("nan"), device="meta"))
    assert out.is_meta
    assert is_number(torch.zeros((), device="meta"))  # which has no value
    assert not is_number(torch.zeros((), dtype=torch.bool))
    assert not is_number(torch.zeros((), dtype=torch.complex64))


def late(number: int) -> None:
    raise ValueError("too late to say which")


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (late, "bad: unnamed"),
        (lambda number: {}["other"], "bad: unnamed"),
        (lambda number: [][0], "bad: error"),
        (lambda number: torch.tensor(float("nan")), "bad: not finite"),
        (lambda number: torch.ones(1), "used"),
    ],
)
def test_each_kind_of_failure_is_detected(function, outcome):
    assert trial(Call(function, {}), {"number": -1})[0] == outcome
