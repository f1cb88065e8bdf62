"""Bias field, gamma and noise against closed forms, TorchIO and statistics."""

import math

import numpy as np
import pytest
import torch
import torchio

from tests.close import assert_close
from tests.volumes import smooth
from torchio_gpu import functional as F
from torchio_gpu.functional import operations as ops


@pytest.mark.parametrize("shape", [(10, 11, 12), (9, 1, 8), (65, 4, 5)])
def test_bias_field_agrees_with_torchio(shape):
    coefficients = torch.linspace(-0.5, 0.7, 20, dtype=torch.float64)
    x = smooth((1, 2, *shape)).float()
    expected = torchio.BiasField(coefficients.tolist(), order=3)(x[0])
    out = F.bias_field(x, coefficients)[0]
    assert_close(out, expected, share=1e-5, reason="exp and sums in float32")


def test_bias_field_is_an_exponential_of_coordinates_from_minus_one_to_one():
    coefficients = torch.zeros(1, 20, dtype=torch.float64)
    coefficients[0, 0], coefficients[0, 1], coefficients[0, 10] = 0.3, 0.5, -0.2  # 1, Z, X
    x = torch.ones(1, 1, 4, 5, 6, dtype=torch.float64)
    i, k = torch.linspace(-1, 1, 4).double(), torch.linspace(-1, 1, 6).double()
    expected = (0.3 - 0.2 * i[:, None, None] + 0.5 * k).exp().expand(4, 5, 6)
    torch.testing.assert_close(F.bias_field(x, coefficients)[0, 0], expected)


def test_channels_share_the_field_and_samples_do_not():
    coefficients = torch.rand(2, 4)
    out = F.bias_field(torch.ones(2, 3, 4, 4, 4), coefficients, order=1)
    assert torch.equal(out[:, 0], out[:, 2])
    assert not torch.allclose(out[0], out[1])


def test_gamma_is_a_signed_power():
    x = torch.tensor([-2.0, -1, 0, 0.25, 3]).view(1, 1, 1, 1, 5)
    out = F.gamma(x, math.log(1.7)).flatten()
    expected = torch.tensor([-(2**1.7), -1, 0, 0.25**1.7, 3**1.7])
    torch.testing.assert_close(out, expected)
    assert torch.equal(F.gamma(x, 0.0), x)


def test_gamma_per_channel():
    x = torch.full((2, 2, 1, 1, 1), 3.0)
    logs = torch.tensor([[0.0, math.log(2)], [math.log(2), 0.0]])
    assert F.gamma(x, logs).flatten().tolist() == pytest.approx([3, 9, 9, 3])


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_gradient_of_gamma_at_zero_is_zero(exponent):
    x = torch.tensor([0.0, 1.0, -4.0]).view(1, 1, 1, 1, 3).requires_grad_()
    log_gamma = torch.tensor([math.log(exponent)], requires_grad=True)
    out = F.gamma(x, log_gamma)
    assert out.flatten()[0] == 0
    out.sum().backward()
    assert x.grad.flatten()[0] == 0
    assert x.grad.flatten()[1].item() == pytest.approx(exponent)
    assert torch.isfinite(log_gamma.grad).all()


def test_noise_has_the_mean_and_deviation_asked_for():
    x = torch.zeros(2, 1, 64, 64, 64)
    seeds = torch.tensor([1, 2])
    out = F.noise(x, torch.tensor([0.0, 5.0]), torch.tensor([1.0, 0.1]), seeds)
    for sample, (mean, std) in enumerate([(0, 1), (5, 0.1)]):
        assert abs(out[sample].mean().item() - mean) < 4 * std / 512
        assert abs(out[sample].std().item() - std) < 4 * std / 724
    assert torch.corrcoef(out.flatten(1))[0, 1].abs() < 0.01


def test_noise_is_a_function_of_the_seed():
    x = torch.zeros(3, 2, 5, 6, 7)
    seeds = torch.tensor([3, -4, 3])
    out = F.noise(x, seeds=seeds)
    assert torch.equal(out[0], out[2])
    assert torch.equal(out[1:2], F.noise(x[:1], seeds=seeds[1:2]))
    torch.manual_seed(1)
    first = F.noise(x)
    torch.manual_seed(1)
    assert torch.equal(first, F.noise(x))


