"""Rescaling, standardising, histogram matching, masks, components and clamping of tensors."""

import numpy as np
import pytest
import torch
from torchio.transforms.preprocessing.intensity import (
    histogram_standardization as torchio_histogram,
)

from tests.close import assert_close
from tests.volumes import smooth
from torchio_gpu.functional import normalization as F
from torchio_gpu.functional import operations as ops
from torchio_gpu.functional.eager import normalization as reference
from torchio_gpu.functional.eager import slabs
from torchio_gpu.functional.intensity import clamp
from torchio_gpu.functional.pointwise import pointwise

LANDMARKS = np.array([0, 8, 15, 20, 24, 31, 40, 52, 60, 70, 75, 88, 100.0])


def half(x):
    return torch.rand(len(x), 1, *x.shape[2:]) > 0.5


CALLS = {
    "rescale": lambda x, m=None: F.rescale(x, (-1, 2), mask=m),
    "rescale, percentiles": lambda x, m=None: F.rescale(x, 3, (5, 90), m),
    "rescale, in_min_max": lambda x, m=None: F.rescale(x, 3, (5, 90), m, (-1, 4)),
    "rescale, fixed": lambda x, m=None: F.rescale(x, 3, in_min_max=(-1, 4)),
    "standardize": F.standardize,
    "match_landmarks": lambda x, m=None: F.match_landmarks(x, LANDMARKS, m),
    "principal_components": lambda x, m=None: F.principal_components(x, 1),
    "clamp": lambda x, m=None: clamp(x, -0.5, 0.7),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


# What holds for all of them


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_dtypes(call, dtype):
    x = (smooth((2, 2, 5, 6, 7)) * 10).to(dtype)
    out = call(x)
    assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)
    if dtype != torch.float64:
        assert torch.equal(out, call(x.float()).to(out.dtype))


def test_batch_equals_single_samples(call):
    x = torch.randn(3, 2, 5, 6, 7)
    mask = half(x)
    both = call(x, mask)
    for sample in range(3):
        alone = call(x[sample : sample + 1], mask[sample : sample + 1])
        assert_close(both[sample : sample + 1], alone, share=1e-6, reason="sums in another order")


def test_result_does_not_depend_on_slabs(call, monkeypatch):
    x = torch.randn(2, 2, 9, 6, 7)
    mask = half(x)
    whole = call(x, mask)
    monkeypatch.setattr(slabs, "VOXELS", 2 * x[:, :, 0].numel())
    assert_close(call(x, mask), whole, share=1e-6, reason="sums in another order")


def test_gradients(call):
    x = torch.randn(2, 2, 3, 4, 2, dtype=torch.float64)
    mask = half(x)
    x.requires_grad_()
    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradcheck(lambda x: call(x, mask), x)


def test_input_is_not_changed(call):
    x = torch.randn(2, 2, 5, 6, 7)
    before = x.clone()
    call(x)
    assert torch.equal(x, before)


def test_runs_on_the_meta_device(call):
    x = torch.empty(2, 2, 5, 6, 7, device="meta")
    mask = torch.empty(2, 1, 5, 6, 7, device="meta", dtype=torch.bool)
    assert call(x).shape[2:] == x.shape[2:]
    assert call(x, mask).shape[2:] == x.shape[2:]


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7)])
@pytest.mark.parametrize("value", [None, 0.0, 0.1, -1e6])
def test_flat_volumes_do_not_become_nan(call, shape, value):
    x = torch.rand(2, 1, *shape) if value is None else torch.full((2, 1, *shape), value)
    assert call(x).isfinite().all()
    mask = torch.zeros(2, 1, *shape, dtype=torch.bool)
    assert call(x, mask).isfinite().all()
    mask[0, 0, 0, 0, 0] = True
    assert call(x, mask).isfinite().all()


def test_complex_volumes_are_refused(call):
    with pytest.raises(ValueError, match="x must be real"):
        call(torch.zeros(1, 2, 3, 3, 3, dtype=torch.complex64))


# Rescale


def test_rescale_maps_percentiles_to_the_ends_exactly():
    x = torch.randn(2, 1, 9, 10, 11) * 300 + 1000
    for percentiles in ((0, 100), (2, 98)):
        out = F.rescale(x, (0, 1), percentiles)
        assert out.amin((1, 2, 3, 4)).tolist() == [0, 0]
        assert out.amax((1, 2, 3, 4)).tolist() == [1, 1]
    sample = x[1].double().numpy()
    low, high = np.percentile(sample, (2, 98))
    expected = torch.from_numpy((sample.clip(low, high) - low) / (high - low))
    assert_close(out[1], expected, share=1e-6, reason="float32")


def test_rescale_with_a_mask_clamps_to_the_range_inside():
    x = torch.tensor([0.0, 1, 2, 3, 9]).view(1, 1, 1, 1, 5)
    out = F.rescale(x, (0, 2), mask=(x > 0) & (x < 4))
    assert out.flatten().tolist() == [0, 0, 1, 2, 2]


