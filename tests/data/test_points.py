"""Points: axes, affines, gradients, and their way through subjects, batches and loaders."""

import copy
import os
import pickle
from itertools import permutations, product

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.devices import needs_gpu
from torchio_gpu.data.axes import VOXEL_AXES, WORLD_AXES

OBLIQUE = np.array(
    [[1.8, -0.3, 0.2, -20.0], [0.4, 1.1, -0.5, 15.0], [-0.1, 0.6, 2.9, -7.0], [0, 0, 0, 1]]
)
LEFT_HANDED = OBLIQUE @ np.diag([-1.0, 1, 1, 1])
AFFINES = {"oblique": OBLIQUE, "left-handed": LEFT_HANDED, "scaled": np.diag([2.0, 3, 4, 1])}
AXES = sorted(VOXEL_AXES | WORLD_AXES)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
WORKERS = [0, pytest.param(2, marks=needs_fork)]
ROWS = np.array([[1.5, -2.0, 30.25], [0.0, 7.0, -4.5], [12.0, 3.0, 0.125]])


def to_ras(rows: np.ndarray, axes: str, affine: np.ndarray) -> np.ndarray:
    """Return coordinates in the world, by NiBabel and plain indices."""
    if axes in VOXEL_AXES:
        ijk = np.stack([rows[:, axes.index(letter)] for letter in "IJK"], 1)
        return apply_affine(affine, ijk)
    columns = []
    for plus, minus in ("RL", "AP", "SI"):
        sign = 1 if plus in axes else -1
        columns.append(sign * rows[:, axes.index(plus if plus in axes else minus)])
    return np.stack(columns, 1)


def image(affine=OBLIQUE, shape=(4, 5, 6)):
    return tio.ScalarImage(torch.rand(1, *shape), affine=affine)


def points(**kwargs) -> tio.Points:
    return tio.Points(ROWS, labels=["a", "b", "c"], **kwargs)


# ---- Axes


def test_all_axes_are_known():
    assert len(VOXEL_AXES) == 6
    assert len(WORLD_AXES) == 48
    assert {"".join(p) for p in permutations("LPS")} <= WORLD_AXES


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("axes", AXES)
def test_world_and_back_along_all_axes(axes, kind):
    affine = AFFINES[kind]
    p = tio.Points(ROWS, axes=axes, affine=affine)
    expected = to_ras(ROWS, axes, affine)
    assert p.world().dtype == torch.float64
    # rounding of a product of float64 matrices, for coordinates below 100 mm
    np.testing.assert_allclose(p.world(), expected, atol=1e-12)
    np.testing.assert_allclose(p.to_axes("RAS").data, expected, atol=1e-12)
    np.testing.assert_allclose(p.to_axes("RAS").to_axes(axes).data, ROWS, atol=1e-12)
    for other in ("IJK", "KIJ", "LPS", "SAR"):
        there = p.to_axes(other)
        assert there.axes == other
        np.testing.assert_allclose(to_ras(there.data.numpy(), other, affine), expected, atol=1e-12)
        np.testing.assert_allclose(there.to_axes(axes).data, ROWS, atol=1e-12)
    nobody = torch.zeros(3, dtype=torch.bool)
    np.testing.assert_allclose(p.with_world(p.world(), nobody).data, ROWS, atol=1e-12)


@pytest.mark.parametrize("axes", AXES)
def test_axes_of_one_kind_are_converted_without_rounding(axes):
    other = "KIJ" if axes in VOXEL_AXES else "SPL"
    p = tio.Points(ROWS / 3, axes=axes, affine=OBLIQUE)
    there = p.to_axes(other).data
    assert sorted(there.abs().flatten().tolist()) == sorted(np.abs(ROWS / 3).flatten().tolist())
    assert torch.equal(p.to_axes(other).to_axes(axes).data, p.data)
    assert torch.equal(p.to_axes(axes).data, p.data)


