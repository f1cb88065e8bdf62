"""Displacements and diffeomorphisms: SimpleITK as the oracle, folding, inverses, gradients."""

import json
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as TF

import torchio_gpu as tio
from tests.volumes import oblique_affine
from torchio_gpu import functional as F
from torchio_gpu.data import VelocityField

SHAPE = (18, 16, 14)
LPS = np.diag((-1.0, -1, 1))
AFFINE = oblique_affine((1, 1.2, 0.9))
RANDOM = {
    "displacement": lambda **k: tio.RandomDisplacement(amplitude=(0.8, 1.2), smoothness=5, **k),
    "diffeomorphism": lambda **k: tio.RandomDiffeomorphism(amplitude=(2, 3), smoothness=5, **k),
}

each_random = pytest.mark.parametrize("transform", RANDOM.values(), ids=RANDOM)


def smooth(channels, shape=SHAPE, largest=1.0):
    """Random values that change slowly, [channels, *shape] float64."""
    coarse = largest * (2 * torch.rand(1, channels, 4, 4, 4, dtype=torch.float64) - 1)
    return TF.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0]


def subject(affine=AFFINE, shape=SHAPE):
    x = smooth(1, shape)
    image, seg = tio.ScalarImage(x, affine=affine), tio.LabelMap((x > 0).byte(), affine=affine)
    points = tio.Points(torch.rand(7, 3) * 6 + 4, axes="IJK", affine=affine)
    return tio.Subject(t1=image, seg=seg, points=points)


def batch_of(*affines, seed=3):
    images = tio.ImagesBatch(torch.stack([smooth(1).float() for _ in affines]), np.stack(affines))
    batch = tio.SubjectsBatch({"t1": images})
    batch.streams = tio.random.Streams(np.arange(seed, seed + len(affines)))
    return batch


def row(batch, n):
    images = tio.ImagesBatch(batch.t1.data[n : n + 1], batch.t1.affine[n : n + 1])
    alone = tio.SubjectsBatch({"t1": images})
    alone.streams = tio.random.Streams(np.array([3 + n]))
    return alone


