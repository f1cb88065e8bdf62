"""Bad values for each argument of all that is public; see :mod:`tests.robustness.arguments`."""

import os
from collections import Counter

import pytest
import torch

import torchio_gpu as tio
from tests.robustness import arguments
from tests.robustness.arguments import CALLS, VALUES, Call, names_of, run, trial

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


def test_flags_numbers_and_names_are_told_apart():
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


def test_values_on_a_device_are_not_looked_at():
    x = torch.zeros(2, 1, 4, 4, 4, device="meta")
    out = tio.functional.gamma(x, torch.full((2,), float("nan"), device="meta"))
    assert out.is_meta


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
def test_what_is_looked_for_would_be_seen(function, outcome):
    assert trial(Call(function, {}), {"number": -1})[0] == outcome
