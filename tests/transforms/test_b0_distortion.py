"""Distortion of echo-planar images: shifts, sums that are kept, closed forms, alignment, passes."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, oblique_affine, smooth
from torchio_gpu import functional as F
from torchio_gpu.transforms.pipeline.patchwise import Patchwise

DOUBLE = torch.float64
REASON = "rounding of float64"
FLOAT = "coordinates and voxels in float32"


def volume(shape=(2, 2, 9, 10, 8), dtype=DOUBLE):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def line(values, axis):
    """Values along one axis of a field, [1, I, J, K] with two axes of one voxel."""
    return values.view([1, *(-1 if a == axis else 1 for a in range(3))])


# Closed forms


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [-3, 2])
def test_a_constant_field_is_a_shift(axis, shift):
    x = volume()
    field = torch.full(x.shape[2:], 1.5 * shift, dtype=DOUBLE)
    out = F.b0_distortion(x, field, axis, spacing=1.5, fill=7)
    inside = slice(max(shift, 0), x.shape[2 + axis] + min(shift, 0))
    rolled = x.roll(shift, 2 + axis)
    kept, expected = (each.movedim(2 + axis, 0)[inside] for each in (out, rolled))
    assert_close(kept, expected, share=1e-13, reason=REASON)
    assert (out == 7).sum() == abs(shift) * x.numel() // x.shape[2 + axis]


def test_half_a_voxel_is_the_mean_of_two():
    x = volume()
    out = F.b0_distortion(x, torch.full(x.shape[2:], 0.5, dtype=DOUBLE), 1)
    assert_close(out[:, :, :, 1:], (x[:, :, :, 1:] + x[:, :, :, :-1]) / 2, share=1e-13,
                 reason=REASON)  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slope", [-0.5, 0.25])
def test_a_linear_field_scales_content_and_signal(axis, slope):
    """With d = s r, y(r) = (1 - s) x((1 - s) r); exact for content that is linear."""
    n = 21
    r = torch.arange(n, dtype=DOUBLE) - 10
    field, x = line(slope * r, axis), line(3 + 2 * r, axis)[None]
    out = F.b0_distortion(x, field, axis)
    expected = (1 - slope) * (3 + 2 * (1 - slope) * r)
    inner = (abs((1 - slope) * r) <= 10) & (abs(r) < 10)  # derivatives at the ends are of a face
    assert_close(out.flatten()[inner], expected[inner], share=1e-13, reason=REASON)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_sum_of_flat_content_is_kept(axis):
    """Factors are the lengths of what voxels show: together, the field of view and its change."""
    field = torch.randn(3, 7, 9, 8, dtype=DOUBLE).cumsum(1 + axis) / 4
    out = F.b0_distortion(torch.ones(3, 1, 7, 9, 8, dtype=DOUBLE), field, axis, fill=1)
    ends = field.movedim(1 + axis, -1)
    expected = field.shape[1 + axis] - (ends[..., -1] - ends[..., 0])
    assert_close(out[:, 0].sum(1 + axis), expected, share=1e-12, reason=REASON)


def test_the_sum_of_a_bump_is_kept_to_second_order():
    errors = []
    for n in (24, 48, 96, 192):
        r = (torch.arange(n, dtype=DOUBLE) + 0.5) * (96 / n)  # mm
        x = torch.exp(-(((r - 45) / 8) ** 2)).view(1, 1, 1, n, 1)
        field = (6 * torch.sin(r / 9 + 1)).view(1, n, 1)  # derivative up to 2/3
        out = F.b0_distortion(x, field, 1, spacing=96 / n)
        errors.append(abs(float(out.sum() / x.sum()) - 1))
        moved = F.displacement_warp(x, torch.stack((0 * field, -field * n / 96, 0 * field)))
        assert abs(float(moved.sum() / x.sum()) - 1) > 0.1  # without the factor
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.8).all(), orders
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.float16, torch.complex64])
def test_no_displacement_leaves_the_bits(dtype):
    x = volume(dtype=torch.complex64 if dtype.is_complex else DOUBLE).to(dtype)
    x[0, 0, 3, 3, 3] = torch.nan
    nothing = torch.zeros(2, *x.shape[2:])
    out = F.b0_distortion(x, nothing, 1)
    assert out.dtype == dtype
    assert torch.equal(out.nan_to_num(5), x.nan_to_num(5))
    some = nothing.clone()
    some[1, 4, 4, 4] = 1
    out = F.b0_distortion(x, some, np.array([0, 2]))
    assert torch.equal(out[0].nan_to_num(5), x[0].nan_to_num(5))
    assert not torch.equal(out[1], x[1])
    assert torch.equal(tio.B0Distortion(nothing)(x).nan_to_num(5), x.nan_to_num(5))


# Transforms


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_transform_is_the_function(axis):
    x, side = volume(), (0.7, 1.3, 2.0)
    affine = oblique_affine(side)
    field = torch.randn(2, *x.shape[2:], dtype=DOUBLE).cumsum(2) / 3
    forward = np.abs(affine[:3, axis]).argmax()
    sign = np.sign(affine[forward, axis])
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(x, np.stack([affine] * 2))})
    for bandwidth, mm in (
        (None, 1),
        (1, side[axis]),
        ([40, -25], side[axis] / np.array([40, -25])),
    ):
        out = tio.B0Distortion(field, axis, bandwidth, default_pad_value=2)(batch).t1.data
        scale = torch.as_tensor(sign * mm * np.ones(2)).view(2, 1, 1, 1)
        expected = F.b0_distortion(x, field * scale, axis, spacing=side[axis], fill=2)
        assert_close(out, expected, share=1e-9, reason="products of affines")


def test_content_moves_to_the_front_whatever_the_order_of_voxels():
    x = smooth((1, 1, 8, 24, 6))[0]
    standing = tio.Subject(t1=tio.ScalarImage(x))
    turned = tio.ToOrientation("PLI")(standing)
    assert turned.t1.shape == (1, 24, 8, 6)
    centre = []
    for subject in (standing, turned):
        field = torch.full(subject.t1.spatial_shape, 3.0)
        out = tio.B0Distortion(field, "AP", default_pad_value=0)(subject)
        centre.append(tio.ToCanonical()(out).t1.data)
    assert_close(centre[1], centre[0], share=1e-6, reason=FLOAT)
    assert_close(centre[0][:, :, 3:], x[:, :, :-3], share=1e-6, reason=FLOAT)


def test_a_field_goes_on_outside_its_grid():
    x, affine = smooth((1, 1, 9, 20, 8))[0], np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 2, 5, 3
    field = torch.full((2, 3, 2), 2.0, dtype=DOUBLE)
    out = tio.B0Distortion(field, 1, affine=affine, default_pad_value=0)(x)
    assert_close(out[:, :, 2:], x[:, :, :-2], share=1e-12, reason=REASON)
    slope = torch.arange(3.0).view(1, 3, 1).expand(2, 3, 2) / 2  # 1/4 mm per mm, from 5 to 9 mm
    out = tio.B0Distortion(slope, 1, affine=affine)(torch.ones_like(x))[0, 4, :, 4]
    assert_close(out[6:9], torch.full((3,), 0.75), share=1e-6, reason=FLOAT)
    assert_close(out[[0, 1, 3, 11, 15, 19]], torch.ones(6), share=1e-6, reason=FLOAT)


def moved_subject(affine):
    x = smooth((1, 1, 18, 16, 14))[0].float() + 10
    labels = (x > 10.3).to(torch.uint8)
    points = tio.Points(torch.rand(9, 3) * 6 + 4, axes="IJK", affine=affine)
    return tio.Subject(
        t1=tio.ScalarImage(x, affine=affine),
        one=tio.ScalarImage(torch.ones_like(x), affine=affine),
        seen=tio.ScalarImage(labels.float(), affine=affine),
        seg=tio.LabelMap(labels, affine=affine),
        points=points,
    )


@pytest.mark.parametrize("affine", [np.eye(4), oblique_affine((1, 1.2, 0.9))])
def test_labels_points_and_images_stay_aligned(affine):
    torch.manual_seed(0)
    subject = moved_subject(affine)
    transform = tio.RandomB0Distortion((2, 3), 6, (0, 1, 2), image_interpolation="nearest")
    out = transform(subject)
    weight = out.one.data
    assert weight.std() > 0.05
    assert torch.equal(out.seen.data, out.seg.data * weight)
    assert out.seg.data.dtype == torch.uint8
    move = out.applied_map("t1")
    back = move.pull(out.points.world())
    assert_close(back, subject.points.world(), share=1e-6, reason="points in float32")
    assert (out.points.world() - subject.points.world()).norm(dim=-1).max() > 0.3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_random_fields_are_along_the_axis_and_do_not_fold(axis):
    """Factors of flat content are differences of the field between faces, from points."""
    torch.manual_seed(1)
    affine, size = oblique_affine((1, 1.2, 0.9)), (18, 16, 14)
    one = tio.Subject(t1=tio.ScalarImage(torch.ones(1, *size, dtype=DOUBLE), affine=affine))
    for largest, smoothness in (((2, 2), 9), ((30, 30), 6)):
        out = tio.RandomB0Distortion(largest, smoothness, axis)(one)
        move, space = out.applied_map("t1"), one.t1
        e = torch.from_numpy(affine[:3, axis])
        side = e.norm()
        points = torch.cartesian_prod(*(torch.arange(n, dtype=DOUBLE) for n in size))
        world = points @ torch.from_numpy(affine[:3, :3]).T + torch.from_numpy(affine[:3, 3])
        shift = torch.as_tensor(move.displacement(world))
        along = shift @ e / side
        assert_close(along[:, None] * e / side, shift, share=1e-9, reason=REASON)
        low, high = (torch.as_tensor(move.displacement(world + h * e)) for h in (-0.5, 0.5))
        factor = (1 + (high - low) @ e / side**2).view(1, *size)
        assert_close(out.t1.data, factor, share=1e-9, reason=REASON)
        if largest == (2, 2):
            assert 1.9 < abs(along).max() < 2.05  # between steps of half a control point
        else:  # it would fold
            assert 0.15 < min(factor.min(), 2 - factor.max()) < 0.25
            assert abs(along).max() < 20
        assert space.shape == out.t1.shape


@pytest.mark.parametrize("given", [False, True])
def test_images_on_other_grids_are_distorted_alike(given):
    """Factors on a grid that is oblique to the field's are derivatives along its direction."""
    torch.manual_seed(2)
    first, other = oblique_affine((1, 1.2, 0.9)), oblique_affine((0.8, 0.9, 1.1)).T.copy()
    other[:3, 3], other[3, :3] = first[:3, 3], 0
    size = (18, 16, 14)
    subject = tio.Subject(
        t1=tio.ScalarImage(torch.ones(1, *size, dtype=DOUBLE), affine=first),
        t2=tio.ScalarImage(torch.ones(1, 9, 8, 7, dtype=DOUBLE), affine=other),
    )
    field = smooth((1, 1, *size))[0, 0].cumsum(1) / 9
    out = (tio.B0Distortion(field, 1) if given else tio.RandomB0Distortion((3, 3), 9, 1))(subject)
    points = torch.cartesian_prod(*(torch.arange(n, dtype=DOUBLE) for n in (9, 8, 7)))
    world = points @ torch.from_numpy(other[:3, :3]).T + torch.from_numpy(other[:3, 3])
    e = torch.from_numpy(first[:3, 1] / 1.2)
    move = out.applied_map("t2")
    low, high = (torch.as_tensor(move.displacement(world + h * e)) for h in (-0.4, 0.4))
    factor = (1 + (high - low) @ e / 0.8).view(1, 9, 8, 7)
    inner = (slice(None), *(slice(1, -1),) * 3)
    assert factor.std() > 0.05
    error = (out.t2.data - factor)[inner].abs() / (factor.max() - factor.min())
    assert error.mean() < 0.02  # differences over a voxel
    assert given or error.max() < 0.05  # a given field has edges between its voxels


