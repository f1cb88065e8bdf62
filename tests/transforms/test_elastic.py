"""Elastic deformation against SimpleITK's B-spline transform, and its bounds."""

import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.close import assert_close, interior
from tests.volumes import oblique_affine, smooth
from torchio_gpu import geometry
from torchio_gpu.transforms.spatial.elastic import smallest_jacobian

SHAPE = (24, 28, 32)
LPS = np.array([-1.0, -1.0, 1.0])


def sitk_warp(image, points):
    """ITK's cubic B-spline of the same control points over the image, in its LPS convention."""
    counts = points.shape[:3]
    affine, shape = image.affine, np.array(image.spatial_shape)
    margin = geometry.DOMAIN_MARGIN
    transform = sitk.BSplineTransform(3, 3)
    direction = affine[:3, :3] / np.array(image.spacing)
    transform.SetTransformDomainOrigin((LPS * (affine @ [*[-margin] * 3, 1])[:3]).tolist())
    transform.SetTransformDomainDirection((LPS[:, None] * direction).ravel().tolist())
    transform.SetTransformDomainPhysicalDimensions(
        ((shape - 1 + 2 * margin) * image.spacing).tolist()
    )
    transform.SetTransformDomainMeshSize([n - 3 for n in counts])
    columns = [LPS[c] * points[..., c].flatten(order="F") for c in range(3)]
    transform.SetParameters(np.concatenate(columns).tolist())
    grid = image.as_sitk()
    out = sitk.Resample(grid, grid, transform, sitk.sitkLinear, 0.0)
    return torch.from_numpy(sitk.GetArrayFromImage(out).transpose(2, 1, 0).copy())


@pytest.mark.parametrize("left_handed", [False, True])
def test_agrees_with_simpleitk(left_handed):
    affine = oblique_affine(left_handed=left_handed)
    image = tio.ScalarImage(smooth((1, 1, *SHAPE))[0], affine=affine)
    points = np.random.default_rng(0).uniform(-3, 3, (7, 6, 5, 3))
    out = tio.ElasticDeformation(points, max_displacement=0)(image).data[0]
    expected = sitk_warp(image, points)
    # interior: further from the border than the largest displacement of 3 mm = 3 voxels
    difference = interior((out - expected).abs(), 4).max() / (image.data.max() - image.data.min())
    assert difference < 1e-9  # float64 in both
    assert interior((out - image.data[0]).abs(), 4).max() > 0.5


def batch_of(shape, affine=None, size=1):
    affine = None if affine is None else np.repeat(affine[None], size, 0)
    return tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(size, 1, *shape), affine)})


def test_displacements_are_bounded_and_have_mean_zero():
    transform = tio.RandomElasticDeformation(7, (1, 2, 3), locked_borders=0)
    points = transform.sample_params(batch_of((64, 64, 64), size=50)).control_points
    assert points.shape == (50, 7, 7, 7, 3)
    for axis, largest in enumerate((1, 2, 3)):
        values = points[..., axis]
        assert np.abs(values).max() <= largest
        assert np.abs(values).max() > 0.99 * largest
        assert abs(values.mean()) < 4 * largest / (3 * values.size) ** 0.5


@pytest.mark.parametrize("locked", [0, 1, 2])
def test_locked_borders_stay_in_place(locked):
    transform = tio.RandomElasticDeformation(7, 1, locked)
    points = transform.sample_params(batch_of((64, 64, 64))).control_points[0]
    inside = slice(locked, -locked or None)
    free = np.zeros(points.shape[:3], dtype=bool)
    free[inside, inside, inside] = True
    assert (points[~free] == 0).all()
    assert (points[free] != 0).all()


def test_warns_from_the_bound_on_injectivity():
    """7 control points over 64.25 voxels of 1 mm: spacing 16.06, bound 6.425 mm."""
    x = torch.zeros(1, 64, 64, 64)
    with pytest.warns(RuntimeWarning, match=r"below 6\.4 mm.*got 6\.5 mm"):
        tio.RandomElasticDeformation(max_displacement=6.5)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tio.RandomElasticDeformation(max_displacement=6.4)(x)


