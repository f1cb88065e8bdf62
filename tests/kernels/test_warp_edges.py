"""The warp kernel where something special happens: exact maps, places that are none, gradients that
must not depend on the order of sums, and other operations in the same pass.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torchio_gpu_kernels.shared import TIE

import torchio_gpu as tio
from tests.kernels.cases import agree, hold, matrices, near_change, places, points, run, volume
from torchio_gpu import functional as F
from torchio_gpu.functional import operations as ops
from torchio_gpu.functional.fields_of_view import FieldOfView
from torchio_gpu.functional.operations import View
from torchio_gpu.functional.warping import warp_volume

SHAPE = (2, 2, 2, 4, 5)
SIZE = SHAPE[2:]
MODES = ("linear", "nearest", "label")
SEEDS = np.array([3, -8])


def exact_maps() -> dict[str, torch.Tensor]:
    """Maps that take voxel centres to voxel centres, each as two of [4, 4], for two samples."""
    eye = torch.eye(4)
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([1.0, -2, 3])
    flip = torch.eye(4)
    flip[1, 1], flip[1, 3] = -1, 3
    turn = torch.zeros(4, 4)  # i from k, j mirrored from i, k from j
    turn[0, 2] = turn[2, 1] = turn[3, 3] = 1
    turn[1, 0], turn[1, 3] = -1, 3
    far = torch.eye(4)
    far[0, 3] = 1e6
    nearly = torch.eye(4, dtype=torch.float64)
    nearly[0, 1], nearly[2, 3] = 3e-7, 1 - 4e-7
    return {
        "identity": torch.stack((eye, eye)),
        "shifts": torch.stack((shift, -shift + 2 * torch.eye(4))),
        "flips": torch.stack((flip, eye)),
        "permutations": torch.stack((turn, flip)),
        "far away": torch.stack((far, eye)),
        "nearly": torch.stack((nearly, nearly)),
    }


@pytest.mark.parametrize("name", exact_maps())
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_exact_maps_copy_bits(name, mode, target):
    matrix = exact_maps()[name]
    for dtype in (torch.float32, torch.float16, torch.int16):
        out = agree(partial(F.warp, mode=mode, fill=7), volume(SHAPE, dtype), matrix, target=target)
        assert out.dtype == (torch.float32 if (mode, dtype) == ("linear", torch.int16) else dtype)


def test_exact_maps_to_another_size_with_other_fills(target):
    matrix = exact_maps()["shifts"]
    fill = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    out = agree(partial(F.warp, size=(3, 7, 2), fill=fill), volume(SHAPE), matrix, target=target)
    assert all((out[b, c] == fill[b, c]).any() for b in range(2) for c in range(2))
    low, high = np.full((2, 3), -0.5), np.array([[1.5, 1.5, 4.5], [0.5, 3.5, 4.5]])
    boxes = [FieldOfView(low, high, fill)]
    agree(partial(warp_volume, size=(3, 7, 2), fields=boxes), volume(SHAPE), matrix, target=target)


@pytest.mark.parametrize(
    ("name", "elastic", "dtypes"),
    [
        ("identity", True, (torch.float32, torch.bfloat16, torch.uint8)),
        ("shifts", False, (torch.float32, torch.uint8)),
        ("permutations", False, (torch.bfloat16,)),
        ("nearly", True, (torch.float32,)),
    ],
)
def test_samples_with_exact_maps_are_copied_among_others(name, elastic, dtypes, target):
    matrix = exact_maps()[name].double()
    matrix[1] = matrices(SIZE, batch=1)[0]
    moves = points(seed=4)
    moves[0] = 0
    for dtype in dtypes:
        case = volume(SHAPE, dtype), matrix, *([moves] if elastic else [])
        call = partial(F.warp, fill=0.7 if dtype.is_floating_point else 0.25)
        expected = run(call, *case)[0]
        out = run(call, *case, target=target)[0]
        assert torch.equal(out[0], expected[0])
        torch.testing.assert_close(out[1].float(), expected[1].float(), rtol=1e-2, atol=1e-2)


def test_zero_control_points_move_nothing(target):
    out = agree(F.bspline_warp, volume(SHAPE), torch.zeros(2, 3, 4, 5, 6), target=target)
    assert torch.equal(out, volume(SHAPE))


FAR = [math.nan, math.inf, -math.inf, 1e30, -1e30, 3e9, -3e9]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("framed", [False, True])
def test_places_that_are_none_read_the_fill(mode, framed, target):
    """Diverging parameters give such maps. Nothing outside must be read, nor anything inside."""
    matrix = torch.eye(4, dtype=torch.float64).repeat(len(FAR), 1, 1)
    matrix[:, 1, 3] = torch.tensor(FAR)
    batch = (len(FAR), 1, 2, 3, 4)
    x = volume(batch, torch.float32 if mode == "linear" else torch.int32)
    options = {"fill": 9}
    if framed:
        low = np.full((len(FAR), 3), -0.5)
        options = {"fields": [FieldOfView(low, low + np.array(batch[2:]), 9)]}
    with np.errstate(all="ignore"), tio.backend(target.name):
        # one plane of each sample: none of them reads anything
        out = warp_volume(x.to(target.device), matrix, mode=mode, size=(1, 3, 4), **options)
    assert (out == 9).all()


@pytest.mark.parametrize("framed", [False, True])
def test_gradients_of_places_that_are_none(framed, triton):
    matrix = torch.eye(4, dtype=torch.float64).repeat(len(FAR), 1, 1)
    matrix[:, 2, 3] = torch.tensor(FAR)
    batch = (len(FAR), 1, 2, 3, 4)
    low = np.full((len(FAR), 3), -0.5)
    boxes = [FieldOfView(low, low + np.array(batch[2:]), 9)] if framed else []
    x = volume(batch).requires_grad_()
    case = x, matrix.requires_grad_()
    call = partial(warp_volume, fill=9, fields=boxes, size=(1, 3, 4))
    cotangent = volume((len(FAR), 1, 1, 3, 4), seed=2)
    with np.errstate(all="ignore"):
        out, g_x, g_matrix = run(call, *case, target=triton, cotangent=cotangent)
    assert (out == 9).all()
    assert (g_x == 0).all()
    assert (g_matrix == 0).all()


def test_control_points_that_are_no_numbers(target):
    moves = points(scale=0.2)
    moves[0, :, :, 0] = math.nan
    moves[1, 2, 5, 4, 3] = 1e38
    with np.errstate(all="ignore"):
        out, *grads = run(
            *(partial(F.warp, fill=9), volume((2, 1, *SIZE)).requires_grad_()),
            *(torch.eye(4), moves.requires_grad_()),
            target=target,
            cotangent=volume((2, 1, *SIZE)) if target.differentiable else None,
        )
    assert (out[0] == 9).any()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(grad).all() for grad in grads[:1])


def test_voxels_without_a_share_do_not_count(target):
    x = volume(SHAPE)
    x[:, :, 0], x[:, :, 1] = math.nan, math.inf
    matrix = torch.eye(4)
    matrix[0, 3] = -1.5  # the first row is outside; the second is half way to NaN
    with np.errstate(invalid="ignore"):
        out = agree(partial(F.warp, fill=3), x, matrix[None], target=target)
    assert (out[:, :, 0] == 3).all()
    assert out[:, :, 1].isnan().all()


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy, in the interpreter
@pytest.mark.parametrize("fill", [math.nan, math.inf])
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_a_fill_that_is_no_number_stays_outside(mode, framed, fill, target):
    x, matrix = volume(SHAPE), torch.eye(4).repeat(2, 1, 1)
    matrix[:, :3, 3] = torch.tensor([[0.3, -1.2, 0.6], [-0.7, 0.4, 1.7]])
    options = {"fill": fill}
    if framed:
        low = np.array([[-0.5, 0.7, -0.5], [0.1, -0.5, 0.2]])
        options = {"fields": [FieldOfView(low, low + 2.6, fill)]}
    call = partial(warp_volume, mode=mode, **options)
    out, expected = run(call, x, matrix, target=target)[0], run(call, x, matrix)[0]
    assert 0.1 < expected.isfinite().double().mean() < 0.9
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy, in the interpreter
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_voxels_that_are_no_numbers_spread_no_further_than_a_voxel(wrong, target):
    # the voxel is two from the ends: a place beyond a centre there reads its neighbour too
    source, size, at_fault = (5, 5, 7), (3, 4, 6), torch.tensor([2, 2, 2])
    x, matrix = volume((1, 1, *source)), matrices(source, size, batch=1, seed=3)
    x[:, :, 2, 2, 2] = wrong
    out = run(partial(warp_volume, fill=9, size=size), x, matrix, target=target)[0]
    at = places(source, matrix, None, size)
    close = (at - at_fault).abs() < 1
    near = close.all(-1)[:, None]
    assert near.any()
    for axis in range(3):  # there are places that are away from it along one axis alone
        others = [n for n in range(3) if n != axis]
        assert (close[..., others].all(-1) & ~close[..., axis]).any()
    assert torch.equal(~out.isfinite(), near)
    nearest = run(partial(F.warp, mode="nearest", size=size), x, matrix, target=target)[0]
    same = ((at + TIE).round() == at_fault).all(-1)[:, None]
    assert same.any()
    assert torch.equal(~nearest.isfinite(), same)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def repeated(*case, target, cotangent, twice):
    """Return the results of two runs; of one in the interpreter, whose order never changes, unless
    ``twice``."""
    number = 2 if twice or target.device.type == "cuda" else 1
    return [run(*case, target=target, cotangent=cotangent) for _ in range(number)]


@pytest.mark.parametrize("size", [1e30, 1.0, 1e-20, 1e-30, 0.0])
def test_deterministic_gradients(size, triton, deterministic):
    case = volume(SHAPE).requires_grad_(), matrices(SIZE).requires_grad_()
    cotangent = volume(SHAPE, seed=2) * size
    one, *others = repeated(F.warp, *case, target=triton, cotangent=cotangent, twice=size == 1)
    assert all(torch.equal(a, b) for two in others for a, b in zip(one, two, strict=True))
    expected = run(F.warp, *case, cotangent=cotangent)
    # of the largest gradient 40 bits are counted, of one of 1e-30 some 26
    bound = 1e-5 * expected[1].abs().max().item()
    assert (one[1] - expected[1]).abs().max().item() <= bound
    assert size == 0 or (one[1] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_deterministic_gradients_of_half_precision(dtype, triton, deterministic):
    case = volume(SHAPE, dtype).requires_grad_(), matrices(SIZE)
    cotangent = volume(SHAPE, dtype, seed=2)
    twice = dtype == torch.float16
    one, *others = repeated(F.warp, *case, target=triton, cotangent=cotangent, twice=twice)
    assert all(torch.equal(one[1], two[1]) for two in others)
    exact = run(F.warp, *case, dtype=torch.float64, cotangent=cotangent)
    rounding = torch.finfo(dtype).eps * exact[1].abs().max()
    assert (one[1].double() - exact[1]).abs().max() <= rounding


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_deterministic_gradients_that_are_not_finite_show(wrong, triton, deterministic):
    """A gradient scaler must learn of them, wherever they are."""
    case = volume(SHAPE).requires_grad_(), matrices(SIZE)
    cotangent = volume(SHAPE, seed=2)
    cotangent[1, 1, 1, 2, 2] = wrong
    with np.errstate(invalid="ignore"):
        _, ours = run(F.warp, *case, target=triton, cotangent=cotangent)
    _, expected = run(F.warp, *case, cotangent=cotangent)
    assert not expected.isfinite().all()
    assert not ours[~expected.isfinite()].isfinite().any()


def test_deterministic_gradients_of_nearest(triton, deterministic):
    # all voxels of a row are read from one
    matrix = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    matrix[:, 2, 2] = 0.01
    case = volume(SHAPE).requires_grad_(), matrix
    call = partial(F.warp, mode="nearest")
    _, grad = run(call, *case, target=triton, cotangent=volume(SHAPE, seed=2))
    _, expected = run(call, *case, cotangent=volume(SHAPE, seed=2))
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)
    assert (grad[..., 0] != 0).all()
    assert (grad[..., 1:] == 0).all()


def test_second_derivatives_are_refused(triton):
    x = volume((1, 1, *SIZE)).to(triton.device).requires_grad_()
    matrix = matrices(SIZE, batch=1).to(triton.device).requires_grad_()
    with tio.backend(triton.name):
        grads = torch.autograd.grad(
            F.warp(x, matrix).square().sum(), (x, matrix), create_graph=True
        )
        with pytest.raises(RuntimeError, match="no gradient flows"):
            torch.autograd.grad(sum(g.sum() for g in grads), x)


def operations(c, g, low):
    return [
        ops.BiasField(c, 1),
        ops.Noise(np.array([0.1, 0.2]), np.array([0.3, 0.4]), SEEDS),
        ops.Gamma(g),
        ops.Clamp(low, np.array([np.inf])),
    ]


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    c = torch.randn(2, 4, generator=generator, dtype=torch.float64) * 0.3
    g = torch.tensor([[0.3, -0.4], [0.2, 0.1]], dtype=torch.float64)
    low = torch.tensor([-0.7, -1.1], dtype=torch.float64)
    return [t.requires_grad_() for t in (c, g, low)]


VIEW = View((5, 9, 8), np.array([[1, 2, 3], [0, 4, 1]]))


# a program learns of its window, and nothing of the map
@pytest.mark.parametrize(
    ("view", "moves"), [(None, points()), (VIEW, None)], ids=["whole, bent", "window"]
)
def test_a_warp_with_a_program_and_all_gradients(view, moves, target):
    def f(x, matrix, c, g, low, *bent):
        how = {"operations": operations(c, g, low), "view": view, "fill": 0.5}
        return warp_volume(x, matrix, *bent, **how)

    matrix = matrices(SIZE)
    bent = [] if moves is None else [moves.clone().requires_grad_()]
    hold(
        *(f, volume(SHAPE).requires_grad_(), matrix, *parameters(), *bent),
        target=target,
        slack=1e-5,
        reason="coordinates, exponents and sums in float32; roots magnify errors near 0",
        skip=near_change(places(SIZE, matrix, moves), "linear"),
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_warp_with_a_program_is_one_after_the_other(mode, target):
    p = [t.detach() for t in parameters()]
    matrix = matrices(SIZE).numpy()
    # labels are whole numbers
    for dtype in (torch.float32, torch.uint8) if mode != "label" else (torch.uint8,):
        x = volume(SHAPE, dtype).to(target.device)
        with tio.backend(target.name):
            together = warp_volume(x, matrix, operations=operations(*p), mode=mode, view=VIEW)
            apart = F.pointwise(F.warp(x, matrix, mode=mode), operations(*p), VIEW)
        # one compiler may fuse a product and a sum where the other does not
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
        if target.device.type == "cpu":
            assert torch.equal(together, apart)


def test_a_program_in_many_tiles(target):
    shape = (1, 2, 1, 5, 70)  # two tiles of rows, three along K
    steps = [
        ops.BiasField(np.full((1, 4), 0.2), 1),
        ops.Noise(np.zeros(1), np.ones(1), SEEDS[:1], rician=True),
    ]
    x, matrix = volume(shape).to(target.device), matrices(shape[2:], batch=1).numpy()
    with tio.backend(target.name):
        together = warp_volume(x, matrix, operations=steps)
        apart = F.pointwise(F.warp(x, matrix), steps)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


def test_an_exact_map_with_a_program(target):
    p = [t.detach() for t in parameters()]
    matrix = exact_maps()["permutations"]
    for dtype in (torch.float32, torch.float16, torch.uint8):
        x = volume(SHAPE, dtype).to(target.device)
        with tio.backend(target.name):
            together = warp_volume(x, matrix, operations=operations(*p), fill=2)
            moved = F.warp(x, matrix, fill=2)
            apart = F.pointwise(moved, operations(*p))
        assert together.dtype == apart.dtype
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


def test_gradients_through_an_exact_map_with_a_program(triton):
    def f(x, c, g, low):
        return warp_volume(x, matrix, operations=operations(c, g, low), fill=0.5)

    matrix = exact_maps()["flips"].numpy()
    hold(
        *(f, volume(SHAPE).requires_grad_(), *parameters()),
        target=triton,
        slack=1e-5,
        reason="exponents and sums in float32; roots magnify errors near 0",
    )


def test_gradients_of_operations_on_integers(triton):
    c, g, low = parameters()

    def f(x, c, g, low):
        return warp_volume(x, matrices(SIZE), operations=operations(c, g, low), fill=0.5)

    hold(
        *(f, volume(SHAPE, torch.uint8), c, g, (low.detach() + 2).requires_grad_()),
        target=triton,
        slack=1e-5,
        reason="coordinates, exponents and sums in float32; roots magnify errors near 0",
    )


def test_samples_that_nothing_happens_to_keep_their_bits(target):
    x = volume(SHAPE)
    x[0, 0, 0, 0] = torch.tensor([0.0, 1e-45, 3e38, -3e38, -1e-38])
    matrix = matrices(SIZE)
    matrix[0] = torch.eye(4)
    moves = points()
    moves[0] = 0
    on = np.array([0.0, 1.0])
    steps = [
        ops.BiasField(on[:, None] * np.full((1, 4), 0.2), 1),
        ops.Noise(on, on, SEEDS),
        ops.Noise(on, on, SEEDS, rician=True, active=on > 0),
        ops.Gamma(on * 0.3),
        ops.Clamp(np.array([-np.inf, 0]), np.array([np.inf, 2])),
    ]
    with tio.backend(target.name), np.errstate(over="ignore"):
        out = warp_volume(
            x.to(target.device), matrix.numpy(), moves.numpy(), operations=steps
        ).cpu()
    assert torch.equal(out[0], x[0])
    assert not torch.isclose(out[1], x[1]).all()


def test_fills_of_masks(target):
    matrix = torch.eye(4)
    matrix[0, 3] = 1
    for fill in (0.5, 2, torch.tensor([0.5, 0.0]), False):
        x = volume(SHAPE, torch.bool)
        out = agree(partial(F.warp, mode="nearest", fill=fill), x, matrix[None], target=target)
        assert set(out.view(torch.uint8).unique().tolist()) <= {0, 1}
