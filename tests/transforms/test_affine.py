"""Affine motion against TorchIO 1.2.1, SimpleITK and closed forms."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torchio

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import oblique_affine, smooth
from torchio_gpu import geometry

SHAPE = (40, 60, 80)


def ones_without_border(shape):
    """Return ones with outermost voxels of 0."""
    ones = torch.zeros(1, *shape, dtype=torch.float64)
    ones[:, 1:-1, 1:-1, 1:-1] = 1
    return ones


def source_is_inside(transform, shape, affine):
    """Mask of voxels whose source lies inside, by transforming an image of ones."""
    return transform(tio.ScalarImage(ones_without_border(shape), affine=affine)).data[0] > 1 - 1e-9


def near_the_end_of_the_image(scales, degrees, translation, center, affine, width=1e-3):
    """Mask of voxels sampled so near the end of the image that rounding decides."""
    space = geometry.Space(SHAPE, affine[None])
    centre = space.centre if center == "image" else np.zeros((1, 3))
    given = (np.array([each], dtype=float) for each in (scales, degrees, translation))
    back = geometry.pull_back(geometry.motion_in(space, *given, centre))
    voxels = np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3)
    at = geometry.apply_affine((space.to_voxel @ back @ space.affine)[0], voxels)
    ends = abs(at + 0.5), abs(at - np.array(SHAPE) + 0.5)
    return torch.from_numpy((np.minimum(*ends) < width).any(1).reshape(SHAPE))


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("center", ["image", "origin"])
@pytest.mark.parametrize(
    ("scales", "degrees", "translation"),
    [
        ((1, 1, 1), (0, 0, 0), (7.3, -4.1, 11.7)),
        ((1, 1, 1), (10, -25, 40), (0, 0, 0)),
        ((1.2, 0.8, 1.1), (10, -25, 40), (7.3, -4.1, 11.7)),
    ],
)
def test_agrees_with_torchio(scales, degrees, translation, center, left_handed):
    affine = oblique_affine(left_handed=left_handed)
    if center == "origin":  # keep the image near the origin, or all of it leaves the view
        affine[:3, 3] = -affine[:3, :3] @ [18, 31, 38]
    x = smooth((1, 1, *SHAPE))[0]
    arguments = {"scales": scales, "degrees": degrees, "translation": translation}
    expected = torchio.Affine(**arguments, center=center, default_pad_value=0)(
        torchio.ScalarImage(tensor=x.float(), affine=affine)
    ).data
    transform = tio.Affine(**arguments, center=center, default_pad_value=0)
    out = transform(tio.ScalarImage(x.float(), affine=affine)).data
    mask = ~near_the_end_of_the_image(scales, degrees, translation, center, affine)
    assert mask.double().mean() > 0.98  # of a shift, a whole plane may lie on an end
    assert (expected[0] == 0).any()  # outside
    reason = "coordinates in float32: 1e-5 voxel times the steepest slope"
    assert_close(out[0][mask], expected[0][mask], share=1e-4, reason=reason)


def test_translation_is_in_millimetres_for_any_spacing():
    """An impulse, moved 6 mm to the right, on voxels of 3 mm that run to the left."""
    affine = np.diag([-3.0, 1, 1, 1])
    x = torch.zeros(1, 9, 5, 5)
    x[0, 4, 2, 2] = 1
    out = tio.Affine(translation=(6, 0, 0))(tio.ScalarImage(x, affine=affine)).data
    assert out.nonzero().tolist() == [[0, 2, 2, 2]]


def test_scale_two_multiplies_the_volume_by_eight():
    x = torch.zeros(1, 33, 33, 33)
    x[0, 12:21, 12:21, 12:21] = 1
    out = tio.Affine(scales=2)(x)
    assert out.sum().item() == pytest.approx(8 * x.sum().item(), rel=0.02)


def test_rotation_keeps_lengths_on_anisotropic_voxels():
    """Points 20 mm apart stay so: a rotation in voxels would shear them."""
    affine = np.diag([1.0, 2.0, 4.0, 1.0])
    space = geometry.Space((40, 20, 10), affine[None])
    context = tio.transforms.base.Context(("t1",), (space,))
    transform = tio.Affine(degrees=(20, 30, 40))
    pull = transform.draw(context, np.empty((1, 0))).pull_back(space)[0]
    voxel = np.linalg.inv(affine) @ pull @ affine
    points = np.array([[0, 0, 0, 1], [20, 0, 0, 1], [0, 10, 0, 1], [0, 0, 5, 1]])
    moved = (affine @ voxel @ points.T)[:3]
    np.testing.assert_allclose(np.linalg.norm(moved[:, 1:] - moved[:, :1], axis=0), 20)


def test_asymmetric_angles_agree_with_simpleitk_euler_transform():
    """Directly against ITK in float64, parameters in its own LPS convention."""
    affine = oblique_affine()
    x = smooth((1, 1, 20, 24, 28))
    image = tio.ScalarImage(x[0], affine=affine)
    degrees, translation = (5.0, 17.0, -29.0), (2.0, -3.0, 4.0)
    lps = np.array([-1, -1, 1])
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*(np.radians(degrees) * lps))
    euler.SetTranslation((np.array(translation) * lps).tolist())
    euler.SetCenter((image.space.centre[0] * lps).tolist())
    grid = image.as_sitk()
    expected = sitk.Resample(grid, grid, euler.GetInverse(), sitk.sitkLinear, 0.0)
    expected = torch.from_numpy(sitk.GetArrayFromImage(expected).transpose(2, 1, 0).copy())
    transform = tio.Affine(degrees=degrees, translation=translation, default_pad_value=0)
    out = transform(image).data[0]
    mask = source_is_inside(transform, (20, 24, 28), affine)
    assert_close(out[mask], expected[mask], share=1e-9, reason="float64 in both")


def test_images_of_different_spacing_stay_aligned():
    """A fine and a coarse image with different fields of view move together."""
    fine = oblique_affine((1, 1, 1), (0, 0, 0))
    coarse = fine.copy()
    coarse[:3, :3] *= 2
    coarse[:3, 3] = fine[:3, :3] @ [4, 2, 6]

    def scene(affine, shape):
        points = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in shape])
        world = geometry.apply_affine(torch.from_numpy(affine), points)
        return (world[:, 0] * 0.3 + world[:, 1] * 0.5 - world[:, 2]).view(1, *shape)

    shapes = (40, 42, 44), (14, 16, 15)
    subject = tio.Subject(
        a=tio.ScalarImage(scene(fine, shapes[0]), affine=fine),
        b=tio.ScalarImage(scene(coarse, shapes[1]), affine=coarse),
    )
    transform = tio.Affine(degrees=(5, 10, 15), translation=(1, 2, 3), default_pad_value=0)
    elastic = tio.ElasticDeformation(
        np.random.default_rng(0).uniform(-2, 2, (6, 6, 6, 3)), default_pad_value=0
    )
    near = 1 - 1e-9
    for change in (transform, elastic, tio.Compose([transform, elastic])):
        out = change(subject)
        a, b = out.a.data[0, 4:32:2, 2:34:2, 6:36:2], out.b.data[0]
        ones = tio.Subject(
            a=tio.ScalarImage(ones_without_border(shapes[0]), affine=fine),
            b=tio.ScalarImage(ones_without_border(shapes[1]), affine=coarse),
        )
        mask = change(ones)
        both = (mask.a.data[0, 4:32:2, 2:34:2, 6:36:2] > near) & (mask.b.data[0] > near)
        assert both.sum() > 1000
        assert (a - b)[both].abs().max() < 1e-6  # a ramp is interpolated exactly


def test_single_slices_move_within_their_plane():
    x = smooth((1, 1, 20, 24, 1))[0].float()
    for affine in (np.eye(4), np.eye(4)[[2, 0, 1, 3]]):  # axial, and across another axis
        image = tio.ScalarImage(x, affine=affine)
        transform = tio.Affine(scales=1.1, degrees=25, translation=3)
        out = transform(image)
        assert out.shape == image.shape
        normal = int(np.abs(affine[:3, 2]).argmax())
        degrees, scales, moves = np.zeros(3), np.full(3, 1.1), np.full(3, 3.0)
        degrees[normal], scales[normal], moves[normal] = 25, 1, 0
        plane = tio.Affine(scales=scales, degrees=degrees, translation=moves)(image)
        assert_close(out.data, plane.data, share=1e-6, reason="the same map")
        assert (out.data != x.min()).float().mean() > 0.5


def test_gradients_reach_the_parameters():
    x = torch.rand(2, 1, 5, 6, 4, dtype=torch.float64)
    scales = (1 + 0.1 * torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    degrees = (20 * torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    translation = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, d, t: tio.Affine(s, d, t)(x), (scales, degrees, translation)
    )


def test_parameters_per_sample():
    x = torch.randn(2, 1, 6, 6, 6)
    both = tio.Affine(translation=np.array([[1.0, 0, 0], [0, 2, 0]]))(x)
    assert torch.equal(both[0], tio.Affine(translation=(1, 0, 0))(x[:1])[0])
    assert torch.equal(both[1], tio.Affine(translation=(0, 2, 0))(x[1:])[0])


def test_drawn_parameters_lie_in_their_ranges():
    transform = tio.RandomAffine(
        scales=(0.9, 1.2), degrees=(-5, 5, 0, 0, 10, 20), translation=(1, 2, 3)
    )
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(500, 1, 2, 2, 2))})
    params = transform.sample_params(batch)
    for values, low, high in (
        (params.scales, [0.9] * 3, [1.2] * 3),
        (params.degrees, [-5, 0, 10], [5, 0, 20]),
        (params.translation, [-1, -2, -3], [1, 2, 3]),
    ):
        assert (values >= low).all()
        assert (values <= high).all()
        span = np.array(high) - low
        np.testing.assert_allclose(values.mean(0), np.add(low, high) / 2, atol=0.1 * span.max())
        np.testing.assert_allclose(values.std(0), span / 12**0.5, atol=0.05 * span.max() + 1e-12)


def test_isotropic_scales():
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(4, 1, 2, 2, 2))})
    scales = tio.RandomAffine(isotropic=True).sample_params(batch).scales
    assert (scales == scales[:, :1]).all()
    assert len(np.unique(scales)) == 4


@pytest.mark.parametrize("varying", [(0.8, 1.2), torch.distributions.Uniform(0.8, 1.2)])
def test_isotropic_scales_of_some_axes(varying):
    """Axes with the range (1, 1) stay as they are, as those across thick slices should."""
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(4, 1, 2, 2, 2))})
    transform = tio.RandomAffine(isotropic=True, scales=((1, 1), varying, varying))
    scales = transform.sample_params(batch).scales
    assert (scales[:, 0] == 1).all()
    assert (scales[:, 1] == scales[:, 2]).all()
    assert len(np.unique(scales[:, 1])) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": (1.2, 0.9)}, r"scales must be a range \(a, b\) with a <= b, got \(1.2, 0.9\)"),
        ({"scales": 1.0}, "scales must be > 0, got 1.0"),
        ({"scales": (0.9, 1.1, 1, 1), "degrees": 5}, "scales must be a number, 2, 3 or 6"),
        ({"degrees": -5}, "degrees as a single number must be >= 0"),
        ({"degrees": "a lot"}, "degrees must be a number"),
        ({"degrees": True}, "degrees must be a number.*got True"),
        ({"translation": (0, float("nan"))}, "translation must be finite"),
        ({"center": "corner"}, "center must be 'image' or 'origin', got 'corner'"),
        ({"image_interpolation": "cubic"}, "image_interpolation must be one of linear, nearest"),
        ({"default_pad_value": "median"}, "default_pad_value must be a number or one of minimum"),
        ({"default_pad_label": "zero"}, "default_pad_label must be a number, got 'zero'"),
        ({"p": 1.5}, "p must be a probability between 0 and 1, got 1.5"),
        ({"isotropic": True, "scales": (0.1, 0.1, 0.2)}, "scales must be a number or a pair"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        tio.RandomAffine(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": 0}, "scales must be > 0"),
        ({"degrees": (1, 2)}, r"degrees must have shape \(3,\), or \(B, 3\).*got \(2,\)"),
        ({"translation": np.zeros((2, 2, 3))}, "translation must have shape"),
    ],
)
def test_bad_fixed_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tio.Affine(**arguments)


def test_parameters_per_sample_must_match_the_batch():
    transform = tio.Affine(translation=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="one entry per sample: expected 2, got 3"):
        transform(torch.zeros(2, 1, 4, 4, 4))


def test_images_with_one_affine_and_different_shapes_are_refused():
    subject = tio.Subject(
        t1=tio.ScalarImage(torch.zeros(1, 4, 4, 4)), seg=tio.LabelMap(torch.zeros(1, 4, 4, 5))
    )
    for transform in (tio.RandomAffine(), tio.RandomElasticDeformation(4, 0, 0), tio.RandomFlip()):
        with pytest.raises(ValueError, match=r"share a shape.*'t1' has \(4, 4, 4\), 'seg' has"):
            transform(subject)
    tio.RandomAffine(check_shape=False)(subject)


def test_arguments_that_are_not_numbers_are_named():
    with pytest.raises(TypeError, match="scales must be made of numbers, got 'big'"):
        tio.Affine(scales="big")


@pytest.mark.parametrize("affine_first", [True, False])
def test_gradients_reach_the_parameters_of_a_joint_motion(affine_first):
    x = torch.rand(1, 5, 6, 4, dtype=torch.float64)
    points = 0.2 * torch.rand(4, 4, 4, 3, dtype=torch.float64)

    def run(degrees, points):
        motion = tio.AffineElasticDeformation(
            affine_first,
            {"degrees": degrees},
            {"control_points": points, "max_displacement": 0},
        )
        return motion(x)

    degrees = (10 * torch.rand(3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(run, (degrees, points.requires_grad_()), fast_mode=True)


def test_nan_voxels_stay_local():
    x = torch.rand(1, 12, 12, 12)
    x[0, 6, 6, 6] = float("nan")
    out = tio.RandomAffine()(x)
    assert out.isnan().float().mean() < 0.05


def test_labels_are_not_interpolated():
    with pytest.raises(ValueError, match="label_interpolation must be one of nearest, label"):
        tio.RandomAffine(label_interpolation="linear")
    with pytest.raises(
        ValueError, match=r"fill must be a value that torch\.uint8 can hold, got -1"
    ):
        tio.RandomAffine(default_pad_label=-1)(
            tio.Subject(t1=tio.LabelMap(torch.zeros(1, 4, 4, 4, dtype=torch.uint8)))
        )
