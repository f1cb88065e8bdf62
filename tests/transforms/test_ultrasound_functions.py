"""Transforms of ultrasound hand on what they are given, all different, to their functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import batch_of
from torchio_gpu import functional as F
from torchio_gpu.functional.ultrasound.geometry import BeamGeometry

PROBE = BeamGeometry("convex", angle=50.0, radius=30.0, depth=40.0, center=(2.0, -1.0))
AFFINE = np.diag([3.0, -0.9, 1.2, 1])
SHAPE = (2, 50, 60)
#: Arguments of both, none of which is a default.
GIVEN = {"axes": (2, 1), "dynamic_range": 50.0, "white": 200.0}
RANDOM = np.array([7])
#: Name of the function, own arguments in order, and seeds.
OWN = {
    "Attenuation": ("attenuate", {"attenuation": 1.7}),
    "TimeGain": ("time_gain", {"gains": [3.0, -4, 6]}),
    "Speckle": ("speckle", {"strength": 0.6, "axial": 1.3, "lateral": 3.1}),
    "Haze": ("haze", {"brightness": 0.6, "decay": 17.0, "texture": 0.3, "size": 5.0}),
    "AcousticShadow": (
        "acoustic_shadow",
        {"loss": 9.0, "position": 0.4, "width": 0.3, "depth": 11.0, "length": 6.0, "edge": 0.07},
    ),
    "Reverberation": ("reverberation", {"strength": 0.4, "distance": 6.3, "echoes": 3}),
    "LabelAttenuation": ("label_attenuation", {"attenuation": {1: 2.5, 2: 7.0}}),
    "LabelsToUltrasound": (
        "labels_to_ultrasound",
        {
            "mean": [0.2, 0.1, 0.3], "std": [0.02, 0.03, 0.01], "density": [0.9, 0.5, 0.7],
            "attenuation": [0.4, 0.8, 1.1], "impedance": [1.5, 1.7, 2.1],
            "axial": 1.1, "lateral": 2.7, "gain_per_cm": 0.9,
        },
    ),
}  # fmt: skip
SEEDED = ("Speckle", "Haze", "LabelsToUltrasound")


def subject():
    chance = torch.Generator().manual_seed(2)
    us = 20 + 150 * torch.rand(1, *SHAPE, generator=chance)
    seg = torch.randint(0, 3, (1, *SHAPE), generator=chance).to(torch.uint8)
    return tio.Subject(us=tio.ScalarImage(us, affine=AFFINE), seg=tio.LabelMap(seg, affine=AFFINE))


@pytest.mark.parametrize("name", OWN)
def test_a_transform_is_its_function(name):
    function, own = OWN[name]
    s = subject()
    given = {**GIVEN, **({"seed": 7} if name in SEEDED else {})}
    out = (
        getattr(tio, name)(PROBE, *own.values(), **given)(s)
        if name != "LabelsToUltrasound"
        else (tio.LabelsToUltrasound(PROBE, **own, **given)(s))
    )
    arguments = {**GIVEN, "spacing": np.array([3.0, 0.9, 1.2]), "geometry": PROBE, **own}
    if name in SEEDED:
        arguments["seeds"] = RANDOM
    first = s.us.data[None]
    if name == "LabelAttenuation":
        arguments |= {
            "labels": s.seg.data[None], "values": [1, 2], "attenuation": np.array([2.5, 7.0])
        }  # fmt: skip
    if name == "LabelsToUltrasound":
        first = s.seg.data[None]
    want = getattr(F, function)(first, **arguments)[0]
    assert torch.equal(out.us.data, want)
    assert (want != s.us.data).double().mean() > 0.05
    for change in own:  # each matters
        if change in ("attenuation", "mean", "std", "density", "impedance", "gains", "echoes"):
            continue
        other = getattr(F, function)(first, **arguments | {change: own[change] * 0.7})[0]
        assert not torch.equal(other, want), change


#: Disjoint ranges of the random twins, by argument.
RANGES = {
    "Attenuation": {"attenuation": (1, 2)},
    "TimeGain": {"gain": (1, 2)},
    "Speckle": {"strength": (0.5, 0.6), "axial": (1, 2), "lateral": (3, 4)},
    "Haze": {"brightness": (0.1, 0.2), "decay": (30, 40), "texture": (0.5, 0.6), "size": (5, 6)},
    "AcousticShadow": {
        "loss": (20, 30), "position": (0.7, 0.8), "width": (0.2, 0.3), "depth": (5, 6),
        "length": (9, 10), "edge": (0.01, 0.02),
    },
    "Reverberation": {"strength": (0.2, 0.3), "distance": (5, 6)},
    "LabelsToUltrasound": {
        "mean": (0.1, 0.2), "std": (0.01, 0.02), "density": (0.5, 0.6), "attenuation": (5, 6),
        "impedance": (2, 3), "axial": (0.7, 0.8), "lateral": (8, 9), "gain_per_cm": (11, 12),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_each_argument_has_numbers_of_its_own_range(name):
    transform = getattr(tio, f"Random{name}")("linear", **RANGES[name])
    params = transform.sample_params(batch_of([subject()] * 20, list(range(20))))
    for argument, (low, high) in RANGES[name].items():
        values = np.asarray(getattr(params, {"gain": "gains"}.get(argument, argument)))
        assert low <= values.min() < values.max() <= high, argument
        assert values.max() - values.min() > 0.5 * (high - low)