@pytest.mark.parametrize("codes", ["".join(c) for c in product("RL", "AP", "SI")])
def test_axes_of_an_affine_by_nibabel(codes):
    """Voxels of an affine along the axes of a code have coordinates that differ by its origin."""
    affine = inv_ornt_aff(axcodes2ornt(codes), (4, 5, 6))
    assert "".join(aff2axcodes(affine)) == codes
    rows = tio.Points(ROWS, axes="IJK", affine=affine).to_axes(codes).data
    steps = (rows - rows[0]).numpy()
    np.testing.assert_allclose(steps, ROWS - ROWS[0], atol=1e-12)


def test_voxels_of_another_affine():
    p = tio.Points(ROWS, axes="IJK", affine=OBLIQUE)
    other = p.to_axes("IJK", affine=LEFT_HANDED)
    assert np.array_equal(other.affine, LEFT_HANDED)
    np.testing.assert_allclose(other.data[:, 0], -ROWS[:, 0], atol=1e-12)
    np.testing.assert_allclose(other.world(), p.world(), atol=1e-12)
    moved = p.with_world(p.world(), torch.zeros(3, dtype=torch.bool), LEFT_HANDED)
    np.testing.assert_allclose(moved.data, other.data, atol=1e-12)
    assert np.array_equal(moved.affine, LEFT_HANDED)
    world = tio.Points(ROWS).with_world(p.world(), torch.zeros(3, dtype=torch.bool), OBLIQUE)
    assert world.axes == "RAS"
    assert np.array_equal(world.affine, OBLIQUE)
    np.testing.assert_allclose(world.data, p.world(), atol=1e-12)


# ---- What is kept


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (torch.zeros(2, 3), torch.float32),
        (torch.zeros(2, 3, dtype=torch.float64), torch.float64),
        (torch.zeros(2, 3, dtype=torch.int16), torch.float64),
        (torch.zeros(2, 3, dtype=torch.bfloat16), torch.float32),
        (np.zeros((2, 3), np.float32), torch.float32),
        (np.zeros((2, 3), ">f8"), torch.float64),
        (np.zeros((2, 3), np.uint16), torch.float64),
        ([[1, 2, 3], (4, 5, 6)], torch.float64),
        ([torch.zeros(3), np.zeros(3)], torch.float64),
        ([], torch.float64),
        (torch.zeros(0, 3), torch.float32),
    ],
)
def test_types_of_coordinates(given, dtype):
    p = tio.Points(given, axes="ijk", affine=torch.eye(4))
    assert p.dtype == p.data.dtype == dtype
    assert p.axes == "IJK"
    assert p.data.shape == (len(given), 3)
    assert p.folded.shape == (len(given),)
    for other in (p.to_axes("LPS"), p.with_world(p.world(), p.folded)):
        assert other.dtype == dtype
        assert len(other) == len(given)


def test_tensors_are_shared_as_voxels_are_and_arrays_are_copied():
    tensor, array = torch.zeros(2, 3), np.zeros((2, 3))
    array.flags.writeable = False
    assert tio.Points(tensor).data is tensor
    p = tio.Points(array)
    p.data[0] = 1
    assert not array.any()


def test_labels_metadata_and_folded_are_kept():
    p = points(axes="IJK", affine=OBLIQUE, site="left")
    assert p.labels == ["a", "b", "c"]
    assert p.site == p["site"] == p.metadata["site"] == "left"
    folded = torch.tensor([False, True, False])
    q = p.with_world(p.world(), folded)
    r = q.with_world(q.world(), torch.tensor([True, False, False]))
    assert q.folded.tolist() == [False, True, False]
    assert r.folded.tolist() == [True, True, False]
    assert not p.folded.any()
    for other in (q, r, r.to_axes("LPS"), r.to(torch.float32), copy.copy(r), copy.deepcopy(r)):
        assert other.labels == ["a", "b", "c"]
        assert other.site == "left"
        assert type(other) is tio.Points
        other.site = "right"
        other["side"] = 3
        assert "side" in other
        assert p.metadata == {"site": "left"}
    assert r.to_axes("LPS").folded.tolist() == [True, True, False]
    assert repr(p) == "Points(3 points, axes='IJK')"
    assert [row.tolist() for row in p] == ROWS.tolist()
    assert np.asarray(p).tolist() == ROWS.tolist()


