"""Images of ultrasound made of label maps: levels, speckle and boundaries in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.close import assert_close
from tests.functional.test_ultrasound_beams import CONVEX, DB, GRIDS, LINEAR, PHASED, columns
from torchio_gpu import functional as F
from torchio_gpu import random
from torchio_gpu.functional.definitions import ultrasound_beams as definitions
from torchio_gpu.functional.ultrasound.geometry import Fan

PROBES = pytest.mark.parametrize("geometry", [CONVEX, PHASED, LINEAR], ids=lambda g: g.probe)
#: Full width at half maximum of a Gaussian of deviation 1.
WIDTH = math.sqrt(8 * math.log(2))
#: Dynamic range that is never left by speckle.
WIDE = {"dynamic_range": 200.0, "white": 200.0}


def decibels(image):
    """Return the level of images of the range above, in dB."""
    return image - 200


@PROBES
def test_homogeneous_tissue_falls_by_its_attenuation(geometry):
    """In the mean of the intensities of many seeds, at all voxels of each depth."""
    shape = (61, 64, 1)
    labels = torch.ones(60, 1, *shape, dtype=torch.float64)
    out = F.labels_to_ultrasound(
        labels,
        [0.2],
        [0.1],
        1,
        [3.0],
        [1.6],
        geometry,
        seeds=np.arange(60),
        values=[1],
        axial=0.5 * WIDTH,
        lateral=1.5 * WIDTH,
        **WIDE,
    )
    fan = Fan(geometry, shape, (0, 1), (1.0, 1.0))
    depth = fan.places(torch.device("cpu"))[1][..., None]
    inside = fan.inside(torch.device("cpu")) & (depth > 2) & (depth < 58)
    # the mean of interpolated complex noise is less than that at points; by the same share at all
    # voxels whose place between points is alike, and so for depth ranges in the mean
    intensity = 10 ** (decibels(out[:, 0]) / 10)
    bands = [(intensity[:, inside & (depth >= a) & (depth < a + 14)]) for a in (2, 16, 30, 44)]
    at = [depth[inside & (depth >= a) & (depth < a + 14)] for a in (2, 16, 30, 44)]
    level = [10 * math.log10(b.mean()) for b in bands]
    want = [10 * math.log10((10 ** (-2 * 3.0 * d / 10 / 20)).mean()) for d in at]
    # intensities are exponential: with n independent ones, 4.34 / sqrt(n) dB of deviation; a pulse
    # of 0.5 and 1.5 mm has about 60 voxels in 5, and the bands more than 60 * 14 * 14 / 7
    sigma = 4.34 / math.sqrt(60 * 14 * 14 / 7)
    offset = np.array(level) - np.array(want)
    assert np.abs(offset - offset.mean()).max() < 4 * sigma
    if geometry.probe == "linear":  # points are voxels: no offset
        assert abs(offset.mean() - 10 * math.log10(0.2**2 + 0.1**2)) < 4 * sigma


def test_speckle_is_fully_developed():
    """Amplitudes are Rayleigh distributed: mean over deviation is sqrt(pi / (4 - pi)), 1.91."""
    labels = torch.ones(40, 1, 40, 60, 1, dtype=torch.float64)
    out = F.labels_to_ultrasound(
        labels,
        [0.1],
        0,
        1,
        0,
        1.6,
        columns(labels.shape),
        seeds=np.arange(40),
        values=[1],
        axial=2 * WIDTH,
        lateral=3 * WIDTH,
        **WIDE,
    )
    amplitude = 10 ** (decibels(out) / 20)
    # 96000 voxels, of which about 2.5 * 2 * 2.5 * 3 share a resolution cell of intensity
    independent = amplitude.numel() / (2.5 * 2 * 2.5 * 3)
    ratio = (amplitude.mean() / amplitude.std()).item()
    # the variance of the deviation of n Rayleigh numbers is 0.28 / n, that of the mean 0.27 / n
    assert abs(ratio - math.sqrt(math.pi / (4 - math.pi))) < 4 * 1.91 * 0.8 / math.sqrt(independent)
    assert abs(decibels(out).std().item() - 5.57) < 4 * 5.57 * 1.2 / math.sqrt(independent)
    assert abs(10 * math.log10(amplitude.square().mean()) + 20) < 4 * 4.34 / math.sqrt(independent)


def test_few_scatterers_make_no_developed_speckle():
    labels = torch.ones(4, 1, 40, 60, 1, dtype=torch.float64)
    probe, few = columns(labels.shape), 0.02
    out = F.labels_to_ultrasound(
        labels, [1.0], 0, few, 0, 1.6, probe, seeds=np.arange(4), values=[1], axial=2, lateral=2
    )
    intensity = 10 ** ((out / 255 - 1) * 6)
    assert intensity.mean().item() == pytest.approx(few, rel=0.2)  # of white, 1
    assert (intensity.mean() / intensity.std()).item() < 0.6  # 1 of developed speckle


@PROBES
@GRIDS
def test_a_boundary_reflects_and_passes_the_rest(geometry, shape, axes):
    """The amplitude r of a boundary at a constant depth, and 1 - r^2 of what lies behind it."""
    p = shape[axes[0]]
    fan = Fan(geometry, shape, axes, (1.0, 1.0))
    depth = fan.over_volume(fan.places(torch.device("cpu"))[1])
    labels = (1 + (depth > 29.5).double() + (depth > 49.5).double()).expand(1, 1, *shape)
    z = [1.5, 4.0, 2.0]
    out = F.labels_to_ultrasound(
        labels, [0.0] * 3, 0, 0, [2.0, 4.0, 0], z, geometry, values=[1, 2, 3], lateral=0.1,
        axes=axes, **WIDE,
    )  # fmt: skip
    first, second = (z[1] - z[0]) / (z[1] + z[0]), (z[2] - z[1]) / (z[2] + z[1])
    middle = [slice(None)] * 3
    middle[axes[0]] = p // 2
    seen = decibels(out[0, 0])[tuple(middle)].movedim(0 if axes[1] < 3 - sum(axes) else 1, 0)
    at = [int(seen[:40, 0].argmax()), 40 + int(seen[40:, 0].argmax())]
    if geometry.probe == "linear":
        assert at == [30, 50]
    # with a path of 30 points in label 1, of which half a step at the border is in label 2
    path = [(2 * 29.5 + 4 * 0.5) / 10, (2 * 29.5 + 4 * 20) / 10]
    want = [
        20 * math.log10(first) - path[0],
        20 * math.log10(abs(second)) + 20 * math.log10(1 - first**2) - path[1],
    ]
    exact = geometry.probe == "linear"
    # the other probes find a border to a voxel, whose points lie up to half a voxel off a beam
    for peak, level in zip(at, want, strict=True):
        assert (seen[peak] - level).abs().max() < (0.2 if exact else 1.5), (seen[peak], level)


def test_two_layers_have_the_level_of_each_and_of_what_passes():
    labels = torch.ones(40, 1, 30, 60, 1, dtype=torch.float64)
    labels[..., 30:, :] = 2
    z, mean = [1.0, 3.0], [0.3, 0.1]
    out = F.labels_to_ultrasound(
        labels, mean, 0, 1, [1.0, 4.0], z, columns(labels.shape), [1, 2], seeds=np.arange(40),
        axial=WIDTH, lateral=WIDTH, **WIDE,
    )  # fmt: skip
    intensity = (10 ** (decibels(out) / 10)).mean((0, 1, 2, 4))
    depth = torch.arange(60).double()
    path = (1 * depth.clamp(max=29.5) + 4 * (depth - 29.5).clamp(min=0)) / 10
    behind = (depth > 29).double() * 20 * math.log10(1 - 0.25)
    want = 20 * torch.where(depth > 29, 0.1, 0.3).log10() - path + behind
    error = 10 * intensity.log10() - want
    error = torch.cat([error[:26], error[34:]])  # away from the wall
    independent = 40 * 30 * 26 / 6.3  # of each layer
    assert error[:26].mean().abs() < 4 * 4.34 / math.sqrt(independent)
    assert error[26:].mean().abs() < 4 * 4.34 / math.sqrt(independent)


def test_gain_undoes_attenuation():
    labels = torch.ones(2, 1, 30, 60, 1)
    make = lambda rate, gain: F.labels_to_ultrasound(  # noqa: E731
        labels,
        [0.1],
        0,
        1,
        rate,
        1.6,
        columns(labels.shape),
        seeds=np.arange(2),
        values=[1],
        axial=0.1,
        gain_per_cm=gain,
    )
    # the pulse is shorter than a point: what is near has no part in what is far
    torch.testing.assert_close(make(2.0, 2.0), make(0.0, 0.0), rtol=0, atol=1e-2)
    assert (make(2.0, 0.0) - make(0.0, 0.0)).abs().max() > 10 * DB


@PROBES
@GRIDS
def test_outside_of_the_fan_is_black(geometry, shape, axes):
    labels = torch.randint(0, 3, (2, 1, *shape))
    small = geometry._replace(depth=40.0, angle=40.0, width=30.0)
    out = F.labels_to_ultrasound(
        labels,
        [0.3, 0.4, 0.9],
        0.1,
        1,
        0.5,
        [1.6, 1.5, 2],
        small,
        seeds=np.array([3, 4]),
        axes=axes,
    )
    inside = Fan(small, shape, axes, (1.0, 1.0)).inside(torch.device("cpu")).expand_as(out)
    assert (out[~inside] == 0).all()
    assert (out[inside] > 0).double().mean() > 0.9
    if shape[3 - sum(axes)] > 1:  # planes have scatterers of their own
        first, second = out.movedim(2 + 3 - sum(axes), 2)[:, :, :2].unbind(2)
        assert (first != second).double().mean() > 0.1


def test_other_labels_are_water():
    labels = torch.zeros(1, 1, 20, 30, 1).int()
    labels[..., 20:, :] = 9
    probe, seeds = columns(labels.shape), np.array([3])
    out = F.labels_to_ultrasound(labels, [0.3], 0, 1, 0, [1.6], probe, [9], seeds=seeds)
    again = F.labels_to_ultrasound(
        labels, [0, 0.3], 0, 1, 0, [1.48, 1.6], probe, [0, 9], seeds=seeds
    )
    assert torch.equal(out, again)
    assert (out[..., :15, :] == 0).all()


def test_outside_of_the_image_is_water():
    """A probe 20 mm above the image: a boundary at its edge, and attenuation from there on."""
    labels = torch.ones(1, 1, 21, 30, 1, dtype=torch.float64)
    probe = columns(labels.shape)._replace(center=(0.0, -19.5), depth=49.0)
    give = (labels, [0.0], 0, 0, [2.0], [4.0], probe, [1], 0.1, 0.1)
    out = decibels(F.labels_to_ultrasound(*give, **WIDE))[0, 0, :, :, 0]
    reflected = 20 * math.log10((4 - 1.48) / (4 + 1.48))
    torch.testing.assert_close(
        out[:, 0], torch.full_like(out[:, 0], reflected - 0.1), rtol=0, atol=1e-4
    )
    assert (out[:, 1:] < -190).all()
    behind = (labels, [0.1], 0, 1, [2.0], [1.48], probe, [1], 0.1, 0.1)
    level = decibels(F.labels_to_ultrasound(*behind, **WIDE))[0, 0, :, :, 0]
    want = 20 * math.log10(0.1) - 0.2 * (torch.arange(30).double() + 0.5)
    torch.testing.assert_close(level, want.expand(21, -1), rtol=0, atol=1e-4)


def test_beams_that_leave_the_image_meet_no_boundary_there():
    labels = torch.ones(1, 1, 21, 60, 1, dtype=torch.float64)
    wide = PHASED._replace(angle=120.0)
    out = F.labels_to_ultrasound(labels, [0.0], 0, 0, 0, [6.0], wide, [1], **WIDE)
    assert (out == 0).all()


def test_rows_are_items_and_functions_of_their_seeds():
    labels = torch.randint(0, 3, (3, 1, 40, 30, 2))
    tissue = [np.random.default_rng(n).uniform(0.1, 1, (3, 3)) for n in range(5)]
    pulse = {"axial": np.array([0.5, 1, 1.5]), "lateral": np.array([1.0, 2, 3])}
    seeds, probes = np.array([5, 6, 5]), [CONVEX, PHASED, CONVEX]
    whole = F.labels_to_ultrasound(labels, *tissue, probes, seeds=seeds, **pulse)
    for n in range(3):
        one = slice(n, n + 1)
        alone = F.labels_to_ultrasound(
            labels[one], *(t[one] for t in tissue), probes[n], seeds=seeds[one],
            **{name: value[one] for name, value in pulse.items()},
        )  # fmt: skip
        # near to cancelling echoes have a logarithm with large errors: 1e-3 of the range is 0.06 dB
        assert_close(whole[one], alone, share=1e-3, reason="sums in another order")
    same = F.labels_to_ultrasound(labels[:1].expand(2, -1, -1, -1, -1), *(t[:1] for t in tissue),
                                  CONVEX, seeds=np.array([5, 6]))  # fmt: skip
    assert not torch.equal(same[0], same[1])
    labels = labels[:1].to("meta")
    assert F.labels_to_ultrasound(labels, [0.1], 0, 1, 0, 1, "convex").shape == labels.shape


def test_gradients():
    labels = torch.randint(0, 3, (2, 1, 6, 7, 1)).double()
    low, high = (torch.rand(3, dtype=torch.float64) + n for n in (0.1, 1))
    given = [each.requires_grad_() for each in (low, low.detach() / 2, high, high.detach() + 0.3)]
    pulse = torch.tensor([0.8, 1.2], dtype=torch.float64).requires_grad_()
    small = CONVEX._replace(depth=6.0, radius=5.0)

    def run(mean, std, attenuation, impedance, pulse):
        return F.labels_to_ultrasound(
            labels, mean, std, 0.9, attenuation, impedance, small, None, pulse,
            seeds=np.array([3, 4]), lateral=pulse, gain_per_cm=pulse, **WIDE
        )  # fmt: skip

    assert torch.autograd.gradcheck(run, (*given, pulse))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": -1}, "std must be >= 0, got"),
        ({"density": 2}, "density must be between 0 and 1, got"),
        ({"impedance": 0}, "impedance must be > 0, got"),
        ({"axial": -1}, "axial must be >= 0, got"),
        ({"lateral": [1, -1]}, "lateral must be >= 0, got"),
        ({"values": [1]}, "values must be 2 labels, one for each column, got"),
        ({"values": [1, 1]}, "values must be different whole numbers"),
        ({"attenuation": [1, 2, 3]}, r"attenuation must have shape \(2,\)"),
        ({"gain_per_cm": [1, 2, 3]}, "gain_per_cm must hold one value per sample"),
        ({"labels": torch.rand(2, 2, 5, 6, 1)}, "labels must be whole numbers of shape"),
        ({"seeds": np.array([1.0, 2])}, "seeds must be int64"),
        ({"white": 0}, "white must be a number > 0"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    given = {"labels": torch.zeros(2, 1, 5, 6, 1), "mean": [1, 2], "std": 0, "density": 1}
    given |= {"attenuation": 1, "impedance": 1.5, "geometry": "linear"}
    with pytest.raises(ValueError, match=message):
        F.labels_to_ultrasound(**given | change)


@pytest.mark.parametrize("step", [1.0, 0.75])
def test_definition(step):
    shape = (2, 1, 5, 9, 2)
    labels = torch.randint(0, 4, shape).double()
    tissue = {2: (0.3, 0.1, 1.0, 2.0, 1.6), 0: (0.1, 0.2, 0.5, 5.0, 4.0), 1: (0.5, 0, 0.8, 0, 0.5)}
    seeds, columns_of = np.array([7, 8]), zip(*tissue.values(), strict=True)
    out = F.labels_to_ultrasound(
        labels, *map(list, columns_of), columns(shape, step), list(tissue), 0.8 * WIDTH,
        1.3 * WIDTH, spacing=step, seeds=seeds,
    )  # fmt: skip
    drawn = random.normals(seeds, 3 * 5 * 9 * 2).view(2, 3, 5, 9, 2).double()
    for n in range(2):
        for k in range(2):
            parts = [
                definitions.scattered(labels[n, 0, i, :, k], tissue, drawn[n, :, i, :, k], step)
                for i in range(5)
            ]
            points, walls = (torch.stack(each) for each in zip(*parts, strict=True))
            want = definitions.labels_to_ultrasound(points, walls, 0.8 / step, 1.3 / step)
            assert_close(out[n, 0, :, :, k], want, share=1e-9, reason="rounding of logarithms")
