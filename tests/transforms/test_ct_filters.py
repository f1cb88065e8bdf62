"""Reconstruction kernels, windows and slice thickness of CT images."""

import numpy as np
import pytest
import torch
from scipy import ndimage

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import ASR_AFFINE, batch_of, smooth, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.ct.planes import by_planes, in_plane, slice_axes
from torchio_gpu.functional.ct.window import WINDOWS

DOUBLE = torch.float64
ROUNDING = "sums of float64 products"
SPACING = np.array([0.7, 1.3, 2.0])


def volume(shape, dtype=DOUBLE):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)).to(dtype)


# Axial planes


def test_the_slice_axis_is_the_nearest_to_inferior_superior():
    turn = np.deg2rad(30)
    tilted = np.eye(4)
    tilted[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    flipped = np.diag([-1.0, -1, -1, 1])
    affines = np.stack([np.eye(4), ASR_AFFINE, tilted, flipped, np.eye(4)[[2, 1, 0, 3]]])
    assert slice_axes(affines).tolist() == [2, 1, 2, 2, 0]


def test_planes_are_those_across_the_axis_of_each_sample():
    x, axes = volume((3, 2, 4, 5, 6)), [2, 0, 2]
    seen = []

    def add(planes, number):
        seen.append(tuple(planes.shape))
        return planes + number.view(-1, 1, 1, 1, 1) * torch.arange(planes.shape[2]).view(-1, 1, 1)

    out = by_planes(x, axes, add, torch.tensor([1.0, 10, 100]))
    assert seen == [(2, 2, 6, 4, 5), (1, 2, 4, 5, 6)]
    for b, axis in enumerate(axes):
        for n in range(x.shape[2 + axis]):
            expected = x[b].select(1 + axis, n) + n * 10**b
            assert torch.equal(out[b].select(1 + axis, n), expected)
    assert in_plane(SPACING[None], axes, 3).tolist() == [[0.7, 1.3], [1.3, 2.0], [0.7, 1.3]]


# Reconstruction kernel


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ratio", [0.2, 0.9, 3.0])
@pytest.mark.parametrize("waves", [(0, 0), (1, 0), (2, 5), (7, 9), (0, 8)])
def test_waves_of_mirrored_planes_are_multiplied_by_the_ratio(axis, ratio, waves):
    """Cosines that fit a mirrored plane keep their shape, at any spacing."""
    shape, frequency = (9, 10, 11), 0.4
    p, q = (each for each in range(3) if each != axis)
    square, x = 0.0, torch.ones(shape, dtype=DOUBLE)
    for along, wave in ((p, waves[0]), (q, waves[1])):
        n, view = shape[along], [1, 1, 1]
        view[along] = n
        x = x * torch.cos(torch.pi * wave * (torch.arange(n, dtype=DOUBLE) + 0.5) / n).view(view)
        square += (wave / (2 * n * SPACING[along])) ** 2
    out = F.reconstruction_kernel(x[None, None], ratio, frequency, axis, spacing=SPACING)
    expected = x[None, None] * ratio ** min(square / frequency**2, 1)
    assert_close(out, expected, share=1e-12, reason=ROUNDING)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (0.5, 0.8, 1.0)])
def test_a_soft_kernel_is_a_gaussian_of_the_closed_form(spacing):
    """The ratio of two Gaussian functions of frequency is that of a Gaussian blur."""
    size, ratio = np.array(spacing), 1e-9
    corner = np.hypot(*(0.5 / size[:2]))
    std = np.sqrt(-np.log(ratio) / (2 * np.pi**2)) / corner
    x = volume((1, 1, 24, 30, 3))
    out = F.reconstruction_kernel(x, ratio, corner, spacing=size)
    widths = (std / size[0], std / size[1], 0)
    expected = ndimage.gaussian_filter(x[0, 0].numpy(), widths, mode="reflect", truncate=9)
    share = 2e-2 if min(widths[:2]) < 1 else 1e-3  # a sampled Gaussian is aliased
    assert_close(out[0, 0], torch.from_numpy(expected), share=share, reason="aliasing")
    assert np.abs(expected - x[0, 0].numpy()).max() > 0.5


