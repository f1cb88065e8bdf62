"""Bounding boxes: formats, axes, hulls after maps, gradients."""

import copy
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine

import torchio_gpu as tio
from tests.data.test_points import AFFINES, LEFT_HANDED, OBLIQUE, to_ras
from tests.devices import needs_gpu
from torchio_gpu.data.axes import VOXEL_AXES

LOW = np.array([[1.5, -2.0, 3.25], [0.0, 7.0, -4.5]])
HIGH = LOW + np.array([[4.0, 0.0, 2.5], [1.0, 2.0, 3.0]])
CORNERS = np.concatenate([LOW, HIGH], 1)
AXES = ["ijk", "kij", "ras", "lps", "spl", "air"]
KINDS = ["{0}{0}", "{0}whd", "c{0}whd"]
FORMATS = [kind.format(axes) for axes in AXES for kind in KINDS]


def in_format(low: np.ndarray, high: np.ndarray, format: str) -> np.ndarray:
    if format[0] == "c" and len(format) == 7:
        return np.concatenate([(low + high) / 2, high - low], 1)
    return np.concatenate([low, high - low if "whd" in format else high], 1)


def axes_of(format: str) -> str:
    return (format[1:4] if len(format) == 7 else format[:3]).upper()


def hull(low: np.ndarray, high: np.ndarray, move) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the hulls of boxes whose corners a function moves, one by one."""
    lows, highs = [], []
    for pair in zip(low, high, strict=True):
        ends = np.stack(pair)
        corners = np.array(
            [[ends[s, n] for n, s in enumerate(c)] for c in product((0, 1), repeat=3)]
        )
        moved = move(corners)
        lows.append(moved.min(0))
        highs.append(moved.max(0))
    return np.array(lows), np.array(highs)


def boxes(format: str = "ijkijk", affine=OBLIQUE, **kwargs) -> tio.BoundingBoxes:
    return tio.BoundingBoxes(in_format(LOW, HIGH, format), format=format, affine=affine, **kwargs)


def unmoved(b: tio.BoundingBoxes) -> torch.Tensor:
    return torch.zeros(98 * len(b), dtype=torch.bool)


# ---- Formats


@pytest.mark.parametrize("format", FORMATS)
def test_formats_of_the_same_axes(format):
    b = boxes(format)
    assert (b.format, b.axes) == (format, axes_of(format))
    for other in (kind.format(axes_of(format).lower()) for kind in KINDS):
        there = b.to_format(other)
        np.testing.assert_allclose(there.data, in_format(LOW, HIGH, other), atol=1e-15)
        np.testing.assert_allclose(there.to_format(format).data, b.data, atol=1e-15)


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("format", FORMATS)
def test_conversion_to_all_formats_takes_the_hull_of_the_corners(format, kind):
    affine = AFFINES[kind]
    b, axes = boxes(format, affine), axes_of(format)
    low, high = hull(LOW, HIGH, lambda rows: to_ras(rows, axes, affine))
    for other in ("rasras", "raswhd", "craswhd"):
        expected = low, high
        if axes == "RAS":
            expected = LOW, HIGH
        np.testing.assert_allclose(b.to_format(other).data, in_format(*expected, other), atol=1e-12)
    inverse = np.linalg.inv(affine)
    ijk = hull(LOW, HIGH, lambda rows: apply_affine(inverse, to_ras(rows, axes, affine)))
    np.testing.assert_allclose(b.to_format("ijkijk").data, in_format(*ijk, "ijkijk"), atol=1e-12)


@pytest.mark.parametrize(("one", "other"), [("rasras", "lpswhd"), ("ijkijk", "cjkiwhd")])
def test_parallel_axes_are_converted_without_growth(one, other):
    b = boxes(one)
    there = b.to_format(other)
    np.testing.assert_allclose(there.to_format(one).data, b.data, atol=1e-15)
    voxels = boxes("ijkijk", np.diag([-2.0, 3, 4, 1]))
    np.testing.assert_allclose(
        voxels.to_format("lpslps").to_format("ijkijk").data, CORNERS, atol=1e-12
    )


def test_a_box_around_voxels_holds_their_corners():
    """The box around voxels 2 to 5 is from 1.5 to 5.5."""
    mask = torch.zeros(8, 8, 8)
    mask[2:6, 2:6, 2:6] = 1
    at = mask.nonzero()
    ends = torch.cat([at.amin(0) - 0.5, at.amax(0) + 0.5])[None]
    b = tio.BoundingBoxes(ends, affine=np.eye(4))
    assert b.data.tolist() == [[1.5] * 3 + [5.5] * 3]
    assert b.to_format("ijkwhd").data[0, 3:].prod() == mask.sum()


def test_labels_metadata_and_types():
    b = boxes(labels=torch.tensor([3, 1]), site="left")
    moved = b.with_world(b.world(), unmoved(b))
    copies = copy.copy(b), copy.deepcopy(b), pickle.loads(pickle.dumps(b)), b.to(torch.float32)
    for other in (b, b.to_format("raswhd"), moved, *copies):
        assert type(other) is tio.BoundingBoxes
        assert other.labels == [3, 1]
        assert other.site == "left"
    assert b.to(torch.float32).to_format("raswhd").dtype == torch.float32
    assert repr(b) == "BoundingBoxes(2 boxes, format='ijkijk')"
    assert tio.BoundingBoxes([], format="CIJKwhd", affine=np.eye(4)).format == "cijkwhd"
    none = tio.BoundingBoxes([], format="rasras")
    assert none.data.shape == (0, 6)
    assert none.world().shape == (0, 3)
    assert none.with_world(none.world(), unmoved(none)).data.shape == (0, 6)
    assert none.to_format("csplwhd").data.shape == (0, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"data": [[0, 0, 0, 1, 1]]}, ValueError, r"must have shape \(N, 6\), got \(1, 5\)"),
        ({"data": [[0, 0, 0, 1, -1, 1]]}, ValueError, "sizes >= 0 in format 'rasras'.*for box 0"),
        ({"data": [[0, 0, 0, 1, float("nan"), 1]]}, ValueError, "must be finite"),
        ({"data": [[0, 0, 0, 1, float("inf"), 1]]}, ValueError, "must be finite"),
        ({"data": [[0] * 6, [0, 0, 0, 0, 0, -1]], "format": "craswhd"}, ValueError, "for box 1"),
        ({"data": [[9, 9, 9, 1, 1, -1]], "format": "raswhd"}, ValueError, "have sizes >= 0"),
        ({"data": [["a"] * 6]}, TypeError, "must be real numbers"),
        ({"format": "ijkijk"}, ValueError, "affine must be given for voxel axes"),
        ({"format": "raslps"}, ValueError, "format must be two corners .*got 'raslps'"),
        ({"format": "ras"}, ValueError, "format must be"),
        ({"format": "crasras"}, ValueError, "format must be"),
        ({"format": "rarwhd"}, ValueError, "format must be"),
        ({"format": None}, ValueError, "format must be"),
        ({"labels": ["a", "b"]}, ValueError, "for each of 1 boxes"),
        ({"with_world": 3}, ValueError, "which BoundingBoxes uses itself"),
        ({"_format": 3}, ValueError, "which BoundingBoxes uses itself"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match) as caught:
        tio.BoundingBoxes(**{"data": [[0, 0, 0, 1, 1, 1]], "format": "rasras", **arguments})
    assert "\n" not in str(caught.value)


def test_replaced_numbers_are_checked():
    b = boxes()
    with pytest.raises(ValueError, match="have sizes >= 0"):
        b.data = -CORNERS
    b.data = CORNERS + 1
    assert torch.equal(b.data, torch.tensor(CORNERS + 1))


# ---- Maps


@pytest.mark.parametrize("format", FORMATS)
def test_surface_points_and_back(format):
    b = boxes(format)
    points = b.world()
    assert points.shape == (2 * 98, 3)
    assert points.dtype == torch.float64
    own = tio.Points(points, affine=OBLIQUE).to_axes(b.axes).data.numpy().reshape(2, 98, 3)
    for rows, low, high in zip(own, LOW, HIGH, strict=True):
        shares = (rows - low) / np.where(high > low, high - low, 1)
        assert shares.min() > -1e-12
        assert shares.max() < 1 + 1e-12
        if (high > low).all():
            on = np.isclose(shares, 0) | np.isclose(shares, 1)
            assert on.any(1).all()
            assert len(np.unique(shares.round(6), axis=0)) == 98
            assert np.isin(shares.round(6), [0, 0.25, 0.5, 0.75, 1]).all()
    again = b.with_world(points, unmoved(b))
    assert again.format == format
    np.testing.assert_allclose(again.data, b.data, atol=1e-12)


@pytest.mark.parametrize("format", FORMATS)
def test_affine_maps_and_new_affines(format):
    """The hull of moved surface points is that of the moved corners, where a map is affine."""
    b, axes = boxes(format), axes_of(format)
    motion = torch.tensor(OBLIQUE)
    points = b.world() @ motion[:3, :3].T + motion[:3, 3]
    moved = b.with_world(points, unmoved(b), LEFT_HANDED)
    assert np.array_equal(moved.affine, LEFT_HANDED)
    new = LEFT_HANDED if axes in VOXEL_AXES else OBLIQUE

    def move(rows):
        ras = apply_affine(OBLIQUE, to_ras(rows, axes, OBLIQUE))
        return tio.Points(ras, affine=new).to_axes(axes).data.numpy()

    expected = in_format(*hull(LOW, HIGH, move), format)
    np.testing.assert_allclose(moved.data, expected, atol=1e-11)


def test_a_rotated_box_grows():
    b = tio.BoundingBoxes([[-1, -1, -1, 1, 1, 1]], format="rasras")
    c, s = np.cos(np.pi / 4), np.sin(np.pi / 4)
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    turned = b.with_world(b.world() @ turn.T, unmoved(b))
    np.testing.assert_allclose(turned.data, [[-(2**0.5), -(2**0.5), -1, 2**0.5, 2**0.5, 1]])
    again = turned.with_world(turned.world() @ turn, unmoved(b))
    np.testing.assert_allclose(again.data, [[-2, -2, -1, 2, 2, 1]])


def test_folded_boxes():
    b = boxes()
    folded = unmoved(b)
    folded[98 + 5] = True
    moved = b.with_world(b.world(), folded)
    assert moved.folded.tolist() == [False, True]
    assert moved.with_world(moved.world(), unmoved(b)).folded.tolist() == [False, True]
    assert moved.to_format("raswhd").folded.tolist() == [False, True]


@pytest.mark.parametrize("format", ["ijkijk", "jkiwhd", "clpswhd"])
def test_gradients_flow(format):
    low, high = torch.tensor(LOW[1:]), torch.tensor(HIGH[1:])
    rows = torch.tensor(in_format(low.numpy(), high.numpy(), format), requires_grad=True)

    def through(rows):
        b = tio.BoundingBoxes(rows, format=format, affine=OBLIQUE)
        bent = b.world() + (b.world() / 20).sin()
        moved = b.with_world(bent, unmoved(b), LEFT_HANDED)
        return b.world(), b.to_format("splwhd").data, moved.data

    assert torch.autograd.gradcheck(through, rows)


@pytest.mark.gpu
@needs_gpu
def test_boxes_on_a_gpu():
    b = boxes().to("cuda")
    assert b.world().device.type == "cuda"
    for other in (b.to_format("clpswhd"), b.with_world(b.world(), unmoved(b).cuda(), LEFT_HANDED)):
        assert other.device.type == other.folded.device.type == "cuda"
    np.testing.assert_allclose(b.world().cpu(), boxes().world(), atol=1e-12)