def test_smallest_jacobian_detects_folding():
    affine = oblique_affine((1, 1, 1))
    space = geometry.Space((20, 20, 20), affine[None])
    batch = batch_of((20, 20, 20), affine)
    calm = tio.RandomElasticDeformation(5, 1, 0).sample_params(batch)
    wild = calm.change(lambda name, a: a * 20 if name == "control_points" else a)
    assert 0 < smallest_jacobian(calm, space)[0] < 1
    assert smallest_jacobian(wild, space)[0] < 0


def test_displacement_is_in_mm_for_any_spacing():
    """Constant control points of 6 mm along +y: the content moves 6 mm along -y, 2 voxels."""
    points = np.zeros((5, 5, 5, 3))
    points[..., 1] = 6
    image = tio.ScalarImage(torch.randn(1, 8, 12, 8), affine=np.diag([1.0, 3.0, 1.0, 1.0]))
    out = tio.ElasticDeformation(points, max_displacement=0)(image).data
    expected = image.data[:, :, 4:10]
    assert_close(out[:, :, 2:8], expected, share=1e-5, reason="coordinates in float32")


def test_single_slices_stay_in_their_plane():
    points = np.random.default_rng(0).uniform(-2, 2, (5, 5, 4, 3))
    image = tio.ScalarImage(smooth((1, 1, 20, 24, 1))[0].float())
    out = tio.ElasticDeformation(points, max_displacement=0)(image)
    flat = points.copy()
    flat[..., 2] = 0
    assert torch.equal(out.data, tio.ElasticDeformation(flat, max_displacement=0)(image).data)
    assert not torch.equal(out.data, image.data)


def test_gradients_reach_the_control_points():
    x = torch.rand(1, 5, 6, 4, dtype=torch.float64)
    points = (0.2 * torch.rand(4, 4, 4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: tio.ElasticDeformation(p, max_displacement=0)(x), points, fast_mode=True
    )


@pytest.mark.parametrize("affine_first", [True, False])
def test_joint_affine_and_elastic_equals_the_sequence(affine_first):
    image = tio.ScalarImage(smooth((1, 1, 32, 32, 32))[0], affine=oblique_affine((1, 1, 1)))
    affine = {"degrees": (4, 8, -12), "translation": (1, 2, -1), "default_pad_value": 0}
    points = np.random.default_rng(1).uniform(-2, 2, (6, 6, 6, 3))
    elastic = {"control_points": points, "max_displacement": 0, "default_pad_value": 0}
    once = tio.AffineElasticDeformation(affine_first, affine, elastic)(image).data
    steps = [tio.Affine(**affine), tio.ElasticDeformation(**elastic)]
    steps = steps if affine_first else steps[::-1]
    twice = tio.Compose(steps, fuse=False)(image).data
    other = tio.Compose(steps[::-1], fuse=False)(image).data
    span = image.data.max() - image.data.min()
    error = interior((once - twice).abs(), 8).mean() / span
    assert error < 0.006  # what a second linear interpolation blurs
    assert interior((once - other).abs(), 8).mean() / span > 1.5 * error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_control_points": 3}, "num_control_points must be integers >= 4"),
        ({"num_control_points": (7, 7)}, "num_control_points must be"),
        ({"max_displacement": -1}, "max_displacement must be a number or three numbers >= 0"),
        ({"locked_borders": 3}, "locked_borders must be 0, 1 or 2, got 3"),
        ({"num_control_points": 4}, "locked_borders must be 0 or 1 with 4 control points"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tio.RandomElasticDeformation(**arguments)


def test_bad_control_points_are_named():
    with pytest.raises(ValueError, match=r"control_points must have shape.*got \(3, 4, 4, 3\)"):
        tio.ElasticDeformation(np.zeros((3, 4, 4, 3)))


def test_the_inverse_is_not_the_negated_field():
    i, j, k = torch.meshgrid(*[torch.arange(32.0)] * 3, indexing="ij")
    x = (i + 2 * j - 3 * k)[None].double()  # a ramp, which interpolation does not blur
    s = tio.Subject(t1=tio.ScalarImage(x))
    points = np.random.default_rng(3).uniform(-3, 3, (7, 7, 7, 3))
    bend = tio.ElasticDeformation(points, max_displacement=0)
    out = bend(s)
    back = out.apply_inverse_transform().t1.data
    negated = tio.ElasticDeformation(-points, max_displacement=0)(out).t1.data
    error, naive = (interior((y - x).abs(), 8).mean() for y in (back, negated))
    assert error < 0.2 * naive
