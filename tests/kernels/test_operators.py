"""The operators as torch sees them, and how tiles cover volumes."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
import torchio_gpu_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from torchio_gpu_kernels import tiles, tiling
from torchio_gpu_kernels.tiles import Tiles

from tests.kernels.cases import matrices, points, volume
from torchio_gpu.functional.dispatch import kernels
from torchio_gpu.geometry import Space, control_lattice

SHAPE = (2, 1, 1, 2, 5)
SIZE = list(SHAPE[2:])


def operator(name: str):
    return getattr(torchio_gpu_kernels.load(), name).default


def check(name: str, *arguments) -> None:
    """Schema, fake, autograd and tracing, by torch's own tests."""
    with warnings.catch_warnings():
        # of torch's own making: it looks at the gradients of tensors that are no leaves
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        results = torch.library.opcheck(operator(name), arguments)
    assert set(results.values()) == {"SUCCESS"}, results


def program(device) -> list:
    """Codes, values and seeds of a gamma followed by noise."""
    from torchio_gpu_kernels import program as codes

    values = torch.tensor([[0.3, 0.1, 0.2, 1.0], [-0.3, 0.0, 0.1, 1.0]], device=device)
    seeds = torch.tensor([[3], [4]], device=device)
    steps = [codes.GAMMA.value, 0, 1, 0, codes.NOISE.value, 1, 0, 0]
    return [steps, values, seeds]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.uint8])
def test_pointwise(dtype, device):
    x = volume(SHAPE, dtype).to(device).requires_grad_(dtype.is_floating_point)
    steps, values, seeds = program(device)
    out = dtype if dtype.is_floating_point else torch.float32
    check("pointwise", x, steps, values.requires_grad_(), seeds, out)


@pytest.mark.parametrize(("dtype", "wants"), [(torch.float32, False), (torch.uint8, True)])
def test_pointwise_backward(dtype, wants, device):
    x = volume(SHAPE, dtype).to(device)
    grad = volume(SHAPE, seed=1).to(device)
    check("pointwise_backward", grad, x, *program(device), wants)


def spline(device, wants=False) -> tuple[list, int]:
    lattice = control_lattice(Space(tuple(SIZE), np.eye(4)[None]), (6, 5, 4))
    tables, taps = kernels._spline((6, 5, 4), lattice, tuple(SIZE))
    moved = [torch.from_numpy(t.astype(np.float32) if t.dtype == np.float64 else t) for t in tables]
    return [t.to(device) for t in moved], taps


def bent(device) -> tuple[list, int]:
    """Columns, weights and lowest points along J."""
    (along_i, lowest_i, along_j, lowest_j, along_k), taps = spline(device)
    vectors = points().float().to(device)
    columns = operator("columns")(vectors, along_i, lowest_i, along_k)
    return [columns, along_j, lowest_j], taps


def rows(device) -> torch.Tensor:
    return matrices(SIZE)[:, :3].float().contiguous().to(device)


def test_columns(device):
    (along_i, lowest_i, _, _, along_k), _ = spline(device)
    vectors = points().float().to(device).requires_grad_()
    check("columns", vectors, along_i, lowest_i, along_k)


def test_columns_are_the_spline_along_two_axes(device):
    (along_i, lowest_i, _, _, along_k), _ = spline(device)
    vectors = points().float().to(device).requires_grad_()
    out = operator("columns")(vectors, along_i, lowest_i, along_k)
    double = vectors.detach().double().requires_grad_()
    weights = along_i.double().expand(2, -1, -1), along_k.double().expand(2, -1, -1)
    expected = torch.einsum("bdlnm,bil,bmk->bidnk", double, *weights)
    # 16 products, each of three roundings; a product of matrices in three of shorter numbers
    assert (out.double() - expected).abs().max() < 4e-6
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(device)
    (grad,) = torch.autograd.grad(out, vectors, cotangent)
    (grad_expected,) = torch.autograd.grad(expected, double, cotangent.double())
    assert (grad.double() - grad_expected).abs().max() < 4e-6


@pytest.mark.parametrize(
    ("mode", "dtype", "framed"),
    [
        ("linear", torch.float32, False),
        ("linear", torch.uint8, True),
        ("nearest", torch.float16, False),
        ("label", torch.int64, True),
    ],
)
def test_warp(mode, dtype, framed, device):
    x = volume(SHAPE, dtype).to(device).requires_grad_(dtype.is_floating_point)
    matrix = rows(device).requires_grad_(mode == "linear" and not framed)
    moving, taps = bent(device) if mode == "linear" else ([None] * 3, 0)
    whole = mode != "linear" and not dtype.is_floating_point
    fill = torch.ones(2, 1, device=device, dtype=torch.int64 if whole else torch.float32)
    boxes = None
    if framed:
        fill = fill[None]
        boxes = torch.tensor([[-0.5] * 3, [0.5, 1, 4]], device=device).expand(1, 2, 2, 3)
        boxes = boxes.contiguous()
    steps, values, seeds = program(device) if not whole else ([], None, None)
    out = dtype if mode != "linear" or dtype.is_floating_point else torch.float32
    copies = torch.tensor([0, 1], dtype=torch.int32, device=device) if framed else None
    places = x, matrix, *moving, fill, boxes, copies
    check("warp", *places, values, seeds, SIZE, taps, mode, steps, out)