def test_a_kernel_and_its_inverse_give_the_image_back():
    x = volume((2, 2, 7, 9, 8)) * 100 + 40
    ratio, axis = np.array([0.1, 6.0]), [1, 2]
    there = F.reconstruction_kernel(x, ratio, 0.3, axis, spacing=SPACING)
    back = F.reconstruction_kernel(there, 1 / ratio, 0.3, axis, spacing=SPACING)
    assert_close(back, x, share=1e-12, reason=ROUNDING)
    assert (there - x).abs().max() > 10


@pytest.mark.parametrize("ratio", [0.05, 8.0])
def test_means_of_planes_are_kept_and_planes_do_not_mix(ratio):
    x = volume((1, 1, 12, 13, 4))
    out = F.reconstruction_kernel(x, ratio)
    assert_close(out.mean((2, 3)), x.mean((2, 3)), share=1e-12, reason=ROUNDING)
    other = x.clone()
    other[..., 2] = 7
    changed = F.reconstruction_kernel(other, ratio) != out
    assert changed[..., 2].all()
    assert not changed[..., [0, 1, 3]].any()


@pytest.mark.parametrize("ratio", [0.1, 5.0])
def test_opposite_sides_do_not_mix(ratio):
    """A step between the sides of a plane is no edge: it would be one if planes were periodic."""
    x = torch.zeros(1, 1, 64, 8, 1, dtype=DOUBLE)
    x[:, :, :8] = 1000
    out = F.reconstruction_kernel(x, ratio, 0.4)
    # waves about the step fade with the square of the distance, as H has a corner at f0
    assert out[:, :, 40:].abs().max() < 3e-3 * (out - x).abs().max()
    flat = torch.full_like(x, -1000.0)
    assert_close(F.reconstruction_kernel(flat, ratio), flat, share=1e-12, reason=ROUNDING)


def test_sharp_kernels_amplify_noise_by_the_ratio_at_most():
    x, ratio = volume((1, 1, 128, 128, 8)), 4.0
    out = F.reconstruction_kernel(x, ratio, 0.25)
    u = np.arange(128) / 256
    gain = ratio ** np.minimum((u[:, None] ** 2 + u**2) / 0.25**2, 1)
    # 131 072 independent numbers: 0.2 % of the deviation; five of them
    assert abs(out.std() / np.sqrt((gain**2).mean()) - 1) < 0.01
    assert out.norm() < ratio * x.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_ratio_of_1_keeps_the_bits(dtype):
    x = volume((2, 1, 5, 6, 7), dtype)
    x[0, 0, 1, 1, 1] = torch.nan
    out = F.reconstruction_kernel(x, np.array([1.0, 2.0]))
    assert out.dtype == dtype
    assert torch.equal(out[0].nan_to_num(9), x[0].nan_to_num(9))
    assert not torch.equal(out[1], x[1])
    broken = F.reconstruction_kernel(x, 2.0)[0, 0].isnan()
    assert broken[..., 1].all()
    assert not broken[..., [0, 2, 3, 4, 5, 6]].any()


# Slice thickness


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_odd_numbers_of_slices_are_a_uniform_filter(axis, count):
    x = volume((1, 2, 7, 9, 8))
    out = F.slice_thickness(x, count * SPACING[axis], axis, spacing=SPACING)
    expected = ndimage.uniform_filter1d(x.numpy(), count, 2 + axis, mode="nearest")
    assert_close(out, torch.from_numpy(expected), share=1e-12, reason=ROUNDING)


@pytest.mark.parametrize("width", [0.3, 1.2, 2.0, 2.7, 4.0, 7.9, 33.0])
def test_fractions_of_voxels_weigh_by_overlap(width):
    """Differences of the integral of an image that is constant over the extent of a voxel."""
    x, n, far = volume((1, 1, 3, 4, 10)), 10, 40
    line = np.pad(x[0, 0].numpy(), ((0, 0), (0, 0), (far, far)), mode="edge")
    ends = np.arange(n + 2 * far + 1) - 0.5 - far
    total = np.concatenate([np.zeros((3, 4, 1)), line.cumsum(2)], 2)
    at = np.arange(n)
    expected = np.empty((3, 4, n))
    for i, j in np.ndindex(3, 4):
        integral = [np.interp(at + side * width / 2, ends, total[i, j]) for side in (1, -1)]
        expected[i, j] = (integral[0] - integral[1]) / width
    out = F.slice_thickness(x, width * 1.5, spacing=1.5)
    assert_close(out[0, 0], torch.from_numpy(expected), share=1e-11, reason="sums of 90 numbers")


