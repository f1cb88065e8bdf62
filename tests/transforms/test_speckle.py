"""Speckle and haze of ultrasound along the beams."""

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import batch_of
from torchio_gpu import functional as F
from torchio_gpu.functional.ultrasound.compression import amplitudes, decibels
from torchio_gpu.functional.ultrasound.geometry import BeamGeometry, Fan
from torchio_gpu.functional.ultrasound.speckle import intensity

DOUBLE = torch.float64
#: Room for 20 dB above the mean level and 80 below it, so that hardly anything is clipped.
GREY = {"dynamic_range": 100.0, "white": 1.0}
LINEAR = BeamGeometry("linear", width=50.0, depth=70.0)
CONVEX = BeamGeometry("convex", angle=60.0, radius=40.0, depth=60.0, center=(2.0, 8.0))
PHASED = BeamGeometry("phased", angle=80.0, depth=70.0, center=(-3.0, 1.0))
every_probe = pytest.mark.parametrize("geometry", [LINEAR, CONVEX, PHASED], ids=lambda g: g.probe)
SEEDS = np.array([5])


def field(fan, axial, lateral, seeds=SEEDS, dtype=torch.float32):
    """Return the intensity of speckle of some widths, [B, I, J, K]."""
    x = torch.zeros(len(seeds), 1, *fan.shape, dtype=dtype)
    widths = (torch.tensor([value], dtype=DOUBLE) for value in (axial, lateral))
    return intensity(x, fan, *widths, seeds)[:, 0]


@every_probe
@pytest.mark.parametrize(
    ("axes", "shape", "spacing"),
    [((0, 1), (160, 160, 12), (0.5, 0.5, 1)), ((2, 0), (90, 8, 200), (0.9, 1, 0.4))],
    ids=str,
)
def test_echoes_have_the_distribution_of_rayleigh(geometry, axes, shape, spacing):
    """Mean over deviation is 1.91 and the level deviates by 5.57 dB around the mean level."""
    x = torch.full((4, 1, *shape), 0.8)
    seeds = np.arange(4)
    out = F.speckle(
        x, 1, geometry, spacing=spacing, axes=axes, axial=0.8, lateral=1.5, seeds=seeds, **GREY
    )
    fan = Fan(geometry, shape, axes, tuple(spacing[a] for a in axes))
    inside = fan.inside(x.device).expand(x.shape)
    level, echo = decibels(out, **GREY)[inside].double(), amplitudes(out, **GREY)[inside].double()
    # cells of speckle: 5e3 in the smallest fan times 32 planes, a third of a percent deviation
    assert abs(echo.mean() / echo.std() - math.sqrt(math.pi / (4 - math.pi))) < 0.025
    assert abs(level.std() - 10 / math.log(10) * math.pi / math.sqrt(6)) < 0.06
    assert abs(level.mean() + 20) < 0.06
    assert torch.equal(out[~inside], x[~inside])


@pytest.mark.parametrize("axial", [0.1, 0.5, 1.7])
def test_the_variance_is_the_same_between_points_of_the_beams(axial):
    """Voxels at half of a distance between beams or points are as bright as those on them."""
    for center in ((0.25, 0.0), (0.25, 0.25), (0.0, 0.0)):
        probe = BeamGeometry("linear", width=20.0, depth=30.0, center=center)
        fan = Fan(probe, (44, 64, 1500), (0, 1), (0.5, 0.5))
        found = field(fan, axial, axial)[0][fan.inside(torch.device("cpu"))[..., 0]]
        assert abs(found.mean() - 1) < 0.01
        # of exponential numbers, by pixel; 1500 planes: five deviations
        assert (found.mean(1) - 1).abs().max() < 5 / math.sqrt(1500)


def correlation(one, two):
    """Return the correlation of intensities, by voxel, over planes."""
    return ((one - 1) * (two - 1)).mean()


@pytest.mark.parametrize("spacing", [0.25, 0.4])
@pytest.mark.parametrize(("axial", "lateral"), [(1.0, 3.0), (2.0, 1.2)])
def test_correlation_falls_to_a_half_at_half_of_the_width(spacing, axial, lateral):
    """The autocorrelation of the intensity is the Gaussian of the pulse: 2 ** -(2 d / width)^2."""
    fan = Fan(LINEAR, (160, 160, 60), (0, 1), (spacing, spacing))
    found = field(fan, axial, lateral)[0][30:-30, 30:-30].double()
    beam, depth = fan.places(found.device)
    for axis, width, place in ((0, lateral, beam[9, 0]), (1, axial, depth[0, 9] / fan.step)):
        share = float(place % 1)  # of all voxels
        at = lambda k, width=width: 0.5 ** (2 * (k * spacing / width) ** 2)  # noqa: E731
        mixed = lambda k, f=share, at=at: (  # noqa: E731  # as linear interpolation leaves it
            (f**2 + (1 - f) ** 2) * at(k) + f * (1 - f) * (at(k - 1) + at(k + 1))
        )
        for steps in (1, 2, 4, 6):
            size = found.shape[axis] - steps
            got = correlation(found.narrow(axis, 0, size), found.narrow(axis, steps, size))
            assert abs(got - (mixed(steps) / mixed(0)) ** 2) < 0.03, (axis, steps)
            if width >= 8 * spacing:  # where interpolation does not matter
                assert abs(got - 0.5 ** ((2 * steps * spacing / width) ** 2)) < 0.03