@pytest.mark.parametrize(
    ("voxels", "points", "elastic"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_warp_backward(voxels, points, elastic, device):
    moving, taps = bent(device) if elastic else ([None] * 3, 0)
    x, grad = volume(SHAPE).to(device), volume(SHAPE, seed=1).to(device)
    case = grad, x, rows(device), *moving, None, taps, "linear", voxels, points
    check("warp_backward", *case)
    outputs = operator("warp_backward")(*case)
    assert len({id(t) for t in outputs}) == 3  # none is another one


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.sampled_from([1, tiles.ROWS, None]),
    st.sampled_from([4, tiles.BJ]),
)
def test_tiles_cover_planes_once(across, along, rows, most):
    t = Tiles.of(across, along, across if rows is None else rows, most)
    assert most >= t.BJ
    assert t.BJ & (t.BJ - 1) == t.BK & (t.BK - 1) == 0
    assert t.BK % 4 == 0  # noise is made four numbers at a time
    assert 32 * t.warps >= min(t.BK, 32)
    count = np.zeros((t.JB * t.steps * t.BJ, t.KB * t.BK), dtype=int)
    for tile in range(t.JB * t.KB):
        first, k0 = tile // t.KB * t.BJ * t.steps, tile % t.KB * t.BK
        count[first : first + t.BJ * t.steps, k0 : k0 + t.BK] += 1
    assert (count == 1).all()
    assert count.shape[0] >= across
    assert count.shape[1] >= along
    # no tile is empty, and tables of weights have as many rows as tiles look at
    assert count.shape[0] - across < t.BJ * t.steps
    assert count.shape[1] - along < t.BK
    assert count.shape[0] <= -(-across // tiles.ROWS) * tiles.ROWS
    if rows is None:
        assert t.JB == 1  # one program for all rows of its columns
    elif rows == 1:
        assert t.steps == 1


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.floats(-9, 9),
    st.floats(-40, 40),
    st.integers(1, 90),
    st.integers(4, 60),
    st.sampled_from([1, 2, 4, 8]),
)
def test_the_taps_of_a_tile_reach_all_points_its_rows_depend_on(step, start, across, count, height):
    lattice = np.eye(4)[None].copy()
    lattice[0, 1, 1], lattice[0, 1, 3] = step, start
    (_, _, along_j, lowest, _), taps = kernels._spline((4, count, 4), lattice, (1, across, 1))
    taps = min(count, taps)
    assert along_j.shape[1] % tiling.ROWS == 0
    for first in range(0, along_j.shape[1], height):
        ends = lowest[0, first], lowest[0, first + height - 1]
        begin = min(ends)
        assert begin >= 0
        assert max(ends) - begin + tiling.TAPS <= taps
        needed = along_j[0, first : first + height].any(0).nonzero()[0]
        assert all(begin <= n < begin + taps for n in needed)


def test_offsets_that_need_more_than_32_bits():
    assert not tiles.is_wide((2, 1), (2**31 - 1, 2**40))
    assert tiles.is_wide((2,), (2**31,))
    assert tiles.is_wide((3, 2), (2**30, 5))
    assert not tiles.is_wide((2, 2**30 - 4), (2**30, 1))
    assert tiles.is_wide((2, 2**30 + 1), (2**30, 1))
    x = torch.empty((1, 1, 1300, 1300, 1300), device="meta")
    assert tiles.is_wide(x.shape[2:], tiles.Strides.of(x).spatial)
    x = torch.empty((70, 1, 300, 300, 400), device="meta")
    assert not tiles.is_wide(
        x.shape[2:], tiles.Strides.of(x).spatial
    )  # samples are told apart in 64 bits


def test_strides_stay_within_axes_of_one_voxel():
    x = torch.empty(2, 1, 3, 1, 4)
    assert tiles.Strides.of(x) == (12, 0, 4, 0, 1)
    assert tiles.Strides.of(x.expand(2, 5, 3, 1, 4)) == (12, 0, 4, 0, 1)


def test_flags_are_read_as_bytes():
    flags = torch.tensor([True, False])
    assert tiles.readable(flags).dtype == torch.uint8
    assert tiles.readable(flags).data_ptr() == flags.data_ptr()
    assert tiles.readable(torch.zeros(1)).dtype == torch.float32


def test_numbers_of_monomials():
    from torchio_gpu_kernels.program import _monomial

    from torchio_gpu.functional.operations import monomials

    for order in range(6):
        terms = list(zip(*monomials(order), strict=True))
        for n, (l, m, z) in enumerate(terms):  # noqa: E741 - as in the kernel
            assert _monomial.fn(order, l, m) + z == n
        assert len(terms) == len(set(terms))
        assert set(terms) == {
            t for t in itertools.product(range(order + 1), repeat=3) if sum(t) <= order
        }