def test_the_distortion_is_undone():
    torch.manual_seed(0)
    x = smooth((1, 1, 40, 36, 32))[0] * 0 + 5
    x[:, 8:-8, 8:-8, 8:-8] += smooth((1, 1, 24, 20, 16))[0] / 4
    for make in (
        lambda: tio.RandomB0Distortion((2, 2), 9, 1),
        lambda: tio.B0Distortion(smooth((1, 1, 40, 36, 32))[0, 0] / 4, 1),
    ):
        subject = tio.Subject(t1=tio.ScalarImage(x))
        out = make()(subject)
        back = out.apply_inverse_transform()
        inner = (slice(None), *(slice(5, -5),) * 3)
        error = (back.t1.data - x)[inner].abs().max()
        assert error < 0.35 * (out.t1.data - x)[inner].abs().max()
        assert error < 0.35


@pytest.mark.parametrize("shape", [(1, 12, 10), (11, 1, 10), (9, 10, 1), (1, 1, 12), (13, 10, 9)])
def test_single_slices(shape):
    x = torch.rand(2, 1, *shape)
    for axis in range(3):
        torch.manual_seed(0)
        out = tio.RandomB0Distortion((2, 2), 4, axis)(x)
        if shape[axis] == 1:
            assert torch.equal(out, x)
            assert torch.equal(F.b0_distortion(x, torch.zeros(shape), axis), x)
        else:
            assert not torch.equal(out, x)


