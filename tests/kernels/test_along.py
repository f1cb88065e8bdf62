"""Products along an axis: as in float64, whatever the strides, and local where not finite."""

import numpy as np
import pytest
import torch
from torch.library import opcheck
from torchio_gpu_kernels import load

import torchio_gpu as tio
from torchio_gpu import functional as F
from torchio_gpu.functional.eager.local import _by_masks
from torchio_gpu.functional.kspace_lines import ghosting_lines, gibbs_lines, partial_fourier_lines
from torchio_gpu.functional.lines import change_lines

NAN, INF = float("nan"), float("inf")
SHAPE = (2, 2, 17, 5, 20)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def banded(batch, rows, columns, dtype=torch.float32):
    """Positive and negative weights within two places of the diagonal, none elsewhere."""
    apart = torch.arange(rows)[:, None] * columns / rows - torch.arange(columns)
    return random(batch, rows, columns, dtype=dtype) * (apart.abs() <= 2)


def product(x, matrix, axis):
    return (x.movedim(2 + axis, -1) @ matrix[:, None, None].mT).movedim(-1, 2 + axis)


@pytest.mark.parametrize(
    ("axis", "rows", "batch", "dtype"),
    [
        (0, 17, 2, torch.float32),
        (0, 70, 1, torch.float32),
        (1, 5, 1, torch.float32),
        (1, 1, 2, torch.float32),
        (2, 20, 2, torch.float32),
        (2, 70, 2, torch.float64),
    ],
)
def test_products_are_those_in_float64(axis, rows, batch, dtype, device):
    x = random(*SHAPE, dtype=dtype).to(device)
    matrix = random(batch, rows, SHAPE[2 + axis], seed=1, dtype=dtype).to(device)
    expected = product(x.double(), matrix.double(), axis)
    bound = 1e-12 if dtype == torch.float64 else 2e-5
    out = load().along(x, matrix, None, None, [axis])
    assert (out - expected).abs().max() < bound
    base = random(*expected.shape, seed=2, dtype=dtype).to(device)
    out = load().along(x, matrix, base, None, [axis])
    assert (out - expected - base).abs().max() < bound


def test_strides_do_not_matter(device):
    x, matrix = random(3, 5, 9, 2, 10).to(device), random(2, 9, 9, seed=1).to(device)
    views = [x.permute(3, 0, 1, 2, 4), x.permute(3, 0, 4, 2, 1)[:, 1:, :, :, ::2]]
    for view in views:
        out = load().along(view, matrix.mT, None, None, [1])
        same = load().along(view.contiguous(), matrix.mT.contiguous(), None, None, [1])
        torch.testing.assert_close(out, same, rtol=0, atol=0)


def test_samples_have_axes_of_their_own(device):
    x, matrix = random(4, 2, 6, 6, 6).to(device), random(4, 6, 6, seed=1).to(device)
    axes = [2, 0, 2, 1]
    out = load().along(x, matrix, None, torch.tensor(axes, dtype=torch.int32).to(device), [0, 1, 2])
    for n, axis in enumerate(axes):
        alone = load().along(x[n : n + 1], matrix[n : n + 1], None, None, [axis])
        torch.testing.assert_close(out[n : n + 1], alone, rtol=0, atol=0)


def test_an_identity_changes_no_bit(device):
    x = random(*SHAPE).to(device)
    matrix = torch.eye(20, device=device)[None]
    torch.testing.assert_close(load().along(x, matrix, None, None, [2]), x, rtol=0, atol=0)


@pytest.mark.filterwarnings(
    "ignore:(invalid value|overflow) encountered"
)  # by numpy, of infinities
@pytest.mark.parametrize(
    ("values", "rows", "dtype"),
    [
        ((NAN,), 20, torch.float32),
        ((INF,), 33, torch.float32),
        ((-INF,), 20, torch.float32),
        ((INF, -INF), 20, torch.float32),
        ((INF, NAN), 33, torch.float64),
    ],
)
def test_weights_of_zero_ignore_what_is_not_finite(values, rows, dtype, device):
    x = random(*SHAPE, dtype=dtype)
    for n, value in enumerate(values):
        x[1, 0, 2, 3, 3 + n] = value
    matrix = banded(2, rows, 20, dtype)
    expected = _by_masks(lambda y, w: product(y, w, 2), x, matrix)
    out = load().along(x.to(device), matrix.to(device), None, None, [2]).cpu()
    torch.testing.assert_close(out, expected, equal_nan=True, rtol=1e-5, atol=1e-5)
    assert 0 < (~expected.isfinite()).sum() < 60


@pytest.mark.parametrize("rows", [3, 5])
def test_gradients(rows, device):
    x = random(2, 1, 3, 3, 3, dtype=torch.float64).to(device).requires_grad_()
    matrix = random(2 - rows % 2, rows, 3, seed=1, dtype=torch.float64).to(device).requires_grad_()
    base = random(2, 1, 3, 3, rows, seed=2, dtype=torch.float64).to(device).requires_grad_()
    axes = torch.tensor([2, 0], dtype=torch.int32, device=device)

    def call(x, matrix, base):
        out = load().along(x, matrix, base, None, [2])
        if rows == 3:
            out = out + load().along(x, matrix, None, axes, [0, 2])
        return out

    assert torch.autograd.gradcheck(call, (x, matrix, base), fast_mode=True)


