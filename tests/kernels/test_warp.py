"""The warp kernel against its reference: values, and gradients with respect to volume, matrix and
control points, in each mode and dtype.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torchio_gpu_kernels.shared import TIE

import torchio_gpu as tio
from tests.kernels.cases import (
    agree,
    hold,
    leaf,
    matrices,
    near_change,
    places,
    points,
    run,
    volume,
    warp,
)
from torchio_gpu import functional as F
from torchio_gpu.functional.dispatch import kernels
from torchio_gpu.functional.fields_of_view import FieldOfView

SHAPE = (2, 2, 2, 4, 5)
SIZE = SHAPE[2:]
#: Coordinates are rounded otherwise than plain torch rounds them: a few times 2**-24 of a volume of
#: some voxels, times the difference of neighbours; and sums of gradients run in another order.
REASON = "coordinates and sums of float32 instead of float64"
SLACK = 4e-6


def fields(x_shape, fill_one, fill_two):
    """Two boxes that overlap, other ones for each sample: the last rules where both say no."""
    batch, last = x_shape[0], np.array(x_shape[2:]) - 0.5
    near = np.full((batch, 3), -0.5)
    near[0, 1] = 0.8
    far = np.tile(last, (batch, 1))
    far[-1, 2] -= 1.7
    narrow = np.full((batch, 3), -0.3)
    narrow[0] = 0.2, -0.1, 0.7
    return [
        FieldOfView(near, np.tile(last, (batch, 1)), fill_one),
        FieldOfView(narrow, far, fill_two),
    ]


PER_CHANNEL = torch.tensor([[0.3, -0.7], [1.1, 2.0]])
OUTSIDE = {
    "nothing": {},
    "a number": {"fill": 0.7},
    "per sample": {"fill": torch.tensor([0.4, -0.9])},
    "per channel": {"fill": PER_CHANNEL},
    "fields": {"fields": fields(SHAPE, 0.5, PER_CHANNEL)},
}


# a fill is found without the map; fields of view, by coordinates
@pytest.mark.parametrize(
    ("outside", "elastic"),
    [*((name, False) for name in OUTSIDE), ("nothing", True), ("fields", True)],
)
def test_linear_and_all_gradients(outside, elastic, target):
    matrix, moves = matrices(SIZE), points() if elastic else None
    at = places(SIZE, matrix, moves)
    known = ((at >= 0) & (at <= torch.tensor(SIZE) - 1)).all(-1)
    assert 0.1 < known.double().mean() < 0.9  # there is something within and something outside
    options = OUTSIDE[outside]
    hold(
        partial(warp, **options),
        *(leaf(volume(SHAPE)), leaf(matrix), *([leaf(moves)] if elastic else [])),
        target=target,
        slack=SLACK,
        reason=REASON,
        skip=near_edges(at, options),
    )


def near_edges(at, options):
    """Near a box, rounding decides too."""
    skip = near_change(at, "linear")
    whole = [FieldOfView.whole(SIZE, len(at), 0.0)]
    for low, high, _ in options.get("fields", whole):
        for end in (low - TIE, high - TIE):
            difference = (at - torch.from_numpy(end)[:, None, None, None]).abs()
            skip = skip | (difference < 2e-5).any(-1)[:, None]
    assert skip.double().mean() < 0.05
    return skip


@pytest.mark.parametrize(
    ("dtype", "outside"), [(torch.float16, "fields"), (torch.bfloat16, "per channel")]
)
def test_linear_in_half_precision(dtype, outside, target):
    matrix, moves = matrices(SIZE, seed=5), points(seed=6)
    at = places(SIZE, matrix, moves)
    options = OUTSIDE[outside]
    hold(
        partial(warp, **options),
        *(leaf(volume(SHAPE, dtype)), leaf(matrix), leaf(moves)),
        target=target,
        slack=SLACK,
        reason=REASON,
        skip=near_edges(at, options),
    )


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_linear_of_integers(dtype, target):
    matrix = matrices(SIZE, seed=7)
    out = hold(
        *(partial(warp, fill=0.25), volume(SHAPE, dtype), leaf(matrix)),
        target=target,
        slack=SLACK,
        reason=REASON,
        skip=near_change(places(SIZE, matrix), "linear"),
    )
    assert out[0].dtype == torch.float32
    assert (out[0] == 0.25).any()


@pytest.mark.parametrize("mode", ["nearest", "label"])
@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        (torch.uint8, 9),
        (torch.int16, -7),
        (torch.int32, torch.tensor([2**30 + 1, 7])),
        (torch.int64, torch.tensor([[2**62 + 1, 8], [9, -(2**62) - 3]])),
        (torch.bool, True),
        (torch.float16, 0.5),
        (torch.bfloat16, -2.0),
        (torch.float32, 0.7),
    ],
)
def test_what_is_moved_keeps_its_bits(mode, dtype, fill, target):
    # what is read where does not depend on the dtype: one of them is bent too
    matrix, moves = matrices(SIZE, seed=2), points(seed=3) if dtype == torch.int16 else None
    x = volume(SHAPE, dtype)
    if dtype in (torch.int32, torch.int64):  # beyond what float32, or float64, can tell apart
        x = x + torch.iinfo(dtype).max // 2
    skip = near_change(places(SIZE, matrix, moves), mode)
    call = partial(warp, mode=mode, fill=fill)
    case = (x, matrix) if moves is None else (x, matrix, moves)
    expected = run(call, *case)[0]
    out = run(call, *case, target=target)[0]
    assert out.dtype == dtype
    assert skip.double().mean() < 0.05
    wrong = (out != expected) & ~skip
    assert not wrong.any(), f"{int(wrong.sum())} voxels far from where anything changes"
    fills = torch.as_tensor(fill).view(-1, *[1] * 4) if not torch.is_tensor(fill) else fill
    values = torch.broadcast_to(fills.reshape(*fills.shape, *[1] * (5 - fills.ndim)), out.shape)
    if dtype != torch.bool and fill is not True:
        assert (out == values.to(dtype)).any()


@pytest.mark.parametrize("mode", ["nearest", "label"])
def test_frames_of_what_is_moved(mode, target):
    boxes = fields(SHAPE, 7, torch.tensor([[8, 9], [10, 11]]))
    matrix = matrices(SIZE, seed=8)
    at = places(SIZE, matrix)
    skip = near_change(at, mode) | near_edges(at, {"fields": boxes})
    call = partial(warp, mode=mode, fields=boxes)
    for dtype in (torch.uint8, torch.float32):
        x = volume(SHAPE, dtype)
        expected = run(call, x, matrix)[0]
        out = run(call, x, matrix, target=target)[0]
        assert not ((out != expected) & ~skip).any()
        assert all((out == value).any() for value in (7, 8, 9))


def test_flips_of_nearest_are_few_and_unbiased(target):
    # rows along which every place lies within 2e-4 voxels of where the next voxel is read
    length = 250
    x = torch.arange(float(length)).expand(8, 1, 1, 1, length)
    matrix = torch.eye(4, dtype=torch.float64).repeat(8, 1, 1)
    slope = torch.linspace(-1.5e-6, 1.5e-6, 8, dtype=torch.float64)
    matrix[:, 2, 2] += slope
    # the kernel counts places a little short of halfway as there
    short = TIE
    assert 0 <= short <= 1e-4
    matrix[:, 2, 3] = 0.5 - short - slope * length / 2
    at = places(x.shape[2:], matrix)
    assert near_change(at, "nearest", 3e-4).all()
    at = at + short
    call = partial(warp, mode="nearest", fill=float(length))
    out = run(call, x, matrix, target=target)[0]
    expected = (at[..., 2] + 0.5).floor()[:, None]
    wrong = out - expected
    assert (wrong.abs() <= 1).all()  # never a voxel further than the next
    # float32 holds places of some 200 voxels to 8e-6, and the slope to 6e-8: places up to 2e-5 from
    # the change may go either way, of 1e-4 that there are on average
    assert (wrong != 0).double().mean() < 0.15
    assert abs(wrong.mean().item()) < 0.05
    # what decides must be the place, not the voxel: nothing flips out of reach of the roundings
    margin = (at[..., 2] + 0.5 - (at[..., 2] + 0.5).round()).abs()[:, None]
    assert (wrong[margin > 4e-5] == 0).all()
    assert (margin > 4e-5).double().mean() > 0.3


def test_half_voxels_go_to_the_second_neighbour(target):
    matrix = torch.eye(4)[None]
    matrix[0, :3, 3] = torch.tensor([0.5, -0.5, 1.5])
    for dtype in (torch.float32, torch.int16):
        out = agree(
            partial(warp, mode="nearest", fill=9), volume(SHAPE, dtype), matrix, target=target
        )
        shifted = torch.full(SHAPE, 9, dtype=dtype)
        shifted[:, :, :1, :, :3] = volume(SHAPE, dtype)[:, :, 1:, :, 2:]
        assert torch.equal(out, shifted)


def test_labels_that_are_as_common_are_decided_alike(triton):
    # between eight voxels each label has an eighth; of equals, the least wins
    half = torch.eye(4)[None]
    half[0, :3, 3] = torch.tensor([0.5, -0.5, 1.5])
    agree(partial(warp, mode="label"), volume(SHAPE, torch.int16), half, target=triton)
    labels = volume((1, 1, 2, 2, 3), torch.int32, seed=4)
    shifts = torch.eye(4).repeat(8, 1, 1)
    for n, shift in enumerate(itertools.product((0.25, 0.5), repeat=3)):
        shifts[n, :3, 3] = torch.tensor(shift)
    x = labels.repeat(8, 1, 1, 1, 1)
    agree(partial(warp, mode="label", fill=3, size=(1, 2, 3)), x, shifts, target=triton)


# one voxel more than two tiles along K, of 32 voxels each, and than one run along J
@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((1, 1, 1, 1, 1), False),  # goes on in all directions: nothing changes with the place
        ((1, 1, 1, 3, 65), True),
        ((1, 1, 1, 3, 65), False),
        ((1, 2, 1, 33, 3), True),
        ((1, 1, 1, 33, 3), False),
        ((1, 1, 3, 1, 5), True),
    ],
)
def test_odd_shapes(shape, parameters, target):
    size = shape[2:]
    matrix, moves = torch.eye(4, dtype=torch.float64)[None].clone(), points((4, 4, 5), batch=1)
    matrix[0, :3, :3] += torch.randn(3, 3, dtype=torch.float64) * 0.5 / max(size)
    matrix[0, :3, 3] = torch.tensor([0.3, -0.4, 0.2])
    at = places(size, matrix, moves)
    content = ((at > -1) & (at < torch.tensor(size))).all(-1)[0]
    # the last tile of each axis, which may be a small one, has something to read
    assert content[-1].any()
    assert content[:, -1].any()
    assert content[:, :, -1].any()
    wanted = [leaf(matrix), leaf(moves)] if parameters else [matrix, moves]
    hold(
        partial(warp, fill=0.7),
        *(leaf(volume(shape)), *wanted),
        target=target,
        slack=4 * SLACK,
        reason=REASON + " in longer rows",
        skip=near_change(at, "linear"),
    )


def test_seven_by_eleven_by_thirteen(target):
    shape, size = (2, 3, 7, 11, 13), (2, 11, 13)  # two planes, from all of the volume
    matrix, moves = matrices(shape[2:], size, seed=9), points((5, 6, 7), seed=9)
    hold(
        partial(warp, fill=0.7, size=size),
        *(volume(shape), matrix, moves),
        target=target,
        slack=4 * SLACK,
        reason=REASON,
        gradients=False,
    )


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 2, 9), (1, 5, 3)])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_output_of_another_size(size, mode, target):
    source = (2, 4, 7)
    matrix, moves = matrices(source, size, seed=4), points(scale=0.2)
    at = places(source, matrix, moves, size)
    call = partial(warp, size=size, mode=mode, fill=0.5)
    moved = mode != "linear"
    x = volume((2, 1, *source))
    hold(
        *(call, leaf(x), matrix if moved else leaf(matrix), moves if moved else leaf(moves)),
        target=target,
        slack=SLACK,
        reason=REASON,
        skip=near_change(at, mode),
    )


@pytest.mark.parametrize("counts", [(4, 30, 7), (5, 9, 25)])
def test_more_control_points_than_voxels(counts, target):
    # rows of a tile depend on ever more control points as these come closer
    size = (1, 5, 4)
    matrix, moves = matrices(size, seed=1, batch=1), points(counts, scale=0.5, batch=1)
    at = places(size, matrix, moves)
    hold(
        partial(warp, fill=0.7),
        *(leaf(volume((1, 1, *size))), leaf(matrix), leaf(moves)),
        target=target,
        slack=4 * SLACK,
        reason=REASON + "; neighbouring voxels lie far apart",
        skip=near_change(at, "linear"),
    )


def lattices() -> np.ndarray:
    """Lattices of two samples: which control points matter differs, and so does the direction."""
    both = np.tile(np.eye(4), (2, 1, 1))
    both[0, (0, 1, 2), (0, 1, 2)] = 0.9, 0.3, 1.1
    both[0, :3, 3] = 1.2, 5.3, -2.1
    both[1, (0, 1, 2), (0, 1, 2)] = -0.4, -1.3, 0.6
    both[1, :3, 3] = 2.3, 9.6, 0.9
    return both


def long_lattices() -> np.ndarray:
    """Along J, one leaves 12 control points upwards, one downwards: in the end none matters."""
    both = lattices()
    both[:, 1, 1] = 0.4, -0.7
    both[:, 1, 3] = 9.3, 5.6
    return both


@pytest.mark.parametrize(
    ("size", "lattice"), [(SIZE, lattices()), ((1, 13, 3), long_lattices())], ids=["short", "long"]
)
def test_each_sample_has_its_own_lattice(size, lattice, target):
    matrix, moves = matrices(SIZE, size, seed=4), points((7, 12, 6), scale=0.9)
    at = places(SIZE, matrix, moves, size, lattice=lattice)
    plain = places(SIZE, matrix, None, size)
    assert ((at - plain).abs().amax((1, 2, 3)) > 0.05).all()  # every sample bends along every axis
    hold(
        partial(warp, lattice=lattice, size=size),
        *(leaf(volume(SHAPE)), leaf(matrix), leaf(moves)),
        target=target,
        slack=4 * SLACK,
        reason=REASON,
        skip=near_change(at, "linear"),
    )


def test_control_points_for_all_samples(target):
    matrix, moves = matrices(SIZE), points(batch=1)
    hold(
        warp,
        *(leaf(volume((2, 1, *SIZE))), matrix[:1].clone(), leaf(moves)),
        target=target,
        slack=SLACK,
        reason=REASON,
        skip=near_change(places(SIZE, matrix[:1], moves), "linear").expand(2, -1, -1, -1, -1),
    )


def test_images_that_bend_alike_share_what_their_maps_have_in_common(target):
    shape = (1, 1, *SIZE)
    x, label = volume(shape).to(target.device), volume(shape, torch.uint8).to(target.device)
    matrix, other = (matrices(SIZE, batch=1, seed=seed).numpy() for seed in (0, 1))
    moves, shift = points(batch=1).numpy(), np.eye(4)
    shift[:3, 3] = 0.5, 1.5, -0.3
    calls = [
        lambda: F.warp(x, matrix, moves),
        lambda: F.warp(label, matrix, moves, mode="nearest"),
        lambda: F.warp(x, other, moves),
        lambda: F.warp(x, matrix, -moves),
        lambda: F.warp(x, matrix, moves, size=(1, 5, 4)),
        lambda: F.warp(x, matrix, moves, lattice=shift),
        lambda: F.warp(x, matrix, moves, lattice=shift, size=(1, 5, 4)),
        lambda: F.warp(x, matrix, moves, fill=3),
        lambda: F.warp(x, matrix),
    ]
    with tio.backend(target.name):
        apart = [call() for call in calls]
        with kernels.sharing():
            together = [call() for call in calls]
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))
