"""Warps against SimpleITK, closed forms and themselves."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.close import assert_close, interior
from tests.volumes import smooth
from torchio_gpu import functional as F
from torchio_gpu import geometry
from torchio_gpu.functional.eager import spatial as reference
from torchio_gpu.functional.fields_of_view import FieldOfView
from torchio_gpu.functional.maps import Reading
from torchio_gpu.functional.resample import resample_volume
from torchio_gpu.functional.warping import warp_volume
from torchio_gpu.geometry import Space

ROUNDING = "coordinates in float32: 1e-5 voxel times the steepest slope"


def skew_matrix(shape):
    """Rotation by three unlike angles, scale and shift about the middle of a grid, in voxels."""
    space = Space(shape, np.eye(4)[None])
    motion = geometry.affine_motion(
        np.array([[1.1, 0.9, 1.2]]), np.array([[7.0, -13.0, 21.0]]), np.array([[2.0, -1, 0.5]]),
        space.centre,
    )  # fmt: skip
    return torch.from_numpy(geometry.pull_back(motion))


def sitk_affine(x, matrix):
    """SimpleITK's linear resampler in float64, for one volume."""
    image = sitk.GetImageFromArray(x.numpy().transpose(2, 1, 0))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].flatten().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    out = sitk.Resample(image, image, transform, sitk.sitkLinear, 0.0)
    return torch.from_numpy(sitk.GetArrayFromImage(out).transpose(2, 1, 0).copy())


def sitk_displacement(shape, control_points):
    """Displacement of ITK's cubic B-spline transform at all voxels, [I, J, K, 3]."""
    counts = control_points.shape[1:]
    transform = sitk.BSplineTransform(3, 3)
    lattice = np.linalg.inv(
        geometry.control_lattice(Space(shape, np.eye(4)[None]), tuple(counts))[0]
    )
    transform.SetTransformDomainOrigin((lattice @ [1, 1, 1, 1])[:3].tolist())
    physical = np.diag(lattice)[:3] * (np.array(counts) - 3)
    transform.SetTransformDomainPhysicalDimensions(physical.tolist())
    transform.SetTransformDomainMeshSize([n - 3 for n in counts])
    transform.SetParameters(
        np.concatenate([c.numpy().flatten(order="F") for c in control_points]).tolist()
    )
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, list(shape))
    return torch.from_numpy(sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3).copy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine_agrees_with_simpleitk(dtype):
    x = smooth((1, 1, 24, 30, 36))
    matrix = skew_matrix((24, 30, 36))
    out = F.affine_warp(x.to(dtype), matrix)
    expected = sitk_affine(x[0, 0], matrix[0])
    inside = F.affine_warp(torch.ones_like(x), matrix)[0, 0] > 1 - 1e-9
    assert inside.sum() > 5000  # of 25920; outside, ITK holds the edge for half a voxel
    share = 1e-4 if dtype == torch.float32 else 1e-9
    assert_close(out[0, 0][inside], expected[inside], share=share, reason=ROUNDING)


@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 9, 11), (1, 5, 6)])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_identity_is_exact(shape, mode):
    x = torch.randn(2, 3, *shape)
    assert torch.equal(F.warp(x, torch.eye(4), torch.zeros(3, 4, 4, 4), mode=mode), x)