def sitk_field(displacement, affine):
    """A field in mm along RAS+ as SimpleITK's transform, in LPS+."""
    values = np.einsum("ab,bijk->kjia", LPS, displacement.numpy())
    image = sitk.GetImageFromArray(np.ascontiguousarray(values), isVector=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((LPS @ affine[:3, 3]).tolist())
    image.SetDirection((LPS @ affine[:3, :3] / spacing).ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def resampled(image, transform):
    """Voxels of an image that SimpleITK resamples on its own grid, [I, J, K]."""
    x = image.as_sitk()
    out = sitk.Resample(x, x, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat64)
    return sitk.GetArrayFromImage(out).transpose(2, 1, 0)


# Against SimpleITK


@pytest.mark.parametrize("own_grid", [False, True])
def test_displacement_is_that_of_simpleitk(own_grid):
    s, displacement, affine = subject(), smooth(3, largest=2), AFFINE
    if own_grid:  # coarser, rotated, and smaller than the image: no displacement outside it
        displacement = smooth(3, (6, 5, 7), largest=2)
        affine = oblique_affine((2, 2.1, 1.9)) @ np.array(
            [[0, 1, 0, 1.3], [1, 0, 0, 0.8], [0, 0, 1, 0.4], [0, 0, 0, 1]]
        )
    expected = resampled(s.t1, sitk_field(displacement, affine))
    transform = tio.Displacement(displacement, affine if own_grid else None, default_pad_value=0)
    out = transform(s)
    np.testing.assert_allclose(out.t1.data[0].numpy(), expected, atol=1e-5)
    assert abs(expected - s.t1.numpy()[0]).max() > 0.3
    applied = resampled(s.t1, out.applied_map("t1").as_sitk())
    np.testing.assert_allclose(applied, expected, atol=1e-9)


def test_displacement_in_voxels_and_as_an_image():
    s, u = subject(), smooth(3)
    in_mm = torch.einsum("ab,bijk->aijk", torch.from_numpy(AFFINE[:3, :3]), u)
    expected = tio.Displacement(in_mm)(s).t1.data
    torch.testing.assert_close(tio.Displacement(u, unit="voxels")(s).t1.data, expected)
    image = tio.ScalarImage(in_mm, affine=AFFINE)
    torch.testing.assert_close(tio.Displacement(image)(s).t1.data, expected)


def test_diffeomorphism_is_that_of_simpleitk():
    s = subject()
    out = tio.Diffeomorphism(smooth(3, largest=3), default_pad_value=0)(s)
    transform = out.applied_map("t1").as_sitk(s.t1)
    np.testing.assert_allclose(out.t1.numpy()[0], resampled(s.t1, transform), atol=1e-5)


def test_fields_outside_their_grid():
    """The displacements of a flow go on outside; given ones end."""
    s, shift = subject(np.eye(4)), torch.zeros(3, 4, 4, 4)
    shift[0] = 1.5
    affine = np.eye(4)
    affine[:3, 3] = 6
    moved = tio.Affine(translation=(-1.5, 0, 0), default_pad_value=0)(s).t1.data
    flow = tio.Diffeomorphism(shift, affine, default_pad_value=0)(s).t1.data
    torch.testing.assert_close(flow, moved)
    given = tio.Displacement(shift, affine, default_pad_value=0)(s).t1.data
    inside = (slice(None), *(slice(6, 10),) * 3)
    torch.testing.assert_close(given[inside], moved[inside])
    given[inside] = s.t1.data[inside]
    torch.testing.assert_close(given, s.t1.data)


def test_pipelines_sample_once_and_are_those_of_simpleitk():
    s, fill = subject(), {"default_pad_value": 0}
    for steps in (
        [tio.Affine(scales=(1.1, 0.9, 1), degrees=20, **fill), tio.Displacement(smooth(3), **fill)],
        [tio.Flip(axes=(0,)), tio.Affine(1.1, **fill), RANDOM["diffeomorphism"](**fill)],
    ):
        transform = tio.Compose(steps)
        assert transform.explain(s).count("spatial: ") == 1
        out = transform(s)
        expected = resampled(s.t1, out.applied_map("t1").as_sitk(s.t1))
        found = out.t1.numpy()[0]
        inside = (expected != 0) & (found != 0)  # what the first step moves out of view is lost
        np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
        assert inside.mean() > 0.5
        assert (inside != (expected != 0)).mean() < 0.002  # within 1e-4 voxel of the border


def test_an_affine_after_a_displacement_samples_again():
    s, fill = subject(), {"default_pad_value": 0}
    steps = [tio.Displacement(smooth(3), **fill), tio.Affine(degrees=(0, 0, 20), **fill)]
    out, one = tio.Compose(steps)(s), s
    for step in steps:
        one = step(one)
    torch.testing.assert_close(out.t1.data, one.t1.data)
    points = out.applied_map("t1").push(s.points.world())[0]
    torch.testing.assert_close(out.points.world(), points)


# Random fields


def test_amplitude_and_smoothness():
    """Standard deviation of the field, and its correlation at a distance of two smoothnesses."""
    space = tio.ImagesBatch(torch.zeros(1, 1, 40, 40, 40)).space
    fields = []
    for seed in range(8):
        batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(1, 1, 40, 40, 40))})
        batch.streams = tio.random.Streams(np.array([seed]))
        params = tio.RandomDisplacement(amplitude=(1, 1), smoothness=4).sample_params(batch)
        fields.append(params.field().on_grid(space)[0])
    u = torch.stack(fields)
    assert u.std().item() == pytest.approx(1, rel=0.05)
    for axis in range(2, 5):
        n = u.shape[axis] - 8
        product = u.narrow(axis, 0, n) * u.narrow(axis, 8, n)
        assert product.mean().item() == pytest.approx(np.exp(-1), abs=0.08)


@pytest.mark.parametrize("smoothness", [2, 3, 6])
@pytest.mark.parametrize("amplitude", [4, 100])
def test_diffeomorphisms_never_fold(smoothness, amplitude):
    transform = tio.RandomDiffeomorphism((amplitude, amplitude), smoothness=smoothness)
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(12, 1, 18, 16, 17))})
    batch.streams = tio.random.Streams(np.arange(12))
    out = transform(batch)
    determinants = [m.jacobian_determinant(batch.t1.space) for m in out.applied_map("t1")]
    smallest = torch.cat(determinants).amin((1, 2, 3, 4))
    assert (smallest > 0.01).all()
    assert smallest.min() < 0.5  # far from the identity


def test_diffeomorphisms_can_be_inverted_outside_the_image():
    for seed in range(3):
        batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(1, 1, 20, 20, 20))})
        batch.streams = tio.random.Streams(np.array([seed]))
        transform = tio.RandomDiffeomorphism(amplitude=(8, 8), smoothness=8)
        (move,) = transform(batch).applied_map("t1")
        wide = np.eye(4)[None].copy()
        wide[:, :3, 3] = -8
        report = move.fold_report(tio.geometry.Space((36, 36, 36), wide))
        assert report["smallest_determinant"] > 0.01
        points = np.random.default_rng(seed).uniform(-6, 26, (300, 3))
        found, folded = move.push(points)
        assert not folded.any()
        np.testing.assert_allclose(move.pull(found), points, atol=1e-7)
        assert abs(np.asarray(found) - points).max() > 3


