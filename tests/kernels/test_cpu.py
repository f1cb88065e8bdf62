"""Kernels of numba alone: any shape, all bits of voxels, any number of threads, their choice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import numpy as np
import pytest
import torch
import torchio_gpu_kernels

import torchio_gpu as tio
from tests.close import assert_close
from tests.kernels.cases import LENGTHS, matrices, near_change, places, points, volume
from torchio_gpu import functional as F
from torchio_gpu.functional import operations as ops
from torchio_gpu.functional.dispatch import kernels
from torchio_gpu.functional.dispatch.backend import WORTHWHILE
from torchio_gpu.functional.warping import warp_volume

pytestmark = pytest.mark.usefixtures("numba")

SEEDS = np.array([3, -8])


def window(x: torch.Tensor) -> torch.Tensor:
    """Return the same values as a part of a larger volume, filled with others."""
    large = torch.full([n + 3 for n in x.shape], 77).to(x.dtype)
    part = large[tuple(slice(1, n + 1) for n in x.shape)]
    return part.copy_(x)


@pytest.mark.parametrize("seed", range(16))
def test_any_shape(seed):
    """Axes of 1 voxel to 13, any batch and channels, affine and elastic, as a window of memory."""
    generator = np.random.default_rng(seed)
    batch, channels, others = (int(n) for n in generator.integers(1, 4, 3))
    source, size = (tuple(map(int, generator.choice(LENGTHS, 3))) for _ in range(2))
    matrix = matrices(source, size, batch, seed)
    moves = points(generator.integers(4, 9, 3), batch, seed) if seed % 2 else None
    x = volume((batch, channels, *source), seed=seed)
    labels = volume((batch, others, *source), torch.uint8, seed)
    fill = volume((batch, channels), seed=seed + 1)
    how = {"size": size, "fill": fill, "labels_fill": 9}
    with tio.backend("numba"):
        image, mapped = F.warp_pair(window(x), window(labels), matrix, moves, **how)
    with tio.backend("torch"):
        exact, wish = F.warp_pair(x.double(), labels, matrix, moves, **how)
    # the ends of the volume lie halfway between voxels, too
    skip = near_change(places(source, matrix, moves, size), "nearest", 2e-4)
    assert skip.double().mean() < 0.1
    span = max(exact.max() - exact.min(), x.max() - x.min()).item() or 1.0
    assert (image - exact).abs().masked_fill(skip, 0).max() <= 1e-5 * span
    assert not ((mapped != wish) & ~skip).any()
    assert mapped.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_all_numbers_of_half_precision(dtype):
    """Each is read as it is; what is written is the nearest one, of two as near the even one."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    x = x.view(1, 1, 32, 32, 64)
    for shift in (0.0, 1e-3, 1.0, -300.0):
        shifts = [ops.Linear(np.ones(1), np.array([shift]), np.zeros(1))]
        with tio.backend("numba"):
            out = F.pointwise(x, shifts)
        expected = (x.float() + np.float32(shift)).to(dtype)
        assert torch.equal(out.isnan(), x.isnan())
        assert torch.equal(out[~x.isnan()], expected[~x.isnan()])


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
)
def test_ends_of_integers(dtype):
    if dtype == torch.bool:
        x = torch.tensor([False, True])
    else:
        ends = torch.iinfo(dtype)
        x = torch.tensor([ends.min, ends.min + 1, 0, 1, ends.max - 1, ends.max], dtype=dtype)
    x = x.view(1, 1, 1, 1, -1)
    with tio.backend("numba"):
        out = F.clamp(x, -1e300, 1e300)
    assert torch.equal(out, x.float())


def steps() -> list[ops.Operation]:
    return [
        ops.BiasField(np.array([[0.1, 0.2, -0.3, 0.1], [0.3, -0.2, 0.1, 0.2]]), 1),
        ops.Gamma(np.array([0.2, -0.1])),
        ops.Noise(np.zeros(2), np.ones(2), SEEDS),
        ops.Noise(np.zeros(2), np.ones(2), SEEDS + 1, rician=True),
    ]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_no_bit():
    x, labels = volume((2, 2, 7, 13, 11)), volume((2, 1, 7, 13, 11), torch.uint8)
    matrix, moves = matrices(x.shape[2:]).numpy(), points().numpy()
    calls = [
        lambda: F.warp_pair(x, labels, matrix, moves, size=(5, 9, 17)),
        lambda: [warp_volume(x, matrix, moves, operations=steps())],
        lambda: [F.warp(labels, matrix, mode="nearest")],
        lambda: [F.pointwise(x, steps())],
    ]
    with tio.backend("numba"):
        for call in calls:
            results = []
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                results.append(call())
            for one, two, three in zip(*results, strict=True):
                assert torch.equal(one, two)
                assert torch.equal(one, three)


