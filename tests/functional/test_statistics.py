"""Percentiles against numpy, moments against numpy in float64."""

import numpy as np
import pytest
import torch

from torchio_gpu.functional.eager import slabs, statistics
from torchio_gpu.functional.statistics import fill_value, moments, percentile

SHAPES = [(1, 1, 1), (5, 1, 7), (9, 10, 11)]
Q = (0, 0.5, 13, 50, 99.5, 100, 25)


def masks(shape, seed=3):
    generator = torch.Generator().manual_seed(seed)
    batch, channels, *size = shape
    yield None
    yield torch.rand(batch, 1, *size, generator=generator) > 0.4
    yield torch.rand(batch, channels, *size, generator=generator) > 0.4


def voxels_inside(x, mask, sample):
    """Return the voxels of a sample inside the mask, in float64."""
    inside = x[sample].isfinite() | True if mask is None else mask[sample].expand_as(x[sample])
    return x[sample][inside].double().numpy()


@pytest.fixture(params=["at once", "slab by slab"])
def _slabs(request, monkeypatch):
    if request.param == "slab by slab":
        monkeypatch.setattr(slabs, "VOXELS", 1)


@pytest.fixture(params=["sorted", "counted"])
def _sorted_or_counted(request, monkeypatch):
    """Select by sorting, as for few voxels, or by counting, as for many."""
    if request.param == "counted":
        monkeypatch.setattr(statistics, "_FEW", 0)