def test_coordinates_and_labels_can_be_replaced():
    p = points(axes="LPS")
    p.data = ROWS.astype(np.float32) + 1
    p.labels = np.array([3, 2, 1])
    assert p.dtype == torch.float32
    assert p.labels == [3, 2, 1]
    p.labels = None
    assert p["labels"] is None
    with pytest.raises(ValueError, match="data must have 3 rows as before, got 1"):
        p.data = [[1, 2, 3]]
    for name in ("axes", "affine", "folded", "device"):
        with pytest.raises(AttributeError):
            setattr(p, name, "RAS")


def test_dtypes_of_to():
    p = points()
    assert p.to(torch.float32).dtype == torch.float32
    assert p.to("cpu", torch.float16).dtype == torch.float32  # narrower ones are too coarse
    assert p.to(torch.int16).dtype == p.to(torch.complex64).dtype == torch.float64
    assert p.to(torch.zeros(1)).dtype == torch.float32
    assert p.to("cpu", non_blocking=True, memory_format=torch.channels_last_3d).dtype == p.dtype
    assert p.to("meta").device.type == p.to("meta").folded.device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"data": [[1, 2]]}, ValueError, r"must have shape \(N, 3\), got \(1, 2\)"),
        ({"data": torch.zeros(3)}, ValueError, r"must have shape \(N, 3\), got \(3,\)"),
        ({"data": [[1, 2, 3], [4]]}, ValueError, "data of Points must be numbers in an even"),
        ({"data": [["a", "b", "c"]]}, TypeError, "must be real numbers"),
        ({"data": torch.zeros(1, 3, dtype=torch.complex64)}, TypeError, "must be real numbers"),
        ({"data": np.zeros((1, 3), bool)}, TypeError, "must be real numbers"),
        ({"data": None}, TypeError, "must be real numbers"),
        ({"axes": "RAR"}, ValueError, "axes must be one letter each of R or L.*got 'RAR'"),
        ({"axes": "RA"}, ValueError, "axes must be"),
        ({"axes": "IJS"}, ValueError, "axes must be"),
        ({"axes": 3}, ValueError, "axes must be .*got 3"),
        ({"axes": "IJK"}, ValueError, "affine must be given for voxel axes"),
        ({"axes": "KJI", "affine": np.eye(3)}, ValueError, r"affine must have shape \(4, 4\)"),
        ({"affine": np.zeros((4, 4))}, ValueError, "affine must have"),
        ({"labels": ["a"]}, ValueError, "labels must be a list .*for each of 2 points"),
        ({"labels": "ab"}, ValueError, "labels must be a list"),
        ({"labels": [1.5, 2]}, ValueError, "labels must be a list"),
        ({"labels": [True, False]}, ValueError, "labels must be a list"),
        ({"world": 3}, ValueError, r"metadata must not be \['world'\], which Points uses itself"),
        ({"metadata": 3}, ValueError, r"metadata must not be \['metadata'\]"),
        ({"_axes": 3}, ValueError, r"metadata must not be \['_axes'\]"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match) as caught:
        tio.Points(**{"data": [[1, 2, 3], [4, 5, 6]], **arguments})
    assert "\n" not in str(caught.value)


def test_conversions_to_voxels_need_an_affine():
    with pytest.raises(ValueError, match="affine must be given for voxel axes"):
        points().to_axes("IJK")
    with pytest.raises(ValueError, match="axes must be"):
        points().to_axes("XYZ")
    with pytest.raises(KeyError, match="Points has no 'site'"):
        points()["site"]
    with pytest.raises(AttributeError, match="Points has no attribute or metadata 'site'"):
        points().site  # noqa: B018


