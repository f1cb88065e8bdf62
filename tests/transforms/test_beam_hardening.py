"""Beam hardening of CT: cupping in closed form, dark bands, the correction of water."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.ct.beam_hardening import hardening

DOUBLE = torch.float64
#: Attenuation of water in the images, 1/mm.
MU = 0.0193
#: That at 50 and 100 keV over it, and the share of photons of 50 keV.
RATIO = 2.269 / 1.93, 1.707 / 1.93
SHARE = (1 - RATIO[1]) / (RATIO[0] - RATIO[1])
VARIANCE = SHARE * (1 - SHARE) * (RATIO[0] - RATIO[1]) ** 2


def slope(integral):
    """Derivative of the line integral that the beam measures behind water."""
    low, high = (
        SHARE * math.exp(-RATIO[0] * integral),
        (1 - SHARE) * math.exp(-RATIO[1] * integral),
    )
    return (RATIO[0] * low + RATIO[1] * high) / (low + high)


def disc(size, radius, spacing=1.0, centre=(0.0, 0.0)):
    """Return the share of each voxel in a disc, by 8 x 8 points, (1, 1, n, n, 1)."""
    at = ((torch.arange(8 * size, dtype=DOUBLE) + 0.5) / 8 - size / 2) * spacing
    inside = torch.hypot(at[:, None] - centre[0], at - centre[1]) < radius
    return torch.nn.functional.avg_pool2d(inside.double()[None], 8)[0][None, None, :, :, None]


def head(side=2.0, size=64):
    """Return water with two rods of bone on a line along J."""
    x = 1000 * (disc(size, 0.42 * size * side, side) - 1)
    for j in (-0.2, 0.2):
        x = x + 1200 * disc(size, 0.06 * size * side, side, (0.0, j * size * side))
    return x


def distances(size, spacing):
    at = (torch.arange(size, dtype=DOUBLE) - (size - 1) / 2) * spacing
    return torch.hypot(at[:, None], at)


@pytest.mark.parametrize(("radius", "spacing"), [(90.0, 1.0), (50.0, 0.7), (160.0, 2.0)])
def test_a_water_cylinder_cups_by_the_closed_form(radius, spacing):
    """The inverse Abel transform of what the beam measures of its chords.

    ``2 mu / pi`` times the integral of the slope at ``2 mu sqrt(R^2 - r^2) sin(u)``, u from 0 to
    pi / 2.
    """
    size = int(2.2 * radius / spacing)
    x = (1000 * (disc(size, radius, spacing) - 1)).float()
    out = F.beam_hardening(x, water_corrected=False, spacing=spacing)
    change = (out - x)[0, 0, :, :, 0].double()
    places, total = distances(size, spacing), []
    for share in (0.02, 0.3, 0.6, 0.8, 0.9):
        chord = 2 * MU * radius * math.sqrt(1 - share**2)
        mean, _ = integrate.quad(lambda u, c=chord: slope(c * math.sin(u)), 0, math.pi / 2)
        expected = 1000 * (2 / math.pi * mean - 1)
        ring = change[(places - share * radius).abs() < spacing]
        assert abs(ring.mean() / expected - 1) < 0.01  # rings are two voxels wide
        total.append(ring.mean())
    assert total == sorted(total)
    assert total[0] < -20


def test_a_thin_cylinder_cups_by_the_second_order():
    x = 1000 * (disc(128, 5.0, 0.1) - 1)
    change = F.beam_hardening(x, water_corrected=False, spacing=0.1) - x
    places = distances(128, 0.1)
    root = (25 - places.square()).clamp(min=0).sqrt()
    inside = places < 4
    expected = -1000 * MU * VARIANCE * 4 / math.pi * root
    # terms of the third order are 2 % of it
    error = change[0, 0, :, :, 0] - expected
    assert error[inside].abs().mean() < 0.03 * expected[inside].abs().mean()


@pytest.mark.parametrize("radius", [20.0, 100.0, 180.0])
def test_the_correction_leaves_water_as_it_is(radius):
    size, mm = 50, radius / 20
    x = 1000 * (disc(size, radius, mm) - 1)
    for dtype, bound in ((torch.float32, 0.02), (DOUBLE, 1e-9)):  # HU
        y = x.to(dtype)
        assert (F.beam_hardening(y, spacing=mm, views=90) - y).abs().max() < bound
    assert (F.beam_hardening(x, spacing=mm, views=90, water_corrected=False) - x).abs().max() > 1


@pytest.mark.parametrize("corrected", [True, False])
def test_a_dark_band_joins_two_rods(corrected):
    x = head()
    change = (F.beam_hardening(x, water_corrected=corrected) - x)[0, 0, :, :, 0]
    middle = change[31:33, 29:35].mean()  # rods are at 19 and 45 along J, 8 voxels wide
    above, below = change[20:22, 29:35].mean(), change[42:44, 29:35].mean()
    assert middle < min(above, below) - 10
    assert abs(above - below) < 0.5
    if corrected:
        assert abs(above) < 0.5 * abs(middle)
    turned = x.transpose(2, 3)
    again = F.beam_hardening(turned, water_corrected=corrected) - turned
    torch.testing.assert_close(again[0, 0, :, :, 0].T, change, rtol=0, atol=1e-6)


def test_rays_are_measured_as_two_energies_say():
    """Thin water as it is, thin bone 8 % more, thick layers less, and water corrected exactly."""
    thin = torch.tensor([0.0, 1e-6], dtype=DOUBLE)
    assert hardening(thin, 0 * thin, False).abs().max() < 1e-12
    thickest = torch.linspace(0, 40, 200, dtype=DOUBLE)
    for corrected in (True, False):
        bone = hardening(0 * thin, thin, corrected)
        assert abs(bone[1] / 1e-6 - 0.0826) < 1e-4
    assert hardening(thickest, 0 * thickest, True).abs().max() < 1e-13
    change = hardening(thickest, 0 * thickest, False)
    assert (change.diff() < 0).all()
    # of thick layers, the high-energy photons are left: a line of slope 0.884
    line = RATIO[1] * thickest[-1] - math.log(1 - SHARE)
    assert abs(change[-1] + thickest[-1] - line) < 1e-4


def test_no_strength_keeps_the_bits_and_more_is_proportional():
    x = (torch.randn((3, 1, 8, 7, 2), generator=torch.Generator().manual_seed(0)) * 500).float()
    x[0, 0, 0, 0, 0] = -0.0
    out = F.beam_hardening(x, np.array([0, 1, 2.0]), views=12, spacing=9.0)
    assert torch.equal(out[0].view(torch.int32), x[0].view(torch.int32))
    twice = F.beam_hardening(x, np.array([3, 2, 1.0]), views=12, spacing=9.0)
    for n, ratio in ((1, 2), (2, 0.5)):
        assert_close(twice[n] - x[n], ratio * (out[n] - x[n]), share=1e-4, reason="float32")
    assert torch.equal(tio.BeamHardening(0)(x[1]), x[1])


def test_samples_are_the_same_alone_and_in_a_batch():
    x = torch.randn((3, 2, 8, 7, 6), generator=torch.Generator().manual_seed(0)) * 500
    strength, threshold, axis = (
        np.array([0.5, 1, 2]),
        np.array([100, 300, 0.0]),
        np.array([2, 0, 2]),
    )
    scan = {"views": 9, "spacing": (4.0, 5, 6)}
    out = F.beam_hardening(x, strength, threshold, False, axis, **scan)
    for n in range(3):
        alone = F.beam_hardening(
            x[n : n + 1], strength[n], threshold[n], False, int(axis[n]), **scan
        )
        assert_close(alone[0], out[n], share=2e-6, reason="products may round by batch size")


@pytest.mark.parametrize("corrected", [True, False])
def test_gradients_reach_voxels_and_strength(corrected):
    x = torch.randn((2, 1, 5, 4, 2), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    x = (400 * x).requires_grad_()
    strength = torch.tensor([0.0, 0.7], dtype=DOUBLE, requires_grad=True)

    def run(x, strength):
        return F.beam_hardening(x, strength, 150, corrected, views=6, spacing=20.0)

    assert torch.autograd.gradcheck(run, (x, strength))
    (grad,) = torch.autograd.grad(run(x.detach(), strength)[0].square().sum(), strength)
    assert grad[0] != 0
    threshold = torch.tensor(150.0, requires_grad=True)
    assert not F.beam_hardening(x.detach(), 1, threshold, corrected, views=6).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.beam_hardening(x, -1), "strength must be >= 0, got"),
        (lambda x: F.beam_hardening(x, [1, 2, 3]), "strength must"),
        (lambda x: F.beam_hardening(x, views=0), "views must be a whole number >= 1, got 0"),
        (lambda x: F.beam_hardening(x, spacing=-1), "spacing must be > 0"),
        (lambda x: F.beam_hardening(x, axis=3), "axis must be 0, 1 or 2"),
        (lambda x: F.beam_hardening(x + 4e4), "x must be in Hounsfield units"),
        (lambda x: F.beam_hardening(x * math.nan), "x must be in Hounsfield units"),
        (lambda x: F.beam_hardening(x + 1j), "x must be real"),
        (lambda _: tio.BeamHardening(-1), "strength must be >= 0, got"),
        (lambda _: tio.BeamHardening(views=0), "views must be a whole number >= 1, got 0"),
        (lambda _: tio.RandomBeamHardening((-1, 1)), "strength must be >= 0, got"),
        (lambda _: tio.RandomBeamHardening(axis="up"), "axis must be"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(1, 1, 4, 4, 4))


def test_the_transform_is_the_function():
    s = subject()  # of spacing 1, 2, 3 mm, whose axis from inferior to superior is K
    out = tio.BeamHardening(0.7, 0.5, False, views=12)(s)
    scan = {"axis": 2, "views": 12, "spacing": (1, 2, 3)}
    expected = F.beam_hardening(s.t1.data[None], 0.7, 0.5, False, **scan)
    assert_close(out.t1.data, expected[0], share=1e-5, reason="spacing of an oblique affine")
    assert not torch.equal(out.t1.data, s.t1.data)


def test_strengths_are_drawn():
    out = tio.RandomBeamHardening((0.2, 0.4), views=6)(batch_of([subject()] * 6))
    drawn = [out.history[n][0].params.strength.item() for n in range(6)]
    assert 0.2 < min(drawn) < max(drawn) < 0.4