def test_rician_noise_of_zeros_is_rayleigh_distributed():
    out = F.rician_noise(torch.zeros(1, 1, 64, 64, 64), 2.0, torch.tensor([1]))
    assert out.min() >= 0
    assert out.mean().item() == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.01)
    assert (out**2).mean().item() == pytest.approx(2 * 4, rel=0.01)


def test_rician_noise_is_the_magnitude_of_two_normal_parts():
    x = torch.full((1, 1, 64, 64, 64), 10.0)
    out = F.rician_noise(x, 1.0, torch.tensor([4]))
    # For high signal the mean is about x + std^2 / 2x (Gudbjartsson & Patz, eq. 4).
    assert out.mean().item() == pytest.approx(10.05, abs=0.01)
    assert out.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("rician", [False, True])
def test_noise_leaves_inactive_samples_bit_equal(rician):
    x = torch.randn(3, 1, 4, 4, 4)
    active = np.array([True, False, True])
    std = np.where(active, 0.5, 0.0)
    operation = ops.Noise(np.zeros(3), std, np.arange(3), rician, active)
    out = F.pointwise(x, [operation])
    assert torch.equal(out[1], x[1])
    assert not torch.equal(out[0], x[0])


def of_channels(x, p):
    """Return one parameter for each channel."""
    return p[:, : x.shape[1]]


