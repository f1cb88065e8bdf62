"""Layouts of tensors in memory: any strides, none along an axis, and offsets that take 64 bits."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torchio_gpu_kernels import pointwise as pointwise_kernel
from torchio_gpu_kernels import warp as warp_kernel
from torchio_gpu_kernels import warp_backward

import torchio_gpu as tio
from tests.kernels.cases import leaf, matrices, points, run, volume, warp
from torchio_gpu import functional as F

SHAPE = (2, 2, 2, 4, 5)
SIZE = SHAPE[2:]


def gamma(x, log_gamma):
    return F.gamma(x, log_gamma)


def logs() -> torch.Tensor:
    return torch.tensor([0.4, -0.7], dtype=torch.float64, requires_grad=True)


def vast(device: torch.device) -> torch.Tensor:
    """4 GiB: voxels lie far apart in it. On a CPU, what is never touched takes no memory."""
    length = 2**32 + 2**20
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(length, dtype=np.uint8))
    return torch.zeros(length, dtype=torch.uint8, device=device)


def broken(x: torch.Tensor) -> torch.Tensor:
    """The same values, none of which lies where it would in a contiguous tensor."""
    return torch.stack((x, x * 0 + 7), -1)[..., 0]


LAYOUTS = {
    "every second": broken,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last_3d),
    "transposed": lambda x: x.permute(4, 2, 0, 3, 1).contiguous().permute(2, 4, 1, 3, 0),
    "a window": lambda x: torch.nn.functional.pad(x, (1, 2, 2, 1, 1, 3))[:, :, 1:-3, 2:-1, 1:-2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout, target):
    x = volume(SHAPE)
    moved = LAYOUTS[layout](x.to(target.device))
    assert not moved.is_contiguous()
    assert torch.equal(moved.cpu(), x)
    with tio.backend(target.name):
        out = gamma(moved, logs().detach())
    torch.testing.assert_close(out.cpu(), gamma(x, logs().detach()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_of_volume_and_gradient(layout, triton):
    x = volume(SHAPE)
    moved = LAYOUTS[layout](x.to(triton.device))
    with tio.backend(triton.name):
        inputs = moved.requires_grad_() if moved.is_leaf else moved.detach().requires_grad_()
        out = gamma(inputs, logs().detach())
        cotangent = LAYOUTS[layout](volume(SHAPE, seed=4).to(triton.device))
        (grad,) = torch.autograd.grad(out, inputs, cotangent)
    plain = x.clone().requires_grad_()
    expected = gamma(plain, logs().detach())
    (grad_expected,) = torch.autograd.grad(expected, plain, volume(SHAPE, seed=4))
    torch.testing.assert_close(out.detach().cpu(), expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.cpu(), grad_expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(1,), (0, 3), (4,)])
def test_expanded_volumes(axes, target):
    small = [1 if axis in axes else n for axis, n in enumerate(SHAPE)]
    x = volume(small)
    seen = x.to(target.device).expand(SHAPE)
    assert 0 in seen.stride()
    with tio.backend(target.name):
        out = gamma(seen, logs().detach()).cpu()
    torch.testing.assert_close(out, gamma(x.expand(SHAPE), logs().detach()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(1,), (0, 3), (4,)])
def test_expanded_volumes_and_gradients(axes, triton):
    small = [1 if axis in axes else n for axis, n in enumerate(SHAPE)]
    x = volume(small).expand(SHAPE)
    ones = torch.ones(()).expand(SHAPE)  # as the gradient of a sum is
    exponents = logs()
    out = run(gamma, x, exponents, target=triton, cotangent=ones)
    with tio.backend(triton.name):
        seen = volume(small).to(triton.device).expand(SHAPE).requires_grad_()
        y = gamma(seen, exponents.detach())
        (grad,) = torch.autograd.grad(y.sum(), seen)
    plain = run(gamma, x.clone().requires_grad_(), exponents, cotangent=ones)
    torch.testing.assert_close(out[0], plain[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.cpu(), plain[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(y.detach().cpu(), plain[0], rtol=1e-5, atol=1e-6)


def test_offsets_of_more_than_31_bits(target):
    area = vast(target.device)
    values = volume((1, 1, 2, 3, 3), torch.uint8)
    for steps in ((2**10, 2**30, 1), (2**30, 2**10, 1), (1, 2**10, 2**30)):
        # offsets that wrap would be read before the first voxel
        sparse = area.as_strided(values.shape, (1, 1, *steps), 2**31)
        sparse.copy_(values)
        out = run(gamma, values, torch.tensor([0.4]))[0]
        with tio.backend(target.name):
            wide = gamma(sparse, torch.tensor([0.4])).cpu()
        torch.testing.assert_close(wide, out)


def test_wide_kernels_agree_with_narrow_ones(triton, monkeypatch):
    case = volume(SHAPE).requires_grad_(), logs()
    narrow = run(gamma, *case, target=triton, cotangent=volume(SHAPE, seed=4))
    monkeypatch.setattr(pointwise_kernel, "is_wide", lambda *_: True)
    wide = run(gamma, *case, target=triton, cotangent=volume(SHAPE, seed=4))
    for a, b in zip(narrow, wide, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("mode", ["linear", "nearest", "label"])
def test_strides_of_volumes_that_are_warped(mode, target):
    matrix = matrices(SIZE, seed=3)
    whole = volume((2, 2, 4, 8, 6)).to(target.device)
    views = [
        whole[:, :, 1:3, 1:-3, :-1],
        volume((5, 2, 2, 4, 2)).to(target.device).permute(4, 1, 2, 3, 0),
        volume(SHAPE).to(target.device).contiguous(memory_format=torch.channels_last_3d),
        volume((2, 1, 2, 1, 5)).to(target.device).expand(SHAPE),
    ]
    call = partial(warp, mode=mode, fill=0.5)
    for x in views:
        assert not x.is_contiguous()
        expected = run(call, x.cpu(), matrix)[0]
        with tio.backend(target.name):
            out = call(x, matrix).cpu()
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_strides_of_gradients_of_a_warp(triton):
    case = leaf(volume(SHAPE)), leaf(matrices(SIZE, seed=3))
    cotangents = [
        volume((5, 2, 2, 4, 2)).permute(4, 1, 2, 3, 0),
        volume(SHAPE).contiguous(memory_format=torch.channels_last_3d),
        torch.ones(()).expand(SHAPE),
        volume((2, 1, 2, 1, 5)).expand(SHAPE),
    ]
    for cotangent in cotangents:
        assert not cotangent.is_contiguous()
        expected = run(warp, *case, cotangent=cotangent)
        ours = run(warp, *case, target=triton, cotangent=cotangent)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=3e-5)


def test_wide_warps_agree_with_narrow_ones(triton, monkeypatch):
    case = leaf(volume(SHAPE)), leaf(matrices(SIZE)), leaf(points())
    options = {"target": triton, "cotangent": volume(SHAPE, seed=4)}
    narrow = run(warp, *case, **options)
    monkeypatch.setattr(warp_kernel, "is_wide", lambda *_: True)
    monkeypatch.setattr(warp_backward, "is_wide", lambda *_: True)
    wide = run(warp, *case, **options)
    for a, b in zip(narrow, wide, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)  # atomic sums in another order


@pytest.mark.parametrize("mode", ["linear", "nearest", "label"])
def test_offsets_of_a_warp_of_more_than_31_bits(mode, target):
    area = vast(target.device)
    values = volume((1, 1, 3, 3, 3), torch.uint8) + 1
    matrix = matrices((3, 3, 3), batch=1, seed=6)
    call = partial(warp, mode=mode, size=(1, 3, 2))
    expected = run(call, values, matrix)[0]
    for steps in ((2**30, 2**10, 1), (2**10, 2**30, 1), (1, 2**10, 2**30)):
        # offsets that wrap would be read before the first voxel
        sparse = area.as_strided(values.shape, (1, 1, *steps), 2**31)
        sparse.copy_(values)
        with tio.backend(target.name):
            out = call(sparse, matrix).cpu()
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
