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
from torchio_gpu.functional.dispatch.splines import spline_tables
from torchio_gpu.geometry import Space, control_lattice
from torchio_gpu.geometry.bspline import cubic_bspline, spline_weights

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


def spline(device) -> dict[str, torch.Tensor]:
    lattice = control_lattice(Space(tuple(SIZE), np.eye(4)[None]), (6, 5, 4))
    tables = spline_tables((6, 5, 4), lattice, tuple(SIZE), "triton").items()
    return {name: torch.from_numpy(t).to(device, _DTYPES[t.dtype]) for name, t in tables}


_DTYPES = {np.dtype(np.float64): torch.float32, np.dtype(np.int32): torch.int32}


def bent(device) -> list:
    """Columns, and runs of rows with their spans."""
    tables = spline(device)
    along_i, lowest_i, along_k, runs, spans = tables.values()
    vectors = points().float().to(device)
    return [operator("columns")(vectors, along_i, lowest_i, along_k), runs, spans]


def rows(device) -> torch.Tensor:
    return matrices(SIZE)[:, :3].float().contiguous().to(device)


def test_columns(device):
    along_i, lowest_i, along_k, _, _ = spline(device).values()
    vectors = points().float().to(device).requires_grad_()
    check("columns", vectors, along_i, lowest_i, along_k)


def test_columns_are_the_spline_along_two_axes(device):
    along_i, lowest_i, along_k, _, _ = spline(device).values()
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
    moving = bent(device) if mode == "linear" else [None] * 3
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
    check("warp", *places, values, seeds, SIZE, mode, steps, out)


@pytest.mark.parametrize(
    ("voxels", "points", "elastic"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_warp_backward(voxels, points, elastic, device):
    moving = bent(device) if elastic else [None] * 3
    x, grad = volume(SHAPE).to(device), volume(SHAPE, seed=1).to(device)
    case = grad, x, rows(device), *moving, None, "linear", voxels, points
    check("warp_backward", *case)
    outputs = operator("warp_backward")(*case)
    assert len({id(t) for t in outputs}) == 3  # none is another one


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 2, 4, 8]))
def test_tiles_cover_planes_once(across, along, per_thread):
    t = Tiles.of(across, along, per_thread)
    assert t.BK & (t.BK - 1) == 0  # a length of a vector
    assert 32 * t.warps * per_thread >= min(t.BK, 32)
    rows = tiling.BJ * t.steps
    assert rows <= tiling.ROWS
    count = np.zeros((t.JB * rows, t.KB * t.BK), dtype=int)
    for tile in range(t.JB * t.KB):
        first, k0 = tile // t.KB * rows, tile % t.KB * t.BK
        count[first : first + rows, k0 : k0 + t.BK] += 1
    assert (count == 1).all()
    assert 0 <= count.shape[0] - across < rows  # no block is empty
    assert 0 <= count.shape[1] - along < t.BK


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.floats(1e-3, 9) | st.floats(-9, -1e-3),
    st.lists(st.floats(-40, 40), min_size=1, max_size=3),
    st.integers(1, 90),
    st.integers(4, 60),
)
def test_runs_give_each_row_its_span(step, starts, across, count):
    lattice = np.eye(4)[None].repeat(len(starts), 0)
    lattice[:, 1, 1], lattice[:, 1, 3] = step, starts
    tables = spline_tables((4, count, 4), lattice, (1, across, 1), "triton")
    at = step * np.arange(across) + np.array(starts)[:, None]
    weights = spline_weights(at, count)
    for sample in range(len(tables["runs"])):
        seen = np.zeros(across, dtype=int)
        given = zip(tables["runs"][sample], tables["spans"][sample], strict=True)
        for (first, low, high, lowest), (start, by, inverse) in given:
            assert first % tiling.BJ == 0
            assert first <= low < first + tiling.BJ or low == high
            assert high - first <= tiling.ROWS + tiling.BJ
            seen[low:high] += 1
            for j in range(low, high):
                u = start + by * (j - first)
                assert -1e-9 <= u <= 1 + 1e-9
                points = lowest + np.arange(4)
                inside = (points >= 0) & (points < count)
                # the spline of four points, from the place between the second and the third
                share = cubic_bspline(u + 1 - np.arange(4))
                np.testing.assert_allclose(
                    share[inside], weights[sample, j, points[inside]], rtol=0, atol=1e-9
                )
                others = np.delete(weights[sample, j], points[inside])
                np.testing.assert_allclose(others, 0, atol=1e-9)
            assert low == high or by * inverse == pytest.approx(1)
        assert (seen == 1).all()


def test_tables_do_not_depend_on_those_before():
    """Numbers of runs of one call must not show in the memory of the next."""
    few = np.eye(4)[None].repeat(2, 0)
    few[:, 1, 1], few[:, 1, 3] = 0.03, (1.0, 1.2)
    many = np.eye(4)[None].copy()
    many[0, 1, 1] = 0.9
    before = spline_tables((4, 40, 4), few, (1, 30, 2), "triton")
    spline_tables((4, 40, 4), many, (1, 30, 2), "triton")
    after = spline_tables((4, 40, 4), few, (1, 30, 2), "triton")
    for name, table in before.items():
        assert after[name].flags.c_contiguous
        assert np.array_equal(after[name], table)


def test_labels_of_their_own_launch_before_hopper(device, monkeypatch):
    x, labels = volume((2, 2, 1, 2, 5)).to(device), volume(SHAPE, torch.uint8).to(device)
    fill = torch.ones(2, 2, device=device), torch.full((2, 1), 3, device=device)
    steps, values, seeds = program(device)
    case = x, labels, rows(device), *bent(device), *fill, values, seeds, SIZE, steps, torch.float32
    together = operator("warp_pair")(*case)
    monkeypatch.setattr("torchio_gpu_kernels.warp_operator.before_hopper", lambda: True)
    apart = operator("warp_pair")(*case)
    assert all(torch.equal(one, other) for one, other in zip(together, apart, strict=True))


def test_gradients_of_two_launches_before_hopper(device, monkeypatch):
    x, grad = volume(SHAPE).to(device), volume(SHAPE, seed=1).to(device)
    case = grad, x, rows(device), *bent(device), None, "linear", True, True
    together = operator("warp_backward")(*case)
    monkeypatch.setattr("torchio_gpu_kernels.warp_backward.before_hopper", lambda: True)
    for one, other in zip(together, operator("warp_backward")(*case), strict=True):
        torch.testing.assert_close(one, other)


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
