"""Sampling along the axes, and interpolation beyond linear, against SimpleITK."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.close import assert_close
from tests.volumes import smooth
from torchio_gpu import functional as F
from torchio_gpu import geometry
from torchio_gpu.functional.maps import MODES as ALL_MODES
from torchio_gpu.functional.maps import WINDOWED

SIZE = (13, 40, 22)
MODES = {
    "linear": sitk.sitkLinear,
    "nearest": sitk.sitkNearestNeighbor,
    "bspline": sitk.sitkBSpline,
}


def by_sitk(x, matrix, size, interpolator, fill):
    """Resample one sample by SimpleITK, in voxel coordinates."""
    image = sitk.GetImageFromArray(x[0, 0].numpy().transpose(2, 1, 0))
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(interpolator)
    resampler.SetSize([int(n) for n in size])
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    resampler.SetTransform(transform)
    resampler.SetDefaultPixelValue(fill)
    out = sitk.GetArrayFromImage(resampler.Execute(image))
    return torch.from_numpy(out.transpose(2, 1, 0).copy())[None, None]


def axis_parallel_matrix(order=(0, 1, 2), scales=(1.31, 0.71, -0.93), offset=(-1.23, 0.27, 17.11)):
    """Return a matrix that permutes and scales the axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(scales)[:, order]
    matrix[:3, 3] = offset
    return matrix


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_agrees_with_simpleitk(mode, order):
    x = smooth((1, 1, 20, 24, 18))
    matrix = axis_parallel_matrix(order)
    out = F.resample(x, SIZE, matrix, mode=mode, fill=-7.0)
    expected = by_sitk(x, matrix, SIZE, MODES[mode], -7.0)
    assert ((expected == -7) == (out == -7)).all()
    assert 0.02 < (expected == -7).double().mean() < 0.98
    assert_close(out, expected, share=1e-9, reason="ITK's prefilter stops at 1e-10")


@pytest.mark.parametrize("mode", MODES)
def test_an_oblique_map_agrees_with_simpleitk(mode):
    x = smooth((1, 1, 20, 24, 18))
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.rotation(np.array([11.0, -20, 15])) * 1.1
    matrix[:3, 3] = [2, 1, -3]
    out = F.warp(x, matrix, size=SIZE, mode=mode, fill=-7.0)
    expected = by_sitk(x, matrix, SIZE, MODES[mode], -7.0)
    inside = expected != -7
    if mode == "linear":  # which blends with what is outside over a voxel
        points = geometry.apply_affine(matrix, np.indices(SIZE).reshape(3, -1).T)
        deep = ((points >= 0) & (points <= np.array([19, 23, 17]))).all(1).reshape(SIZE)
        inside = torch.from_numpy(deep)[None, None]
    else:
        assert (inside == (out != -7)).all()
    difference = (out - expected)[inside].abs()
    assert difference.numel() > 1000
    assert difference.max() < 1e-8


def test_samples_have_maps_of_their_own():
    x = smooth((4, 2, 12, 11, 10)).float()
    maps = np.stack(
        [
            axis_parallel_matrix(),
            np.eye(4),
            axis_parallel_matrix((2, 0, 1)),
            axis_parallel_matrix(scales=(1, 2, 1), offset=(0, 0, 0)),
        ]
    )
    for mode in MODES:
        out = F.resample(x, (9, 8, 7), maps, mode=mode, fill=torch.tensor([1.0, 2, 3, 4]))
        for n in range(4):
            alone = F.resample(x[n : n + 1], (9, 8, 7), maps[n], mode=mode, fill=float(n + 1))
            assert_close(out[n : n + 1], alone, share=1e-6, reason="sums in another order")
        assert torch.equal(out[1], x[1, :, :9, :8, :7])


def test_flips_and_permutations_commute_with_resampling():
    x = smooth((1, 1, 15, 12, 9))
    size = (10, 8, 6)
    for mode in ("linear", "bspline", "label"):
        y = (x * 3).round() if mode == "label" else x
        plain = F.resample(y, size, mode=mode)
        flipped = F.resample(y.flip(3), size, mode=mode).flip(3)
        permuted = F.resample(y.permute(0, 1, 4, 2, 3), (6, 10, 8), mode=mode).permute(
            0, 1, 3, 4, 2
        )
        assert_close(flipped, plain, share=1e-12, reason="rounding")
        assert_close(permuted, plain, share=1e-12, reason="rounding")


def test_a_ramp_stays_a_ramp_and_edges_are_extended():
    x = torch.arange(6.0, dtype=torch.float64).view(1, 1, 6, 1, 1)
    finer = F.resample(x, (12, 1, 1)).flatten()
    expected = (torch.arange(12, dtype=torch.float64) / 2 - 0.25).clamp(0, 5)
    assert_close(finer, expected, share=1e-12, reason="rounding")
    flat = F.resample(torch.full((1, 1, 5, 6, 7), 3.0), (11, 3, 9), mode="bspline")
    assert_close(flat, torch.full_like(flat, 3), share=1e-6, reason="rounding")


