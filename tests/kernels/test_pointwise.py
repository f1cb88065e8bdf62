"""The pointwise kernel against its reference: values and gradients, alone and together."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.kernels.cases import agree, hold, run, volume
from torchio_gpu import functional as F
from torchio_gpu.functional import operations as ops
from torchio_gpu.functional.operations import View

SEEDS = np.array([5, -(2**62) - 7])
#: Of the exponents, polynomials and sums in float32 instead of float64.
ROUNDING = "a dozen roundings of float32 in exponents and sums"
SLACK = 2e-6


def per_item(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def by_channel(*values: float) -> torch.Tensor:
    """Two samples of two channels."""
    return per_item(*values).detach().view(2, 2).requires_grad_()


def coefficients(order: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    count = math.comb(order + 3, 3)
    some = torch.randn(2, count, generator=generator, dtype=torch.float64) * 0.3
    return some.requires_grad_()


def bias(x, c):
    return F.pointwise(x, [ops.BiasField(c, 3)])


def gamma(x, g):
    return F.pointwise(x, [ops.Gamma(g)])


def noise(x, mean, std):
    return F.pointwise(x, [ops.Noise(mean, std, SEEDS)])


def rician(x, mean, std):
    active = np.array([False, True])
    return F.pointwise(x, [ops.Noise(mean, std, SEEDS, True, active)])


def rician_by_channel(x, mean, std):
    active = np.array([[False, True], [True, True]])
    return F.pointwise(x, [ops.Noise(mean, std, SEEDS, True, active)])


def clamp(x, low, high):
    return F.pointwise(x, [ops.Clamp(low, high)])


def linear(x, scale, shift, centre):
    return F.pointwise(x, [ops.Linear(scale, shift, centre)])


def everything(x, c, g, mean, std, low, high):
    """Apply each operation, most of them twice, in an order in which each meets others' results."""
    return F.pointwise(
        x,
        [
            ops.Clamp(low, high),
            ops.BiasField(c, 1),
            ops.Noise(mean, std, SEEDS),
            ops.Gamma(g),
            ops.Linear(std, mean, high),
            ops.Noise(std, mean, SEEDS + 1, rician=True),
            ops.Gamma(-g),
        ],
    )


CASES = {
    "bias": (bias, (coefficients(),)),
    "gamma": (gamma, (per_item(0.4, -0.7),)),
    "gamma per channel": (gamma, (by_channel(0.4, -0.7, 0.2, -0.1),)),
    "noise": (noise, (per_item(0.2, -0.3), per_item(0.5, 1.5))),
    "rician": (rician, (per_item(0.2, -0.3), per_item(0.5, 1.5))),
    "noise per channel": (noise, (by_channel(0.2, -0.3, 0, 0.1), by_channel(0.5, 1.5, 0.1, 1))),
    "rician per channel": (rician_by_channel, (per_item(0.2, -0.3), by_channel(0.5, 1.5, 1, 2))),
    "clamp": (clamp, (per_item(-0.5, -0.1), per_item(0.1, 0.6))),
    "clamp per channel": (clamp, (per_item(-0.5, -0.1), by_channel(0.1, 0.6, 0, 0.2))),
    "linear": (linear, (per_item(1.5, -0.5), per_item(0.3, -2), per_item(0.7, 0.1))),
    "linear per channel": (linear, (by_channel(1.5, -0.5, 2, 0), per_item(0.3, 0), per_item(0, 1))),
}


def leaves(parameters):
    """Parameters that are leaves of no other test's graph."""
    return [p.detach().clone().requires_grad_() for p in parameters]


@pytest.mark.parametrize("name", CASES)
def test_each_operation_and_its_gradients(name, target):
    f, parameters = CASES[name]
    x = volume().requires_grad_()
    hold(f, x, *leaves(parameters), target=target, slack=SLACK, reason=ROUNDING)


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.bfloat16, torch.float32),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    ],
)
def test_whole_programs_in_each_dtype(dtype, target):
    x = volume((2, 1, 2, 3, 6), dtype).requires_grad_(dtype.is_floating_point)
    # exponents of both signs of each other: no sample keeps its contrast
    parameters = [
        coefficients(1),
        per_item(0.3, -0.4),
        per_item(0.5, 0.25),
        per_item(0.75, 0.5),
        per_item(-1.0, 0.5),
        per_item(3.0, 2.0),
    ]
    if x.requires_grad:
        wanted = parameters
    else:  # of integers, the gradients of the parameters are computed alike
        wanted = [p.detach() for p in parameters]
    out = hold(
        *(everything, x, *wanted),
        target=target,
        slack=2e-5,
        reason="the slope of a root near 0 magnifies roundings",
        gradients=x.requires_grad,
    )
    assert out[0].dtype == (dtype if dtype.is_floating_point else torch.float32)