@pytest.mark.parametrize(("width", "shares"), [
    (2, (0.25, 0.5, 0.25)), (3, (1 / 3,) * 3), (4.4, (0.7 / 4.4, *(1 / 4.4,) * 3, 0.7 / 4.4)),
])  # fmt: skip
def test_noise_goes_down_as_that_of_a_mean(width, shares):
    x = volume((1, 1, 40, 40, 64))
    out = F.slice_thickness(x, width)[..., 3:-3]
    # 92 800 numbers, of which five at most depend on each other: 0.5 % of the deviation
    assert abs(out.std() / np.sqrt(np.square(shares).sum()) - 1) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_slices_as_thick_as_they_are_apart_keep_their_bits(dtype):
    x = volume((3, 1, 5, 6, 7), dtype)
    x[:, 0, 1, 1, 1] = torch.nan
    x[:, 0, 2, 2, 2] = torch.inf
    out = F.slice_thickness(x, np.array([0.0, 2.0, 3.0]), spacing=2)
    assert out.dtype == dtype
    same = [torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(out, x, strict=True)]
    assert same == [True, True, False]
    broken = out[2, 0, 1, 1].isnan().tolist()
    assert broken == [True, True, True, False, False, False, False]


def test_a_constant_and_the_middle_of_a_ramp_stay():
    ramp = torch.arange(12, dtype=DOUBLE).expand(1, 1, 2, 3, 12)
    out = F.slice_thickness(ramp, 4.7)
    assert_close(out[..., 3:-3], ramp[..., 3:-3], share=1e-12, reason=ROUNDING)
    assert (out[..., 0] > 0.3).all()
    assert_close(F.slice_thickness(ramp * 0 - 1000, 55.5), ramp * 0 - 1000, share=1e-12,
                 reason=ROUNDING)  # fmt: skip


# Window


def test_a_window_is_linear_within_and_constant_outside():
    x = torch.linspace(-2000, 2000, 4001, dtype=DOUBLE).view(1, 1, -1, 1, 1)
    for center, width in [*WINDOWS.values(), (0.5, 3)]:
        for ends in ((0, 1), (-1, 1), (10, 500)):
            out = F.ct_window(x, center, width, ends).flatten()
            at = [center - width / 2, center + width / 2]
            expected = torch.from_numpy(np.interp(x.flatten().numpy(), at, ends))
            assert_close(out, expected, share=1e-12, reason="rounding of a few products")
            assert ends[0] <= out.min()
            assert out.max() <= ends[1]


def test_a_window_is_that_of_clamp_and_rescale():
    x = smooth((1, 1, 6, 7, 8))[0] * 900
    out = tio.Window("liver", (-1, 1))(x)
    low, high = 30 - 75, 30 + 75
    expected = tio.RescaleIntensity((-1, 1), in_min_max=(low, high))(tio.Clamp(low, high)(x))
    assert_close(out, expected, share=1e-6, reason="float32")


def test_voxels_that_are_not_finite_have_the_ends_of_the_window():
    x = torch.tensor([-torch.inf, 40, torch.inf, torch.nan]).view(1, 1, 1, 4)
    out = tio.Window((40, 80))(x).flatten()
    assert out[:3].tolist() == [0, 0.5, 1]
    assert out[3].isnan()


def test_windows_share_a_pass_with_their_neighbours():
    plan = tio.Compose([tio.RandomGamma(), tio.RandomWindow(), tio.Window("lung")]).plan()
    assert len(plan.stages) == 1
    x = torch.stack([smooth((1, 1, 6, 7, 8), seed=n)[0] for n in range(16)]) * 500
    steps = [tio.RandomNoise(std=(20, 20), p=0.5), tio.RandomWindow(p=0.5), tio.Clamp(0.1)]
    out = []
    for fuse in (True, False):
        torch.manual_seed(1)
        out.append(tio.Compose(steps, fuse=fuse)(x))
    assert_close(out[0], out[1], share=1e-6, reason="float32")
    windowed = out[0].flatten(1).amax(1) <= 1
    assert 3 < windowed.sum() < 13  # samples left out have their HU