def test_labels_by_largest_membership():
    """Labels agree with linear interpolation of one-hot volumes."""
    labels = torch.randint(0, 4, (2, 1, 12, 13, 14), dtype=torch.uint8)
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.rotation(np.array([11.0, -20, 15]))
    matrix[:3, 3] = [2, 1, -3]
    out = F.warp(labels, matrix, mode="label", fill=0)
    assert out.dtype == torch.uint8
    members = torch.cat([(labels == n).double() for n in range(4)], 1)
    shares = F.warp(members, matrix)
    shares[:, 0] += 1 - shares.sum(1)  # outside is 0
    best = shares.sort(1).values
    clear = best[:, -1] - best[:, -2] > 1e-5
    assert clear.double().mean() > 0.99
    assert torch.equal(out[:, 0][clear], shares.argmax(1).byte()[clear])


def test_a_tie_between_labels_goes_to_the_smallest():
    labels = torch.tensor([3, 1]).view(1, 1, 2, 1, 1)
    assert F.resample(labels, (1, 1, 1), mode="label").item() == 1
    assert F.resample(labels.flip(2), (1, 1, 1), mode="label").item() == 1


@pytest.mark.parametrize("mode", ["linear", "bspline"])
def test_gradients(mode):
    x = torch.rand(2, 1, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    maps = np.stack(
        [
            axis_parallel_matrix(offset=(0, 0, 3.0)),
            axis_parallel_matrix((1, 2, 0), (0.9, -1.2, 1), (0, 3, 1)),
        ]
    )
    assert torch.autograd.gradcheck(
        lambda x: F.resample(x, (3, 4, 5), maps, mode=mode, fill=0.5), x, fast_mode=True
    )
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.from_numpy(geometry.rotation(np.array([11.0, -20, 15])))
    turn.requires_grad_()
    # away from voxel centres, where a piecewise linear reading has no slope
    assert torch.autograd.gradcheck(
        lambda x, m: F.warp(x, m[None] + 0.013, mode=mode)[..., 1:-1, 1:-1, 1:2], (x, turn),
        fast_mode=True, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16, torch.bool])
def test_dtypes(dtype):
    x = (smooth((1, 1, 8, 9, 10)) > 0).to(dtype)
    assert F.resample(x, (5, 5, 5), mode="nearest").dtype == dtype
    assert F.resample(x, (5, 5, 5), mode="label").dtype == dtype
    out = F.resample(x, (5, 5, 5))
    assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)


def test_runs_on_the_meta_device():
    x = torch.empty(2, 1, 8, 9, 10, device="meta")
    for mode in (*ALL_MODES, *WINDOWED):
        assert F.resample(x, (5, 6, 7), mode=mode).shape == (2, 1, 5, 6, 7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.resample(x, (0, 1, 1)), "size must be three positive integers"),
        (lambda x: F.resample(x, (2, 2, 2), mode="cubic"), "linear, nearest, bspline, label"),
        (lambda x: F.resample(x, (2, 2, 2), np.eye(3)), r"matrix must have shape \(4, 4\)"),
        (lambda x: F.resample(x, (2, 2, 2), torch.eye(4, requires_grad=True)), "on the host"),
        (
            lambda x: F.resample(x, (2, 2, 2), geometry.affine_from(
                geometry.rotation(np.array([5.0, 0, 0])), np.zeros(3))),
            "matrix must keep axes parallel",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 1, 4, 4, 4))


NUMPY = ["edge", "wrap", "symmetric", "reflect", "linear_ramp", "constant"]


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_windows_are_padded_as_by_numpy(mode, dtype):
    x = (smooth((1, 2, 5, 4, 1)) * 10).to(dtype)
    for ends in (((2, 3), (1, 0), (0, 2)), ((11, 9), (0, 7), (3, 3))):
        expected = np.pad(x[0].numpy(), ((0, 0), *ends), mode=mode)
        first = [-low for low, _ in ends]
        out = F.window(x, first, expected.shape[1:], mode)
        assert out.dtype == dtype
        np.testing.assert_allclose(out[0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["minimum", "maximum", "mean", "median"])
def test_windows_are_padded_with_a_statistic_of_the_sample(mode):
    x = smooth((2, 3, 5, 4, 3)).float()
    out = F.window(x, (-1, 2, 0), (7, 3, 3), mode)
    rule = {"minimum": np.min, "maximum": np.max, "mean": np.mean, "median": np.median}[mode]
    for n in range(2):
        expected = np.pad(
            x[n, :, :, 2:].numpy(), ((0, 0), (1, 1), (0, 1), (0, 0)),
            constant_values=rule(x[n].numpy()),
        )  # fmt: skip
        np.testing.assert_allclose(out[n].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", [*NUMPY, "median", 4.0])
def test_windows_may_differ_by_sample(mode):
    x = smooth((2, 1, 5, 4, 3)).float()
    first = np.array([[-2, 1, 0], [1, -1, 2]])
    out = F.window(x, first, (4, 5, 3), mode)
    for n in range(2):
        assert torch.equal(out[n], F.window(x[n : n + 1], first[n], (4, 5, 3), mode)[0])


@pytest.mark.parametrize("mode", ["edge", "wrap", "reflect", "symmetric", "linear_ramp", "mean"])
def test_windows_pass_gradients(mode):
    x = torch.rand(1, 1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: F.window(x, (-2, 1, 0), (6, 3, 2), mode), x)