OPERATIONS = {
    "bias_field": lambda x, p: F.bias_field(x, p[:, :10], order=2),
    "brightness": lambda x, p: F.brightness(x, of_channels(x, p) + 0.5, p[:, 2]),
    "contrast": lambda x, p: F.contrast(x, p[:, 0] + 0.5, preserve_range=False),
    "contrast in range": lambda x, p: F.contrast(x, p[:, 0] + 1),
    "gamma": lambda x, p: F.gamma(x, p[:, 0] * 0.3),
    "gamma, rescaled": lambda x, p: F.gamma(x, of_channels(x, p) * 0.3, rescale=True),
    "gamma, inverted": lambda x, p: F.gamma(
        x, p[:, 0] * 0.3 + 0.1, rescale=True, invert=True, retain_stats=True
    ),
    "gamma with statistics": lambda x, p: F.gamma(x, p[:, 0] * 0.3, retain_stats=True),
    "noise": lambda x, p: F.noise(x, p[:, 0], p[:, 1], torch.tensor([1, 2])),
    "noise by channel": lambda x, p: F.noise(x, of_channels(x, p), p[:, 3], torch.tensor([1, 2])),
    "rician_noise": lambda x, p: F.rician_noise(x, p[:, 0] + 1, torch.tensor([1, 2]), p[:, 1]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients(name):
    x = (torch.rand(2, 2, 3, 4, 2, dtype=torch.float64) + 0.1).requires_grad_()
    p = torch.rand(2, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(OPERATIONS[name], (x, p))


@pytest.mark.parametrize("name", ["bias_field", "gamma"])  # of noise: "a function of the seed"
def test_batch_equals_single_samples(name):
    x = torch.rand(2, 1, 5, 6, 7)
    p = torch.rand(2, 10)
    both = OPERATIONS[name](x, p)
    swapped = OPERATIONS[name](x.flip(0), p.flip(0)).flip(0)
    assert_close(both, swapped, share=1e-6, reason="matrix products may round by position")


def test_batch_of_rician_noise_equals_single_samples():
    x, seeds = torch.rand(2, 1, 5, 6, 7), torch.tensor([4, 5])
    both = F.rician_noise(x, torch.tensor([0.5, 2.0]), seeds)
    assert torch.equal(both[1:], F.rician_noise(x[1:], 2.0, seeds[1:]))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_dtypes(name, dtype):
    x = (smooth((2, 1, 5, 6, 7)) * 10 + 40).to(dtype)
    p = torch.full((2, 10), 0.1)
    out = OPERATIONS[name](x, p)
    assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)
    if dtype not in (torch.int16, torch.float64):
        assert torch.equal(out, OPERATIONS[name](x.float(), p).to(dtype))


def test_noise_by_channel_of_complex_voxels_is_that_of_both_parts():
    std = torch.tensor([[0.0, 1.0]])
    out = F.noise(torch.zeros(1, 2, 8, 8, 8, dtype=torch.complex64), 0, std, torch.tensor([1]))
    assert not out[:, 0].abs().any()
    assert out[:, 1].real.std() == pytest.approx(1, abs=0.15)  # of 512 voxels: 5 standard errors
    assert out[:, 1].imag.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", OPERATIONS)
def test_runs_on_the_meta_device(name):
    x = torch.empty(2, 1, 5, 6, 7, device="meta")
    assert OPERATIONS[name](x, torch.rand(2, 10)).shape == x.shape


def test_a_program_applies_its_operations_in_order():
    x = torch.rand(2, 1, 8, 9, 10)
    coefficients, log_gamma = torch.rand(2, 20), torch.rand(2)
    mean, std, seeds = torch.rand(2), torch.rand(2), torch.tensor([5, 6])
    together = F.pointwise(x, [
        ops.BiasField(coefficients, 3), ops.Gamma(log_gamma),
        ops.Noise(mean, std, seeds),
    ])  # fmt: skip
    before = x.clone()
    apart = F.noise(F.gamma(F.bias_field(x, coefficients), log_gamma), mean, std, seeds)
    assert torch.equal(together, apart)
    assert torch.equal(x, before)


def test_gradients_flow_through_a_program():
    x = (torch.rand(1, 1, 3, 3, 3, dtype=torch.float64) + 0.1).requires_grad_()
    c = torch.rand(1, 4, dtype=torch.float64, requires_grad=True)
    g = torch.rand(1, dtype=torch.float64, requires_grad=True)
    s = torch.rand(1, dtype=torch.float64, requires_grad=True)
    seeds = torch.tensor([1])
    assert torch.autograd.gradcheck(
        lambda x, c, g, s: F.pointwise(
            x, [ops.BiasField(c, 1), ops.Gamma(g), ops.Noise(s, s, seeds)]
        ),
        (x, c, g, s),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.bias_field(x, torch.zeros(2, 19)), r"shape \(B, 20\) for order 3.*\(2, 19\)"),
        (lambda x: F.bias_field(x, torch.zeros(3, 20)), "one entry per sample: expected 2, got 3"),
        (lambda x: F.gamma(x, torch.zeros(3)), r"log_gamma must hold one value per sample"),
        (lambda x: F.gamma(x, torch.zeros(2, 3)), r"per channel \[2, 1\], got \[2, 3\]"),
        (lambda x: F.noise(x, std=torch.zeros(3)), "std must hold one value per sample"),
        (lambda x: F.noise(x, seeds=torch.zeros(2)), "seeds must be int64"),
        (lambda x: F.noise(x[0]), "x must have shape"),
        (lambda x: F.gamma(x.to(torch.complex64), 0.0), "x must be real"),
        (lambda x: F.gamma(x, 0.1, invert=True), "invert must come with rescale"),
        (lambda x: F.gamma(x.to(torch.complex64), 0.1, retain_stats=True), "x must be real"),
        (lambda x: F.contrast(x.to(torch.complex64), 2), "x must be real"),
        (lambda x: F.contrast(x, torch.ones(2, 3)), r"factor must hold one value per sample"),
        (lambda x: F.brightness(x.to(torch.complex64), 2), "x must be real"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 1, 4, 4, 4))


@pytest.mark.parametrize("shape", [(1, 1, 9, 5, 7), (2, 3, 8, 5, 7)])
def test_result_does_not_depend_on_slabs(shape, monkeypatch):
    """Slabs bound the memory and do not change any voxel."""
    from torchio_gpu.functional.eager import slabs

    batch = shape[0]
    x = torch.rand(shape) + 0.1
    operations = [
        ops.BiasField(torch.rand(batch, 20), 3),
        ops.Gamma(torch.rand(batch, shape[1])),
        ops.Noise(torch.rand(batch), torch.rand(batch), torch.arange(batch)),
        ops.Noise(torch.rand(batch), torch.rand(batch), torch.arange(batch), rician=True),
    ]
    matrix = torch.eye(4).repeat(batch, 1, 1)
    matrix[:, :3] += 0.1 * torch.rand(batch, 3, 4)
    for run in (lambda: F.pointwise(x, operations), lambda: F.warp(x, matrix, fill=0.5)):
        whole = run()
        with monkeypatch.context() as patch:
            patch.setattr(slabs, "VOXELS", 2 * x[:, :, 0].numel())
            parts = run()
        assert_close(parts, whole, share=2e-6, reason="matrix products may round by size")
