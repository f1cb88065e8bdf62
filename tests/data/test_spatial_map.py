"""Spatial maps: composition, inverse, samples on grids, Jacobians, gradients, errors."""

import warnings
from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, smooth
from torchio_gpu.data.spatial_map import SequenceField
from torchio_gpu.data.velocity_field import VelocityField
from torchio_gpu.geometry import BSplineField, DenseField, Space, control_lattice

SHAPE = (14, 16, 12)
AFFINES = {
    "identity": np.eye(4),
    "oblique": oblique_affine((1.1, 0.9, 1.3)),
    "left-handed": oblique_affine((1.0, 1.2, 0.8), left_handed=True),
}
LPS = np.array([-1.0, -1, 1])


def space_of(grid="oblique", shape=SHAPE, batch=1):
    return Space(shape, AFFINES[grid][None].repeat(batch, 0))


def affine_map(seed=0, batch=1):
    """Return a map with shear, rotation, scale and translation, of which nothing commutes."""
    generator = np.random.default_rng(seed)
    matrix = np.eye(4)[None].repeat(batch, 0)
    matrix[:, :3] += generator.uniform(-0.2, 0.2, (batch, 3, 4))
    matrix[:, :3, 3] *= 10
    return tio.SpatialMap(matrix)


def bending_map(seed=0, batch=1, largest=0.6, grid="oblique", affine=False):
    """Return a B-spline over the grid, with an affine part after it if asked for."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(-largest, largest, (batch, 3, 6, 5, 7))
    field = BSplineField(points, control_lattice(space_of(grid, batch=batch), (6, 5, 7)))
    return tio.SpatialMap(affine_map(seed + 1, batch).matrix if affine else None, field)


def dense_map(seed=0, batch=1, grid="oblique"):
    values = 0.5 * torch.cat([smooth((1, 3, *SHAPE), seed + n) for n in range(batch)])
    return tio.SpatialMap(elastic=DenseField(0.3 * values, space_of(grid, batch=batch).affine))


MAPS = {
    "affine": affine_map,
    "spline": bending_map,
    "spline and affine": lambda seed, batch=1: bending_map(seed, batch, affine=True),
    "dense": dense_map,
    "two splines": lambda seed, batch=1: bending_map(seed, batch) @ bending_map(seed + 5, batch),
    "inverse": lambda seed, batch=1: bending_map(seed, batch, affine=True).inverse(),
    "inverse after": lambda seed, batch=1: (
        bending_map(seed, batch).inverse() @ bending_map(seed + 5, batch)
    ),
}


def inner_points(count=40, batch=1, seed=9):
    """Return world points well within the grid, [B, N, 3]."""
    voxels = np.random.default_rng(seed).uniform(0.3, 0.7, (batch, count, 3)) * SHAPE
    return tio.geometry.apply_affine(AFFINES["oblique"][None], voxels)


def voxels_of(space):
    """Return the world positions of the voxels, [N, 3], in a plain loop."""
    affine = space.affine[0]
    return np.array([affine[:3, :3] @ v + affine[:3, 3] for v in np.ndindex(*space.shape)])


# ---- Composition and inverse


@pytest.mark.parametrize(("left", "right"), [*product(MAPS, MAPS)])
def test_composition_applies_the_right_one_first(left, right):
    a, b, p = MAPS[left](0), MAPS[right](3), inner_points()
    bends = {left, right} != {"affine"}
    np.testing.assert_allclose((a @ b).pull(p), a.pull(b.pull(p)), atol=1e-6 if bends else 1e-9)


@pytest.mark.parametrize("names", [("affine", "spline", "dense"), ("spline", "affine", "inverse"),
                                   ("dense", "spline and affine", "affine")])  # fmt: skip
def test_composition_is_associative(names):
    (a, b, c), p = (MAPS[name](n) for n, name in enumerate(names)), inner_points()
    left, right = ((a @ b) @ c).pull(p), (a @ (b @ c)).pull(p)
    np.testing.assert_allclose(left, right, atol=1e-6)
    np.testing.assert_allclose(left, a.pull(b.pull(c.pull(p))), atol=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_the_identity_is_neutral(name):
    m, p, one = MAPS[name](0), inner_points(), tio.SpatialMap()
    for each in (m @ one, one @ m):
        np.testing.assert_array_equal(each.pull(p), m.pull(p))
    np.testing.assert_array_equal(one.pull(p), p)
    np.testing.assert_array_equal(one.push(p)[0], p)
    np.testing.assert_array_equal(one.inverse().pull(p), p)
    np.testing.assert_array_equal(one.affine, np.eye(4))


@pytest.mark.parametrize("name", MAPS)
def test_inverse_and_push(name):
    m, p = MAPS[name](0, batch=2), inner_points(batch=2)
    pulled = m.pull(p)
    pushed, folded = m.push(pulled)
    assert not np.asarray(folded).any()
    np.testing.assert_allclose(pushed, p, atol=1e-7)
    np.testing.assert_allclose(m.inverse().pull(pulled), p, atol=1e-7)
    np.testing.assert_allclose(m.inverse().push(p)[0], pulled, atol=1e-7)
    np.testing.assert_allclose(m.inverse().inverse().pull(p), pulled, atol=1e-7)
    np.testing.assert_allclose(m.displacement(p), np.asarray(pulled) - p, atol=1e-12)
    np.testing.assert_allclose((m @ m.inverse()).pull(p), p, atol=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_samples_and_single_points(name):
    m, p = MAPS[name](0, batch=3), inner_points(batch=3)
    whole, (pushed, _) = m.pull(p), m.push(p)
    for n in range(3):
        one = m.select([n])
        np.testing.assert_allclose(one.pull(p[n]), whole[n], atol=1e-9)
        np.testing.assert_allclose(one.push(p[n])[0], pushed[n], atol=1e-9)
        assert one.push(p[n])[1].shape == p[n].shape[:1]
    np.testing.assert_allclose(m.select([2, 0]).pull(p[[2, 0]]), whole[[2, 0]], atol=1e-9)
    tensors = m.pull(torch.from_numpy(p))
    assert isinstance(tensors, torch.Tensor)
    np.testing.assert_allclose(tensors, whole, atol=1e-9)


def test_folded_points_are_flagged():
    m, p = bending_map(largest=9), inner_points(200)
    pulled, folded = m.push(p)
    assert 0 < folded.mean() < 1
    np.testing.assert_allclose(m.pull(pulled)[~folded], p[~folded], atol=1e-3)
    assert np.isfinite(pulled).all()
    double = m @ bending_map(4)
    pulled, folded = double.push(p)
    assert folded.any()
    np.testing.assert_allclose(double.pull(pulled)[~folded], p[~folded], atol=1e-3)


@pytest.mark.parametrize("name", MAPS)
def test_missing_points_stay_missing_and_move_no_other(name):
    m, p = MAPS[name](0), inner_points(5)
    missing = p.copy()
    missing[0, 1, 2] = np.nan
    missing[0, 3] = np.nan
    others = [0, 2, 4]
    for given in (missing, torch.from_numpy(missing)):
        for moved, whole in ((m.pull(given), m.pull(p)), (m.push(given)[0], m.push(p)[0])):
            np.testing.assert_allclose(moved[0, others], whole[0, others], atol=1e-9)
            assert np.isnan(np.asarray(moved)[0, [1, 3]]).any(-1).all()
        assert not np.asarray(m.push(given)[1]).any()


# ---- SimpleITK


@pytest.mark.parametrize("name", MAPS)
def test_simpleitk_maps_the_same_points(name):
    m = MAPS[name](0)
    p = inner_points(20)[0]
    inverse = name.startswith("inverse")
    if inverse:  # samples on a grid are exact at its voxels
        p = voxels_of(space_of())[::97]
    transform = m.as_sitk(space_of() if inverse else None)
    found = np.array([transform.TransformPoint((q * LPS).tolist()) for q in p]) * LPS
    np.testing.assert_allclose(found, m.pull(p), atol=1e-9)


@pytest.mark.parametrize("grid", AFFINES)
def test_dense_samples(grid):
    space = space_of(grid)
    m = bending_map(2, grid=grid, affine=True)
    dense, at = m.as_dense(space), voxels_of(space)
    np.testing.assert_allclose(dense.displacement(at), m.displacement(at), atol=1e-9)
    image = tio.ScalarImage(torch.zeros(1, *SHAPE), affine=AFFINES[grid])
    assert torch.equal(m.as_dense(image).elastic.displacement, dense.elastic.displacement)
    # between voxels, inside and up to half a voxel outside the outermost, as ITK interpolates
    share = np.random.default_rng(0).uniform(-0.7, 0.7, (200, 3))
    between = at[::13][:200]
    between = between + share[: len(between)] @ AFFINES[grid][:3, :3].T
    transform = dense.as_sitk()
    assert isinstance(transform, sitk.DisplacementFieldTransform)
    found = np.array([transform.TransformPoint((q * LPS).tolist()) for q in between]) * LPS
    np.testing.assert_allclose(found, dense.pull(between), atol=1e-9)


def test_dense_samples_resample_to_the_same_image():
    """A finer grid of displacements comes closer to the image that the map itself gives."""
    image = tio.ScalarImage(smooth((1, 1, *SHAPE))[0].float(), affine=AFFINES["oblique"])
    source, m, errors = image.as_sitk(), bending_map(2), []
    exact = sitk.GetArrayFromImage(sitk.Resample(source, source, m.as_sitk()))
    for step in (4, 2):
        shape = tuple(n * 2 // step + 3 for n in SHAPE)
        affine = AFFINES["oblique"] @ np.diag([step / 2, step / 2, step / 2, 1])
        affine[:3, 3] -= AFFINES["oblique"][:3, :3] @ ([0.3] * 3)  # no voxel on a voxel
        dense = m.as_dense(Space(shape, affine[None])).as_sitk()
        difference = sitk.GetArrayFromImage(sitk.Resample(source, source, dense)) - exact
        errors.append(abs(difference[1:-1, 1:-1, 1:-1]).max() / np.ptp(exact))
    assert errors[1] < errors[0] < 0.1
    assert errors[1] < 0.03


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("name", ["spline", "affine", "both"])
def test_jacobian_determinant_by_simpleitk(name, grid):
    space = space_of(grid)
    m = {"spline": bending_map(2, grid=grid), "affine": affine_map(2),
         "both": bending_map(2, grid=grid, affine=True)}[name]  # fmt: skip
    found = m.jacobian_determinant(space)
    assert found.shape == (1, 1, *SHAPE)
    # Displacements along the axes of the voxels, in mm: then it does not matter whether the filter
    # looks at the direction of the image, and the determinant is the same.
    linear = space.affine[0, :3, :3]
    sides = np.linalg.norm(linear, axis=0)
    moved = m.displacement(voxels_of(space)) @ np.linalg.inv(linear / sides).T
    values = moved.reshape(*SHAPE, 3).transpose(2, 1, 0, 3)
    field = sitk.GetImageFromArray(np.ascontiguousarray(values), isVector=True)
    field.SetSpacing(sides.tolist())
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field, True))
    inner = (slice(1, -1),) * 3  # at the ends the filter continues the field by its border
    expected = expected.transpose(2, 1, 0)[inner]
    np.testing.assert_allclose(found[0, 0][inner], expected, atol=1e-5)  # the filter has float32
    if name == "affine":
        value = np.linalg.det(m.matrix[0])
        np.testing.assert_allclose(found, np.full(found.shape, value), rtol=1e-9)


def test_fold_report():
    space = space_of()
    gentle = bending_map(largest=0.3).fold_report(space)
    assert 0 < gentle["smallest_determinant"] < 1
    assert gentle["folded_share"] == 0
    folding = bending_map(largest=9)
    wild, determinant = folding.fold_report(space), folding.jacobian_determinant(space)
    assert wild["smallest_determinant"] == float(determinant.min()) < 0
    assert 0 < wild["folded_share"] == float((determinant <= 0).double().mean()) < 1
    mirror = tio.SpatialMap(np.diag([-1.0, 1, 1, 1])[None]).fold_report(space)
    assert mirror == {"smallest_determinant": pytest.approx(1), "folded_share": 0}  # no fold


def test_single_slices_count_as_the_identity_across():
    space = space_of(shape=(8, 1, 8))
    determinant = affine_map().jacobian_determinant(space)
    assert determinant.shape == (1, 1, 8, 1, 8)
    mirror = tio.SpatialMap(np.diag([-1.0, 1, 1, 1])[None])
    mirrors = tio.SpatialMap(np.stack([np.eye(4), np.diag([-1.0, 1, 1, 1])]))
    for each in (mirror, mirrors):
        assert each.fold_report(space_of())["folded_share"] == 0


def test_one_map_for_several_samples():
    points = np.random.default_rng(0).uniform(3, 9, (3, 5, 3))
    for one in (bending_map(largest=0.3), bending_map(largest=0.3).as_dense(space_of())):
        for many in (points, torch.from_numpy(points)):
            pulled = np.asarray(one.pull(many))
            for n in range(3):
                np.testing.assert_allclose(pulled[n : n + 1], one.pull(points[n : n + 1]))
        matrices = np.stack([np.eye(4), np.diag([2.0, 1, 1, 1]), np.diag([1.0, 3, 1, 1])])
        both = tio.SpatialMap(matrices) @ one
        assert both.jacobian_determinant(space_of()).shape[0] == 3
        alone = tio.SpatialMap(matrices[1:2]) @ one
        np.testing.assert_allclose(both.select([1]).pull(points[:1]), alone.pull(points[:1]))


def test_maps_on_a_device_take_host_grids_and_points():
    """The meta device stands for any: operations of two devices fail there too."""
    space, matrix = space_of(), torch.eye(4, device="meta")[None]
    field = DenseField(torch.empty(1, 3, *SHAPE, device="meta"), space.affine)
    spline = BSplineField(torch.empty(1, 3, 5, 5, 5, device="meta"), np.eye(4)[None])
    flow = VelocityField(spline, space, every=np.full((1, 3), 3.0))
    for each in (field, spline, flow, VelocityField(field, space), flow.inverted()):
        m = tio.SpatialMap(matrix, each)
        assert m.as_dense(space).elastic.displacement.device.type == "meta"
        assert m.jacobian_determinant(space).device.type == "meta"
        assert m.pull(np.zeros((1, 2, 3))).device.type == "meta"


def test_flows_follow_their_velocity():
    velocity = torch.full((1, 3, *SHAPE), 0.5)
    space = space_of()
    m = tio.SpatialMap(elastic=VelocityField(DenseField(velocity, space.affine), space))
    before = m.pull(np.zeros((1, 1, 3)))
    assert m.elastic.flow is m.elastic.flow
    velocity.mul_(2)
    torch.testing.assert_close(m.pull(np.zeros((1, 1, 3))), 2 * before)
    velocity.requires_grad_()
    with torch.no_grad():
        m.pull(np.zeros((1, 1, 3)))
    for _ in range(2):
        m.pull(np.zeros((1, 1, 3))).sum().backward()
    assert velocity.grad.abs().sum() > 0


def test_inverses_of_folding_maps_are_warned_of():
    wild = bending_map(largest=9)
    with pytest.warns(RuntimeWarning, match=r"must not fold to be inverted.*reaches -"):
        wild.inverse()
    dense = wild.as_dense(space_of())
    with pytest.warns(RuntimeWarning, match="must not fold"):
        dense.inverse()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bending_map(largest=0.3).inverse().inverse()
        bending_map(largest=0.3).as_dense(space_of()).inverse()


# ---- Gradients


@pytest.mark.parametrize("name", ["pull", "push", "inverse"])
def test_gradients(name):
    """Gradients in the matrix, the control points, dense displacements, and the points."""
    spline, dense = bending_map(affine=True), dense_map()
    matrix = torch.tensor(spline.matrix, requires_grad=True)
    control = torch.tensor(spline.elastic.control_points[:, :, :4, :4, :4], requires_grad=True)
    values = dense.elastic.displacement[..., 4:8, 4:8, 4:8].clone().requires_grad_()
    lattice = control_lattice(space_of(), (4, 4, 4))
    affine = AFFINES["oblique"].copy()[None]
    affine[:, :3, 3] += AFFINES["oblique"][:3, :3] @ ([4] * 3)
    at = torch.tensor(inner_points(2), requires_grad=True)

    def mapped(matrix, control, values, at):
        linear = torch.cat([matrix[:, :3], matrix.new_tensor([[[0, 0, 0, 1]]])], 1)
        m = tio.SpatialMap(linear, BSplineField(control, lattice))
        m = m @ tio.SpatialMap(elastic=DenseField(values, affine))
        if name == "pull":
            return m.pull(at)
        return m.push(at)[0] if name == "push" else m.inverse().pull(at)

    assert torch.autograd.gradcheck(mapped, (matrix, control, values, at), fast_mode=True)


# ---- Errors


class Nothing:
    pass


ERRORS = {
    "several samples": (
        lambda: affine_map(batch=2).as_sitk(),
        ValueError, "map must be of one sample for SimpleITK, got 2",
    ),
    "several bending samples": (
        lambda: bending_map(batch=3).as_sitk(),
        ValueError, "map must be of one sample for SimpleITK, got 3",
    ),
    "inverse without a grid": (
        lambda: bending_map().inverse().as_sitk(),
        ValueError, "grid must be given for a map with an inverse of a bending map",
    ),
    "inverse within a sequence": (
        lambda: (bending_map() @ bending_map(1).inverse()).as_sitk(),
        ValueError, "grid must be given for a map with an inverse of a bending map",
    ),
    "grid of a number": (
        lambda: affine_map().as_dense(3), TypeError, "grid must be an Image or a Space, got int",
    ),
    "grid of an object": (
        lambda: affine_map().as_sitk(Nothing()),
        TypeError, "grid must be an Image or a Space, got Nothing",
    ),
    "grid of a path": (
        lambda: affine_map().jacobian_determinant("a.nii"),
        TypeError, "grid must be an Image or a Space, got str",
    ),
    "matrix of a bending map": (
        lambda: bending_map().affine,
        ValueError, r"map must be affine to be a matrix, but it bends: use displacement\(\)",
    ),
    "points of two columns": (
        lambda: affine_map().pull(np.zeros((4, 2))),
        ValueError, r"points must have shape \(N, 3\) or \(B, N, 3\), got \(4, 2\)",
    ),
    "one point alone": (
        lambda: bending_map().push(torch.zeros(3)),
        ValueError, r"points must have shape \(N, 3\) or \(B, N, 3\), got \(3,\)",
    ),
    "points of no numbers": (
        lambda: affine_map().displacement("abc"),
        TypeError, "points must be made of numbers, got 'abc'",
    ),
    "points of other samples": (
        lambda: affine_map(batch=2).pull(np.zeros((3, 5, 3))),
        ValueError, r"points must be of 2 samples, as the map is, got shape \(3, 5, 3\)",
    ),
    "single points of several samples": (
        lambda: affine_map(batch=2).pull(np.zeros((5, 3))),
        ValueError, r"points must be of 2 samples, as the map is, got shape \(5, 3\)",
    ),
    "points of other bending samples": (
        lambda: (bending_map(batch=2) @ bending_map(batch=2)).push(np.zeros((5, 3))),
        ValueError, r"points must be of 2 samples, as the map is, got shape \(5, 3\)",
    ),
    "matrix without samples": (
        lambda: tio.SpatialMap(np.eye(4)).pull(np.zeros((5, 3))),
        ValueError, r"matrix must be an array or tensor of shape \(B, 4, 4\), got \(4, 4\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_sentence(name):
    call, error, match = ERRORS[name]
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_grids_of_others():
    """Anything with a shape and an affine is a grid, a batch of images too."""
    images = tio.ImagesBatch(torch.zeros(2, 1, *SHAPE))
    assert len(bending_map(batch=2).jacobian_determinant(images)) == 2
    assert isinstance((bending_map() @ bending_map(1)).elastic, SequenceField)