@pytest.mark.parametrize("geometry", [CONVEX, PHASED], ids=lambda g: g.probe)
def test_speckle_widens_with_depth_and_has_the_width_asked_for_halfway(geometry):
    spacing, lateral = 0.25, 3.0
    fan = Fan(geometry, (320, 320, 40), (0, 1), (spacing, spacing))
    found = field(fan, 1.0, lateral, np.arange(3)).movedim(0, -1).flatten(2).double()
    radius = fan.radius
    for share in (0.35, 0.5, 0.8):
        row = round((share * geometry.depth + geometry.center[1]) / spacing)
        middle = round(160 + geometry.center[0] / spacing)
        # planes about the middle beam, where rows are across the beams
        part = found[middle - 24 : middle + 24, row - 6 : row + 7]
        width = lateral * (radius + share * geometry.depth) / (radius + geometry.depth / 2)
        for steps in (3, 6):
            got = correlation(part[:-steps], part[steps:]) / correlation(part, part)
            assert abs(got - 0.5 ** ((2 * steps * spacing / width) ** 2)) < 0.07, (share, steps)


def test_strength_scales_the_level_and_zero_changes_no_bit():
    x = 0.3 + 0.4 * torch.rand(3, 2, 40, 50, 2)
    seeds = np.array([4, 4, 4])
    out = F.speckle(x, np.array([0, 0.5, 1]), CONVEX, seeds=seeds, **GREY)
    assert torch.equal(out[0], x[0])
    change = (out - x)[:, :, :, :25]
    torch.testing.assert_close(change[2], 2 * change[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(change[2, 0], change[2, 1], rtol=0, atol=1e-6)  # frames
    assert (change[2, ..., 0] - change[2, ..., 1]).abs().max() > 0.05  # planes
    wild = 400 * torch.randn(1, 1, 30, 30, 1)
    assert torch.equal(F.speckle(wild, 0.0, "linear", seeds=SEEDS), wild)


@pytest.mark.parametrize("name", ["Speckle", "Haze"])
def test_a_sample_depends_on_its_own_seed_and_widths_alone(name):
    x = torch.full((3, 1, 40, 40, 1), 80.0)
    args = {"axial": [0.5, 2, 1], "lateral": [3, 1, 2]}
    if name == "Haze":
        args = {"decay": [5, 20, 40], "texture": [1, 0.3, 0.8], "size": [2, 5, 3]}
    whole = getattr(tio, name)(PHASED, [0.4, 0.8, 1], seed=[1, 2, 1], **args)(tio.ImagesBatch(x))
    for n, (value, seed) in enumerate(((0.4, 1), (0.8, 2), (1, 1))):
        own = {key: each[n] for key, each in args.items()}
        alone = getattr(tio, name)(PHASED, value, seed=seed, **own)(x[n])
        torch.testing.assert_close(whole.data[n], alone, rtol=0, atol=1e-3)
    other = getattr(tio, name)(PHASED, 1, seed=9, **own)(x[2])
    assert (other - whole.data[2]).abs().max() > 1


def test_random_speckle_differs_between_samples_and_calls():
    subjects = [
        tio.Subject(us=tio.ScalarImage(torch.full((1, 30, 40, 1), 90.0))) for _ in range(20)
    ]
    transform = tio.RandomSpeckle("linear", (0.5, 0.8), (1, 2), 3)
    one, two = (transform(batch_of(subjects, list(range(n, n + 20)))) for n in (0, 100))
    params = one.records[0].params
    assert 0.5 <= params.strength.min() < params.strength.max() <= 0.8
    assert 1 <= params.axial.min() < params.axial.max() <= 2
    assert (params.lateral == 3).all()
    assert not torch.equal(one.us.data, two.us.data)
    assert not torch.equal(one.us.data[0], one.us.data[1])


def test_gradients_of_speckle():
    x = (0.5 + 0.3 * torch.rand(2, 1, 5, 6, 2, dtype=DOUBLE)).requires_grad_()
    strength = torch.tensor([0.3, 0.6], dtype=DOUBLE, requires_grad=True)
    seeds = np.array([1, 2])
    call = lambda *a: F.speckle(*a, "linear", axial=2, lateral=2, seeds=seeds, **GREY)  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, strength))


# Haze


