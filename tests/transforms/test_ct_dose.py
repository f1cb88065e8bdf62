"""Low dose and streaks of CT: variances of counts, spectra, directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.ct.attenuation import MU_WATER
from torchio_gpu.functional.ct.beams import ParallelBeam, equal_angles
from torchio_gpu.functional.ct.low_dose import noise_std
from torchio_gpu.functional.ct.streaks import starvation

DOUBLE = torch.float64
SEED = np.array([3])
COUNT = 2_000_000


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def T(*values):
    return torch.tensor(values, dtype=DOUBLE)


def counts(expected, electronic, seed):
    """Poisson counts with electronic noise."""
    generator = chance(seed)
    rays = torch.full((COUNT,), float(expected), dtype=DOUBLE)
    return torch.poisson(rays, generator=generator) + electronic * torch.randn(
        COUNT, generator=generator, dtype=DOUBLE
    )


def disc(size, radius, spacing=1.0, value=0.0, centre=(0.0, 0.0)):
    """Return a disc in air, each voxel the mean of 8 x 8 points, (1, 1, n, n, 1)."""
    at = ((torch.arange(8 * size, dtype=DOUBLE) + 0.5) / 8 - size / 2) * spacing
    inside = torch.hypot(at[:, None] - centre[0], at - centre[1]) < radius
    share = torch.nn.functional.avg_pool2d(inside.double()[None], 8)[0]
    return (-1000 + share * (1000 + value))[None, None, :, :, None]


# Low dose


@pytest.mark.parametrize(
    ("dose", "photons", "integral", "electronic"),
    [(0.25, 1e5, 3.0, 10), (0.1, 1e5, 1.0, 40), (0.5, 1e4, 0.5, 30), (0.9, 3000, 0.0, 5)],
)
def test_the_variance_is_that_of_counts_at_low_dose(dose, photons, integral, electronic):
    """A scan at full dose with the noise added against a scan at low dose, ray by ray."""
    full = photons * math.exp(-integral)
    measured = -(counts(full, electronic, 0) / photons).log()
    added = noise_std(T(integral), T(dose), T(photons), T(electronic)).item()
    low = -(counts(dose * full, electronic, 1) / (dose * photons)).log()
    # of 2 million numbers, the variance is known to 0.1 %; terms of second order are up to 0.6 %
    assert abs((measured.var() + added**2) / low.var() - 1) < 0.01
    # the logarithm itself has a bias that noise of zero mean does not add
    bias = (1 - dose) / (2 * dose * full) + electronic**2 / (2 * full**2) * (dose**-2 - 1)
    assert abs(low.mean() - measured.mean() - bias) < 6 * added / math.sqrt(COUNT) + 0.1 * bias


def test_the_noise_of_rays_becomes_that_of_the_image():
    """Zero mean, and the variance that the weights of the reconstruction give, voxel by voxel."""
    x, seeds = disc(24, 9.0, 2.0, 40), np.arange(3000)
    numbers = {"photons": 2e4, "electronic": 20.0, "spacing": 2.0, "views": 30}
    out = F.low_dose(x.float().expand(len(seeds), -1, -1, -1, -1), 0.3, seeds=seeds, **numbers)
    change = (out - x).double()
    beam = ParallelBeam((24, 24, 1), 2, (2.0, 2.0), equal_angles(30))
    rays = beam.project(MU_WATER * (1 + x / 1000).clamp(min=0))
    variance = noise_std(rays, T(0.3), T(2e4), T(20.0)) ** 2
    for voxel in ((12, 12), (12, 16), (5, 9), (1, 2)):
        lines = torch.zeros_like(rays).requires_grad_()
        (weights,) = torch.autograd.grad(beam.reconstruct(lines)[(0, 0, *voxel, 0)], lines)
        expected = ((1000 / MU_WATER * weights) ** 2 * variance).sum().sqrt()
        values = change[(slice(None), 0, *voxel, 0)]
        # standard errors of 3000 numbers: 1.3 % of the deviation, four of them
        assert abs(values.std() / expected - 1) < 0.052
        assert abs(values.mean()) < 4 * expected / math.sqrt(len(seeds))


def test_the_noise_power_rises_as_the_ramp():
    """``pi variance f / views`` per mm^2 and cycle per mm (Riederer et al. 1978), in a region.

    Behind air, rays have equal noise. Linear interpolation weakens it by ``sinc(f)^4``.
    """
    air, views = torch.full((1, 1, 112, 112, 60), -1000.0), 180
    out = F.low_dose(air, 0.2, 1e4, 20.0, SEED, views=views)
    noise = (out - air)[0, 0, 24:88, 24:88].double() * (MU_WATER / 1000)
    window = torch.hann_window(64, dtype=DOUBLE)[:, None, None]
    window = window * window.movedim(0, 1)
    power = torch.fft.fft2(noise * window, dim=(0, 1)).abs().square().mean(2)
    power = power / window.square().sum()
    f = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)).double()
    variance = 0.8 / 2000 + 400 * 0.96 / 2000**2
    ratio = power / (math.pi * variance * f * torch.sinc(f) ** 4 / views)
    for low in (0.03, 0.07, 0.11, 0.15):
        band = ratio[(f >= low) & (f < low + 0.04)]
        assert abs(band.mean() - 1) < 0.06, low  # 60 planes: 2 % to 1 % of sampling


@pytest.mark.parametrize("change", [{"photons": 4e5}, {"views": 240}, {"spacing": 2.0}])
def test_noise_depends_on_photons_views_and_pitch_as_stated(change):
    x = disc(48, 20.0, 1.0, 0).float().expand(-1, -1, -1, -1, 40)
    start = {"photons": 1e5, "views": 60, "spacing": 1.0, "electronic": 0.0, "seeds": SEED}
    before, after = (
        (F.low_dose(y, 0.5, **arguments) - y)[:, :, 14:34, 14:34].std()
        for y, arguments in ((x, start), (x, {**start, **change}))
    )
    if "spacing" in change:  # rays pass twice the water, too
        mean = 2 * MU_WATER * math.sqrt(20**2 - 8**2)
        assert abs(after / before * 2 / math.exp(mean / 2) - 1) < 0.1
    else:
        assert abs(after / before - 0.5) < 0.03


def test_the_full_dose_keeps_the_bits():
    x = torch.randn((2, 2, 6, 7, 5), generator=chance()) * 300
    x[0, 0, 0, 0, 0] = -0.0
    out = F.low_dose(x, np.array([1, 0.5]), 1e4, seeds=np.array([1, 2]), views=10)
    assert torch.equal(out[0].view(torch.int32), x[0].view(torch.int32))
    assert (out[1] != x[1]).any()
    assert torch.equal(tio.LowDose(1)(x[0]), x[0])


def test_rays_without_photons_have_bounded_noise():
    x = torch.full((1, 1, 30, 30, 1), 30000.0)
    out = F.low_dose(x, 0.1, seeds=SEED, spacing=10.0, views=20)
    assert out.isfinite().all()


# Streaks


@pytest.mark.parametrize(("expected", "electronic"), [(900, 30), (100, 10), (10, 10), (2, 3)])
def test_changes_of_starved_rays_have_the_mean_and_variance_of_counts(expected, electronic):
    """Gaussian counts, so that the skewness of Poisson ones is not there."""
    noise = torch.randn((1, 1, 1, 1, COUNT), generator=chance(), dtype=DOUBLE)
    rays = torch.full((1, 1, 1, 1, COUNT), 2.0, dtype=DOUBLE)
    most = rays.clone()
    most[..., :1] = 7.0  # the ray that decides on the tube
    photons = expected * math.exp(-5)
    change = starvation(most, noise, T(photons), T(electronic), T(1.01 * expected))[..., 1:]
    spread = math.sqrt(expected + electronic**2)
    drawn = expected + spread * torch.randn(COUNT, generator=chance(5), dtype=DOUBLE)
    direct = -(drawn.clamp(min=1) / expected).log()
    error = 5 * direct.std() / math.sqrt(COUNT)
    assert abs(change.mean() - direct.mean()) < 2 * error
    assert abs(change.var() / direct.var() - 1) < 0.01
    if expected >= 100:  # and those of Poisson counts
        poisson = -(counts(expected, electronic, 7).clamp(min=1) / expected).log()
        assert abs(change.mean() - poisson.mean()) < 2 * error + 0.1 * abs(poisson.mean())
        assert abs(change.var() / poisson.var() - 1) < 0.02


def test_nothing_changes_where_no_ray_is_starved():
    x = torch.cat([disc(24, 4.0), disc(24, 10.0)], 4).float()  # two planes
    out = F.streaks(x, 600, seeds=SEED, spacing=4.0, views=30)
    assert (out[..., 1] != x[..., 1]).any()
    # the narrow disc attenuates by 0.6 less: behind it are 600 exp(2.5) photons
    assert torch.equal(out[..., 0], x[..., 0])
    for photons, threshold in ((1000, 1000), (2000, 1000), (600, 0)):
        assert torch.equal(F.streaks(x, photons, 30, threshold, SEED, spacing=4.0), x)
    air = torch.full((1, 1, 8, 8, 2), -1000.0)
    assert torch.equal(F.streaks(air, 100, seeds=SEED), air)


def test_streaks_run_along_the_line_that_joins_two_rods():
    rods = [disc(64, 4.0, 1.0, 3000, (0, y)) + 1000 for y in (-16.0, 16.0)]
    x = (disc(64, 28.0, 1.0, 0) + sum(rods)).float().expand(-1, -1, -1, -1, 8)
    for scan in (x, x.transpose(2, 3).contiguous()):
        change = (F.streaks(scan, 900, seeds=SEED, views=180) - scan)[0, 0]
        if scan is not x:
            change = change.transpose(0, 1)
        between = change[29:35, 24:40].square().mean().sqrt()  # rods lie at 16 and 48 along J
        for place in (slice(12, 20), slice(44, 52)):
            assert between > 10 * change[place, 29:35].square().mean().sqrt()


def test_fewer_photons_mean_more_streaks():
    x = disc(48, 20.0, 4.0).float()
    rms = [
        (F.streaks(x, photons, seeds=SEED, spacing=4.0, views=90) - x).square().mean()
        for photons in (950, 800, 500, 200)
    ]
    assert rms == sorted(rms)
    assert rms[0] > 0


# Both


def both(x, seeds, **options):
    one = F.low_dose(x, options.pop("dose", 0.3), 1e4, 8.0, seeds, **options)
    return one, F.streaks(x, 500.0, 20.0, 1000.0, seeds, **options)


def test_samples_are_the_same_alone_and_in_a_batch():
    x = torch.randn((3, 2, 8, 7, 6), generator=chance()) * 200
    seeds, axis, spacing = np.array([4, 5, 4]), np.array([2, 0, 2]), np.array([[1, 2, 3.0]] * 3)
    spacing[2] = [3, 2, 1]
    together = both(x, seeds, axis=axis, spacing=spacing, views=9)
    for n in range(3):
        alone = both(x[n : n + 1], seeds[n : n + 1], axis=int(axis[n]), spacing=spacing[n], views=9)
        for one, all_ in zip(alone, together, strict=True):
            assert_close(one[0], all_[n], share=2e-6, reason="products may round by batch size")
    other = both(x, seeds + 1, axis=axis, spacing=spacing, views=9)
    assert not any(map(torch.equal, together, other))


def test_gradients_reach_voxels_and_parameters():
    x = (torch.randn((2, 1, 5, 6, 3), generator=chance(), dtype=DOUBLE) * 200).requires_grad_()
    scan = {"seeds": np.array([1, 2]), "views": 6, "spacing": 9.0}
    numbers = [T(0.3, 0.9), T(1e3, 2e3), T(5.0, 0.0)]
    for each in numbers:
        each.requires_grad_()
    assert torch.autograd.gradcheck(lambda *v: F.low_dose(*v, **scan), (x, *numbers))
    numbers = [T(50.0, 80), T(5.0, 3)]
    for each in numbers:
        each.requires_grad_()
    assert torch.autograd.gradcheck(lambda *v: F.streaks(*v, 100.0, **scan), (x, *numbers))
    full = torch.tensor(1.0, requires_grad=True)
    (grad,) = torch.autograd.grad(F.low_dose(x.detach(), full, **scan).sum(), full)
    assert grad == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.low_dose(x, 0), "dose must be > 0 and at most 1, got"),
        (lambda x: F.low_dose(x, 1.5), "dose must be > 0 and at most 1, got"),
        (lambda x: F.low_dose(x, 0.5, 0), "photons must be > 0, got"),
        (lambda x: F.low_dose(x, 0.5, electronic=-1), "electronic must be >= 0, got"),
        (lambda x: F.low_dose(x, 0.5, views=0), "views must be a whole number >= 1, got 0"),
        (lambda x: F.low_dose(x, 0.5, spacing=0), "spacing must be > 0"),
        (lambda x: F.low_dose(x, 0.5, axis=3), "axis must be 0, 1 or 2"),
        (lambda x: F.low_dose(x * 1e6, 0.5), "x must be in Hounsfield units"),
        (lambda x: F.streaks(x, 0), "photons must be > 0, got"),
        (lambda x: F.streaks(x, 5, -1), "electronic must be >= 0, got"),
        (lambda x: F.streaks(x, 5, threshold=-1), "threshold must be >= 0, got"),
        (lambda x: F.streaks(x + 1j, 5), "x must be real"),
        (lambda x: F.streaks(x - 20000, 5), "x must be in Hounsfield units"),
        (lambda _: tio.LowDose(2), "dose must be > 0 and at most 1, got"),
        (lambda _: tio.LowDose(0.5, views=0), "views must be a whole number >= 1, got 0"),
        (lambda _: tio.Streaks(-1), "photons must be > 0, got"),
        (lambda _: tio.Streaks(5, threshold=-1), "threshold must be >= 0, got"),
        (lambda _: tio.RandomLowDose((0.5, 2)), "dose must be <= 1, got"),
        (lambda _: tio.RandomStreaks((0, 5)), "photons must be > 0, got"),
        (lambda _: tio.RandomStreaks(axis="up"), "axis must be"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(1, 1, 4, 4, 4))


def test_transforms_are_the_functions():
    s = subject()  # of spacing 1, 2, 3 mm, whose axis from inferior to superior is K
    out = tio.LowDose(0.2, 1e4, 5, views=12, seed=7)(s)
    scan = {"seeds": np.array([7]), "axis": 2, "views": 12, "spacing": (1, 2, 3)}
    expected = F.low_dose(s.t1.data[None], 0.2, 1e4, 5, **scan)
    assert_close(out.t1.data, expected[0], share=1e-5, reason="spacing of an oblique affine")
    assert not torch.equal(out.t1.data, s.t1.data)
    out = tio.Streaks(500, 20, 900, views=12, seed=7)(s)
    expected = F.streaks(s.t1.data[None], 500, 20, 900, **scan)
    assert_close(out.t1.data, expected[0], share=1e-5, reason="spacing of an oblique affine")
    assert not torch.equal(out.t1.data, s.t1.data)


def test_parameters_are_drawn_and_replayed():
    for transform, name, low, high in (
        (tio.RandomLowDose((0.2, 0.4), views=6), "dose", 0.2, 0.4),
        (tio.RandomStreaks((300, 400), views=6), "photons", 300, 400),
    ):
        out = transform(batch_of([subject(seed=n) for n in range(6)]))
        drawn = [getattr(out.history[n][0].params, name).item() for n in range(6)]
        assert low < min(drawn) < max(drawn) < high
        assert len({out.history[n][0].params.seed.item() for n in range(6)}) == 6