@pytest.mark.usefixtures("_slabs", "_sorted_or_counted")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int16, torch.uint8]
)
def test_percentiles_agree_with_numpy(shape, dtype):
    x = (torch.randn(2, 3, *shape) * 50).to(dtype)
    for mask in masks(x.shape):
        out = percentile(x, Q, mask)
        assert out.dtype == torch.float64
        for sample in range(2):
            some = voxels_inside(x, mask, sample)
            expected = np.percentile(some, Q) if some.size else np.full(len(Q), np.nan)
            # values are exact, between them there is one rounding
            np.testing.assert_allclose(out[sample], expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counting_orders_numbers_of_every_magnitude(dtype):
    """Values include many exponents, both signs, zeros, subnormals and ties."""
    info = torch.finfo(dtype)
    some = [0.0, -0.0, info.tiny, -info.tiny, info.tiny / 8, -info.tiny / 4, info.max, info.min]
    powers = 2.0 ** torch.arange(-120, 120, 9, dtype=dtype)
    x = torch.cat((torch.tensor(some, dtype=dtype), powers, -powers, powers, powers * 1.0001))
    x = x[torch.randperm(len(x))].view(1, 1, 1, 1, -1)
    ranks = torch.arange(x.numel())[None]
    assert torch.equal(statistics._select(x, None, ranks), x.flatten(1).sort(1).values)


@pytest.mark.usefixtures("_sorted_or_counted")
def test_infinite_voxels_and_nan():
    x = torch.tensor([-np.inf, 1.0, 2.0, np.inf, np.inf]).view(1, 1, 1, 1, 5)
    assert percentile(x, (0, 25, 75, 90)).tolist() == [[-np.inf, 1, np.inf, np.inf]]
    x = torch.rand(2, 1, 3, 3, 3)
    x[0, 0, 1, 1, 1] = np.nan
    out = percentile(x, (0, 50))
    assert out[0].isnan().all()
    assert out[1].isfinite().all()
    assert percentile(x, 50, ~x.isnan()).isfinite().all()


def test_more_voxels_than_torch_quantile_takes():
    x = torch.randn(1, 1, 260, 260, 260)  # 17.6 million; torch.quantile stops at 2^24
    expected = np.partition(x.numpy().ravel(), 260**3 // 2)[260**3 // 2]
    rank = 260**3 // 2 / (260**3 - 1) * 100
    assert percentile(x, rank)[0].item() == pytest.approx(expected, rel=1e-6)


def test_a_large_batch_is_processed_in_parts(monkeypatch):
    x = torch.randn(5, 1, 4, 5, 6)
    whole = percentile(x, Q)  # sorted
    monkeypatch.setattr(statistics, "_FEW", 0)
    monkeypatch.setattr(statistics, "_TABLE", 2 * 15 * 2**16)
    calls = []
    select = statistics._select
    monkeypatch.setattr(statistics, "_select", lambda *a: calls.append(len(a[0])) or select(*a))
    assert torch.equal(percentile(x, Q), whole)
    assert calls == [2, 2, 1]


@pytest.mark.usefixtures("_sorted_or_counted")
def test_batch_equals_single_samples():
    x = torch.randn(3, 2, 5, 6, 7)
    mask = torch.rand(3, 1, 5, 6, 7) > 0.5
    for sample in range(3):
        one = slice(sample, sample + 1)
        assert torch.equal(percentile(x, Q, mask)[one], percentile(x[one], Q, mask[one]))
        for both, alone in zip(moments(x, mask), moments(x[one], mask[one]), strict=True):
            torch.testing.assert_close(both[one], alone, rtol=1e-7, atol=0)


@pytest.mark.usefixtures("_slabs")
def test_gradient_of_percentiles():
    x = torch.randn(2, 2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    for mask in masks(x.shape):
        assert torch.autograd.gradcheck(lambda x, m=mask: percentile(x, (0, 10, 33, 50, 97), m), x)


@pytest.mark.usefixtures("_sorted_or_counted")
def test_the_gradient_is_shared_by_equal_voxels():
    x = torch.tensor([1.0, -0.0, 3.0, 1.0, 0.0, 7.0]).view(1, 1, 1, 2, 3).requires_grad_()
    mask = torch.tensor([1, 1, 1, 1, 1, 0]).bool().view(1, 1, 1, 2, 3)
    percentile(x, 50, mask).sum().backward()
    assert x.grad.flatten().tolist() == [0.5, 0, 0, 0.5, 0, 0]
    x.grad = None
    percentile(x, 0, mask).sum().backward()
    assert x.grad.flatten().tolist() == [0, 0.5, 0, 0, 0.5, 0]


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int16])
def test_moments_agree_with_numpy(shape, dtype):
    x = (torch.randn(2, 3, *shape) * 50 + 20).to(dtype)
    for mask in masks(x.shape):
        out = moments(x, mask)
        for sample in range(2):
            some = voxels_inside(x, mask, sample)
            assert out.number[sample] == some.size
            if some.size > 1:
                assert out.mean[sample].item() == pytest.approx(some.mean(), rel=1e-6, abs=1e-5)
                assert out.std[sample].item() == pytest.approx(some.std(ddof=1), rel=1e-6)


def test_moments_about_a_large_mean():
    x = torch.randn(1, 1, 280, 270, 265) + 1000  # 20 million
    exact = x.double()
    out = moments(x)
    assert out.mean.item() == pytest.approx(exact.mean().item(), rel=1e-9)
    assert out.std.item() == pytest.approx(exact.std().item(), rel=1e-6)
    # neither do a few voxels unlike the others, nor a first slab of them, take from the rest
    x[:, :, ::5, 0, 0] = 0
    assert moments(x).std.item() == pytest.approx(x.double().std().item(), rel=1e-6)
    x[:, :, :2] = 0
    assert moments(x).std.item() == pytest.approx(x.double().std().item(), rel=1e-6)


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("value", [0.1, -3.3e7, 1e-30, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_deviation_of_equal_voxels_is_exactly_zero(value, dtype):
    x = torch.full((2, 1, 23, 11, 7), value, dtype=dtype)
    assert moments(x).std.tolist() == [0, 0]
    mask = torch.rand(x.shape) > 0.5
    mask[1] = False
    out = moments(torch.where(mask, x, 5), mask)
    assert out.std[0] == 0
    assert out.number[1] == 0
    assert out.mean[1].isnan()
    assert out.std[1].isnan()


def test_the_deviation_of_a_single_voxel_is_zero():
    out = moments(torch.tensor([7.0, 8.0]).view(2, 1, 1, 1, 1))
    assert (out.mean.tolist(), out.std.tolist()) == ([7, 8], [0, 0])


@pytest.mark.usefixtures("_slabs")
def test_gradient_of_moments():
    x = torch.randn(2, 2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    for mask in masks(x.shape):
        assert torch.autograd.gradcheck(lambda x, m=mask: moments(x, m)[1:], x)
    flat = torch.ones(1, 1, 2, 2, 2, requires_grad=True)
    moments(flat).std.sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.usefixtures("_sorted_or_counted")
def test_runs_on_the_meta_device():
    for dtype in (torch.float32, torch.float64, torch.int16):
        x = torch.empty(2, 1, 5, 6, 7, device="meta", dtype=dtype)
        for mask in (None, torch.empty(2, 1, 5, 6, 7, device="meta", dtype=torch.bool)):
            assert percentile(x, Q, mask).shape == (2, 7)
            assert percentile(x, 50, mask).shape == (2,)
            assert moments(x, mask).std.shape == (2,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: percentile(x, 101), ValueError, "q must be .* from 0 to 100, got 101"),
        (lambda x: percentile(x, (0, float("nan"))), ValueError, "q must be"),
        (lambda x: percentile(x, [[1, 2]]), ValueError, "q must be"),
        (lambda x: percentile(x, "a"), TypeError, "q must be made of numbers, got 'a'"),
        (lambda x: percentile(x, 5, x[:, :, :1] > 0), ValueError, r"\(2, 1 or 3, 4, 5, 6\) on cpu"),
        (lambda x: percentile(x, 5, x), TypeError, "mask must be a tensor of bool, got torch.flo"),
        (lambda x: moments(x.to(torch.complex64)), ValueError, "x must be real"),
        (lambda x: moments(x[0]), ValueError, "x must have shape"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.zeros(2, 3, 4, 5, 6))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e19, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_moments_of_voxels_of_any_magnitude(scale, dtype, masked, monkeypatch):
    monkeypatch.setattr(slabs, "VOXELS", 300)
    scale = scale**6 if dtype == torch.float64 else scale
    x = (torch.randn(2, 1, 8, 9, 10, dtype=dtype) + 3) * scale
    mask = torch.rand(2, 1, 8, 9, 10) > 0.3 if masked else None
    inside = [x[n][mask[n]] if masked else x[n] for n in range(2)]
    expected = [(v.double() / scale).std() for v in inside]
    _, mean, std = statistics.moments(x, mask)
    torch.testing.assert_close(std / scale, torch.stack(expected), rtol=1e-5, atol=0)
    expected = [(v.double() / scale).mean() for v in inside]
    torch.testing.assert_close(mean / scale, torch.stack(expected), rtol=1e-5, atol=0)


def test_otsu_threshold_ignores_infinite_voxels():
    x = torch.rand(1, 1, 8, 9, 10)
    x[0, 0, 0, 0, 0] = torch.inf
    assert 0 < fill_value(x, "otsu").item() < 1