def test_rescale_from_a_given_range_may_exceed_the_output_range():
    x = torch.tensor([-1000.0, 0, 1000, 3000]).view(1, 1, 1, 1, 4)
    out = F.rescale(x, (-1, 1), in_min_max=(-1000, 1000))
    assert out.flatten().tolist() == [-1, 0, 1, 3]
    assert F.rescale(x, 1, in_min_max=1000).flatten().tolist() == [-1, 0, 1, 3]


def test_rescale_leaves_volumes_without_a_range_unchanged():
    x = torch.rand(4, 1, 3, 4, 5)
    x[1] = 7
    x[2, 0, 0, 0, 0] = torch.nan
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[3] = False
    for percentiles in ((0, 100), (5, 95)):
        out = F.rescale(x, 5, percentiles, mask)
        assert torch.equal(out[1:].nan_to_num(-9), x[1:].nan_to_num(-9))
        assert out[0].amax() == 5
        given = F.rescale(x, 5, percentiles, mask, (0, 10))
        assert given[1].unique().item() == pytest.approx(2)  # its range is given
        assert torch.equal(given[2:].nan_to_num(-9), x[2:].nan_to_num(-9))


# Standardise


def test_standardize_about_a_large_mean():
    x = torch.randn(1, 1, 60, 70, 80) + 1000
    exact = x.double()
    expected = (exact - exact.mean()) / exact.std()
    assert_close(F.standardize(x), expected, share=1e-6, reason="float32")
    assert F.standardize(x).double().mean().abs() < 1e-6  # no bias from a rounded mean


def test_standardize_with_a_mask():
    x = torch.randn(2, 3, 4, 5, 6) * 5 + 3
    mask = half(x)
    out = F.standardize(x, mask)
    for sample in range(2):
        inside = x[sample][mask[sample].expand_as(x[sample])].double()
        expected = (x[sample] - inside.mean()) / inside.std()
        assert_close(out[sample], expected, share=1e-6, reason="float32")


def test_standardize_without_a_deviation():
    x = torch.stack((torch.full((1, 3, 4, 5), 0.3), torch.rand(1, 3, 4, 5)))
    assert F.standardize(x)[0].unique().item() == pytest.approx(0, abs=1e-7)
    none = torch.zeros_like(x, dtype=torch.bool)
    assert torch.equal(F.standardize(x, none), x)


# Histograms


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_match_landmarks_agrees_with_torchio(dtype):
    x = torch.from_numpy((smooth((2, 1, 20, 21, 22)).numpy() * 40 + 90).astype(dtype))
    x[1, 0, :12] = 0  # background: several percentiles are one value
    for mask in (None, half(x)):
        out = F.match_landmarks(x, LANDMARKS, mask)
        for sample in range(2):
            inside = None if mask is None else mask[sample].numpy()
            expected = torchio_histogram._normalize(x[sample], LANDMARKS, inside)
            assert_close(out[sample], expected, share=1e-6, reason="float32, theirs in float64")


def test_landmarks_of_a_constant_volume():
    x = torch.full((1, 1, 4, 4, 4), 7.0)
    expected = torchio_histogram._normalize(x[0], LANDMARKS, None)
    assert torch.equal(F.match_landmarks(x, LANDMARKS)[0], expected)