def test_shift_by_whole_voxels_is_a_roll_without_wrap():
    x = torch.randn(1, 1, 7, 9, 11)
    matrix = torch.eye(4)
    matrix[:3, 3] = torch.tensor([2.0, -3, 1])
    expected = x.roll((-2, 3, -1), (2, 3, 4))
    expected[:, :, -2:] = expected[:, :, :, :3] = expected[..., -1:] = 5
    assert torch.equal(F.affine_warp(x, matrix, fill=5), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_impulse_moves_along_one_axis_only(axis):
    """Shifts include half a voxel, which needs interpolation."""
    x = torch.zeros(1, 1, 9, 11, 13)
    x[0, 0, 4, 5, 6] = 1
    for shift, weights in ((2.0, {2: 1.0}), (1.5, {1: 0.5, 2: 0.5})):
        matrix = torch.eye(4)
        matrix[axis, 3] = -shift
        expected = torch.zeros_like(x)
        for step, weight in weights.items():
            at = [4, 5, 6]
            at[axis] += step
            expected[(0, 0, *at)] = weight
        assert_close(F.affine_warp(x, matrix), expected, share=1e-5, reason=ROUNDING)


def test_fill_replaces_voxels_outside():
    """A CT filled with air has only the values of tissue and air."""
    x = torch.full((2, 1, 10, 10, 10), -1000.0)
    x[1] = 40
    matrix = torch.eye(4)
    matrix[0, 3] = 3.5
    out = F.affine_warp(x, matrix, fill=torch.tensor([-1000.0, 40.0]))
    torch.testing.assert_close(out, x, rtol=3e-7, atol=0)  # shares of voxels add up to 1, rounded
    fixed = F.affine_warp(x, matrix, fill=-1000.0)
    # 9.5 is where the volume ends
    assert fixed[1, 0, :, 0, 0].tolist() == pytest.approx([40.0] * 6 + [-1000.0] * 4, rel=3e-7)


#: Shifts of a ramp 11 ... 16 and what ITK makes of them: up to half a voxel beyond the outermost
#: centres these go on; at -0.5 the ramp begins, and at n - 0.5 it has ended.
RAMPS = {
    0.25: [11, 11.75, 12.75, 13.75, 14.75, 15.75],
    0.5: [11, 11.5, 12.5, 13.5, 14.5, 15.5],
    -0.5: [11.5, 12.5, 13.5, 14.5, 15.5, -9],
    -0.25: [11.25, 12.25, 13.25, 14.25, 15.25, 16],
    1.75: [-9, -9, 11.25, 12.25, 13.25, 14.25],
}


@pytest.mark.parametrize("shift", RAMPS)
@pytest.mark.parametrize("mode", ["linear", "nearest", "label", "bspline"])
@pytest.mark.parametrize("how", ["warp", "elastic", "permuted", "frame", "resample"])
def test_fill_begins_half_a_voxel_outside(shift, mode, how):
    """The rule is that of SimpleITK in all implementations, including ties."""
    x = torch.arange(11.0, 17).view(1, 1, 6, 1, 1).expand(1, 1, 6, 5, 5).contiguous()
    matrix = np.eye(4)
    matrix[0, 3] = -shift
    bent = {"control_points": torch.zeros(3, 4, 4, 4)}
    options = {"mode": mode, "fill": -9.0}
    if how == "frame":
        low = np.full((1, 3), -0.5)
        options = {"mode": mode, "fields": [FieldOfView(low, low + (6, 5, 5), -9.0)]}
    if how == "permuted":
        permuted = np.eye(4)[[1, 0, 2, 3]]
        bent["lattice"] = permuted
    if how == "resample":
        out = resample_volume(Reading(x, **options), (6, 5, 5), matrix)
    else:
        out = warp_volume(x, matrix, **(bent if how in ("elastic", "permuted") else {}), **options)
    image = sitk.GetImageFromArray(x[0, 0].permute(2, 1, 0).numpy())
    known = {"linear": sitk.sitkLinear, "bspline": sitk.sitkBSpline}.get(mode, sitk.sitkLinear)
    move = sitk.TranslationTransform(3, (-shift, 0.0, 0.0))
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, move, known, -9.0))[2, 2]
    expected = torch.from_numpy(theirs)
    if mode == "linear":
        assert theirs.tolist() == RAMPS[shift]
    row = out[0, 0, :, 2, 2]
    assert torch.equal(row == -9, expected == -9)
    if mode in ("linear", "bspline"):
        assert_close(row, expected, share=1e-5, reason="float32")
    else:
        assert set(row.tolist()) <= {-9.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0}