@pytest.mark.usefixtures("threads")
def test_more_threads_than_rows():
    torch.set_num_threads(3)
    x = volume((1, 1, 1, 1, 3))
    with tio.backend("numba"):
        out = F.warp(x, matrices((1, 1, 3), batch=1)), F.gamma(x, 0.1)
    expected = F.warp(x, matrices((1, 1, 3), batch=1)), F.gamma(x, 0.1)
    for a, b in zip(out, expected, strict=True):
        assert_close(a, b, share=1e-5, reason="coordinates and exponents in float32")


@pytest.fixture
def launched(monkeypatch) -> list[str]:
    """Names of the kernels of numba that run."""
    real, names = torchio_gpu_kernels.load("numba"), []

    def watched(name, kernel):
        def call(**arguments):
            names.append(name)
            return kernel(**arguments)

        return call

    for name in ("columns", "pointwise", "warp", "warp_pair"):
        monkeypatch.setattr(real, name, watched(name, getattr(real, name)))
    return names


#: Samples of just what is worth a kernel, and of less.
ENOUGH = (1, 1, 32, 32, WORTHWHILE // 1024)
FEW = (2, 1, 31, 32, WORTHWHILE // 1024)  # together, two are enough


@pytest.mark.parametrize("shape", [ENOUGH, FEW])
def test_auto_takes_them_for_volumes_that_are_worth_it(shape, launched):
    x, labels = volume(shape), volume(shape, torch.uint8)
    matrix, moves = matrices(shape[2:], batch=1).numpy(), points(batch=1).numpy()
    assert kernels.load("numba") is torchio_gpu_kernels.load("numba")
    F.gamma(x, 0.3)
    F.warp(x, matrix)
    F.warp_pair(x, labels, matrix, moves)
    few = ["pointwise", "warp", "columns", "warp_pair"] if shape == ENOUGH else []
    assert launched == few


def test_auto_looks_at_the_size_of_the_result(launched):
    x, matrix = volume(FEW), matrices(FEW[2:], ENOUGH[2:], batch=1).numpy()
    F.warp(x, matrix, size=ENOUGH[2:])
    assert launched == ["warp"]
    F.warp(volume(ENOUGH), matrix, size=FEW[2:])
    assert launched == ["warp"]


def test_auto_takes_plain_torch_for_all_else(launched):
    x, matrix = volume(ENOUGH), matrices(ENOUGH[2:], batch=1).numpy()
    F.gamma(x.clone().requires_grad_(), 0.3)
    F.gamma(x, torch.tensor([0.3], requires_grad=True))
    F.gamma(x.double(), 0.3)
    F.warp(x, matrix, mode="label")
    F.warp(x, matrix, mode="bspline")
    F.warp(x, np.eye(4))  # copies voxels
    F.resample(x, (40, 32, 32))  # along one axis after the other
    with tio.backend("torch"):
        F.gamma(x, 0.3)
    assert launched == []
    with torch.no_grad():
        F.gamma(x.clone().requires_grad_(), 0.3)
    assert launched == ["pointwise"]


def test_auto_agrees_with_plain_torch():
    x = volume(ENOUGH)
    matrix = matrices(ENOUGH[2:], batch=1).numpy()
    out = F.warp(x, matrix)
    with tio.backend("torch"):
        expected = F.warp(x.double(), matrix)
    skip = near_change(places(ENOUGH[2:], torch.from_numpy(matrix)), "nearest", 2e-4)
    assert ((out - expected).abs() <= 1e-5 * (x.max() - x.min()))[~skip].all()


def test_they_are_compiled_once_for_all_programs_and_sizes():
    """Signatures are few: another program, size, map or number of samples needs no new code."""
    module = import_module("torchio_gpu_kernels.cpu.warp")
    with tio.backend("numba"):
        F.warp(volume(), matrices((3, 5, 6)))
        known = len(module.warp_kernel.dispatcher.signatures)
        moves = points()
        for x in (volume((3, 1, 4, 4, 9)), window(volume()), volume().expand(2, 2, 3, 5, 6)):
            for how in ({}, {"fill": torch.ones(len(x))}, {"size": (2, 2, 2)}):
                F.warp(x, np.eye(4) * [1.1, 1, 1, 1], **how)
        F.warp(volume(), matrices((3, 5, 6)), moves)
        warp_volume(volume(), matrices((3, 5, 6)).numpy(), operations=steps())
        F.warp_pair(volume(), volume(dtype=torch.uint8), matrices((3, 5, 6)))
    assert len(module.warp_kernel.dispatcher.signatures) == known


def test_defaults_of_torch_do_not_matter():
    x, matrix = volume(), matrices((3, 5, 6))
    with tio.backend("numba"):
        expected = F.warp(x, matrix), F.gamma(x, 0.3)
        with torch.device("meta"):
            found = F.warp(x, matrix), F.gamma(x, 0.3)
        assert all(map(torch.equal, found, expected))
        torch.set_default_dtype(torch.float64)
        try:
            found = F.warp(x, matrix), F.gamma(x, 0.3)
        finally:
            torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, found, expected))