def test_displacements_that_may_fold_are_warned_of():
    with pytest.warns(RuntimeWarning, match=r"below 2 mm.*RandomDiffeomorphism never folds"):
        tio.RandomDisplacement(amplitude=3, smoothness=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tio.RandomDisplacement(amplitude=2, smoothness=8)


@each_random
def test_samples_are_those_of_items(transform):
    """Spacings differ, so that lattices have different sizes."""
    batch = batch_of(AFFINE, np.diag((2.0, 1, 1, 1)), oblique_affine((0.8, 2.2, 1.5)))
    together = transform()(batch).t1.data
    for n in range(3):
        alone = transform()(row(batch, n)).t1.data[0]
        torch.testing.assert_close(together[n], alone, rtol=0, atol=1e-5)


@each_random
def test_samples_left_out_are_copied(transform):
    batch = batch_of(*[AFFINE] * 8)
    out = transform(p=0.5)(batch)
    same = [torch.equal(out.t1.data[n], batch.t1.data[n]) for n in range(8)]
    assert 0 < sum(same) < 8


@each_random
def test_replay_and_record(transform):
    s = subject()
    out = transform()(s)
    again = out.get_composed_history()(s)
    assert torch.equal(again.t1.data, out.t1.data)
    assert torch.equal(again.points.data, out.points.data)
    record = json.loads(json.dumps(out.history[0].to_dict()))
    torch.testing.assert_close(tio.from_dict(record)(s).t1.data, out.t1.data)


@each_random
def test_inverse(transform):
    s = subject()
    out = transform()(s)
    back = out.apply_inverse_transform()
    torch.testing.assert_close(back.points.data, s.points.data, rtol=0, atol=1e-5)
    moved = (out.points.data - s.points.data).norm(dim=1)
    assert moved.max() > 0.5
    inner = (slice(None), *(slice(6, -6),) * 3)
    before, after = s.t1.data[inner], back.t1.data[inner]
    assert (after - before).abs().max() < 0.2 * (out.t1.data[inner] - before).abs().max()


@each_random
def test_images_on_other_grids_follow(transform):
    """A coarser image shows the same content: its voxels lie in the space of the first."""
    s = subject()
    coarse = tio.Resample(2)(s.t1)
    out = transform(default_pad_value=0)(tio.Subject(t1=s.t1, coarse=coarse))
    move = out.applied_map("coarse").as_sitk(coarse)
    expected = resampled(coarse, move)
    np.testing.assert_allclose(out.coarse.numpy()[0], expected, atol=1e-4)


@each_random
def test_single_slices_stay_in_their_plane(transform):
    x = smooth(1, (24, 22, 1)).float()
    out = transform()(x)
    assert out.shape == x.shape
    assert (out - x).abs().max() > 0.02
    assert out.min() >= x.min() - 1e-6
    assert out[:, 8:-8, 8:-8].abs().max() > 0


def test_patches_are_parts_of_the_whole():
    s = subject()
    transform = tio.RandomDiffeomorphism(amplitude=(3, 3), smoothness=5, default_pad_value=0)
    whole = transform(s)
    space = whole.t1.affine @ np.array([[1, 0, 0, 4], [0, 1, 0, 3], [0, 0, 1, 2], [0, 0, 0, 1]])
    small = tio.ScalarImage(torch.zeros(1, 9, 8, 7), affine=space)
    move = whole.applied_map("t1")
    part = move.warp(s.t1, small)
    expected = whole.t1.data[:, 4:13, 3:11, 2:9]
    torch.testing.assert_close(part.data, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(part.affine, space)


# Gradients


@pytest.mark.parametrize("transform", [tio.Displacement, tio.Diffeomorphism])
def test_gradients_reach_the_field(transform):
    x = torch.rand(1, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    u = (0.6 * torch.rand(3, 3, 4, 2, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, u: transform(u, default_pad_value=0)(x), (x, u))


def test_gradients_reach_an_affine_after_a_displacement():
    x, u = torch.rand(1, 4, 5, 3, dtype=torch.float64), smooth(3, (4, 5, 3), largest=0.4)
    shift = torch.tensor([0.1, 0.2, 0.15], dtype=torch.float64, requires_grad=True)

    def warped(shift):
        steps = [tio.Displacement(u), tio.Affine(translation=shift, default_pad_value=0)]
        return tio.Compose(steps)(x)

    assert torch.autograd.gradcheck(warped, shift)


def test_gradients_of_inverse_flows():
    space = tio.ImagesBatch(torch.zeros(1, 1, 6, 7, 5)).space
    velocity = smooth(3, (6, 7, 5), largest=1.5)[None].requires_grad_()
    coefficients = smooth(3, (5, 5, 5), largest=1.5)[None].requires_grad_()
    points = (torch.rand(1, 4, 3, dtype=torch.float64) * 3 + 1).requires_grad_()
    lattice = np.diag((0.5, 0.5, 0.5, 1.0))[None]

    def dense(velocity, points):
        field = tio.geometry.DenseField(velocity, space.affine)
        return VelocityField(field, space, inverse=True).at(points)

    def spline(coefficients, points):
        field = tio.geometry.BSplineField(coefficients, lattice)
        return VelocityField(field, space, inverse=True, every=np.full((1, 3), 0.5)).at(points)

    assert torch.autograd.gradcheck(dense, (velocity, points), fast_mode=True)
    assert torch.autograd.gradcheck(spline, (coefficients, points), atol=1e-4, fast_mode=True)


def test_given_displacements_stay_within_single_slices():
    x, u = smooth(1, (9, 8, 1)), torch.zeros(3, 9, 8, 1)
    u[2] = 5  # across
    torch.testing.assert_close(tio.Displacement(u)(x), x)


def test_smooth_flows_are_those_of_the_voxels():
    """On nodes of their own, and on the voxels of the grid."""
    batch = batch_of(AFFINE)
    space, transform = batch.t1.space, tio.RandomDiffeomorphism(amplitude=(1, 1), smoothness=8)
    move = transform(batch).applied_map("t1")[0].elastic
    assert (move.every > 1.5).all()
    expected = VelocityField(move.velocity, space).on_grid(space)
    inner = (..., *(slice(4, -4),) * 3)
    error = (move.on_grid(space) - expected)[inner].abs().max()
    assert error < 0.05 * expected[inner].abs().max()


def test_flows_of_wider_images_go_on():
    s = subject(np.eye(4))
    wide = np.eye(4)
    wide[:3, 3] = -9
    other = tio.ScalarImage(smooth(1, (36, 34, 32)), affine=wide)
    transform = tio.RandomDiffeomorphism(amplitude=(3, 3), smoothness=8, default_pad_value=0)
    out = transform(tio.Subject(t1=s.t1, other=other))
    expected = resampled(other, out.applied_map("other").as_sitk(other))
    found = out.other.numpy()[0]
    inside = (expected != 0) & (found != 0)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
    assert inside.mean() > 0.7


def test_maps_are_taken_by_warp():
    s, u = subject(), smooth(3)
    move = tio.Displacement(u, default_pad_value=0)(s).applied_map("t1")
    out = F.warp(s.t1.data[None], move.to_voxels(s.t1, s.t1))
    torch.testing.assert_close(out[0], move.warp(s.t1).data)
    with pytest.raises(ValueError, match="beside other arguments"):
        F.warp(s.t1.data[None], move.to_voxels(s.t1, s.t1), size=(3, 3, 3))


# Bad input

VECTORS = torch.zeros(3, *SHAPE)
BAD = [
    (lambda: tio.Displacement(torch.zeros(2, *SHAPE)), r"displacement must have shape \(3, I"),
    (lambda: tio.Diffeomorphism(torch.zeros(3, 4, 4)), r"velocity must have shape \(3, I"),
    (lambda: tio.Displacement(VECTORS.int()), "floating dtype"),
    (lambda: tio.Displacement(VECTORS * torch.nan), "finite"),
    (lambda: tio.Displacement(VECTORS, unit="cm"), "unit must be one of mm, voxels"),
    (lambda: tio.Displacement(VECTORS, np.zeros((4, 4))), "affine must"),
    (lambda: tio.Displacement(tio.ScalarImage(VECTORS), AFFINE), "affine must be None"),
    (lambda: tio.Displacement("field.nii"), "displacement must be made of numbers"),
    (lambda: tio.Displacement(VECTORS[:, 1:])(subject()), r"grid of the first image.*\(18, 16"),
    (
        lambda: tio.Displacement(VECTORS[None].repeat(3, 1, 1, 1, 1))(subject()),
        "must be of 1 or 1 s",
    ),
    (lambda: tio.RandomDisplacement(amplitude=-1), "amplitude"),
    (lambda: tio.RandomDisplacement(smoothness=0), "smoothness must be a number > 0"),
    (lambda: tio.RandomDiffeomorphism(smoothness=0.5)(subject()), "at least half a voxel"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