# ---- Field of view


@pytest.mark.parametrize("axes", ["IJK", "LPS"])
def test_inside_reaches_half_a_voxel_beyond_the_centres(axes):
    x = image()
    low, high = -0.5, np.array(x.spatial_shape) - 0.5
    rows = np.array([[0, 0, 0], [low] * 3, high - 1e-3, [1, 1, 1], [1, 1, 1], [np.nan] * 3])
    rows[3, 1], rows[4, 2] = high[1] + 1e-3, low - 1e-3
    p = tio.Points(rows, axes="IJK", affine=x.affine).to_axes(axes)
    expected = [True, True, True, False, False, False]
    for where in (x, x.space, tio.LabelMap(torch.zeros(1, *x.spatial_shape), affine=x.affine)):
        assert p.inside(where).tolist() == expected
    assert tio.Points([]).inside(x).shape == (0,)


def test_inside_needs_one_grid():
    with pytest.raises(TypeError, match="image must have a spatial_shape and an affine, got int"):
        points().inside(3)
    two = tio.geometry.Space((2, 2, 2), np.stack([np.eye(4)] * 2))
    with pytest.raises(ValueError, match="image must be one space, got a batch of 2"):
        points().inside(two)


# ---- Gradients


@pytest.mark.parametrize("axes", ["IJK", "KJI", "LPS"])
def test_gradients_flow(axes):
    rows = torch.tensor(ROWS, requires_grad=True)
    nobody = torch.zeros(3, dtype=torch.bool)

    def through(rows):
        p = tio.Points(rows, axes=axes, affine=OBLIQUE)
        moved = p.with_world(p.world().sin(), nobody, LEFT_HANDED)
        return p.to_axes("SPL").data, p.to_axes("JKI", LEFT_HANDED).data, moved.data

    assert torch.autograd.gradcheck(through, rows)
    single = rows.detach().float().requires_grad_()
    tio.Points(single).world().sum().backward()
    assert single.grad.dtype == torch.float32
    assert single.grad.eq(1).all()


# ---- Subjects, batches, loaders


def landmarks(n: int) -> tio.Subject:
    p = tio.Points(torch.rand(n, 3), labels=list(range(n)), site="x")
    ends = torch.cat([torch.rand(n, 3), torch.rand(n, 3) + 1], 1)
    boxes = tio.BoundingBoxes(ends, format="rasras")
    return tio.Subject(t1=image(), landmarks=p, lesions=boxes, age=n)


def test_subjects_hold_points():
    s = landmarks(2)
    assert s.get_images_names() == ["t1"]
    assert s.landmarks is s["landmarks"]
    assert list(s.get_points()) == ["landmarks"]
    assert list(s.get_bounding_boxes()) == ["lesions"]
    assert "landmarks=Points(2 points, axes='RAS')" in repr(s)
    moved = s.to(torch.float64)
    assert moved.t1.dtype == moved.landmarks.dtype == torch.float64
    assert s.landmarks.dtype == torch.float32
    assert s.to("meta").landmarks.device.type == s.to("meta").lesions.device.type == "meta"
    again = copy.copy(s)
    assert again.landmarks is not s.landmarks
    again.landmarks.site = "y"
    assert s.landmarks.site == "x"
    with pytest.raises(ValueError, match="at least one image"):
        tio.Subject(landmarks=s.landmarks)
    with pytest.raises(ValueError, match="must not be"):
        tio.Subject(t1=s.t1, get_points=3)


def test_batches_hold_ragged_lists():
    subjects = [landmarks(n) for n in (2, 0, 3)]
    subjects[1]["extra"] = subjects[1].landmarks
    batch = tio.SubjectsBatch.from_subjects(subjects)
    assert [len(p) for p in batch.metadata["landmarks"]] == [2, 0, 3]
    moved = batch.to(torch.float64)
    assert {p.dtype for p in moved.landmarks} == {torch.float64}
    assert moved.extra[0] is None
    assert moved.age.tolist() == [2, 0, 3]
    assert {p.dtype for p in batch.landmarks} == {torch.float32}
    for before, after in zip(subjects, moved.unbatch(), strict=True):
        assert torch.equal(after.landmarks.data, before.landmarks.data.double())
        assert after.landmarks.labels == before.landmarks.labels
        assert torch.equal(after.lesions.data, before.lesions.data)