def test_the_operator_is_well_formed(device):
    x, matrix = random(2, 1, 2, 3, 2).to(device), random(2, 2, 3).to(device)
    base = random(2, 1, 2, 2, 2).to(device).requires_grad_()
    utils = "test_schema", "test_autograd_registration", "test_faketensor"
    arguments = x.requires_grad_(), matrix, base, None, [1]
    opcheck(load().along.default, arguments, test_utils=utils)


#: Functions that are products along axes, of which plain torch makes transforms or copies.
FUNCTIONS = {
    "ghosting": lambda x: F.ghosting(x, [2, 3, 4], [0.3, 1, 2], 0.1, [2, 0, 1]),
    "ghosting, one axis": lambda x: F.ghosting(x, 3, 0.5, None, 1),
    "gibbs": lambda x: F.gibbs(x, [0.3, 0.6, 1], [0, 0, 2], [0, 0.5, 0]),
    "wrap": lambda x: F.wrap(x, [2, 3, 1], 0.8, 0.3, [0, 2, 1]),
    "partial fourier": lambda x: F.partial_fourier(x, [0.6, 0.7, 1], [0, 0, 2]),
    "partial fourier, complex": lambda x: torch.view_as_real(
        F.partial_fourier(torch.complex(x, x.flip(2)), 0.6, 1)
    ),
    "several": lambda x: change_lines(
        x,
        [
            gibbs_lines(np.full(1, 0.6), np.zeros(1), np.array([0, 1, 2])),
            ghosting_lines(np.full(1, 2.0), np.full(1, 0.7), np.zeros(1), 1),
            partial_fourier_lines(np.array([0.6, 0.7, 0.8]), np.array([0, 1, 1]), "magnitude"),
        ],
    ),
    "motion": lambda x: F.motion(x, [(5, 9, 3), (-4, 2, 9)], (1, -2, 0.5), np.array([0.3, 0.6])),
    "motion, magnitude": lambda x: F.motion(
        x, [(5, 9, 3)], (1, 2, 3), np.array([[0.2], [0.4], [0.7]]), [0, 1, 2], output="magnitude"
    ),
    "blur": lambda x: F.blur(x, torch.tensor([[0.5, 1, 0], [1, 2, 3], [0, 0, 0]])),
    "anisotropy": lambda x: F.anisotropy(x, [2.0, 1, 3.5], [0, 1, 2]),
    "anisotropy, antialias": lambda x: F.anisotropy(x, 2.5, 1, antialias=True),
    "low resolution": lambda x: F.low_resolution(x, (0.5, 1, 0.3)),
}


@pytest.mark.filterwarnings("ignore:max_displacement")
@pytest.mark.parametrize("size", [(6, 6, 6), (6, 5, 7)], ids=["cube", "box"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_those_of_plain_torch(name, size, device):
    function = FUNCTIONS[name]
    x = random(3, 1, *size, dtype=torch.float64).to(device).requires_grad_()
    with tio.backend("torch"):
        expected = function(x)
        (g_expected,) = torch.autograd.grad(expected.square().sum(), x)
    with tio.backend("triton"):
        y = x.detach().float()
        assert (function(y) - expected).abs().max() < 2e-5
        if size[0] == size[1]:
            (g,) = torch.autograd.grad(function(y.requires_grad_()).square().sum(), y)
            assert (g - g_expected).abs().max() < 2e-4


def test_parameters_have_gradients(device):
    x = random(2, 1, 7, 6, 5, dtype=torch.float64).to(device)
    intensity = torch.tensor([0.4, 0.9], dtype=torch.float64, device=device, requires_grad=True)
    std = torch.tensor([[0.5, 1, 2]], dtype=torch.float64, device=device, requires_grad=True)
    found = {}
    for backend in ("torch", "triton"):
        with tio.backend(backend):
            y = F.blur(F.ghosting(x, 2, intensity, axis=0), std).square().sum()
            found[backend] = torch.autograd.grad(y, (intensity, std))
    torch.testing.assert_close(found["triton"], found["torch"], rtol=1e-9, atol=1e-9)


def test_samples_are_the_same_alone_and_in_a_batch(device):
    x = random(3, 1, 9, 9, 9).to(device)
    with tio.backend("triton"):
        together = F.ghosting(x, [2, 3, 4], 0.7, axis=[2, 0, 1])
        for n, (ghosts, axis) in enumerate(((2, 2), (3, 0), (4, 1))):
            alone = F.ghosting(x[n : n + 1], ghosts, 0.7, axis=axis)
            torch.testing.assert_close(together[n : n + 1], alone, rtol=0, atol=0)