# Passes


def test_what_shares_a_pass_gives_what_single_steps_give():
    batch = batch_of([moved_subject(oblique_affine((1, 1.2, 0.9))) for _ in range(4)], [3, 1, 4, 5])
    b0 = tio.RandomB0Distortion((2, 3), 6, (0, 1, 2), p=0.6)
    noise, gamma = tio.RandomNoise(0, 0.1), tio.RandomGamma(p=0.5)
    for steps in (
        [b0, noise, gamma], [noise, b0, gamma], [b0, tio.RandomFlip((0, 1))], [b0, b0],
        [b0, tio.ZNormalization(exclude=["one"]), tio.RandomFlip(0)],
        [tio.RandomFlip((0, 1, 2)), b0, noise],
        [b0, tio.Crop(2), noise], [b0, tio.RandomAffine(degrees=5)],
    ):  # fmt: skip
        found = []
        for fuse in (True, False):
            batch.streams = tio.random.Streams(np.array([3, 1, 4, 5]))
            found.append(tio.Compose(steps, fuse=fuse)(batch))
        together, alone = found
        for name in ("t1", "seg"):
            assert_close(together[name].data, alone[name].data, share=2e-5, reason=FLOAT)


def test_the_plan_says_where_a_pass_ends():
    x = torch.rand(2, 1, 8, 8, 8)
    steps = [tio.RandomAffine(), tio.RandomB0Distortion(2, 4), tio.RandomNoise(), tio.RandomFlip()]
    lines = tio.Compose(steps).explain(x).splitlines()
    assert lines[0].startswith("spatial: RandomAffine -> RandomB0Distortion  (ends: RandomNoise")
    assert "scaled by the determinant of the map" in lines[2]
    assert "1 operations" in lines[2]
    steps = [tio.RandomB0Distortion(2, 4), tio.RandomFlip()]
    first = tio.Compose(steps).explain(x).splitlines()[0]
    assert "(ends: RandomB0Distortion scales intensities where it moves them)" in first