def test_a_view_that_is_negated():
    """The imaginary part of a conjugate view has memory of the other sign."""
    x = volume()
    view = torch.complex(x, x).conj().imag
    assert view.is_neg()
    with tio.backend("numba"):
        assert torch.equal(F.gamma(view, 0.3), F.gamma(-x, 0.3))
        one = F.warp_pair(view, view, matrices((3, 5, 6)))
        assert all(map(torch.equal, one, F.warp_pair(-x, -x, matrices((3, 5, 6)))))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_voxels_that_are_not_finite_reach_as_far_as_interpolation(value, shift):
    x = torch.tensor([1.0, 2, value, 4, 5]).view(1, 1, 1, 1, 5).expand(1, 1, 1, 2, 5)
    matrix = np.eye(4)
    matrix[2, 3], matrix[2, 1] = shift, 1e-9  # not one that copies voxels
    with tio.backend("torch"):
        expected = F.warp(x.double(), matrix, fill=7.0).float()
    with tio.backend("numba"):
        found = F.warp(x, matrix, fill=7.0)
    torch.testing.assert_close(found[..., 0, :], expected[..., 0, :], equal_nan=True)


def test_noise_of_some_channels():
    operation = ops.Noise(np.zeros(1), np.ones(1), np.array([3]), True, np.array([[True, False]]))
    x = torch.ones(1, 2, 3, 5, 6)
    with tio.backend("torch"):
        expected = F.pointwise(x, [operation])
    with tio.backend("numba"):
        found = F.pointwise(x, [operation])
    assert torch.equal(found[:, 1], x[:, 1])
    torch.testing.assert_close(found, expected)


def masks_of(x):
    yield None
    yield torch.rand(len(x), 1, *x.shape[2:], generator=torch.Generator().manual_seed(1)) > 0.7
    yield torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) > 0.2
    most = torch.zeros(x.shape, dtype=torch.bool)
    most[:, -1, 2:, 1:] = True  # the first voxels do not count, nor a whole channel
    yield most


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int16, torch.uint8, torch.bool]
)
def test_moments_of_several_blocks(dtype):
    """Each sample as by itself, whatever the mask, the layout in memory and the threads."""
    x = (volume((2, 2, 41, 43, 44), seed=5) * 90 + 30).to(dtype)
    assert x[0, 0].numel() > import_module("torchio_gpu_kernels.cpu.moments")._BLOCK
    moved = x.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2)
    for mask in masks_of(x):
        with tio.backend("numba"):
            out = F.moments(x, mask)
            assert all(map(torch.equal, out, F.moments(moved, mask)))
            for n in range(2):
                one = slice(n, n + 1)
                alone = F.moments(x[one], None if mask is None else mask[one])
                assert all(map(torch.equal, alone, [each[one] for each in out]))
        for n in range(2):
            some = x[n] if mask is None else x[n][mask[n].expand_as(x[n])]
            exact = some.double()
            assert out.number[n] == exact.numel()
            # sums in float64 of distances from a voxel lose 16 of 53 bits at most
            assert out.mean[n].item() == pytest.approx(exact.mean().item(), rel=1e-9, abs=1e-9)
            assert out.std[n].item() == pytest.approx(exact.std().item(), rel=1e-9)


@pytest.mark.parametrize("value", [0.1, -3.3e7, 1e-42, 3e38, 0.0])
def test_moments_of_equal_voxels(value):
    """The deviation is exactly 0, and is not where one voxel of many differs."""
    x = torch.full((2, 1, 41, 43, 44), value)
    other = x[1, 0, 40, 40, 40].nextafter(torch.tensor(torch.inf))
    x[1, 0, 40, 40, 40] = other
    with tio.backend("numba"):
        out = F.moments(x)
    assert out.std[0] == 0
    assert out.mean[0] == x[0, 0, 0, 0, 0].double()
    assert out.std[1].item() == pytest.approx(x[1].double().std().item(), rel=1e-6)
    assert out.std[1] > 0