def test_gradients_reach_parameters_of_integer_volumes(target):
    x = volume(dtype=torch.uint8)
    hold(bias, x, coefficients(), target=target, slack=SLACK, reason=ROUNDING)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (2, 3, 3, 11, 13), (1, 1, 1, 2, 129), (1, 1, 1, 33, 3)]
)
def test_odd_shapes(shape, target):
    batch = shape[0]

    def f(x, c, g):
        operations = [ops.Gamma(g), ops.BiasField(c, 2)]
        return F.pointwise(x, operations)

    x = volume(shape).requires_grad_()
    c, g = coefficients(2)[:batch], per_item(0.4, -0.7)[:batch]
    if x.numel() == 1:  # a lone voxel lies at 0, where most monomials have no slope
        x = volume(shape).abs().add(0.5).requires_grad_()
    # more voxels, longer sums
    hold(f, x, *leaves([c, g]), target=target, slack=5 * SLACK, reason=ROUNDING)


def test_seven_by_eleven_by_thirteen(target):
    out = run(gamma, volume((2, 3, 7, 11, 13)), per_item(0.4, -0.7), target=target)
    expected = run(gamma, volume((2, 3, 7, 11, 13)), per_item(0.4, -0.7))
    torch.testing.assert_close(out, expected)


def test_a_parameter_of_one_sample_is_for_all(target):
    x = volume()
    one, two = (p.detach().clone().requires_grad_() for p in (coefficients(1), per_item(0.3, 0)))

    def f(x, c, g):
        return F.pointwise(x, [ops.BiasField(c, 1), ops.Gamma(g)])

    shared = one[:1].detach().requires_grad_(), two[:1].detach().requires_grad_()
    hold(f, x.requires_grad_(), *shared, target=target, slack=SLACK, reason=ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradients_have_the_dtype_of_their_parameter(dtype, triton):
    logs = torch.tensor([0.5, -0.75], dtype=dtype, requires_grad=True)
    case = gamma, volume().abs(), logs
    ours = run(*case, target=triton, cotangent=volume(seed=4))
    expected = run(*case, cotangent=volume(seed=4))
    assert ours[1].dtype == dtype
    # sums of a hundred numbers in float32, and logarithms off by 2**-22; then rounded to the dtype
    rtol = max(1e-5, 2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(ours[1], expected[1], rtol=rtol, atol=0)


def test_bias_of_a_window(target):
    first = [(2, 0, 1), (0, 3, 0)]
    view = View((6, 9, 10), np.array(first))

    def f(x, c):
        return F.pointwise(x, [ops.BiasField(c, 2)], view)

    x = volume().requires_grad_()
    c = coefficients(2)
    out = hold(f, x, c, target=target, slack=SLACK, reason=ROUNDING)
    whole = volume((2, 2, 6, 9, 10)) * 0 + 1
    window = out[0].detach() / x.detach()
    field = F.bias_field(whole, c.detach(), 2)
    for b in range(2):
        i, j, k = first[b]
        part = field[b, :, i : i + 3, j : j + 5, k : k + 6]
        torch.testing.assert_close(window[b], part, rtol=1e-5, atol=0)


def test_samples_that_operations_leave_alone_keep_all_their_bits(target):
    x = volume((2, 1, 1, 2, 8))
    special = [-0.0, 0.0, 1e-45, -3e38, 3e38, 1e-38, math.pi, -1 / 3]
    x[:, 0, 0, 0] = torch.tensor(special)
    off = np.array([0.0, 1.0])
    operations = [
        ops.BiasField(off[:, None] * np.full((1, 4), 0.2), 1),
        ops.Gamma(off * 0.3),
        ops.Noise(off * 0.1, off, SEEDS),
        ops.Noise(off * 0.1, off, SEEDS, rician=True, active=off > 0),
        ops.Clamp(np.array([-np.inf, -2]), np.array([np.inf, 2])),
    ]
    with tio.backend(target.name), np.errstate(over="ignore"):
        for operation in operations:
            out = F.pointwise(x.to(target.device), [operation]).cpu()
            assert torch.equal(out[0].view(torch.int32), x[0].view(torch.int32)) or isinstance(
                operation, ops.Noise
            )
            # x + 0 turns -0 into 0, which no comparison tells apart
            assert torch.equal(out[0], x[0])
            assert not torch.equal(out[1], x[1])
        together = F.pointwise(x.to(target.device), operations).cpu()
        assert torch.equal(together[0], x[0])


def test_gamma_of_special_values(target):
    inf, nan = math.inf, math.nan
    x = torch.tensor([0.0, -0.0, 1, -1, inf, -inf, nan, -4, 1e-37]).view(1, 1, 1, 1, 9)
    for log_gamma in (math.log(0.5), math.log(2.0), 0.0):
        with np.errstate(all="ignore"):
            out = agree_closely(gamma, x, torch.tensor([log_gamma]), target)
        assert out[4] == inf
        assert out[5] == -inf
        assert out[6].isnan()
        assert out[0] == 0
    half = agree_closely(gamma, x, torch.tensor([math.log(0.5)]), target)
    assert half[7] == -2  # exactly: powers of two


def agree_closely(f, x, parameter, target) -> torch.Tensor:
    expected = run(f, x, parameter)[0]
    out = run(f, x, parameter, target=target)[0]
    # a logarithm, a product and a power, each rounded; the exponents are up to 133 in size
    torch.testing.assert_close(out, expected, rtol=3e-5, atol=0, equal_nan=True)
    return out.flatten()


@pytest.mark.parametrize("log_gamma", [-0.7, 0.7])
def test_subnormal_voxels_count_as_0_in_gamma(log_gamma, triton):
    x = torch.tensor([1e-40, -1e-40, 2]).view(1, 1, 1, 1, 3).requires_grad_()
    ones, exponent = torch.ones(1, 1, 1, 1, 3), math.exp(log_gamma)
    out, g_x, g_log = run(gamma, x, per_item(log_gamma), target=triton, cotangent=ones)
    assert (out.flatten()[:2] == 0).all()
    slope = exponent * 2 ** (exponent - 1)
    assert g_x.flatten().tolist() == pytest.approx([0, 0, slope], rel=1e-6)
    assert g_log.item() == pytest.approx(2**exponent * exponent * math.log(2), rel=1e-6)


def test_gradient_of_gamma_where_the_power_underflows(triton):
    x = torch.full((1, 1, 1, 1, 1), 1e-20).requires_grad_()
    log_gamma = math.log(2.2)
    _, g_x, _ = run(gamma, x, per_item(log_gamma), target=triton, cotangent=torch.ones_like(x))
    assert g_x.item() == pytest.approx(2.2 * 1e-20**1.2, rel=1e-4)


@pytest.mark.parametrize("log_gamma", [-0.7, 0.0, 0.7])
def test_gradient_of_gamma_is_0_where_voxels_are(log_gamma, triton):
    x = torch.tensor([0.0, -0.0, -2, 2]).view(1, 1, 1, 1, 4).requires_grad_()
    ones, exponent = torch.ones(1, 1, 1, 1, 4), math.exp(log_gamma)
    case = x, per_item(log_gamma)
    _, g_x, g_log = run(gamma, *case, target=triton, cotangent=ones)
    slope = exponent * 2 ** (exponent - 1)
    assert g_x.flatten().tolist() == pytest.approx([0, 0, slope, slope], rel=1e-6)
    assert g_log.item() == pytest.approx(0, abs=1e-6)  # what -2 and 2 add cancels


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy, in the interpreter
@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    "operation",
    [
        ops.BiasField(np.array([[0.2, 0, 0, 0]]), 1),
        ops.BiasField(np.array([[200.0, 0, 0, 0]]), 1),  # which overflows
        ops.BiasField(np.array([[-200.0, 0, 0, 0]]), 1),
        ops.BiasField(np.array([[math.nan, 0, 0, 0]]), 1),
        ops.Linear(np.array([2.0]), np.array([1.0]), np.array([-3.0])),
        ops.Linear(np.array([math.inf]), np.array([0.0]), np.array([0.0])),
        ops.Linear(np.array([1.0]), np.array([math.nan]), np.array([0.0])),
        ops.Noise(np.array([math.inf]), np.array([0.0]), SEEDS[:1]),
        ops.Noise(np.array([0.0]), np.array([math.nan]), SEEDS[:1]),
        ops.Noise(np.array([0.5]), np.array([0.0]), SEEDS[:1], rician=True),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_special_values_of_voxels_and_parameters(operation, target):
    inf, nan = math.inf, math.nan
    x = torch.tensor([0.0, -0.0, 1, -1, inf, -inf, nan, -4, 3e38, 1e-38]).view(1, 1, 1, 2, 5)
    x = x if not isinstance(operation, ops.Noise) else x.clamp(-1e18, 1e18)  # squares are finite
    call = partial(F.pointwise, operations=[operation])
    out, expected = run(call, x, target=target)[0], run(call, x)[0]
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=0, equal_nan=True)


def test_clamp_of_special_values(target):
    inf, nan = math.inf, math.nan
    x = torch.tensor([-inf, inf, nan, -0.5, 0.5, 0.25]).view(1, 1, 1, 1, 6).repeat(2, 1, 1, 1, 1)

    def f(x, low, high):
        return F.pointwise(x, [ops.Clamp(low, high)])

    out = agree(
        *(f, x, torch.tensor([-inf, -0.5]), torch.tensor([inf, 0.25])), target=target
    ).flatten(1)
    assert out[0].tolist()[:2] == [-inf, inf]
    assert out[1].tolist()[:2] == [-0.5, 0.25]
    assert out[:, 2].isnan().all()


def test_ends_beyond_float32_are_infinite(target):
    x = volume()
    with tio.backend(target.name):
        assert torch.equal(F.clamp(x.to(target.device), -1e300, 1e300).cpu(), x)


def test_gradient_of_clamp_at_its_ends_reaches_the_voxel(triton):
    x = torch.tensor([-1.0, 1, -2, 2, math.nan]).view(1, 1, 1, 1, 5).requires_grad_()
    case = x, per_item(-1.0), per_item(1.0)
    weights = torch.tensor([1.0, 2, 4, 8, 16]).view(x.shape)
    _, *grads = run(clamp, *case, target=triton, cotangent=weights)
    assert [g.flatten().tolist() for g in grads] == [[1, 2, 0, 0, 0], [4], [8]]
    _, *plain = run(clamp, *case, cotangent=weights)
    assert all(torch.equal(a, b) for a, b in zip(plain, grads, strict=True))


def test_clamp_with_its_ends_crossed(target):
    """Parameters that are learned may come to that: the upper end has the last word."""
    x = torch.tensor([-3.0, 0, 3]).view(1, 1, 1, 1, 3).requires_grad_()
    case = x, per_item(1.0), per_item(-1.0)
    weights = torch.tensor([1.0, 2, 4]).view(x.shape) if target.differentiable else None
    ours = run(clamp, *case, target=target, cotangent=weights)
    plain = run(clamp, *case, cotangent=weights)
    values_and_gradients = [[-1, -1, -1], [0, 0, 0], [0], [7]]
    assert [t.flatten().tolist() for t in ours] == values_and_gradients[: len(ours)]
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))