@pytest.mark.parametrize("how", ["warp", "elastic", "frame"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_fill_that_is_not_finite_stays_outside(value, how):
    x = smooth((1, 1, 12, 12, 12)).float()
    matrix = np.eye(4)
    matrix[0, 3] = -1.5
    options = {"fill": value}
    if how == "frame":
        low = np.full((1, 3), -0.5)
        options = {"fields": [FieldOfView(low, low + 12, value)]}
    if how == "elastic":
        options["control_points"] = torch.zeros(3, 4, 4, 4)
    out = warp_volume(x, matrix, **options)
    assert (~out.isfinite()).sum() == 144
    assert (~out[:, :, 0].isfinite()).all()


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_output_grid_may_differ_from_the_input(mode):
    """A window of the warped volume is the same as the warp on that window."""
    x = smooth((2, 2, 16, 18, 20))
    matrix = skew_matrix((16, 18, 20)).repeat(2, 1, 1)
    whole = F.affine_warp(x, matrix, mode=mode)
    window = torch.eye(4, dtype=torch.float64)
    window[:3, 3] = torch.tensor([3.0, 5, 2])
    part = F.affine_warp(x, matrix @ window, (7, 6, 9), mode=mode)
    assert_close(part, whole[:, :, 3:10, 5:11, 2:11], share=1e-9, reason="float64 throughout")


def test_displacement_agrees_with_itk():
    shape = (20, 24, 28)
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(3, 7, 6, 5, generator=generator, dtype=torch.float64)
    axes = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in shape])
    coordinates = axes.T.reshape(1, 3, *shape)
    out = F.bspline_warp(coordinates, points)[0].movedim(0, -1) - coordinates[0].movedim(0, -1)
    expected = sitk_displacement(shape, points)
    # A ramp sampled linearly is exact inside, so this is the displacement itself.
    error = (out - expected)[3:-3, 3:-3, 3:-3].abs().max()
    assert error < 1e-4
    assert expected.abs().max() > 0.5


def test_all_evaluations_of_the_spline_agree():
    """Evaluation axis by axis on a grid agrees with evaluation at points."""
    x = smooth((2, 1, 12, 14, 16))
    matrix = skew_matrix((12, 14, 16)).repeat(2, 1, 1)
    points = torch.randn(2, 3, 5, 6, 4, dtype=torch.float64)
    quick = F.warp(x, matrix, points)
    lattice = geometry.control_lattice(Space((12, 14, 16), np.eye(4)[None]), (5, 6, 4))
    lattice = torch.from_numpy(lattice).repeat(2, 1, 1)
    size = (12, 14, 16)
    grid = reference.displaced_grid(size, matrix, points, lattice, size, "linear", False)
    whole = FieldOfView.whole(size, 2, 0.0)
    slow = reference.sample(reference.Source(x, "linear", [whole]), grid)
    assert_close(quick, slow, share=1e-9, reason="float64, another order of sums")


def test_lattice_may_be_permuted_and_mirrored():
    """The lattice gives the positions of control points, along any axes."""
    x = smooth((1, 1, 12, 12, 12))
    points = torch.randn(3, 5, 5, 5, dtype=torch.float64)
    lattice = geometry.control_lattice(Space((12, 12, 12), np.eye(4)[None]), (5, 5, 5))
    swap = np.eye(4)[[1, 0, 2, 3]]
    permuted = F.warp(
        x, control_points=points.transpose(1, 2), lattice=torch.tensor(swap @ lattice)
    )
    assert_close(permuted, F.bspline_warp(x, points), share=1e-9, reason="the same field")
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 4
    mirrored = F.warp(x, control_points=points.flip(1), lattice=torch.tensor(mirror @ lattice))
    assert_close(mirrored, F.bspline_warp(x, points), share=1e-9, reason="the same field")


def test_displacement_is_smooth_across_control_points():
    """The second difference of a cubic spline is continuous, of the order of the step."""
    points = torch.zeros(3, 6, 6, 6, dtype=torch.float64)
    points[0] = torch.randn(6, 6, 6, dtype=torch.float64)
    n = 400
    line = torch.linspace(1.01, 3.99, n, dtype=torch.float64)
    at = torch.stack((line, torch.full_like(line, 2.3), torch.full_like(line, 2.7)), -1)
    u = reference.spline_at(points[None], at[None])[0, :, 0]
    second = u.diff().diff() / (line[1] - line[0]) ** 2
    jump = second.diff().abs().max()
    assert jump < 0.05 * second.abs().max()


