"""Blur, anisotropy and swap: against scipy, closed forms, and what they must leave alone."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from tests.close import assert_close
from tests.volumes import smooth
from torchio_gpu import functional as F
from torchio_gpu.functional.eager import filters

SPACING = (1.0, 2.0, 5.0)


def volume(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype)


# Blur


@pytest.mark.parametrize("std", [(0.7, 1.5, 4.0), (0.0, 3.0, 0.2), (12.0, 40.0, 0.0)])
@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_blur_agrees_with_scipy(std, dtype, share):
    """Includes mirrored borders, truncation, and kernels wider than the image."""
    x = volume((2, 2, 13, 8, 5), dtype)
    stds = np.array([std, std[::-1]])
    out = F.blur(x, stds, SPACING)
    for b in range(2):
        for c in range(2):
            voxels = stds[b] / SPACING
            expected = scipy.ndimage.gaussian_filter(x[b, c].double().numpy(), voxels)
            assert_close(out[b, c], torch.from_numpy(expected), share=share,
                         reason="sums of some tens of products in the volume's dtype")  # fmt: skip


def test_the_second_moment_of_a_point_is_the_variance_in_millimetres():
    std = (3.0, 4.0, 7.5)
    shape = [2 * int(5 * s / v) + 1 for s, v in zip(std, SPACING, strict=True)]
    x = torch.zeros(1, 1, *shape, dtype=torch.float64)
    centre = [n // 2 for n in shape]
    x[(0, 0, *centre)] = 1
    out = F.blur(x, std, SPACING)[0, 0]
    assert out.sum() == pytest.approx(1, abs=1e-12)
    for axis in range(3):
        along = out.sum([a for a in range(3) if a != axis])
        distance = (torch.arange(shape[axis]) - centre[axis]) * SPACING[axis]
        moment = (along * distance**2).sum().item()
        # cut off at four standard deviations, a Gaussian has 0.11 % less
        assert moment == pytest.approx(std[axis] ** 2, rel=2e-3)


def test_zero_width_is_the_identity_and_a_large_width_the_mean():
    x = volume((2, 1, 6, 7, 8))
    assert torch.equal(F.blur(x, 0.0), x)
    mean = x.mean((2, 3, 4), keepdim=True).expand_as(x)
    # what a Gaussian has at its cut-off, 3e-4 of its peak, differs between voxels
    torch.testing.assert_close(F.blur(x, 60.0), mean, atol=1e-5, rtol=0)
    on_device = torch.full((2, 3), 60.0, requires_grad=True)  # whose width the host does not ask
    torch.testing.assert_close(F.blur(x, on_device), mean, atol=1e-5, rtol=0)


ROUNDING = "sums in another order"


@pytest.mark.parametrize("size", [(140, 3, 2), (3, 150, 2), (2, 3, 129)])
def test_blur_of_long_axes_agrees_with_scipy(size):
    """A Gaussian matrix is multiplied in parts if the kernel is far shorter than the axis."""
    x = torch.rand(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    std = torch.tensor([[0.5, 1, 2], [3, 0, 1], [40, 9, 0.3]], dtype=torch.float64)
    expected = [
        [scipy.ndimage.gaussian_filter(channel.numpy(), s.numpy(), mode="reflect") for channel in y]
        for y, s in zip(x, std, strict=True)
    ]
    assert_close(F.blur(x, std), torch.tensor(np.array(expected)), share=1e-12, reason=ROUNDING)
    assert_close(
        F.blur(x[:1], std[0]), torch.tensor(np.array(expected[:1])), share=1e-12, reason=ROUNDING
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rows", [40, 200])
def test_a_banded_matrix_is_multiplied_in_parts(axis, rows):
    random = torch.Generator().manual_seed(0)
    place = torch.linspace(0, 139, rows)[:, None] - torch.arange(140.0)
    matrix = torch.rand(2, rows, 140, generator=random) * (place.abs() < 3)
    matrix[:, 5] = 0  # a row of zeros
    matrix[1, 32:64] = 0
    parts = filters.bands(matrix)
    assert len(parts) == -(-rows // filters._ROWS)
    if rows == 200:
        assert max(at.stop - at.start for _, at in parts) < 40
    x = torch.rand(2, 3, *[140 if a == axis else 4 for a in range(3)], generator=random)
    x.requires_grad_()
    for y in (x, x.detach()):
        out = filters.along_axis(y, matrix, axis)
        letters = "ijk".replace("ijk"[axis], "n"), "ijk".replace("ijk"[axis], "m")
        expected = torch.einsum(f"bmn,bx{letters[0]}->bx{letters[1]}", matrix, y)
        assert_close(out, expected, share=1e-6, reason=ROUNDING)
    filters.along_axis(x, matrix, axis).square().sum().backward()
    (expected_grad,) = torch.autograd.grad(
        torch.einsum(f"bmn,bx{letters[0]}->bx{letters[1]}", matrix, x).square().sum(), x
    )
    assert_close(x.grad, expected_grad, share=1e-6, reason=ROUNDING)


def test_zeros_of_a_matrix_have_gradients():
    x = torch.rand(1, 1, 140, 1, 1)
    matrix = torch.eye(140)[None].requires_grad_()
    filters.along_axis(x, matrix, 0).sum().backward()
    assert_close(matrix.grad[0], x.flatten().expand(140, 140), share=1e-6, reason=ROUNDING)


def test_meta_matrices_are_multiplied_in_one_part():
    assert filters.bands(torch.zeros(1, 300, 300, device="meta")) == [(slice(0, 300),) * 2]
    assert filters.bands(torch.zeros(1, 20, 20)) == [(slice(0, 20),) * 2]


def test_blur_with_a_gradient_is_the_same():
    x = volume((2, 1, 6, 7, 8))
    std = torch.tensor([[0.5, 1.0, 2.0], [3.0, 0.0, 1.0]], dtype=torch.float64)
    wanted = std.clone().requires_grad_()
    torch.testing.assert_close(F.blur(x, wanted), F.blur(x, std), atol=1e-13, rtol=0)


# Anisotropy


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [24, 25])
def test_anisotropy_keeps_shape_and_centre_of_mass(axis, antialias, size):
    """A blob keeps its position, also if slices lie between voxels."""
    shape = [9, 9, 9]
    shape[axis] = size
    grid = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    x = torch.exp(-sum(g**2 for g in grid) / 18)[None, None].double()
    for factor in (1.5, 2.0, 3.0, 4.7):
        out = F.anisotropy(x, factor, axis, antialias=antialias)
        assert out.shape == x.shape
        centre = (out[0, 0] * grid[axis]).sum() / out.sum()
        assert abs(centre.item()) < 1e-9
        torch.testing.assert_close(out, out.flip(2 + axis), atol=1e-12, rtol=0)


def test_anisotropy_is_sampling_at_slices_and_linear_interpolation():
    x = volume((1, 1, 3, 2, 17))
    factor = 3.4
    count = 5  # slices of 3.4 voxels to cover 17
    middle = 8 + (np.arange(count) - 2) * factor
    slices = x[0, 0, ..., np.rint(middle).astype(int)].numpy()
    expected = np.apply_along_axis(lambda line: np.interp(np.arange(17), middle, line), 2, slices)
    out = F.anisotropy(x, factor, 2)[0, 0]
    torch.testing.assert_close(out, torch.from_numpy(expected), atol=1e-13, rtol=0)


def test_a_factor_of_one_is_the_identity_and_others_are_not():
    x = volume((2, 1, 6, 7, 8))
    for options in ({}, {"antialias": True}, {"mode": "nearest"}):
        for axis in range(3):
            assert torch.equal(F.anisotropy(x, 1.0, axis, **options), x)
            assert not torch.equal(F.anisotropy(x, 1.5, axis, **options), x)


def test_antialiased_slices_are_gaussian_means():
    """Full widths at half maximum are those of voxel and slice (Cardoso et al.)."""
    x = torch.zeros(1, 1, 1, 1, 99, dtype=torch.float64)
    x[..., 49] = 1
    (line,) = F.anisotropy(x, 9.0, 2, antialias=True).flatten(0, 3)
    std = np.sqrt(9.0**2 - 1) / (2 * np.sqrt(2 * np.log(2)))
    weights = np.exp(-0.5 * ((np.arange(-45, 46, 9)) / std) ** 2)
    peaks = weights / (std * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(line[4:95:9].numpy(), peaks, atol=1e-6)


def test_factors_slightly_above_one_are_finite_on_a_long_axis():
    x = torch.rand(1, 1, 1, 1, 4000)
    out = F.anisotropy(x, 1.0002, antialias=True)
    assert torch.isfinite(out).all()
    assert (out - x).abs().max() < 1


def test_nearest_slices_move_labels_and_keep_their_type():
    x = torch.arange(12, dtype=torch.uint8).view(1, 1, 1, 12, 1).expand(2, 1, 3, 12, 2)
    out = F.anisotropy(x, torch.tensor([2.0, 3.0]), 1, mode="nearest")
    assert out.dtype == torch.uint8
    assert out[0, 0, 0, :, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    assert out[1, 0, 0, :, 0].tolist() == [1, 1, 1, 4, 4, 4, 7, 7, 7, 10, 10, 10]


# Swap


def test_swap_exchanges_patches_one_pair_after_another():
    x = volume((3, 2, 8, 9, 10))
    rng = np.random.default_rng(0)
    patch = (3, 2, 4)
    places = rng.integers(0, np.array([8, 9, 10]) - patch + 1, (3, 200, 2, 3))
    apart = (np.abs(places[:, :, 0] - places[:, :, 1]) >= patch).any(-1)
    places = np.stack([p[a][:30] for p, a in zip(places, apart, strict=True)])
    expected = x.clone()
    for b in range(3):
        for first, second in places[b]:
            one, two = (
                (b, slice(None), *(slice(s, s + n) for s, n in zip(at, patch, strict=True)))
                for at in (first, second)
            )
            kept = expected[one].clone()
            expected[one] = expected[two]
            expected[two] = kept
    assert torch.equal(F.swap(x, places, patch), expected)
    assert torch.equal(F.swap(expected, places[:, ::-1].copy(), patch), x)
    assert torch.equal(F.swap(x, places[:, :0], patch), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.uint8, torch.bool, torch.complex128])
def test_swap_moves_values_of_any_type(dtype):
    x = (torch.rand(1, 1, 4, 4, 4) * 9).to(dtype)
    out = F.swap(x, [[[0, 0, 0], [2, 1, 0]]], 2)
    assert out.dtype == dtype
    assert torch.equal(out[0, 0, :2, :2, :2], x[0, 0, 2:, 1:3, :2])
    assert torch.equal(out[0, 0, 2:, 1:3, :2], x[0, 0, :2, :2, :2])


# What holds for all


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.int16])
def test_dtypes(dtype):
    x = (smooth((1, 1, 7, 8, 9)) * 10 + 60).to(dtype)
    for run in (lambda x: F.blur(x, 1.5), lambda x: F.anisotropy(x, 2.5)):
        out = run(x)
        assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)
        share = torch.finfo(dtype).eps if dtype.is_floating_point else 1e-6
        assert_close(out, run(x.double()), share=3 * share, reason="rounded at the end")


@pytest.mark.parametrize("shape", [(1, 1, 6), (5, 1, 1), (1, 1, 1)])
def test_single_slices(shape):
    x = torch.rand(2, 1, *shape)
    for run in (
        lambda x: F.blur(x, 3.0),
        lambda x: F.anisotropy(x, 3.0, 0),
        lambda x: F.anisotropy(x, 3.0, 2, antialias=True),
    ):
        assert torch.isfinite(run(x)).all()
    assert torch.equal(F.anisotropy(x, 3.0, 1), x)


def test_gradients_reach_volume_and_parameters():
    x = volume((2, 2, 4, 5, 3)).requires_grad_()
    std = torch.tensor([[0.6, 1.0, 0.3], [1.4, 0.8, 2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s: F.blur(x, s, (1, 2, 1)), (x, std))
    factor = torch.tensor([1.7, 2.3], dtype=torch.float64, requires_grad=True)
    for axis in range(3):
        for antialias in (False, True):

            def run(x, f, axis=axis, antialias=antialias):
                return F.anisotropy(x, f, axis, antialias=antialias)

            assert torch.autograd.gradcheck(run, (x, factor))
    places = np.array([[[0, 0, 0], [2, 1, 0]], [[1, 1, 1], [1, 3, 0]]])
    assert torch.autograd.gradcheck(lambda x: F.swap(x, places, (2, 2, 2)), (x,))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: F.blur(x, -1.0), "std must be >= 0, got"),
        (lambda x: F.blur(x, torch.zeros(3, 3)), "std must hold one value per sample"),
        (lambda x: F.blur(x, (1, 2)), r"std must have shape \(3,\), or \(B, 3\)"),
        (lambda x: F.blur(x, 1.0, 0.0), "spacing must be > 0"),
        (lambda x: F.anisotropy(x, 0.9), "factor must be >= 1"),
        (lambda x: F.anisotropy(x, 2, 3), "axis must be 0, 1 or 2"),
        (lambda x: F.anisotropy(x, 2, mode="cubic"), "mode must be one of linear, nearest"),
        (lambda x: F.anisotropy(x, 2, mode="nearest", antialias=True), "antialias must be False"),
        (lambda x: F.low_resolution(x, 0.0), "zoom must be > 0 and <= 1, got"),
        (lambda x: F.low_resolution(x, 1.5), "zoom must be > 0 and <= 1, got"),
        (lambda x: F.low_resolution(x, 0.5, mode="cubic"), "mode must be one of linear, nearest"),
        (lambda x: F.low_resolution(x, torch.ones(2, 4, 3) / 2), r"zoom must have shape \(2, 1, 3"),
        (lambda x: F.low_resolution(x, torch.full((3,), 0.5).requires_grad_()), "zoom must be on"),
        (lambda x: F.swap(x, [[[0, 0, 0], [2, 2, 2]]], 5), "patch_size must be at most the shape"),
        (lambda x: F.swap(x, [[[0, 0, 0], [3, 2, 2]]], 2), "locations must leave room for"),
        (
            lambda x: F.swap(x, [[[0, 0, 0], [1, 1, 1]]], 2),
            "locations must be of pairs of patches that do",
        ),
        (lambda x: F.swap(x, [[[0, 0, 0.5], [2, 2, 2]]], 2), "locations must be whole numbers"),
        (lambda x: F.blur(x, float("inf")), "std must be finite"),
        (lambda x: F.swap(x, [[0, 0, 0]], 2), r"locations must have shape \(T, 2, 3\) or \(2, T"),
        (lambda x: F.swap(x, [[[0, 0, 0], [2, 2, 2]]], 0), "patch_size must be integers > 0"),
        (
            lambda x: F.swap(x, [[[0, 0, 0], [2, 2, 2]]], (1, 2)),
            "patch_size must be integers > 0, one or three",
        ),
    ],
)
def test_bad_arguments_are_named(run, message):
    with pytest.raises(ValueError, match=message):
        run(torch.rand(2, 1, 4, 4, 4))


@pytest.mark.parametrize("size", [(9, 8, 7), (5, 5, 5)])
def test_swaps_in_rounds_are_those_one_after_another(size):
    generator = np.random.default_rng(0)
    patch, times, batch = (2, 3, 2), 40, 3
    known = generator.integers(0, np.array(size) - patch + 1, (batch, times, 2, 3))
    apart = (abs(known[:, :, 0] - known[:, :, 1]) >= patch).any(-1)
    known[:, :, 1] = np.where(apart[..., None], known[:, :, 1], known[:, :, 0])  # nothing happens
    x = torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(0))
    expected = filters.swap(x, torch.from_numpy(known), patch)
    when = filters.rounds(known, patch)
    assert when[0].max() > 3
    assert when.max() < times - 1  # some take place at once
    flat = (known[..., 0] * size[1] + known[..., 1]) * size[2] + known[..., 2]
    starts = np.arange(batch * 2).reshape(batch, 2) * np.prod(size)
    pairs = torch.from_numpy(flat.transpose(1, 2, 0)[..., None, None] + starts[..., None])
    inside = np.stack(np.meshgrid(*map(np.arange, patch), indexing="ij"), -1).reshape(-1, 3)
    offset = (inside[:, 0] * size[1] + inside[:, 1]) * size[2] + inside[:, 2]
    out = filters._exchange(x, *_reordered(pairs, when, torch.from_numpy(offset)))
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def _reordered(pairs, when, offset):
    pairs, sizes = filters.in_rounds(pairs, when)
    return pairs, offset, sizes