def test_samples_without_a_window_keep_their_bits():
    x = torch.randn(12, 1, 4, 5, 6) * 500
    torch.manual_seed(0)
    same = (tio.RandomWindow(p=0.5)(x) == x).flatten(1).all(1)
    assert 2 < same.sum() < 10


def test_random_windows_lie_around_the_given_one():
    out = tio.RandomWindow("brain", shift=0.25, factor=(0.5, 2))(
        batch_of([subject(seed=n) for n in range(64)])
    )
    params = [out.history[n][0].params for n in range(64)]
    center = np.array([each.center.item() for each in params])
    width = np.array([each.width.item() for each in params])
    assert 20 < center.min() < 23
    assert 57 < center.max() < 60
    assert 40 < width.min() < 45
    assert 150 < width.max() < 160
    assert abs(np.corrcoef(center, width)[0, 1]) < 0.3


def test_each_image_may_have_a_window_of_its_own():
    x = torch.tensor([-1000.0, 0, 40, 500]).view(1, 1, 1, 4)
    images = tio.Subject(ct=tio.ScalarImage(x), cta=tio.ScalarImage(x))
    out = tio.Window({"ct": "brain", "cta": (0, 1000)})(images)
    assert out.ct.data.flatten().tolist() == [0, 0, 0.5, 1]
    assert_close(out.cta.data.flatten(), torch.tensor([0, 0.5, 0.54, 1]), share=1e-6, reason="f32")
    many = tio.Window(np.array([[0, 2000], [40, 80]]))(torch.stack([x, x]))
    assert_close(many[0].flatten(), torch.tensor([0, 0.5, 0.52, 0.75]), share=1e-6, reason="f32")
    assert many[1].flatten().tolist() == [0, 0, 0.5, 1]


# Transforms


def test_planes_are_axial_in_the_world_of_each_sample():
    """Voxels in another order give the same image."""
    x = smooth((1, 1, 10, 9, 12))[0]
    spacing = np.diag([1.5, 0.8, 1, 1])
    standing = tio.Subject(t1=tio.ScalarImage(x, affine=ASR_AFFINE @ spacing))
    turned = tio.ToOrientation("SAR")(standing)
    for transform in (tio.ReconstructionKernel(0.1, 0.2), tio.SliceThickness(4)):
        out = [tio.ToCanonical()(transform(each)).t1.data for each in (standing, turned)]
        assert_close(out[1], out[0], share=1e-5, reason="float32 sums in another order")
        assert (out[0] - tio.ToCanonical()(standing).t1.data).abs().max() > 0.05


def test_samples_of_a_batch_have_axes_of_their_own():
    x = volume((3, 2, 6, 6, 6), torch.float32)
    affines = np.stack([np.diag([1, 2, 3, 1.0]), ASR_AFFINE, np.eye(4)])
    for cls, values in ((tio.ReconstructionKernel, [0.3, 4, 2]), (tio.SliceThickness, [5, 2.5, 3])):
        out = cls(values)(tio.ImagesBatch(x, affines)).data
        for b in range(3):
            alone = cls(values[b])(tio.ImagesBatch(x[b : b + 1], affines[b : b + 1])).data
            assert_close(out[b : b + 1], alone, share=1e-6, reason="float32 products")


def test_transforms_are_the_functions():
    s = subject()  # of spacing 1, 2, 3 mm
    axis = slice_axes(s.t1.affine[None])
    kernel = tio.ReconstructionKernel(3, 0.2)(s).t1.data
    expected = F.reconstruction_kernel(s.t1.data[None], 3, 0.2, axis, spacing=(1, 2, 3))[0]
    assert_close(kernel, expected, share=1e-6, reason="spacing of an oblique affine")
    thick = tio.SliceThickness(7)(s)
    expected = F.slice_thickness(s.t1.data[None], 7, axis, spacing=(1, 2, 3))[0]
    assert_close(thick.t1.data, expected, share=1e-6, reason="spacing of an oblique affine")
    assert torch.equal(thick.seg.data, s.seg.data)