def test_no_voxel_moves_further_than_the_control_points():
    points = torch.full((1, 3, 5, 5, 5), 2.0, dtype=torch.float64)
    at = reference.voxel_grid((5, 5, 5), points.device)[None]
    u = reference.spline_at(points, at)
    assert u.max() <= 2 + 1e-12
    inside = ((at >= 1) & (at <= 3)).all(-1)
    assert torch.allclose(u[inside], torch.tensor(2.0, dtype=torch.float64))


def test_order_is_displacement_first_then_matrix():
    """Agrees with two samplings to within what the second interpolation costs."""
    x = smooth((1, 1, 32, 32, 32))
    matrix = skew_matrix((32, 32, 32))
    points = 2 * torch.randn(1, 3, 5, 5, 5, dtype=torch.float64)
    once = F.warp(x, matrix, points)
    twice = F.bspline_warp(F.affine_warp(x, matrix), points)
    swapped = F.affine_warp(F.bspline_warp(x, points), matrix)
    span = x.max() - x.min()
    error = interior((once - twice).abs(), 8).mean() / span
    other = interior((once - swapped).abs(), 8).mean() / span
    assert error < 0.005
    assert other > 2 * error


def test_inverse_of_the_displacement_undoes_it():
    """Composed with the forward map it is the identity on points, to 0.05 voxel."""
    shape = (24, 24, 24)
    generator = torch.Generator().manual_seed(2)
    points = (torch.rand(1, 3, 7, 7, 7, generator=generator, dtype=torch.float64) - 0.5) * 3
    lattice = torch.from_numpy(geometry.control_lattice(Space(shape, np.eye(4)[None]), (7, 7, 7)))
    identity = torch.eye(4, dtype=torch.float64)[None]
    back = reference.displaced_grid(shape, identity, points, lattice, shape, "bspline", True)
    at = back.movedim(2, -1).reshape(1, -1, 3)
    coordinates = geometry.apply_affine(lattice, at)
    forward = at + reference.spline_at(points, coordinates)
    start = reference.voxel_grid(shape, points.device)[None]
    error = (forward - start).norm(dim=-1)
    assert error.max() < 0.05
    negated = start - reference.spline_at(points, geometry.apply_affine(lattice, start))
    assert (negated - at).norm(dim=-1).max() > 0.1  # which the negated field is not


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
def test_nearest_keeps_integers_whatever_their_size(dtype):
    top = 2 if dtype == torch.bool else torch.iinfo(dtype).max
    x = torch.randint(max(0, top - 1000), top, (1, 1, 8, 9, 10)).to(dtype)
    out = F.affine_warp(x, skew_matrix((8, 9, 10)), mode="nearest", fill=x[0, 0, 0, 0, 0].item())
    assert out.dtype == dtype
    assert set(out.unique().tolist()) <= set(x.unique().tolist())