def test_landmark_segments_begin_where_they_do_in_float64():
    jump = reference.Pieces(
        torch.tensor([[0, 1 + 1e-9]], dtype=torch.float64),
        torch.tensor([[0, 5]], dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
    )
    x = torch.tensor([0.5, 1, 1.0000001, 2]).view(1, 1, 1, 1, 4)
    assert reference.map_pieces(x, jump).flatten().tolist() == [0, 0, 5, 5]


def test_both_ways_of_finding_a_landmark_segment_agree():
    begin = torch.tensor([[0.0, 0, 1, 3], [-2, -1, 5, 5]])
    values = torch.tensor([[-1.0, 0, 0.5, 1, 9], [-2, -3, 4.9, 5, 6]])
    expected = torch.searchsorted(begin, values, right=True)
    assert torch.equal(reference._piece(values, begin), expected)


# Masks


def test_mask_voxels_keeps_dtype_and_voxels_inside():
    for dtype in (torch.uint8, torch.int16, torch.float16, torch.float64, torch.bool):
        x = torch.ones(2, 3, 2, 2, 2, dtype=dtype)
        mask = half(x)
        out = F.mask_voxels(x, mask, 0)
        assert out.dtype == dtype
        assert torch.equal(out, mask.expand_as(x).to(dtype))
    x = torch.ones(1, 1, 2, 2, 2, dtype=torch.uint8)
    for value in (-1, 256, 0.5):
        with pytest.raises(ValueError, match="outside_value must be a whole number from 0 to 255"):
            F.mask_voxels(x, x > 0, value)


# Components


def svd(x, number, whiten, normalize, positive):
    """Compute the components of one sample by numpy."""
    voxels = x.double().numpy().reshape(len(x), -1).T
    voxels = voxels - voxels.mean(0)
    u, s, vt = np.linalg.svd(voxels, full_matrices=False)
    largest = np.abs(vt).argmax(1)
    sign = np.sign(vt[np.arange(len(vt)), largest])
    out = (u * s * sign).T[:number]
    if whiten:
        out = out / (s[:number, None] / np.sqrt(len(voxels) - 1))
    if normalize:
        out = out / out[0].std()
    if positive:
        out = out * np.where((out**3).mean(1, keepdims=True) < 0, -1, 1)
    return torch.from_numpy(out.reshape(number, *x.shape[1:]))


@pytest.mark.parametrize("flags", [(True, True, True), (False, True, False), (True, False, True),
                                   (False, False, False)])  # fmt: skip
def test_components_agree_with_an_svd(flags):
    x = torch.randn(2, 6, 5, 6, 7) ** 3 * torch.arange(1, 7).view(1, 6, 1, 1, 1) + 10
    keys = ("whiten", "normalize", "make_skewness_positive")
    out = F.principal_components(x, 4, **dict(zip(keys, flags, strict=True)))
    for sample in range(2):
        assert_close(
            out[sample], svd(x[sample], 4, *flags), share=1e-5, reason="products in float32"
        )


def test_components_agree_with_scikit_learn():
    from sklearn.decomposition import PCA

    x = torch.randn(1, 5, 4, 5, 6).double() * torch.arange(1, 6).view(1, 5, 1, 1, 1)
    voxels = x[0].flatten(1).T.numpy()
    expected = torch.from_numpy(PCA(3, whiten=True).fit_transform(voxels).T.reshape(3, 4, 5, 6))
    out = F.principal_components(x, 3, normalize=False, make_skewness_positive=False)
    assert_close(out[0], expected, share=1e-9, reason="float64")


def test_components_without_variance_are_zero():
    x = torch.randn(2, 1, 4, 4, 4).repeat(1, 3, 1, 1, 1) * torch.tensor([1, 2, -3]).view(3, 1, 1, 1)
    x[1] = 4
    out = F.principal_components(x, 3)
    assert out[0, 0].std() > 0.9
    assert not out[0, 1:].any()
    assert not out[1].any()


# Clamp


def test_clamp_per_sample_and_its_gradient():
    x = torch.tensor([-2.0, -1, 0, 1, 2]).repeat(2, 1).view(2, 1, 1, 1, 5).requires_grad_()
    low = torch.tensor([-1.0, -9.0], requires_grad=True)
    high = torch.tensor([1.0, 0.0], requires_grad=True)
    out = clamp(x, low, high)
    assert out.flatten(1).tolist() == [[-1, -1, 0, 1, 1], [-2, -1, 0, 0, 0]]
    out.sum().backward()
    assert x.grad.flatten(1).tolist() == [[0, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
    assert low.grad.tolist() == [1, 0]
    assert high.grad.tolist() == [1, 2]


def test_clamp_without_ends_is_the_identity():
    x = torch.randn(2, 1, 3, 4, 5)
    assert torch.equal(clamp(x), x)
    assert torch.equal(clamp(x, low=0), x.clamp(min=0))
    assert torch.equal(clamp(x, high=0), x.clamp(max=0))


def test_clamp_within_a_program():
    x = torch.randn(2, 1, 3, 4, 5)
    ends = np.array([-0.5, -np.inf]), np.array([0.5, np.inf])
    log_gamma = torch.tensor([0.3, 0.3])
    out = pointwise(x, [ops.Gamma(log_gamma), ops.Clamp(*ends)])
    expected = pointwise(x, [ops.Gamma(log_gamma)])
    expected[0].clamp_(-0.5, 0.5)
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.rescale(x, (2, 1)), r"out_min_max must be a range \(a, b\) with a <= b"),
        (lambda x: F.rescale(x, -1), "out_min_max as a single number must be >= 0, got -1"),
        (lambda x: F.rescale(x, percentiles=(-1, 50)), "percentiles must lie between 0 and 100"),
        (lambda x: F.rescale(x, percentiles=(5, 5)), "percentiles must be a range .* a < b"),
        (lambda x: F.rescale(x, in_min_max=(1, 2, 3)), "in_min_max must be a number or a pair"),
        (lambda x: F.rescale(x, mask=x[:1] > 0), "mask must have shape"),
        (lambda x: F.match_landmarks(x, LANDMARKS[:12]), r"landmarks must be 13 .* \(12,\)"),
        (lambda x: F.match_landmarks(x, LANDMARKS[::-1]), "landmarks must be 13 .* none below"),
        (lambda x: F.principal_components(x, 3), "number of channels, 2, got 3"),
        (lambda x: F.principal_components(x, 0), "num_components must be an integer >= 1"),
        (lambda x: clamp(x, 2, 1), r"low must not be above high, got \[2.0\] and \[1.0\]"),
        (lambda x: clamp(x, [1, 2, 3]), "low must hold one value per sample"),
        (lambda x: F.standardize(x[0]), "x must have shape"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 2, 4, 4, 4))