def test_samples_of_a_dataset_own_their_points():
    s = landmarks(2)
    before = s.landmarks.data.clone()
    tio.SubjectsDataset([s])[0].landmarks.data.zero_()
    tio.SubjectsDataset([s], lambda subject: subject)[0].landmarks.data.zero_()
    for batch in tio.SubjectsLoader(tio.SubjectsDataset([s] * 3), batch_size=2):
        for points in batch.landmarks:
            points.data.zero_()
    assert torch.equal(s.landmarks.data, before)


def _same(a: tio.Points, b: tio.Points) -> bool:
    return torch.equal(a.data, b.data) and a.labels == b.labels and a.metadata == b.metadata


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("loader", [DataLoader, tio.SubjectsLoader])
def test_loaders(loader, workers):
    subjects = [landmarks(n) for n in (1, 2, 0, 4)]
    batches = list(loader(tio.SubjectsDataset(subjects), batch_size=2, num_workers=workers))
    for n, batch in enumerate(batches):
        for k in range(2):
            assert _same(batch.landmarks[k], subjects[2 * n + k].landmarks)
            assert torch.equal(batch.lesions[k].data, subjects[2 * n + k].lesions.data)


@pytest.mark.parametrize("workers", WORKERS)
def test_dicts_in_a_plain_loader(workers):
    samples = [{"x": torch.rand(1, 2, 2, 2), "p": landmarks(n).landmarks} for n in (1, 2)]
    (batch,) = DataLoader(samples, batch_size=2, num_workers=workers)
    assert batch["x"].shape == (2, 1, 2, 2, 2)
    assert all(_same(a, b["p"]) for a, b in zip(batch["p"], samples, strict=True))


def test_pickling():
    p = points(axes="IJK", affine=OBLIQUE, site="left").with_world(
        torch.tensor(ROWS), torch.tensor([True, False, False])
    )
    again = pickle.loads(pickle.dumps(p))
    assert _same(p, again)
    assert (again.axes, again.folded.tolist()) == ("IJK", [True, False, False])
    assert np.array_equal(again.affine, OBLIQUE)
    with pytest.raises(ValueError, match="read-only"):
        again.affine[0, 0] = 3


@needs_fork
@pytest.mark.filterwarnings("ignore:.*cannot be pickled:RuntimeWarning")
def test_workers_send_points_of_a_graph_and_with_metadata_that_cannot_be_pickled():
    rows = torch.tensor(ROWS, requires_grad=True) * 2
    s = tio.Subject(t1=image(), landmarks=tio.Points(rows, call=lambda: 3))
    (batch,) = DataLoader(tio.SubjectsDataset([s]), num_workers=1)
    assert torch.equal(batch.landmarks[0].data, rows.detach())
    assert "lambda" in repr(batch.landmarks[0].call)


@pytest.mark.gpu
@needs_gpu
def test_points_on_a_gpu():
    p = points(axes="IJK", affine=OBLIQUE).to("cuda")
    folded = torch.tensor([True, False, False])
    for q in (p, p.to_axes("LPS"), p.with_world(p.world().cpu(), folded), p.to(torch.float32)):
        assert q.device.type == q.folded.device.type == "cuda"
    assert p.world().device.type == p.inside(image()).device.type == "cuda"
    np.testing.assert_allclose(p.world().cpu(), to_ras(ROWS, "IJK", OBLIQUE), atol=1e-12)
    batch = tio.SubjectsBatch.from_subjects([landmarks(2)]).pin_memory().to("cuda")
    assert batch.landmarks[0].device.type == batch.lesions[0].device.type == "cuda"