def test_nearest_takes_the_nearest_voxel():
    x = torch.arange(10, dtype=torch.int16).view(1, 1, 10, 1, 1)
    matrix = torch.diag(torch.tensor([0.5, 1, 1, 1]))
    out = F.affine_warp(x, matrix, (20, 1, 1), mode="nearest", fill=-1).flatten()
    at = torch.arange(20) / 2
    assert (out[1:-1:2] - at[1:-1:2]).abs().max() == 0.5  # between two: either
    assert out[-1] == -1  # the image ends half a voxel beyond its last centre
    assert torch.equal(out[::2].float(), at[::2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x = smooth((2, 1, 10, 11, 12)).to(dtype)
    matrix = skew_matrix((10, 11, 12)).repeat(2, 1, 1)
    out = F.affine_warp(x, matrix)
    assert out.dtype == dtype
    assert torch.equal(out, F.affine_warp(x.float(), matrix).to(dtype))


def test_integers_become_float32_when_interpolated():
    assert F.affine_warp(torch.ones(1, 1, 4, 4, 4).int(), skew_matrix((4, 4, 4))).dtype == (
        torch.float32
    )


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("grid", ["own", "permuted"])
def test_gradients_of_the_warp(inverse, grid):
    x = torch.rand(2, 1, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    matrix = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    matrix[:, :3] += 0.1 * torch.rand(2, 3, 4, dtype=torch.float64)
    matrix.requires_grad_()
    points = (0.1 * torch.rand(2, 3, 4, 4, 4, dtype=torch.float64)).requires_grad_()
    fill = torch.rand(2, dtype=torch.float64, requires_grad=True)
    lattice = geometry.control_lattice(Space((4, 5, 3), np.eye(4)[None]), (4, 4, 4))
    if grid == "permuted":
        lattice = np.eye(4)[[1, 2, 0, 3]] @ lattice
    lattice = torch.from_numpy(lattice)

    def warp(x, matrix, points, fill):
        return F.warp(x, matrix, points, lattice=lattice, fill=fill, inverse=inverse)

    arguments = (x, matrix, points, fill)
    if inverse:  # the fixed point is found to a tolerance, and so is its gradient
        assert torch.autograd.gradcheck(
            warp, arguments, eps=1e-5, atol=1e-3, rtol=1e-2, fast_mode=True
        )
    else:
        assert torch.autograd.gradcheck(warp, arguments, fast_mode=grid == "permuted")


def test_gradient_reaches_the_image_through_nearest_and_copies():
    x = torch.rand(2, 1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: F.flip(x, torch.tensor([[1, 0, 1], [0, 0, 0]])), x)
    matrix = skew_matrix((4, 4, 4))
    assert torch.autograd.gradcheck(lambda x: F.affine_warp(x, matrix, mode="nearest"), x)


def test_batch_equals_single_samples():
    """Exact, mirrored, shifted and interpolated samples of a batch are bit equal to single ones."""
    x = torch.randn(6, 2, 6, 7, 8)
    matrix = torch.eye(4, dtype=torch.float64).repeat(6, 1, 1)
    matrix[1, 0, 0], matrix[1, 0, 3] = -1, 5
    matrix[2, 2, 3] = 2
    matrix[3] = skew_matrix((6, 7, 8))[0]
    points = torch.zeros(6, 3, 4, 4, 4)
    points[5] = torch.randn(3, 4, 4, 4)
    fill = torch.randn(6, 2)
    out = F.warp(x, matrix, points, fill=fill)
    for b in range(6):
        s = slice(b, b + 1)
        alone = F.warp(x[s], matrix[s], points[s], fill=fill[s])
        assert_close(out[s], alone, share=1e-6, reason="matrix products may round by batch size")
    assert torch.equal(out[0], x[0])
    assert torch.equal(out[1], x[1].flip(1))
    assert torch.equal(out[4], x[4])


def test_permutations_and_windows_are_exact():
    x = torch.randn(1, 2, 4, 5, 6)
    matrix = torch.eye(4)[[2, 0, 1, 3]]  # out (i, j, k) = x(k, i, j)
    out = F.affine_warp(x, matrix, (5, 6, 4))
    assert torch.equal(out, x.permute(0, 1, 3, 4, 2))
    matrix[:3, 3] = torch.tensor([-1.0, 2, 3])
    padded = F.affine_warp(x, matrix, (4, 5, 6), fill=9.0)
    inner = x[:, :, :4, 2:, 3:].permute(0, 1, 3, 4, 2)
    assert torch.equal(padded[:, :, :3, :3, 1:5], inner[:, :, :, :, :4])
    assert (padded[..., 0] == 9).all()


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2), ()])
def test_flip_is_a_permutation(axes):
    x = torch.randint(0, 255, (2, 1, 5, 6, 7), dtype=torch.uint8)
    assert torch.equal(F.flip(x, axes), x.flip([2 + a for a in axes]))


def test_result_does_not_depend_on_the_number_of_threads():
    x = smooth((1, 2, 16, 9, 10)).float()
    matrix = skew_matrix((16, 9, 10))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = F.affine_warp(x, matrix, fill=torch.tensor([0.3]))
        torch.set_num_threads(2)
        two = F.affine_warp(x, matrix, fill=torch.tensor([0.3]))
    finally:
        torch.set_num_threads(threads)
    assert_close(two, one, share=1e-6, reason="matrix products may round by thread count")