@every_probe
@pytest.mark.parametrize(("axes", "spacing"), [((0, 1), (1, 1, 3)), ((2, 1), (3, 1, 1))], ids=str)
def test_haze_adds_intensities_that_decay_with_depth(geometry, axes, spacing):
    shape = tuple(4 if a not in axes else 80 for a in range(3))
    x = 255 * torch.rand(1, 2, *shape, dtype=DOUBLE)
    out = F.haze(x, 0.6, geometry, spacing=spacing, axes=axes, decay=20, texture=0)
    fan = Fan(geometry, shape, axes, (1.0, 1.0))
    inside, depth = fan.inside(x.device).expand(x.shape), fan.over_volume(fan.places(x.device)[1])
    echo, black = 10 ** ((x / 255 - 1) * 60 / 20), 10 ** (-60 / 20)
    clutter = (10 ** (-0.4 * 60 / 10) - black**2) * torch.exp(-2 * depth / 20)
    want = (255 + 255 / 60 * 20 * torch.log10((echo**2 + clutter).sqrt())).clamp(max=255)
    torch.testing.assert_close(out[inside], want[inside], rtol=0, atol=1e-5)
    assert torch.equal(out[~inside], x[~inside])


def test_black_takes_the_brightness_of_the_haze_at_the_surface():
    x = torch.zeros(5, 1, 3, 1, 1, dtype=DOUBLE)
    bright = np.array([0, 0.1, 0.5, 0.9, 1])
    out = F.haze(x, bright, BeamGeometry("linear", depth=1), decay=1e9, texture=0, white=1)
    torch.testing.assert_close(out[:, 0, 0, 0, 0], torch.from_numpy(bright), rtol=0, atol=1e-8)


def test_haze_grows_with_brightness_and_keeps_the_order_of_echoes():
    x = torch.linspace(0, 255, 60).view(1, 1, 60, 1, 1).expand(4, 1, 60, 40, 2)
    out = F.haze(x, np.array([0, 0.3, 0.6, 0.9]), "linear", decay=15, texture=0)
    assert torch.equal(out[0], x[0])
    assert (out.diff(dim=0) >= 0).all()
    assert (out.diff(dim=2) > 0)[:3].all()
    assert ((out - x).diff(dim=3) <= 1e-4).all()
    wild = 400 * torch.randn(1, 1, 30, 30, 1)
    assert torch.equal(F.haze(wild, 0.0, PHASED, seeds=SEEDS), wild)


def test_patches_keep_the_mean_intensity_and_have_the_size_asked_for():
    x = torch.zeros(1, 1, 160, 160, 60)
    out = F.haze(x, 0.5, LINEAR, spacing=0.5, decay=1e9, texture=0.7, size=4, seeds=SEEDS, **GREY)
    inner = out[0, 0, 40:-40, :130]  # within the fan
    clutter = (amplitudes(inner, **GREY) ** 2).double() / 10**-5
    assert abs(clutter.mean() - 1) < 0.03
    assert abs(clutter.std() - 0.7) < 0.03
    for axis in (0, 1):
        size = clutter.shape[axis] - 4  # 2 mm
        parts = clutter.narrow(axis, 0, size), clutter.narrow(axis, 4, size)
        assert abs(correlation(*parts) / 0.7**2 - 0.5) < 0.05


def test_gradients_of_haze():
    x = (0.2 + 0.3 * torch.rand(2, 1, 5, 6, 1, dtype=DOUBLE)).requires_grad_()
    numbers = [
        torch.tensor(value, dtype=DOUBLE, requires_grad=True)
        for value in ([0.3, 0.6], [3.0, 9.0], [0.4, 0.9])
    ]
    seeds = np.array([1, 2])

    def call(x, bright, decay, texture):
        return F.haze(x, bright, "linear", decay=decay, texture=texture, seeds=seeds, **GREY)

    assert torch.autograd.gradcheck(call, (x, *numbers))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.Speckle("linear", 1.2), "strength must be between 0 and 1"),
        (lambda: tio.Speckle("linear", 1, -1), "axial must be >= 0"),
        (lambda: tio.Speckle("linear", 1, lateral=math.nan), "lateral must be >= 0"),
        (lambda: tio.RandomSpeckle("linear", 1.5), "strength must be <= 1"),
        (lambda: tio.RandomSpeckle("linear", axial=(-1, 2)), "axial must be >= 0"),
        (lambda: tio.Haze("linear", -0.1), "brightness must be between 0 and 1"),
        (lambda: tio.Haze("linear", 0.5, 0), "decay must be > 0"),
        (lambda: tio.Haze("linear", 0.5, texture=2), "texture must be between 0 and 1"),
        (lambda: tio.Haze("linear", 0.5, size=-2), "size must be >= 0"),
        (lambda: tio.RandomHaze("linear", decay=(0, 5)), "decay must be > 0"),
        (lambda: F.haze(torch.zeros(1, 1, 3, 3, 1), 2, "linear"), "brightness must be between"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
