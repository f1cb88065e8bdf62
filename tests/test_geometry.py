"""Axes, units and directions, against nibabel, SimpleITK and closed forms."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.volumes import oblique_affine
from torchio_gpu import geometry
from torchio_gpu.geometry import Space


def test_rotation_of_90_degrees_about_z_takes_x_to_y():
    matrix = geometry.rotation(np.array([[0.0, 0.0, 90.0]]))[0]
    np.testing.assert_allclose(matrix @ [1, 0, 0], [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize(("axis", "source", "target"), [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_rotations_are_right_handed(axis, source, target):
    degrees = np.zeros((1, 3))
    degrees[0, axis] = 90
    np.testing.assert_allclose(
        geometry.rotation(degrees)[0] @ np.eye(3)[source], np.eye(3)[target], atol=1e-15
    )


def test_rotation_order_is_that_of_simpleitk():
    angles = (10.0, -20.0, 35.0)
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(angles))
    expected = np.array(transform.GetMatrix()).reshape(3, 3)
    np.testing.assert_allclose(geometry.rotation(np.array([angles]))[0], expected, atol=1e-15)


def test_motion_moves_content_by_millimetres_and_keeps_the_centre():
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    centre = np.array([[5.0, -3.0, 2.0]])
    move = geometry.affine_motion(one, zero, np.array([[4.0, 0, 0]]), centre)
    np.testing.assert_allclose(move[0] @ [0, 0, 0, 1], [4, 0, 0, 1])
    turn = geometry.affine_motion(2 * one, zero + 30, zero, centre)
    np.testing.assert_allclose(turn[0] @ [*centre[0], 1], [*centre[0], 1])
    assert np.linalg.det(turn[0, :3, :3]) == pytest.approx(8)


def test_matrices_from_tensors_agree_with_those_from_arrays():
    generator = np.random.default_rng(0)
    arguments = [generator.normal(size=(4, 3)) for _ in range(4)]
    by_numpy = geometry.affine_motion(*arguments)
    by_torch = geometry.affine_motion(*map(torch.from_numpy, arguments))
    np.testing.assert_allclose(by_torch.numpy(), by_numpy, rtol=1e-13, atol=1e-13)
    inverse = geometry.invert(by_torch)
    np.testing.assert_allclose(inverse.numpy(), np.linalg.inv(by_numpy), rtol=1e-10, atol=1e-12)


def test_gradients_of_the_motion():
    arguments = [torch.rand(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(
        lambda *a: geometry.pull_back(geometry.affine_motion(*a)), arguments
    )


@pytest.mark.parametrize("seed", range(20))
def test_orientation_agrees_with_nibabel(seed):
    generator = np.random.default_rng(seed)
    affine = np.eye(4)
    axes = generator.permutation(3)
    affine[:3, :3] = geometry.rotation(generator.uniform(-30, 30, (1, 3)))[0][:, axes]
    affine[:3, :3] *= generator.choice([-1, 1], 3) * generator.uniform(0.5, 3, 3)
    assert geometry.orientation(affine) == nib.aff2axcodes(affine)


@pytest.mark.parametrize(("name", "axis"), [("LR", 2), ("a", 0), ("Posterior", 0), ("IS", 1)])
def test_axis_names_are_resolved_through_the_orientation(name, axis):
    psl = np.array([[0.0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert geometry.orientation(psl) == ("P", "S", "L")
    assert geometry.axis_index(name, psl) == axis


@pytest.mark.parametrize("axis", [3, -1, True, "X", "", 1.5, None])
def test_unknown_axes_are_refused(axis):
    with pytest.raises(ValueError, match="axes must be"):
        geometry.axis_index(axis, np.eye(4)) if isinstance(axis, (int, str)) else (
            geometry.check_axis(axis)
        )


@pytest.mark.parametrize("n", [4, 5])
def test_centre_is_voxel_half_n_minus_one(n):
    affine = oblique_affine()
    space = Space((n, n, n), affine[None])
    expected = affine @ [*[(n - 1) / 2] * 3, 1]
    np.testing.assert_allclose(space.centre[0], expected[:3])


def test_distance_between_spaces_is_in_mm():
    affine = oblique_affine()
    moved = affine.copy()
    moved[0, 3] += 0.25
    space = Space((4, 5, 6), affine[None])
    assert space.distance_mm(Space((4, 5, 6), moved[None])) == pytest.approx(0.25)
    assert space.distance_mm(Space((4, 5, 7), affine[None])) == float("inf")


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), r"shape \(4, 4\), got \(3, 3\)"),
        (np.diag([1, 1, 0, 1]), "invertible"),
        (np.diag([1, np.nan, 1, 1]), "finite"),
        (np.full((4, 4), 1.0), "last row"),
    ],
)
def test_bad_affines_are_refused(affine, message):
    with pytest.raises(ValueError, match=message):
        geometry.check_affine(affine)


def test_small_spacing_is_not_singular():
    geometry.check_affine(np.diag([1e-4, 1e-4, 1e-4, 1]))  # micrometres, as in microscopy


@pytest.mark.parametrize("size", [(10, 12, 14), (100, 12, 64), (7, 1, 9)])
def test_control_points_agree_with_itk(size):
    image = sitk.Image(list(size), sitk.sitkFloat32)
    counts = (7, 6, 5)
    transform = sitk.BSplineTransformInitializer(image, [n - 3 for n in counts])
    coefficients = transform.GetCoefficientImages()[0]
    lattice = geometry.control_lattice(Space(size, np.eye(4)[None]), counts)[0]
    # Point m of the lattice sits at ITK's origin + m times its spacing.
    for point in ((0, 0, 0), (1, 2, 3), (6, 5, 4)):
        world = np.array(coefficients.GetOrigin()) + point * np.array(coefficients.GetSpacing())
        np.testing.assert_allclose(lattice @ [*world, 1], [*point, 1], atol=1e-5)


def test_reflection_takes_the_first_voxel_to_the_last():
    space = Space((4, 5, 6), oblique_affine()[None])
    mirror = geometry.reflection(space, np.array([[True, False, True]]))[0]
    target = mirror @ space.affine[0] @ [0, 2, 1, 1]
    np.testing.assert_allclose(target, space.affine[0] @ [3, 2, 4, 1], atol=1e-12)
    np.testing.assert_allclose(mirror @ mirror, np.eye(4), atol=1e-12)
