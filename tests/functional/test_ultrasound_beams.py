"""Shadows, attenuation by labels and reverberation of ultrasound: closed forms along the beams."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.close import assert_close
from torchio_gpu import functional as F
from torchio_gpu.functional.definitions import ultrasound_beams as definitions
from torchio_gpu.functional.ultrasound.geometry import BeamGeometry, Fan

CONVEX = BeamGeometry("convex", angle=60.0, radius=40.0, depth=60.0, center=(0.0, 0.5))
PHASED = BeamGeometry("phased", angle=80.0, depth=60.0, center=(0.0, 0.5))
LINEAR = BeamGeometry("linear", width=60.0, depth=60.0, center=(0.0, 0.5))
PROBES = pytest.mark.parametrize("geometry", [CONVEX, PHASED, LINEAR], ids=lambda g: g.probe)
#: Shape, and lateral and axial axis: a frame, a stack of planes, and another order of axes.
GRIDS = pytest.mark.parametrize(
    ("shape", "axes"),
    [((81, 64, 1), (0, 1)), ((81, 64, 3), (0, 1)), ((2, 64, 81), (2, 1)), ((64, 2, 81), (2, 0))],
    ids=str,
)
#: Grey values of one dB.
DB = 255 / 60
#: Amplitude of black, where white has 1.
BLACK = 10 ** (-60 / 20)


def columns(shape, step=1.0):
    """Return a linear probe whose beams are the columns of voxels along J."""
    width, depth = (shape[2] - 1) * step, (shape[3] - 1) * step
    return BeamGeometry("linear", width=width, depth=depth, center=(0.0, step / 2))


def places(geometry, shape, axes):
    """Return share across the fan and depth of each voxel, and which are inside, [I, J, K]."""
    p, q = (shape[a] for a in axes)
    lateral, axial = np.arange(p)[:, None] - (p - 1) / 2, np.arange(q)[None] * 1.0
    radius = geometry.radius if geometry.probe == "convex" else 0.0
    if geometry.probe == "linear":
        share, depth = np.broadcast_arrays(lateral / geometry.width + 0.5, axial)
    else:
        share = np.degrees(np.arctan2(lateral, axial + radius)) / geometry.angle + 0.5
        depth = np.hypot(lateral, axial + radius) - radius
    inside = (share >= -1e-9) & (share <= 1 + 1e-9) & (depth >= -1e-9) & (depth <= 60 + 1e-9)
    found = (torch.from_numpy(np.array(each)) for each in (share, depth, inside))
    last = 3 - sum(axes)
    return [(each if axes[0] < axes[1] else each.T).unsqueeze(last).expand(shape) for each in found]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# Shadow


@PROBES
@GRIDS
def test_a_shadow_is_two_ramps(geometry, shape, axes):
    x = 150 + 50 * torch.rand(2, 3, *shape, dtype=torch.float64)
    level, middle, width = np.array([12.0, 20]), np.array([0.3, 0.7]), 0.25
    out = F.acoustic_shadow(
        x, level, geometry, middle, width, 20.0, np.array([8.0, 0]), 0.1, axes=axes
    )
    share, depth, inside = places(geometry, shape, axes)
    across = [((width / 2 - (share - m).abs()) / 0.1 + 0.5).clamp(0, 1) for m in middle]
    along = [((depth - 20) / 8).clamp(0, 1), (depth > 20).double()]
    for n in range(2):
        gain = -level[n] * across[n] * along[n]
        want = torch.where(inside, x[n] + gain * DB, x[n])
        torch.testing.assert_close(out[n], want, rtol=0, atol=1e-4)  # a ramp of 1e-6 mm is none
        assert torch.equal(out[n].where(~inside, 0), x[n].where(~inside, 0))
        assert 0.02 < (gain < -level[n] / 2)[inside].double().mean() < 0.4


def test_a_shadow_of_0_db_is_none_bit_for_bit():
    x = torch.randn(2, 2, 30, 40, 2) * 300
    assert torch.equal(F.acoustic_shadow(x, 0, "convex", 0.5, 0.9), x)
    assert torch.equal(F.acoustic_shadow(x, 9, "linear", 0.5, 0.0, edge=0), x)


def test_enhancement_is_a_negative_shadow():
    x = torch.full((1, 1, 21, 30, 1), 100.0)
    out = F.acoustic_shadow(x, -6, "linear", 0.5, 0.5, 10, length=0, edge=0)
    assert out[0, 0, 10, -1, 0].item() == pytest.approx(100 + 6 * DB)
    assert out[0, 0, 10, 5, 0].item() == 100


# Attenuation by labels


@PROBES
@GRIDS
def test_two_layers_attenuate_by_the_path_in_each(geometry, shape, axes):
    x = torch.full((2, 1, *shape), 250.0, dtype=torch.float64)
    share, depth, inside = places(geometry, shape, axes)
    # depth where beams enter the image: the surface of a convex probe begins above it
    start, clear = torch.zeros_like(depth), depth < math.inf
    if geometry.probe == "convex":
        angle = (share - 0.5) * math.radians(geometry.angle)
        start = (39.5 / angle.clamp(-0.6, 0.6).cos() - 40).clamp(min=0)
        clear = angle.abs() < 0.14  # and those beside them enter at the surface, too
    labels = torch.where(depth < 25, 2, 7).expand(2, 1, *shape)
    rates = np.array([[1.0, 4], [3.0, 0.5]])
    out = F.label_attenuation(x, labels, rates, [2, 7], geometry, axes=axes)
    for n, (first, second) in enumerate(rates):
        path = (first * (depth.clamp(max=25) - start) + second * (depth - 25).clamp(min=0)) / 10
        # a border is found to a voxel: where rates differ by d, the path is wrong by d mm or less;
        # linear interpolation of the path is wrong by less than that near the border
        bound = abs(first - second) / 10
        error = (out[n, 0] - (250 - path * DB)).abs() / DB
        assert error[inside & (start == 0)].max() <= bound
        # so is the edge of the image where the beam enters it
        assert error[inside].max() <= bound + first / 10
        before = inside & (depth < 23) & clear
        assert ((out[n, 0] - (250 - path * DB))[before] / DB).abs().max() < 1e-4 * first
        assert torch.equal(out[n, 0][~inside], x[n, 0][~inside])


def test_layers_of_a_linear_probe_are_exact():
    """The boundary lies in the middle of two points, where the trapezoidal rule is exact."""
    x = torch.full((1, 1, 9, 50, 1), 250.0, dtype=torch.float64)
    labels = torch.ones(1, 1, 9, 50, 1).int()
    labels[..., 30:, :] = 4
    out = F.label_attenuation(x, labels, [2.0, 5.0], [1, 4], columns(x.shape))
    depth = torch.arange(50).double()
    path = (2 * depth.clamp(max=29.5) + 5 * (depth - 29.5).clamp(min=0)) / 10
    torch.testing.assert_close(out, (250 - path * DB).view(1, 1, 1, -1, 1).expand_as(x))


def test_a_label_casts_a_shadow_behind_it_alone():
    x = torch.full((1, 2, 41, 50, 1), 250.0)
    labels = torch.zeros(1, 1, 41, 50, 1).int()
    labels[:, :, 15:26, 20:25] = 3
    out = F.label_attenuation(x, labels, 20, [3], columns(x.shape))
    assert torch.equal(out[:, :, :15], x[:, :, :15])
    assert torch.equal(out[:, :, :, :20], x[:, :, :, :20])
    torch.testing.assert_close(out[:, :, 20, 30:], x[:, :, 20, 30:] - 5 / 10 * 20 * DB)


def test_tissue_without_attenuation_changes_nothing_bit_for_bit():
    x = torch.randn(2, 1, 30, 40, 2) * 300
    labels = torch.randint(0, 3, x.shape)
    assert torch.equal(F.label_attenuation(x, labels, 0, [1, 2], "convex"), x)
    assert torch.equal(F.label_attenuation(x, labels, 9, [5], "convex"), x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float32])
def test_labels_have_any_dtype(dtype):
    x, labels = torch.full((1, 1, 9, 30, 1), 200.0), torch.randint(0, 2, (1, 1, 9, 30, 1))
    want = F.label_attenuation(x, labels, [3.0, 1.0], [1, -400], "linear")
    assert torch.equal(
        F.label_attenuation(x, labels.to(dtype), [3.0, 1], [1, -400], "linear"), want
    )


# Reverberation


@PROBES
@pytest.mark.parametrize("distance", [7.0, 12.0])
def test_a_bright_point_comes_back_at_multiples_of_the_distance(geometry, distance):
    """On the middle beam, whose points are voxels: r0 + n d, by strength^n."""
    x = torch.zeros(1, 1, 81, 64, 1, dtype=torch.float64)
    x[0, 0, 40, 9] = 255
    fans = (
        Fan(geometry._replace(angle=angle), (81, 64, 1), (0, 1), (1.0, 1.0))
        for angle in (60.0, 59.5, 59.0)
    )
    fan = next(each for each in fans if each.beams % 2)  # one beam in the middle
    out = F.reverberation(x, 0.5, distance, fan.geometry, 3)[0, 0, 40, :, 0]
    want = torch.zeros(64, dtype=torch.float64)
    for n in range(4):
        echo = 0.5**n * (1 - BLACK) + BLACK
        want[9 + n * int(distance)] = 255 + 20 * math.log10(echo) * DB
    torch.testing.assert_close(out, want, rtol=0, atol=1e-3)


@PROBES
@GRIDS
def test_echoes_lie_behind_what_makes_them(geometry, shape, axes):
    _, depth, inside = places(geometry, shape, axes)
    x = torch.where((depth - 15).abs() < 1.5, 200.0, 0.0).expand(1, 2, *shape)
    out = F.reverberation(x, 0.3, 20, geometry, 1, axes=axes)
    new = (out > x)[0]
    assert (depth.expand_as(new)[new] > 33 - 1.5).all()
    assert (depth.expand_as(new)[new] < 37 + 1.5).all()
    echo = out[0, 0][inside & ((depth - 35).abs() < 0.3)]
    assert echo.numel() > 5
    # two interpolations of a band of three voxels lose little in its middle
    want = 200 + 20 * math.log10(0.3) * DB
    assert (echo.mean() - want).abs() / DB < 0.5
    assert torch.equal(out.where(~inside, 0), x.where(~inside, 0))


def test_nothing_comes_from_the_end_of_the_beam():
    x = torch.zeros(1, 1, 9, 40, 1)
    x[:, :, :, 35:] = 255
    assert torch.equal(F.reverberation(x, 1, 10, columns(x.shape), 5), x)


def test_amplitudes_of_echoes_add():
    x = torch.zeros(1, 1, 3, 40, 1, dtype=torch.float64)
    x[:, :, :, 5] = x[:, :, :, 15] = 100
    out = F.reverberation(x, 1.0, 10, columns(x.shape), 1)
    amplitude = 10 ** ((100 / 255 - 1) * 60 / 20)
    echo = 20 * math.log10((2 * amplitude - BLACK) / amplitude)
    assert out[0, 0, 1, 15, 0].item() == pytest.approx(100 + echo * DB)


def test_echoes_begin_without_a_jump_at_black():
    """Voxels just above black make next to no echo, as black makes none."""
    grey = torch.tensor([-5.0, 0, 1e-3, 1, 2], dtype=torch.float64).view(-1, 1, 1, 1, 1)
    x = grey.repeat(1, 1, 3, 40, 1)
    out = F.reverberation(x, 1.0, 5, columns(x.shape), 7)
    assert torch.equal(out[:2], x[:2])
    assert 0 < (out[2] - x[2]).max() < 0.01
    assert (out[3:] - x[3:]).amax((1, 2, 3, 4)).diff() > 0


def test_a_probe_above_the_image_hears_nothing_from_outside_of_it():
    """As after a crop: the rows that are left have no echoes of those that were cut off."""
    x = torch.zeros(1, 1, 9, 40, 1, dtype=torch.float64)
    x[:, :, :, 0] = 200
    probe = columns(x.shape)._replace(center=(0.0, -19.5), depth=59.0)
    out = F.reverberation(x, 0.5, 8, probe, 2)[0, 0, 4, :, 0]
    amplitude = 10 ** ((200 / 255 - 1) * 60 / 20) - BLACK
    want = torch.zeros(40, dtype=torch.float64)
    want[0] = 200
    for n in (1, 2):
        want[8 * n] = 255 + 20 * math.log10(0.5**n * amplitude + BLACK) * DB
    torch.testing.assert_close(out, want, rtol=0, atol=1e-6)
    bright = torch.full_like(x, 150)
    near = F.reverberation(bright, 0.5, 8, probe, 2)[0, 0, 4, :, 0]
    torch.testing.assert_close(near[:8], bright[0, 0, 4, :8, 0])
    assert (near[8:16].diff().abs() < 1e-9).all()
    assert near[16] > near[8] + 1 > 151


def test_tissue_outside_of_the_image_does_not_attenuate():
    x = torch.full((1, 1, 9, 40, 1), 250.0, dtype=torch.float64)
    probe = columns(x.shape)._replace(center=(0.0, -19.5), depth=59.0)
    out = F.label_attenuation(x, torch.ones_like(x), 3.0, [1], probe)[0, 0, 4, :, 0]
    # the image begins half a voxel before its first point, in the middle of a step
    want = 250 - 3.0 * (torch.arange(40).double() + 0.5) / 10 * DB
    torch.testing.assert_close(out, want)


def test_echoes_of_strength_0_are_none_bit_for_bit():
    x = torch.randn(2, 2, 30, 40, 2) * 300
    assert torch.equal(F.reverberation(x, 0, 7, "convex"), x)
    assert torch.equal(F.reverberation(x, 0.9, 7, "convex", 0), x)


# All of them


def stripes(x):
    """Return the labels 0, 1 and 2 in turn, the same for all samples."""
    size = x[0, :1].shape
    return (torch.arange(size.numel()).view(1, *size) % 3).expand(len(x), -1, -1, -1, -1)


FUNCTIONS = {
    "acoustic_shadow": lambda x, probe, v: F.acoustic_shadow(
        x, v * 20, probe, v / 2 + 0.2, v / 3 + 0.2, v * 3, v * 9, v / 9 + 0.05, spacing=1.1
    ),
    "label_attenuation": lambda x, probe, v: F.label_attenuation(
        x, stripes(x), v[:, None] * torch.tensor([3.0, 8]), [1, 2], probe, 1.1
    ),
    "reverberation": lambda x, probe, v: F.reverberation(x, v, v * 3 + 2.15, probe, 3, 1.1),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
@PROBES
def test_gradients(name, geometry):
    small = geometry._replace(depth=8.0, radius=5.0, width=7.0)
    x = (60 + 60 * torch.rand(2, 1, 7, 8, 2, dtype=torch.float64)).requires_grad_()
    v = torch.tensor([0.31, 0.53], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, v: FUNCTIONS[name](x, small, v), (x, v))


@EACH
def test_rows_are_items(name):
    probes = [CONVEX, PHASED, CONVEX]
    x, v = torch.rand(3, 2, 40, 30, 2) * 255, torch.tensor([0.2, 0.4, 0.6])
    whole = FUNCTIONS[name](x, probes, v)
    assert (whole - x).abs().amax((1, 2, 3, 4)).min() > 1
    for n in range(3):
        one = slice(n, n + 1)
        reason = "sums in another order"
        alone = FUNCTIONS[name](x[one], probes[n], v[one])
        assert_close(whole[one], alone, share=1e-5, reason=reason)


@EACH
def test_integers_become_float32_and_complex_is_refused(name):
    x, v = torch.randint(0, 256, (2, 1, 20, 30, 1)), torch.tensor([0.2, 0.4])
    out = FUNCTIONS[name](x.byte(), "phased", v)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, FUNCTIONS[name](x.float(), "phased", v))
    half = FUNCTIONS[name](x.half(), "phased", v)
    assert half.dtype == torch.float16
    with pytest.raises(ValueError, match="x must be real"):
        FUNCTIONS[name](x.to(torch.complex64), "phased", v)


def test_meta_tensors():
    x = torch.rand(2, 1, 20, 30, 1, device="meta")
    assert F.acoustic_shadow(x, 9, "convex").shape == x.shape
    assert F.label_attenuation(x, x > 0, 9, [1], "convex").shape == x.shape
    assert F.reverberation(x, 0.3, 9, "convex").shape == x.shape
    for name in ("attenuate", "time_gain", "speckle", "haze"):
        out = getattr(F, name)(x, 0.5, ["convex", "linear"])
        assert (out.device.type, out.shape) == ("meta", x.shape)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.acoustic_shadow(x, 1, "convex", width=-1), "width must be >= 0, got"),
        (lambda x: F.acoustic_shadow(x, 1, "convex", length=-1), "length must be >= 0, got"),
        (lambda x: F.acoustic_shadow(x, 1, "convex", edge=-1), "edge must be >= 0, got"),
        (
            lambda x: F.acoustic_shadow(x, [1, 2, 3], "convex"),
            "loss must hold one value per",
        ),
        (lambda x: F.label_attenuation(x, x, 1, [], "convex"), "values must be different whole nu"),
        (lambda x: F.label_attenuation(x, x, 1, [1, 1], "convex"), "values must be different who"),
        (lambda x: F.label_attenuation(x, x, [1, 2], [1], "convex"), "attenuation must have shape"),
        (lambda x: F.label_attenuation(x, x[:1], 1, [1], "convex"), "labels must be whole numbers"),
        (lambda x: F.reverberation(x, 2, 5, "convex"), "strength must be between 0 and 1, got"),
        (lambda x: F.reverberation(x, 0.5, 0, "convex"), "distance must be > 0, got"),
        (lambda x: F.reverberation(x, 0.5, 5, "convex", -1), "echoes must be a whole number >= 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 1, 20, 30, 1))


# Definitions


@pytest.mark.parametrize("shape", [(2, 1, 5, 6, 7), (1, 2, 4, 9, 1), (1, 1, 3, 12, 2)])
@pytest.mark.parametrize("step", [1.0, 0.75])
def test_definitions(shape, step):
    x = 255 * torch.rand(shape, dtype=torch.float64)
    x[x < 30] = 0
    probe, where = columns(shape, step), {"spacing": np.array([step, step, 3.0])}
    shadow = (20.0, 0.4, 0.3, 1.1, 2.3, 0.2)
    level, place, width, depth, length, edge = shadow
    agree = {"share": 1e-10, "reason": "rounding of float64 sums"}
    out = F.acoustic_shadow(x, level, probe, place, width, depth, length, edge, **where)
    assert_close(out, definitions.acoustic_shadow(x, *shadow, step), **agree)
    labels = torch.randint(0, 4, (shape[0], 1, *shape[2:]))
    out = F.label_attenuation(x, labels, [3.0, 9.0], [2, 0], probe, **where)
    assert_close(out, definitions.label_attenuation(x, labels, {2: 3.0, 0: 9.0}, step), **agree)
    for distance in (2 * step, 1.9):
        out = F.reverberation(x, 0.4, distance, probe, 3, **where)
        assert_close(out, definitions.reverberation(x, 0.4, distance, 3, step), **agree)
