"""Motion between slices: rigid warps, slices at rest, courses in time, gradients."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import ASR_AFFINE, oblique_affine, smooth
from torchio_gpu import functional as F
from torchio_gpu.transforms.kspace.slice_motion import acquisition_order

DOUBLE = torch.float64
REASON = "coordinates from products of float64 matrices"
AFFINE = oblique_affine((1, 1.3, 2.1))
SHAPE = (9, 10, 7)


def volume(shape=(2, 2, *SHAPE), dtype=DOUBLE):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def poses(batch, slices, degrees=20.0, translation=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.uniform(-each, each, (batch, slices, 3)) for each in (degrees, translation))


def rigid(x, degrees, translation, affine=AFFINE, **interpolation):
    """Whole volumes in one pose, by the transform of the spatial family."""
    images = tio.ImagesBatch(x, np.stack([affine] * len(x)))
    return tio.Affine(1, degrees, translation, **interpolation)(images).data


# Closed forms


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_one_pose_for_all_slices_is_a_rigid_warp(axis, mode):
    x, degrees, translation = volume(), (12.0, -7, 20), (1.5, -0.4, 2)
    out = F.slice_motion(x, degrees, translation, axis, affine=AFFINE, mode=mode)
    expected = rigid(x, degrees, translation, image_interpolation=mode)
    assert_close(out, expected, share=1e-11, reason=REASON)


@pytest.mark.parametrize("axes", [[0, 1], [2, 0], [1, 1]])
def test_each_slice_is_that_of_the_volume_in_its_pose(axes):
    x, n = volume(), 10
    degrees, translation = poses(2, n)
    out = F.slice_motion(x, degrees, translation, np.array(axes), affine=AFFINE, fill=0.2)
    for s in range(n):
        moved = rigid(x, degrees[:, s], translation[:, s], default_pad_value=0.2)
        for b, axis in enumerate(axes):
            if s < SHAPE[axis]:
                here = out[b].select(1 + axis, s), moved[b].select(1 + axis, s)
                assert_close(*here, share=1e-11, reason=REASON)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_voxels_within_a_slice(axis):
    x = volume((1, 1, 9, 9, 9))
    others = [each for each in range(3) if each != axis]
    shift = np.zeros((9, 3))
    shift[:, others[0]] = [0, 1, -2, 0, 3, 0, -1, 0, 2]
    shift[:, others[1]] = [0, 0, 1, 0, -1, 2, 0, -3, 0]
    out = F.slice_motion(x, 0, shift, axis, fill=5)
    for s, each in enumerate(shift):
        plane = x[0, 0].select(axis, s)
        by = [int(each[other]) for other in others]
        expected = torch.full_like(plane, 5.0)
        to = tuple(slice(max(b, 0), 9 + min(b, 0)) for b in by)
        of = tuple(slice(max(-b, 0), 9 + min(-b, 0)) for b in by)
        expected[to] = plane[of]
        assert_close(out[0, 0].select(axis, s), expected, share=1e-12, reason=REASON)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.float16, torch.complex64])
def test_slices_at_rest_keep_their_bits(dtype):
    x = volume(dtype=torch.complex64 if dtype.is_complex else DOUBLE).to(dtype)
    x[:, 0, 3, 3, 2] = torch.nan
    degrees, translation = (np.zeros((2, 10, 3)) for _ in range(2))
    degrees[0, 4], translation[1, 6, 1] = (0, 0, 9), 0.7
    out = F.slice_motion(x, degrees, translation, np.array([2, 1]))
    assert out.dtype == dtype
    moved = torch.zeros(2, *SHAPE, dtype=torch.bool)
    moved[0, :, :, 4] = moved[1, :, 6] = True
    same = (out.nan_to_num(9) == x.nan_to_num(9)).all(1)
    assert bool(same[~moved].all())
    assert same[moved].double().mean() < 0.3
    nothing = F.slice_motion(x, np.zeros((10, 3)), 0, np.array([2, 1]))
    assert torch.equal(nothing.nan_to_num(9), x.nan_to_num(9))


def test_gains_are_of_slices():
    x = volume()
    gain = np.linspace(0.5, 2, 20).reshape(2, 10)
    out = F.slice_motion(x, 0, 0, np.array([1, 2]), gain=gain)
    factor = torch.from_numpy(gain)
    assert torch.equal(out[0], x[0] * factor[0, :, None])
    assert torch.equal(out[1], x[1] * factor[1, :7])
    assert torch.equal(F.slice_motion(x, 0, 0, gain=2), 2 * x)


@pytest.mark.parametrize("shape", [(1, 12, 10), (11, 1, 10), (9, 10, 1), (1, 1, 12), (1, 1, 1)])
def test_single_slices_move_within_their_plane(shape):
    x = torch.rand(2, 1, *shape, dtype=DOUBLE)
    degrees, translation = poses(1, max(shape))
    for axis in range(3):
        out = F.slice_motion(x, degrees[0], translation[0], axis, affine=np.eye(4))
        assert out.shape == x.shape
        for s in range(shape[axis]):
            pose = degrees[0, s], translation[0, s]
            expected = rigid(x, *pose, affine=np.eye(4)).select(2 + axis, s)
            assert_close(out.select(2 + axis, s), expected, share=1e-11, reason=REASON)


# Transforms


def test_poses_are_in_the_world_of_each_sample():
    """Voxels in another order give the same image, along the same anatomical axis."""
    x = smooth((1, 1, 10, 9, 12))[0]
    standing = tio.Subject(t1=tio.ScalarImage(x, affine=ASR_AFFINE))
    turned = tio.ToOrientation("SAR")(standing)
    for name, n in (("AP", 10), ("LR", 12), ("IS", 9)):
        degrees, translation = (each[0] for each in poses(1, n, 15, 1))
        out = [
            tio.ToCanonical()(tio.SliceMotion(degrees, translation, name)(subject)).t1.data
            for subject in (standing, turned)
        ]
        assert_close(out[1], out[0], share=1e-11, reason=REASON)
        assert (out[0] - tio.ToCanonical()(standing).t1.data).abs().max() > 0.3


def test_label_maps_and_points_stay():
    points = tio.Points(torch.rand(5, 3) * 6)
    subject = tio.Subject(
        t1=tio.ScalarImage(torch.rand(1, *SHAPE)),
        seg=tio.LabelMap(torch.ones(1, *SHAPE, dtype=torch.uint8)),
        points=points,
    )
    out = tio.RandomSliceMotion()(subject)
    assert torch.equal(out.seg.data, subject.seg.data)
    assert torch.equal(out.points.world(), points.world())
    assert not torch.equal(out.t1.data, subject.t1.data)


@pytest.mark.parametrize("packets", [1, 2, 3, 7, 20])
def test_packets_are_acquired_one_after_another(packets):
    place = acquisition_order(11, packets)
    assert sorted(place) == list(range(11))
    expected = sorted(range(11), key=lambda s: (s % packets, s))
    assert np.argsort(place).tolist() == expected


def drawn(transform, batch=64, shape=(6, 5, 40), seed=0):
    torch.manual_seed(seed)
    images = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(batch, 1, *shape))})
    return transform.sample_params(images)


def test_the_content_moves_smoothly_in_the_time_of_acquisition():
    n = 40
    for packets in (1, 2, 4):
        transform = tio.RandomSliceMotion(10, 5, (1, 1), (packets, packets), 4)
        params = drawn(transform)
        course = params.degrees[:, 0, np.argsort(acquisition_order(n, packets))]
        step = abs(np.diff(course, axis=1)).mean()
        assert step < 0.15 * abs(np.diff(np.random.default_rng(0).permuted(course, axis=1),
                                         axis=1)).mean()  # fmt: skip
        if packets > 1:  # neighbours in space are of different times
            assert abs(np.diff(params.degrees[:, 0], axis=1)).mean() > 5 * step


def test_values_come_from_the_ranges():
    params = drawn(tio.RandomSliceMotion((2, 6), (-1, 3), (0.3, 0.5), gain=(0.6, 0.9)), 256)
    hit = params.gain[:, 0] != 1
    counts = hit.sum(1)
    assert counts.min() >= 12
    assert counts.max() <= 20
    assert np.ptp(counts) > 4
    for values, low, high in (
        (params.degrees[:, 0], 2, 6), (params.translation[:, 0], -1, 3),
        (params.gain[:, 0, :, None], 0.6, 0.9),
    ):  # fmt: skip
        assert not (values[~hit] - values[~hit][0]).any()
        share = (values[hit] - low) / (high - low)
        assert 0 <= share.min() < 0.02
        assert 0.98 < share.max() <= 1
        assert abs(np.quantile(share, (0.25, 0.5, 0.75)) - (0.25, 0.5, 0.75)).max() < 0.05
    assert not params.degrees[:, 0][~hit].any()


def test_no_motion_leaves_the_bits():
    x = volume(dtype=torch.float32)
    for transform in (
        tio.RandomSliceMotion(share=(0, 0)), tio.RandomSliceMotion(0, 0, gain=(1, 1)),
    ):  # fmt: skip
        assert torch.equal(transform(x), x)
    torch.manual_seed(0)
    x = volume((12, 1, 6, 7, 8), torch.float32)
    same = (tio.RandomSliceMotion(p=0.5)(x) == x).flatten(1).all(1)
    assert 2 < same.sum() < 10


# Gradients, arguments


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradients_reach_voxels_poses_and_gains(axis):
    x = volume((2, 1, 4, 5, 3)).requires_grad_()
    degrees, translation = (
        torch.from_numpy(each).requires_grad_() for each in poses(2, 5, 12, 0.7)
    )
    gain = torch.linspace(0.6, 1.3, 10, dtype=DOUBLE).view(2, 5).requires_grad_()
    axes = np.array([axis, (axis + 1) % 3])

    def move(x, degrees, translation, gain):
        return F.slice_motion(x, degrees, translation, axes, gain=gain, affine=AFFINE, fill=2.0)

    assert torch.autograd.gradcheck(move, (x, degrees, translation, gain))
    transform = tio.SliceMotion(degrees, translation, axis, gain)
    out = transform(x.detach()).square().sum()
    assert all(each.abs().max() > 0 for each in torch.autograd.grad(out, (degrees, gain)))
    rest = torch.zeros(5, 3, dtype=DOUBLE, requires_grad=True)  # where descent begins
    out = F.slice_motion(x.detach(), rest, 0, axis).square().sum()
    assert torch.autograd.grad(out, rest)[0].abs().max() > 0


X = torch.rand(2, 1, 4, 5, 6)
REST = np.zeros((6, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.slice_motion(X, REST[:5], 0), "degrees must have a pose for each of 6 slices"),
        (lambda: F.slice_motion(X, 0, 0, gain=np.ones(4)), "gain must have a pose for each of 6"),
        (lambda: F.slice_motion(X, REST, REST[:5]), "poses must be as many as gains and as each"),
        (lambda: F.slice_motion(X, REST, 0, 3), "axis must be"),
        (lambda: F.slice_motion(X, REST[None].repeat(3, 0), 0), "one value per sample"),
        (lambda: F.slice_motion(X, 0, 0, mode="bspline"), "mode must be one of"),
        (lambda: F.slice_motion(X, np.nan, 0), "degrees must be finite"),
        (lambda: F.slice_motion(X, 0, 0, affine=np.zeros((4, 4))), "affine must"),
        (lambda: tio.SliceMotion(5, 0), r"degrees must have shape \(N, 3\)"),
        (lambda: tio.SliceMotion(REST, REST[:5]), "translation must have shape"),
        (lambda: tio.SliceMotion(REST, 0, gain=np.ones(5)), "gain must have shape"),
        (lambda: tio.SliceMotion(REST, 0, "XY"), "axis must be"),
        (lambda: tio.SliceMotion(REST[:5], 0)(X), "degrees must have a pose"),
        (lambda: tio.RandomSliceMotion(share=1.5), "share must be <= 1"),
        (lambda: tio.RandomSliceMotion(interleaves=0.5), "interleaves must be"),
        (lambda: tio.RandomSliceMotion(interleaves=(0, 2)), "interleaves must be"),
        (lambda: tio.RandomSliceMotion(gain=(-0.1, 1)), "gain must be >= 0"),
        (lambda: tio.RandomSliceMotion(num_transforms=0), "num_transforms must be"),
        (lambda: tio.RandomSliceMotion(axes=4), "axes must be"),
        (lambda: tio.RandomSliceMotion(image_interpolation="label"), "image_interpolation must"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