def test_parameters_are_drawn_and_replayed():
    for transform, name, low, high in (
        (tio.RandomReconstructionKernel((0.5, 2)), "ratio", 0.5, 2),
        (tio.RandomReconstructionKernel(2, (0.3, 0.6)), "frequency", 0.3, 0.6),
        (tio.RandomSliceThickness((2, 6)), "thickness", 2, 6),
        (tio.RandomSliceThickness(6), "thickness", 0, 6),
    ):
        out = transform(batch_of([subject(seed=n) for n in range(16)]))
        values = np.array([getattr(out.history[n][0].params, name).item() for n in range(16)])
        assert low < values.min() < values.max() < high
        assert np.ptp(values) > 0.5 * (high - low)
        s = subject()
        out = transform(s)
        assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)


# Gradients, arguments


def test_gradients_reach_voxels_and_parameters():
    x = volume((2, 1, 3, 4, 5)).requires_grad_()
    ratio, frequency, thickness = (
        torch.tensor(v, dtype=DOUBLE, requires_grad=True)
        for v in ([0.4, 2.5], [0.33, 0.41], [2.3, 4.6])
    )
    axes = [2, 0]

    def kernel(x, ratio, frequency):
        return F.reconstruction_kernel(x, ratio, frequency, axes, spacing=SPACING)

    def thick(x, thickness):
        return F.slice_thickness(x, thickness, axes, spacing=SPACING)

    def window(x, center, width):
        return F.ct_window(x, center, width, (-1, 2))

    assert torch.autograd.gradcheck(kernel, (x, ratio, frequency))
    assert torch.autograd.gradcheck(thick, (x, thickness))
    assert torch.autograd.gradcheck(window, (x, (ratio - 1).detach().requires_grad_(), ratio))
    one = torch.ones(2, dtype=DOUBLE, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.reconstruction_kernel(x, one).square().sum(), one)
    assert gradient.abs().min() > 0  # where descent begins


X = torch.rand(2, 1, 4, 5, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.reconstruction_kernel(X, 0), "ratio must be > 0"),
        (lambda: F.reconstruction_kernel(X, np.nan), "ratio must be finite"),
        (lambda: F.reconstruction_kernel(X, 2, -1), "frequency must be > 0"),
        (lambda: F.reconstruction_kernel(X, 2, spacing=0), "spacing must be > 0"),
        (lambda: F.reconstruction_kernel(X, 2, axis=3), "axis must be"),
        (lambda: F.reconstruction_kernel(X, [1.0, 2, 3]), "ratio must"),
        (lambda: F.slice_thickness(X, -1), "thickness must be >= 0"),
        (lambda: F.slice_thickness(X, 2, spacing=(1, 1, -1)), "spacing must be > 0"),
        (lambda: F.slice_thickness(X, 2, axis=[0, 1, 2]), "axis must be"),
        (lambda: F.ct_window(X, 40, 0), "width must be > 0"),
        (lambda: F.ct_window(X, 40, 80, (1, 0)), "out_min_max must be a range"),
        (lambda: F.ct_window(X + 0j, 40, 80), "x must be real"),
        (lambda: tio.ReconstructionKernel(-2), "ratio must be > 0"),
        (lambda: tio.ReconstructionKernel(2, 0), "frequency must be > 0"),
        (lambda: tio.RandomReconstructionKernel((0, 2)), "ratio must be > 0"),
        (lambda: tio.RandomReconstructionKernel(2, 0), "frequency must be > 0"),
        (lambda: tio.SliceThickness(-1), "thickness must be >= 0"),
        (lambda: tio.RandomSliceThickness((-1, 2)), "thickness must be >= 0"),
        (lambda: tio.Window((40, 0)), "width of window must be > 0"),
        (lambda: tio.Window({"t1": (40, -80)}), "width of window must be > 0"),
        (lambda: tio.Window("chest"), r"window must be .* 'brain', .* got 'chest'"),
        (lambda: tio.Window(40), "window must be centre and width in HU, or one of 'abdomen'"),
        (lambda: tio.Window("brain", (1, 1)), "out_min_max must be a range"),
        (lambda: tio.RandomWindow("Brain"), r"window must be .* 'brain', .* got 'Brain'"),
        (lambda: tio.RandomWindow("brain", factor=(0, 1)), "factor must be > 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
