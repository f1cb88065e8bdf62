"""Curves of intensity between minimum and maximum: histogram shift and sigmoid contrast."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import smooth, subject
from torchio_gpu import functional as F

RANDOM = [
    tio.RandomHistogramShift(),
    tio.RandomHistogramShift(3, 0.5),
    tio.RandomHistogramShift(12, (-0.5, 0.5), by_channel=True),
    tio.RandomSigmoidContrast(),
    tio.RandomSigmoidContrast((20, 60), (0, 1), by_channel=True),
    tio.RandomSigmoidContrast((0, 1e-3)),
]
random_ones = pytest.mark.parametrize("transform", RANDOM, ids=str)


def ramp(count=1000, low=-3.0, high=7.0, dtype=torch.float64):
    return torch.linspace(low, high, count, dtype=dtype).view(1, 1, 10, 10, -1)


def sigmoid(t, gain, cutoff):
    return 1 / (1 + np.exp(gain * (cutoff - t)))


@pytest.mark.parametrize("shift", [[0.5], [-0.9, 0.1], [0.3, -0.2, 0.4, -0.5]])
def test_histogram_shift_is_an_interpolation_of_numpy(shift):
    x = ramp()
    known = np.linspace(-3, 7, len(shift) + 2)
    wanted = known + np.array([0, *shift, 0]) * (known[1] - known[0])
    expected = np.interp(x.numpy().ravel(), known, wanted)
    out = tio.HistogramShift(shift)(x)
    np.testing.assert_allclose(out.numpy().ravel(), expected, atol=1e-12)


@pytest.mark.parametrize(("gain", "cutoff"), [(10, 0.5), (3, 0.2), (25, 1), (0.5, 0)])
def test_sigmoid_contrast_is_the_formula_of_scikit_image_scaled(gain, cutoff):
    x = ramp()
    t = (x.numpy() + 3) / 10
    s = sigmoid(t, gain, cutoff)
    s = (s - sigmoid(0, gain, cutoff)) / (sigmoid(1, gain, cutoff) - sigmoid(0, gain, cutoff))
    out = tio.SigmoidContrast(gain, cutoff)(x)
    np.testing.assert_allclose(out.numpy(), s * 10 - 3, atol=1e-12)


def test_the_steepest_slope_is_at_the_cutoff():
    out = tio.SigmoidContrast(12, 0.3)(ramp()).flatten()
    assert abs(out.diff().argmax().item() / 999 - 0.3) < 2e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [1e-30, 1e-8, 1e-4])
def test_small_gains_are_near_the_identity(gain, dtype):
    """The curve differs from the identity by at most gain / 8 of the range, for any cutoff."""
    x = ramp(dtype=dtype)
    for cutoff in (0.0, 0.3, 1.0):
        out = tio.SigmoidContrast(gain, cutoff)(x)
        assert_close(out, x, share=gain / 8 + 1e-6, reason="distance of the curve, and rounding")


def test_large_gains_are_a_step():
    x = ramp(dtype=torch.float32)
    out = tio.SigmoidContrast(1e6, 0.5)(x)
    assert torch.equal(out, torch.where(x > 2, 7.0, -3.0))


@random_ones
def test_range_and_order_are_kept(transform):
    torch.manual_seed(0)
    x = smooth((40, 2, 6, 7, 8)).float() * 100 + 300
    out = transform(x)
    assert not torch.equal(out, x)
    for end in (torch.amin, torch.amax):
        reason = "rounding of gain t, up to 60, in float32"
        assert_close(end(out, (2, 3, 4)), end(x, (2, 3, 4)), share=1e-5, reason=reason)
    order = x.flatten(2).argsort(-1)
    steps = out.flatten(2).gather(-1, order).diff(dim=-1)
    assert steps.min() >= -1e-4  # of values up to 700 in float32


@random_ones
def test_samples_and_channels(transform):
    torch.manual_seed(0)
    out = transform(ramp(dtype=torch.float32).expand(3, 2, -1, -1, -1))
    assert not torch.equal(out[0], out[1])
    assert torch.equal(out[0, 0], out[0, 1]) != transform.by_channel


def test_neutral_values_change_no_bit():
    x = torch.rand(2, 2, 4, 5, 6)
    x[0, 0, 0, 0, 0] = torch.nan
    bits = x.view(torch.int32)
    shift, gain = np.zeros((2, 2, 3)), np.zeros((2, 2))
    shift[1, 1, 0], gain[1, 1] = 0.2, 4
    for out in (F.histogram_shift(x, shift), F.sigmoid_contrast(x, gain)):
        assert torch.equal(out[0].view(torch.int32), bits[0])
        assert torch.equal(out[1, 0].view(torch.int32), bits[1, 0])
        assert not torch.equal(out[1, 1], x[1, 1])


@random_ones
@pytest.mark.parametrize("value", [0.0, -7.0])
def test_constant_images_stay_constant(transform, value):
    x = torch.full((1, 1, 4, 5, 1), value)
    torch.testing.assert_close(transform(x), x)


@random_ones
def test_label_maps_are_left_alone_and_history_replays(transform):
    s = subject()
    out = transform(s)
    assert torch.equal(out.seg.data, s.seg.data)
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)


def test_gradients_of_histogram_shift():
    x = smooth((2, 2, 3, 4, 3)).requires_grad_()
    shift = torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(F.histogram_shift, (x, shift))


@pytest.mark.parametrize("gain", [0.5, 8.0])
def test_gradients_of_sigmoid_contrast(gain):
    x = smooth((2, 2, 3, 4, 3)).requires_grad_()
    gains = torch.tensor([gain, gain + 1], dtype=torch.float64, requires_grad=True)
    cutoff = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(F.sigmoid_contrast, (x, gains, cutoff))


def test_the_gradient_in_a_gain_of_zero_is_that_of_the_limit():
    """Gradient in x of the identity, and in the gain of a curve that differs by its square."""
    x = ramp().requires_grad_()
    gain = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    slope, other = torch.autograd.grad(F.sigmoid_contrast(x, gain, 0.2).sum(), (x, gain))
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=0, atol=1e-5)
    assert other.abs() < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.HistogramShift([1.2]), "shift must leave control points in their order"),
        (lambda: tio.HistogramShift([0.6, -0.6]), "shift must leave control points in their or"),
        (lambda: tio.HistogramShift({"a": [0.1], "b": [0.1, 0]}), "as many points for each image"),
        (lambda: tio.RandomHistogramShift(2), "num_control_points must be a whole number >= 3"),
        (lambda: tio.RandomHistogramShift(shift=0.6), "shift must be >= -0.5"),
        (lambda: tio.SigmoidContrast(-1), "gain must be >= 0"),
        (lambda: tio.SigmoidContrast(1, 1.5), "cutoff must be between 0 and 1"),
        (lambda: tio.RandomSigmoidContrast(cutoff=(0, 2)), "cutoff must be <= 1"),
        (
            lambda: F.histogram_shift(torch.rand(1, 3, 2, 2, 2), np.zeros((1, 2, 4))),
            r"shift must be \(K\), \(1, K\) or \(1, 3, K\), got \(1, 2, 4\)",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