def test_patches_are_those_of_whole_volumes():
    steps = [tio.RandomB0Distortion(2, 6), tio.RandomFlip(), tio.RandomNoise()]
    parts = Patchwise(tio.Compose(steps).plan().pipeline)
    assert [step.transform.name for step in parts.before.steps] == ["RandomB0Distortion"]
    assert parts.why_whole == "RandomB0Distortion needs the whole volume"


def test_samples_that_are_left_out_keep_their_bits():
    x = volume((12, 1, 9, 8, 7), torch.float32)
    torch.manual_seed(0)
    out = tio.RandomB0Distortion((2, 3), 4, (0, 1, 2), p=0.5)(x)
    same = (out == x).flatten(1).all(1)
    assert 2 < same.sum() < 10
    nothing = tio.RandomB0Distortion((0, 0), 4)(x)
    assert torch.equal(nothing, x)


# Gradients, arguments


def test_gradients_reach_voxels_and_the_field():
    x = volume((2, 1, 4, 5, 3)).requires_grad_()
    field = (0.3 * volume((2, 4, 5, 3)) + 0.05).requires_grad_()
    axes = np.array([0, 1])
    assert torch.autograd.gradcheck(lambda x, d: F.b0_distortion(x, d, axes, fill=2.0), (x, field))
    start = torch.zeros(4, 5, 3, dtype=DOUBLE, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.b0_distortion(x.detach(), start).square().sum(), start)
    assert gradient.abs().max() > 0
    out = tio.B0Distortion(field, 1, default_pad_value=2)(x.detach())
    (gradient,) = torch.autograd.grad(out.square().sum(), field)
    out = F.b0_distortion(x.detach(), field, 1, fill=2.0)
    (expected,) = torch.autograd.grad(out.square().sum(), field)
    assert_close(gradient, expected, share=1e-9, reason=REASON)