def test_rician_gradient_where_there_is_no_magnitude(triton):
    x = torch.zeros(1, 1, 1, 1, 4, requires_grad=True)
    case = x, per_item(0.0), per_item(0.0)

    def f(x, mean, std):
        return F.pointwise(x, [ops.Noise(mean, std, SEEDS[:1], rician=True)])

    _, *grads = run(f, *case, target=triton, cotangent=torch.ones(x.shape))
    assert all((g == 0).all() for g in grads)


def test_gradients_are_the_same_each_time(triton):
    x = volume((2, 2, 3, 9, 33)).requires_grad_()
    case = gamma, x, per_item(0.3, -0.4)
    one, two = (run(*case, target=triton, cotangent=volume(x.shape, seed=4)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_second_derivatives_are_refused(triton):
    x = volume().to(triton.device).requires_grad_()
    with tio.backend(triton.name):
        out = gamma(x, per_item(0.3, -0.4))
        (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="no gradient flows"):
            torch.autograd.grad(grad.sum(), x)


def test_volumes_are_left_as_they_are(target):
    x = volume().to(target.device)
    before = x.clone()
    with tio.backend(target.name), torch.no_grad():
        out = F.pointwise(x, [])
        everything(x, coefficients(1), *(per_item(0.5, 0.25) for _ in range(5)))
    assert torch.equal(x, before)
    assert torch.equal(out, x)
    assert out.data_ptr() != x.data_ptr()
