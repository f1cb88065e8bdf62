"""Rings, sparse views, limited angles and metal of CT images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import subject
from torchio_gpu import functional as F
from torchio_gpu.functional.ct.attenuation import MU_WATER
from torchio_gpu.functional.ct.beams import ParallelBeam, equal_angles
from torchio_gpu.functional.ct.rings import _back_projection, _errors, _rotated

SEEDS = np.array([5, 6])


def places(size, spacing):
    """Return the distances of voxels from the centre along two axes, in mm."""
    p, q = (
        (torch.arange(n).double() - (n - 1) / 2) * mm for n, mm in zip(size, spacing, strict=True)
    )
    return p[:, None], q


def phantom(size=(64, 72), spacing=(1.0, 1.0), slices=1, dtype=torch.float32):
    """Return a cylinder of water with a rod of bone, in HU, [1, 1, P, Q, S]."""
    p, q = places(size, spacing)
    x = torch.where((p / 26) ** 2 + (q / 30) ** 2 < 1, 0.0, -1000.0)
    x[(p - 8) ** 2 + (q + 6) ** 2 < 25] = 700
    return x.to(dtype)[None, None, :, :, None].repeat(1, 1, 1, 1, slices)


# Rings


@pytest.mark.parametrize(
    ("size", "spacing"), [((64, 64), (1, 1)), ((51, 70), (0.7, 1.3)), ((60, 45), (1.5, 0.8))]
)
def test_rings_depend_on_the_distance_from_the_centre_alone(size, spacing):
    x = torch.zeros(1, 1, *size, 2, dtype=torch.float64)
    change = F.rings(x, 0.01, 0.5, seeds=SEEDS[:1], spacing=(*spacing, 3))[0, 0, ..., 0]
    assert change.std() > 1
    p, q = places(size, spacing)
    radius = torch.hypot(p, q)
    order = radius.flatten().argsort()
    near = radius.flatten()[order].diff() < 1e-9  # voxels at one distance
    assert near.sum() > 500
    step = change.flatten()[order].diff()
    assert step[near].abs().max() < 1e-9 * change.abs().max()
    assert step[~near].abs().max() > 0.1 * change.std()
    if spacing == (1, 1):  # radii are equal, or far from it
        return
    # a function of the radius varies little between radii that are nearly equal
    close = (radius.flatten()[order].diff() < 0.008) & ~near
    assert close.sum() > 10
    assert step[close].abs().max() < 0.05 * change.abs().max()


def test_rings_are_linear_in_strength_and_other_for_each_seed():
    x = torch.zeros(2, 1, 20, 24, 3, dtype=torch.float64)
    one = F.rings(x, 0.01, 0.5, seeds=SEEDS)
    assert_close(F.rings(x, 0.03, 0.5, seeds=SEEDS), 3 * one, share=1e-12, reason="one product")
    assert not torch.equal(one[0], one[1])
    assert torch.equal(F.rings(x[1:], 0.01, 0.5, seeds=SEEDS[1:]), one[1:])
    plane = x[..., :1]
    both = F.rings(plane, 0.01, 0.5, seeds=SEEDS)
    assert torch.equal(F.rings(plane[1:], 0.01, 0.5, seeds=SEEDS[1:]), both[1:])
    assert not torch.equal(one[..., 0], one[..., 1])


def test_error_of_a_square_is_a_sphere_seen_from_the_side():
    """Line integrals ``2 sqrt(R^2 - t^2)`` are those of a disc of 1 (Kak and Slaney, chapter 3)."""
    beam = ParallelBeam((161, 161, 1), 2, (0.5, 0.5), equal_angles(1))
    t = beam.positions(torch.device("cpu"))
    chords = 2 * (30**2 - t**2).clamp(min=0).sqrt()
    image = _rotated(chords[None, None], beam)[0, 0, ..., 0]
    radius = torch.hypot(*places((161, 161), (0.5, 0.5)))
    assert (image[radius < 28] - 1).abs().max() < 0.012
    assert image[radius > 32].abs().max() < 0.01
    # a parabola R^2 - t^2 is seen of (2 / pi) sqrt(R^2 - r^2)
    image = _rotated((30**2 - t**2).clamp(min=0)[None, None], beam)[0, 0, ..., 0]
    wanted = (2 / math.pi) * (30**2 - radius**2).clamp(min=0).sqrt()
    assert (image - wanted)[radius < 28].abs().max() < 0.002 * wanted.max()
    assert image[radius > 32].abs().max() < 0.01 * wanted.max()


@pytest.mark.parametrize("sides", [(1.0, 1.0), (0.8, 1.3)])
def test_rings_are_the_reconstruction_of_a_sinogram_without_angles(sides):
    beam = ParallelBeam((80, 90, 1), 2, sides, equal_angles(720))
    t = beam.positions(torch.device("cpu"))
    errors = torch.exp(-((t.abs() - 20) ** 2) / 8) - 0.5 * torch.exp(-((t.abs() - 8) ** 2) / 2)
    sinogram = errors[None, None, None, :, None].expand(1, 1, 720, -1, 1)
    wanted = beam.reconstruct(sinogram)
    got = _rotated(errors[None, None], beam)
    assert_close(got, wanted, share=2e-3, reason="radii are an eighth of a detector apart")
    single = torch.zeros_like(errors)
    single[[len(t) // 2 - 15, len(t) - len(t) // 2 + 14]] = 1
    assert torch.equal(single, single.flip(0))
    wanted = beam.reconstruct(single[None, None, None, :, None].expand(1, 1, 720, -1, 1))
    got = _rotated(single[None, None], beam)
    assert_close(got, wanted, share=0.02, reason="a single detector, views 0.25 degrees apart")


def test_weights_of_a_constant_are_pi():
    beam = ParallelBeam((20, 31, 1), 2, (1.0, 0.7), equal_angles(1))
    weights = _back_projection(beam, torch.device("cpu"))
    t = beam.positions(torch.device("cpu"))
    radius = torch.arange(len(weights)).double() * 0.7 / 8
    seen = weights[radius <= t[-1]]  # int_-r^r dt / sqrt(r^2 - t^2)
    assert len(seen) > 4 * (len(t) - 1)
    assert_close(seen.sum(1), torch.full_like(seen[:, 0], math.pi), share=1e-7, reason="float64")
    # of t^2, which is at most a quarter above its chords between detectors
    error = (seen @ t**2 - radius[: len(seen)] ** 2 * math.pi / 2).abs()
    assert error.max() <= math.pi * 0.7**2 / 4


def test_share_and_planes_of_rings():
    beam = ParallelBeam((200, 200, 9), 2, (1.0, 1.0), equal_angles(1))

    def errors(share, planes):
        each = (np.array([v]) for v in (0.01, share, planes))
        return _errors(torch.zeros(1, 1, 200, 200, 9), beam, *each, SEEDS[:1])[0]

    drawn = errors(0.3, 1)
    assert torch.equal(drawn, drawn.flip(1))
    share = (drawn != 0).double().mean().item()
    # 9 x 142 detectors: three standard deviations
    assert abs(share - 0.3) < 3 * math.sqrt(0.3 * 0.7 / (9 * 142))
    assert abs(drawn[drawn != 0].std() / 0.01 - 1) < 3 / math.sqrt(2 * 9 * 142 * 0.3)
    assert (errors(0, 1) == 0).all()
    assert (errors(1, 1) != 0).all()
    shared = errors(0.3, 4)
    for plane in range(9):
        assert torch.equal(shared[plane], drawn[plane // 4])


# Views


@pytest.mark.parametrize("count", [5, 12, 20])
def test_sparse_views_are_their_own_reconstruction(count):
    """With views that divide all, the change is that of two filtered back-projections."""
    x = phantom(dtype=torch.float64)
    views, mm = 60, (1.2, 0.9, 2.0)
    out = F.sparse_views(x, count, views=views, spacing=mm)
    mu = (1 + x / 1000) * MU_WATER
    lines = F.project(mu, views, mm)
    full = F.filtered_back_projection(lines, views, x.shape[2:], mm)
    left = F.filtered_back_projection(F.project(mu, count, mm), count, x.shape[2:], mm)
    assert_close(out, x + (left - full) * 1000 / MU_WATER, share=1e-10, reason="float64 sums")
    assert (out - x).std() > 10


def test_fewer_views_leave_more_streaks():
    x = phantom()
    change = [(F.sparse_views(x, n, views=120) - x).std().item() for n in (12, 30, 60, 120)]
    assert change[0] > 1.5 * change[1] > 2 * change[2] > change[3] == 0


def test_all_views_keep_the_bits():
    x = torch.cat([phantom(), phantom() + 3])
    assert torch.equal(F.sparse_views(x, [20, 4], views=20)[0], x[0])
    assert torch.equal(F.limited_angle(x, [180, 90], [33.3, 0], views=20)[0], x[0])
    assert torch.equal(F.rings(x, [0.0, 0.1], seeds=SEEDS)[0], x[0])
    mask = torch.zeros(x.shape, dtype=torch.bool)
    mask[1, :, 20:24, 20:24] = True
    assert torch.equal(F.metal(x, mask, views=20)[0], x[0])
    for call in (
        lambda: F.sparse_views(x, [20, 4], views=20),
        lambda: F.limited_angle(x, [180, 90], [33.3, 0], views=20),
        lambda: F.rings(x, [0.0, 0.1], seeds=SEEDS),
        lambda: F.metal(x, mask, views=20),
    ):
        assert not torch.equal(call()[1], x[1])


@pytest.mark.parametrize(("start", "degrees"), [(0, 120), (70, 90), (-40, 110)])
@pytest.mark.parametrize("sides", [(1.0, 1.0), (1.4, 0.9)])
def test_spectrum_of_a_limited_angle_is_a_wedge(start, degrees, sides):
    """Fourier slice theorem: of a round blob there are the directions of detectors alone."""
    size = (130, 150) if sides[0] == 1 else (100, 160)
    p, q = places(size, sides)
    ring = (p**2 + q**2) / (2 * 4**2)
    blob = ((1 - ring) * torch.exp(-ring))[None, None, :, :, None] * 300  # its mean is 0
    settings = {"degrees": degrees, "start": start, "views": 180, "spacing": (*sides, 1)}
    change = F.limited_angle(blob, **settings) - F.limited_angle(blob * 0, **settings)
    one, two = (torch.hann_window(n + 2, periodic=False)[1:-1] for n in size)
    before, after = (
        torch.fft.fft2(each[0, 0, ..., 0] * one[:, None] * two).abs() for each in (blob, change)
    )
    u = torch.fft.fftfreq(size[0])[:, None] / sides[0]
    v = torch.fft.fftfreq(size[1]) / sides[1]
    past = torch.remainder(torch.rad2deg(torch.atan2(v, u)) - start, 180)
    frequency = torch.hypot(u, v)
    band = (frequency > 0.05) & (frequency < 0.1)
    inside = (after / before)[band & (past > 15) & (past < degrees - 15)]
    outside = (after / before)[band & (past > degrees + 15) & (past < 165)]
    assert min(len(inside), len(outside)) > 70
    # linear interpolation takes up to 8 % from these frequencies
    assert (inside * degrees / 180 - 0.96).abs().max() < 0.08
    assert outside.max() < 0.015


def test_edges_along_lacking_rays_vanish():
    """A square has edges along both axes: rays along Q see those between rows of P."""
    x = torch.full((1, 1, 64, 64, 1), -1000.0)
    x[:, :, 20:44, 20:44] = 0
    out = F.limited_angle(x, 90, -45, views=180)[0, 0, ..., 0]
    along_q = (out[20:24, 30:34].mean() - out[14:18, 30:34].mean()).abs()
    along_p = (out[30:34, 20:24].mean() - out[30:34, 14:18].mean()).abs()
    assert along_q > 900
    assert along_p < 300


# Samples, axes, gradients


def calls(seeds=SEEDS):
    """Return functions of a volume, its axes and spacing, with parameters of two samples."""

    def metal(x, axis, mm, some=slice(None)):
        parameters = [np.array(v)[some] for v in ([4000, 9000], [0.2, 0.5], [1e-3, 1e-2])]
        return F.metal(x, x > 650, *parameters, axis, 12, spacing=mm)

    return {
        "rings": lambda x, axis, mm, some=slice(None): F.rings(
            x, np.array([0.01, 0.02])[some], np.array([0.5, 0.9])[some], np.array([1, 2])[some],
            seeds[some], axis, spacing=mm,
        ),
        "sparse_views": lambda x, axis, mm, some=slice(None): F.sparse_views(
            x, np.array([3, 5])[some], axis, 12, spacing=mm
        ),
        "limited_angle": lambda x, axis, mm, some=slice(None): F.limited_angle(
            x, np.array([100, 150])[some], np.array([0, 33])[some], axis, 12, spacing=mm
        ),
        "metal": metal,
    }  # fmt: skip


@pytest.mark.parametrize("name", calls())
@pytest.mark.parametrize("axes", [(2, 2), (0, 1), (1, 2)])
def test_samples_are_those_of_the_batch(name, axes):
    run = calls()[name]
    x = torch.randn(2, 2, 9, 11, 8, generator=torch.Generator().manual_seed(0)) * 500
    mm = np.array([[1.0, 1.2, 2], [0.8, 1.5, 1]])
    out = run(x, np.array(axes), mm)
    for n in range(2):
        some = slice(n, n + 1)
        alone = run(x[some], axes[n], mm[some], some)
        assert_close(out[some], alone, share=1e-6, reason="sums in another order")
        moved = x[some].movedim(2 + axes[n], 4)
        order = [*(d for d in range(3) if d != axes[n]), axes[n]]
        turned = run(moved, 2, mm[some][:, order], some).movedim(4, 2 + axes[n])
        assert_close(turned, alone, share=1e-6, reason="sums in another order")


@pytest.mark.parametrize("name", ["rings", "sparse_views", "limited_angle", "metal"])
def test_gradients(name):
    x = torch.randn(2, 1, 5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = (100 * x).requires_grad_()
    mm, axis = [1.0, 1.5, 2], np.array([2, 0])
    if name == "rings":
        strength = torch.tensor([0.01, 0.02], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda x, s: F.rings(x, s, 0.5, 2, SEEDS, axis, spacing=mm), (x, strength)
        )
    elif name == "metal":
        mask = x.detach() > 120
        assert mask.flatten(1).any(1).all()
        hu, ratio, scatter = (
            torch.tensor(v, dtype=torch.float64, requires_grad=True)
            for v in ([4.0, 9.0], [0.2, 0.5], [1.0, 10.0])
        )
        assert torch.autograd.gradcheck(
            # of like sizes, for one step of finite differences
            lambda x, h, r, s: F.metal(
                x, mask, 1000 * h, r, s / 1000, axis, 6, 30000, spacing=mm
            ) / 1000,
            (x, hu, ratio, scatter),
            eps=1e-5,
        )  # fmt: skip
    else:
        few = {"sparse_views": lambda x: F.sparse_views(x, [2, 4], axis, 6, spacing=mm)}
        few["limited_angle"] = lambda x: F.limited_angle(x, [120, 70], 20, axis, 6, spacing=mm)
        assert torch.autograd.gradcheck(few[name], x)


def test_parameters_without_a_gradient_are_detached():
    x = torch.zeros(1, 1, 5, 6, 3)
    one = torch.tensor([1.0], requires_grad=True)
    assert not F.rings(x, 0.1, one, 2 * one, seeds=SEEDS[:1]).requires_grad
    assert not F.sparse_views(x, 2 * one, views=6).requires_grad
    assert not F.limited_angle(x, 90 * one, one, views=6).requires_grad


# Transforms


def scan(**labels):
    """Return a subject in HU, on an oblique affine with planes across I, and label maps."""
    s = subject()
    t1 = tio.ScalarImage(s.t1.data * 300, affine=s.t1.affine)
    rod = torch.zeros_like(t1.data).byte()
    rod[:, 3:6, 4:6, 5:7] = 1
    maps = {"rod": tio.LabelMap(rod, affine=s.t1.affine), **labels}
    return tio.Subject(t1=t1, seg=s.seg, **maps)


TRANSFORMS = {
    "rings": lambda **k: tio.RandomRings(**k),
    "sparse": lambda **k: tio.RandomSparseView((4, 50), views=60, **k),
    "limited": lambda **k: tio.RandomLimitedAngle(views=20, **k),
    "metal": lambda **k: tio.RandomMetal("rod", views=20, **k),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_history_is_replayed(name):
    s = scan()
    out = TRANSFORMS[name]()(s)
    assert not torch.equal(out.t1.data, s.t1.data)
    assert torch.equal(out.seg.data, s.seg.data)
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)
    again = tio.from_dict(TRANSFORMS[name]().to_dict())
    assert repr(again) == repr(TRANSFORMS[name]())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_sample_has_parameters_of_its_own(name):
    batch = tio.SubjectsBatch.from_subjects([scan() for _ in range(6)])
    torch.manual_seed(0)
    out = TRANSFORMS[name]()(batch).t1.data
    for n in range(1, 6):
        assert not torch.equal(out[n], out[0])


def test_planes_lie_across_the_axis_of_the_world():
    affine = np.eye(4)[[2, 0, 1, 3]] * [[1], [2], [3], [1]]  # K, I, J along x, y, z
    x = torch.zeros(1, 12, 10, 14)
    image = tio.ScalarImage(x, affine=affine)
    out = tio.Rings(0.01, 1, seed=5)(image).data
    expected = F.rings(x[None], 0.01, 1, 1, SEEDS[:1], 1, spacing=(2, 3, 1))[0]
    assert_close(out, expected, share=1e-6, reason="float32")
    out = tio.Rings(0.01, 1, axis="LR", seed=5)(image).data
    expected = F.rings(x[None], 0.01, 1, 1, SEEDS[:1], 2, spacing=(2, 3, 1))[0]
    assert_close(out, expected, share=1e-6, reason="float32")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.rings(x, -0.1), "strength must be >= 0"),
        (lambda x: F.rings(x, 0.1, 1.5), "share must be between 0 and 1"),
        (lambda x: F.rings(x, 0.1, 0.5, 0), "planes must be >= 1"),
        (lambda x: F.rings(x, 0.1, axis=3), "axis must be 0, 1 or 2"),
        (lambda x: F.rings(x, 0.1, spacing=0), "spacing must be > 0"),
        (lambda x: F.rings(x, 0.1, seeds=SEEDS), "seeds must be int64 and hold one"),
        (lambda x: F.rings(x + 1e5, 0.1), "x must be in Hounsfield units, from -10240 to 30710"),
        (lambda x: F.rings(x * math.nan, 0.1), "x must be in Hounsfield units"),
        (lambda x: F.sparse_views(x, 0), "count must be between 1 and 360"),
        (lambda x: F.sparse_views(x, 30, views=20), "count must be between 1 and 20"),
        (lambda x: F.sparse_views(x, 3, views=0), "views must be a whole number >= 1"),
        (lambda x: F.limited_angle(x, 181), "degrees must be between 0.5 and 180"),
        (lambda x: F.limited_angle(x, 5, views=20), "degrees must be between 9 and 180"),
        (lambda x: F.metal(x, x[..., 1:] > 0), "mask must have shape"),
        (lambda x: F.metal(x, x > 0, -1), "hu must be between 0 and 30710"),
        (lambda x: F.metal(x, x > 0, ratio=2), "ratio must be between 0.001 and 1"),
        (lambda x: F.metal(x, x > 0, scatter=0), "scatter must be between 1e-06 and 1"),
        (lambda x: F.metal(x, x > 0, maximum=math.nan), "maximum must be between"),
        (lambda x: tio.Rings(-1), "strength must be >= 0"),
        (lambda x: tio.Rings(0.1, axis="up"), "axis must be"),
        (lambda x: tio.RandomRings(share=2), "share must be <= 1"),
        (lambda x: tio.RandomRings(planes=(0, 3)), "planes must be >= 1"),
        (lambda x: tio.SparseView(400), "count must be between 1 and 360"),
        (lambda x: tio.RandomSparseView((0, 3)), "count must be >= 1"),
        (lambda x: tio.RandomSparseView((5, 60), views=40), "count must be <= 40"),
        (lambda x: tio.LimitedAngle(0.1), "degrees must be between 0.5 and 180"),
        (lambda x: tio.RandomLimitedAngle((100, 190)), "degrees must be <= 180"),
        (lambda x: tio.Metal(hu=-5), "hu must be between 0 and 30710"),
        (lambda x: tio.Metal(threshold=math.nan), "threshold must be between"),
        (lambda x: tio.RandomMetal(scatter=0), "scatter must be >= 1e-06"),
        (lambda x: tio.RandomMetal(maximum=math.inf), "maximum must be between"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(1, 1, 4, 4, 4))