X = torch.rand(2, 1, 4, 5, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.b0_distortion(X, torch.zeros(4, 5, 7)), r"shape \(4, 5, 6\) or \(2, 4, 5, 6\)"),
        (lambda: F.b0_distortion(X, torch.zeros(4, 5, 6).int()), "floating dtype"),
        (lambda: F.b0_distortion(X, torch.zeros(4, 5, 6), 3), "axis must be"),
        (lambda: F.b0_distortion(X, torch.zeros(4, 5, 6), spacing=0), "spacing must be greater"),
        (lambda: F.b0_distortion(X, torch.zeros(4, 5, 6), mode="bspline"), "mode must be one of"),
        (lambda: tio.B0Distortion(torch.zeros(5, 6)), r"field must have shape \(I, J, K\)"),
        (lambda: tio.B0Distortion(torch.zeros(3, 4, 5, 6))(X), "of 1 or 2 samples"),
        (lambda: tio.B0Distortion(torch.zeros(4, 5, 7))(X), "grid of the first image"),
        (lambda: tio.B0Distortion(torch.zeros(4, 5, 6), 1, 0), "bandwidth must not be 0"),
        (lambda: tio.B0Distortion(torch.zeros(4, 5, 6), "XY"), "axis must be"),
        (lambda: tio.RandomB0Distortion(-1), "max_displacement must be"),
        (lambda: tio.RandomB0Distortion(smoothness=0), "smoothness must be a number > 0"),
        (lambda: tio.RandomB0Distortion(smoothness=0.4)(X), "smoothness must be at least half"),
        (lambda: tio.RandomB0Distortion(axes=3), "axes must be"),
        (lambda: tio.RandomB0Distortion(bandwidth=0), "bandwidth must not be 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bandwidths_are_counted():
    field = torch.ones(4, 5, 6)
    with pytest.raises(ValueError, match="bandwidth must hold one number, or one per"):
        tio.B0Distortion(field, bandwidth=[20.0, 30.0])(torch.rand(3, 1, 4, 5, 6))
    with pytest.raises(ValueError, match=r"bandwidth must hold .* got none"):
        tio.B0Distortion(field, bandwidth=np.empty(0))