def test_moments_that_do_not_exist():
    x = volume((4, 1, 41, 43, 44), seed=6)
    x[1, 0, 30, 2, 3], x[2, 0, 0, 0, 0] = torch.nan, -torch.inf
    mask = torch.ones(x.shape, dtype=torch.bool)
    mask[3] = False
    with tio.backend("numba"):
        out, unseen = F.moments(x, mask), F.moments(x, mask & x.isfinite())
    assert out.mean.isnan().tolist() == out.std.isnan().tolist() == [False, True, True, True]
    assert unseen.mean.isnan().tolist() == [False, False, False, True]


def test_normalization_by_them():
    """Values agree with plain torch to rounding, and gradients still flow."""
    x = volume((2, 1, 41, 43, 44), seed=7) * 50 + 200
    transforms = tio.ZNormalization(), tio.RescaleIntensity(percentiles=(1, 99))
    for transform in transforms:
        with tio.backend("torch"):
            wish = transform(x.double())
        close = {"share": 1e-6, "reason": "a few roundings in float32"}
        with tio.backend("numba"):
            out = transform(x)
        assert_close(out, wish, **close)
        given = x.clone().requires_grad_()
        out = transform(given)
        out.square().sum().backward()
        assert given.grad is not None
        assert given.grad.abs().max() > 0
        assert_close(out.detach(), wish, **close)


def test_a_linear_map_that_is_neutral_keeps_all_bits():
    x = torch.tensor([-0.0, 0.0, 1.5]).view(1, 1, 1, 1, 3)
    with tio.backend("numba"):
        out = F.pointwise(x, [ops.Linear(np.ones(1), np.zeros(1), np.zeros(1))])
    assert torch.equal(out.view(torch.int32), x.view(torch.int32))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_the_last_voxel_of_a_very_long_axis(mode):
    """float32 rounds numbers above 2**24: nothing beyond the volume is read."""
    n = 2**24 + 4
    x = torch.full((n + 8,), 77, dtype=torch.uint8)
    x[:n] = 5
    matrix = np.eye(4)
    matrix[2, 3] = n - 1.3
    with tio.backend("numba"):
        out = F.warp(x[:n].view(1, 1, 1, 1, n), matrix, size=(1, 1, 1), mode=mode)
    assert out.item() == 5


@pytest.fixture
def why_no_numba():
    """Reason why numba cannot be used, found anew."""
    torchio_gpu_kernels.why_no_numba.cache_clear()
    yield torchio_gpu_kernels.why_no_numba
    torchio_gpu_kernels.why_no_numba.cache_clear()


HALF = """
import torch, torchio_gpu as tio
from torchio_gpu import functional as F
bits = torch.arange(2**16).to(torch.uint16).view(torch.float16)
x = bits.view(1, 1, 64, 32, 32)
with tio.backend("numba"):
    same = F.pointwise(x, [])  # to float32 and back
    half = F.pointwise(x, [tio.functional.operations.Linear(*torch.tensor([[0.3], [1e-5], [0]]))])
wide = x.float() * torch.tensor(0.3) + torch.tensor(1e-5)
print(torch.equal(same[~x.isnan()], x[~x.isnan()]), same[x.isnan()].isnan().all().item())
print((half.view(torch.int16) - wide.half().view(torch.int16))[~x.isnan()].abs().max().item())
"""


def test_float16_on_a_cpu_that_does_not_convert_it():
    """A CPU of which nothing is known converts in integers, all numbers as the others do."""
    given = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-c", HALF], env=given, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["True", "True", "0"]


def test_numba_that_cannot_be_used_is_named(why_no_numba, monkeypatch, tmp_path):
    import numba

    with monkeypatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        assert why_no_numba() == "NUMBA_DISABLE_JIT is set"
    with monkeypatch.context() as patch:
        patch.setattr(numba, "__version__", "0.59.1")
        why_no_numba.cache_clear()
        assert why_no_numba() == "numba must be 0.60 or newer, got 0.59.1"
    for error in ('ImportError("Numba needs NumPy 2.3 or less")', 'OSError("no libllvmlite.so")'):
        (tmp_path / "numba.py").write_text(f"raise {error}")
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "numba")
            patch.syspath_prepend(tmp_path)
            why_no_numba.cache_clear()
            assert why_no_numba() == f"numba cannot be imported: {eval(error)}"