def test_non_contiguous_volumes():
    x = smooth((1, 1, 10, 8, 12)).transpose(2, 4)
    matrix = skew_matrix((12, 8, 10))
    for mode in ("linear", "nearest"):
        assert torch.equal(
            F.affine_warp(x, matrix, mode=mode), F.affine_warp(x.contiguous(), matrix, mode=mode)
        )


def test_input_is_not_changed():
    x = torch.randn(2, 1, 6, 6, 6)
    before = x.clone()
    F.warp(x, skew_matrix((6, 6, 6)), torch.randn(3, 4, 4, 4), fill=torch.tensor([1.0, 2.0]))
    F.flip(x, (0,))
    assert torch.equal(x, before)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("inverse", [False, True])
def test_runs_on_the_meta_device(mode, inverse):
    """On the meta device any look at a value raises."""
    x = torch.empty(2, 1, 8, 9, 10, device="meta")
    matrix = skew_matrix((8, 9, 10)).repeat(2, 1, 1)
    out = F.warp(x, matrix, torch.randn(2, 3, 4, 4, 4), mode=mode, inverse=inverse,
                 fill=F.fill_value(x, "otsu"))  # fmt: skip
    assert out.shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.warp(x[0]), r"x must have shape \(B, C, I, J, K\).*got \(1, 4, 4, 4\)"),
        (
            lambda x: F.warp(x, mode="cubic"),
            "mode must be one of linear, nearest, bspline, label, got 'cubic'",
        ),
        (lambda x: F.warp(x, torch.eye(3)), r"matrix must have shape .* got \(1, 3, 3\)"),
        (lambda x: F.warp(x, torch.eye(4).repeat(3, 1, 1)), r"matrix .* got \(3, 4, 4\)"),
        (lambda x: F.warp(x, control_points=torch.zeros(3, 3, 4, 4)), "at least 4 points"),
        (lambda x: F.warp(x, size=(4, 0, 4)), "size must be three positive integers"),
        (
            lambda x: F.warp(x, fill=torch.zeros(5)),
            r"fill must be a number, or have shape \[2\] or \[2, 1\]",
        ),
        (lambda x: F.flip(x, (3,)), "axes must be among 0, 1, 2, got 3"),
        (lambda x: F.flip(x, torch.zeros(1, 3)), r"axes must be a mask \(2, 3\)"),
        (lambda x: F.fill_value(x, "median"), "one of minimum, mean, otsu, got 'median'"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 1, 4, 4, 4))


def test_fill_rules():
    x = torch.zeros(1, 2, 6, 6, 6)
    x[0, 0, 1:-1, 1:-1, 1:-1] = 100  # hidden from the border
    x[0, 0, 0] = 10
    x[0, 1] = 3
    assert F.fill_value(x, "minimum").tolist() == [[0, 3]]
    border = torch.cat([x[0, 0, 0].flatten(), x[0, 0, -1].flatten(), x[0, 0, :, 0].flatten(),
                        x[0, 0, :, -1].flatten(), x[0, 0, :, :, 0].flatten(),
                        x[0, 0, :, :, -1].flatten()])  # fmt: skip
    assert F.fill_value(x, "mean")[0, 0].item() == pytest.approx(border.mean().item())
    assert F.fill_value(x, "otsu").tolist() == [[0, 3]]  # what lies under the threshold; flat
    assert F.fill_value(x, 7.5) == 7.5


def test_otsu_threshold_agrees_with_itk():
    generator = torch.Generator().manual_seed(0)
    values = torch.cat([torch.randn(4000, generator=generator),
                        6 + 2 * torch.randn(2000, generator=generator)])  # fmt: skip
    from torchio_gpu.functional.statistics import otsu_threshold

    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(values.numpy()[None, None]))
    width = (values.max() - values.min()).item() / 128
    assert abs(otsu_threshold(values).item() - otsu.GetThreshold()) <= width


@pytest.mark.parametrize("shift", [0.2, 1e-3])
def test_a_map_near_voxel_centres_is_interpolated(shift):
    x = torch.randn(1, 1, 6, 5, 4, dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[2, 3] = shift
    out = F.affine_warp(x, matrix)[..., :-1]
    expected = (1 - shift) * x[..., :-1] + shift * x[..., 1:]
    assert_close(out, expected, share=1e-12, reason="float64 throughout")
