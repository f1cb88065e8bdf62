"""Bad input of points, boxes and maps: one sentence that names argument, wish and fact."""

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.geometry import BSplineField

ROWS = [[1.0, 2, 3], [4, 5, 6]]
BOX = [[0.0, 0, 0, 1, 1, 1]]
NOBODY = torch.zeros(2, dtype=torch.bool)
FLAT = np.diag([1.0, 1, 0, 1])
BEND = BSplineField(np.zeros((2, 3, 4, 4, 4)), np.eye(4)[None].repeat(2, 0))


def points():
    return tio.Points(ROWS)


def boxes():
    return tio.BoundingBoxes(BOX, format="rasras")


def image(n=8):
    return tio.ScalarImage(torch.rand(1, n, n, n))


def subject(**values):
    return tio.Subject(t1=image(), **values)


def batch(*values):
    return tio.SubjectsBatch.from_subjects([subject(tips=value) for value in values])


def matrices(count):
    return tio.SpatialMap(np.eye(4)[None].repeat(count, 0))


CASES = {
    # coordinates
    "one row": (lambda: tio.Points([1, 2, 3]), r"data of Points must have shape .*got \(3,\)"),
    "a stack": (lambda: tio.Points(np.zeros((2, 2, 3))), r"must have shape .*got \(2, 2, 3\)"),
    "a dict": (lambda: tio.Points({"x": 1}), r"must be real numbers, got \{'x': 1\}"),
    "bytes": (lambda: tio.Points(b"abc"), "data of Points must be real numbers, got b'abc'"),
    "infinite": (
        lambda: tio.Points([*ROWS, [0, -np.inf, 0]]),
        r"data of Points must be finite, or NaN for a missing point, got .* for point 2",
    ),
    "infinite, replaced": (
        lambda: setattr(points(), "data", np.full((2, 3), np.inf)), "must be finite, or NaN",
    ),
    "boxes as points": (lambda: tio.Points(boxes()), r"must have shape \(N, 3\), got \(1, 6\)"),
    "points as boxes": (
        lambda: tio.BoundingBoxes(points(), format="rasras"), r"shape \(N, 6\), got \(2, 3\)",
    ),
    "a file of boxes": (
        lambda: tio.BoundingBoxes("a.csv", format="rasras"), "must be real numbers, got 'a.csv'",
    ),
    "box of negative size": (
        lambda: tio.BoundingBoxes([[0, 0, 0, -1, 1, 1]], format="lpslps"),
        r"must have sizes >= 0 in format 'lpslps', got \[0.0, .*\] for box 0",
    ),
    "axes of boxes": (
        lambda: tio.BoundingBoxes(BOX, axes="RAS"), r"must not be \['axes'\], which BoundingBoxes",
    ),
    # affines
    "affine (3, 4)": (
        lambda: tio.Points(ROWS, affine=np.eye(4)[:3]), r"affine must have shape \(4, 4\), got",
    ),
    "affine of a batch": (
        lambda: tio.Points(ROWS, affine=np.eye(4)[None]), r"affine must have shape \(4, 4\), got",
    ),
    "singular affine": (
        lambda: tio.BoundingBoxes(BOX, affine=FLAT), "affine must be invertible, got the singular",
    ),
    "affine with NaN": (
        lambda: tio.Points(ROWS, affine=np.full((4, 4), np.nan)), "affine must be finite, got",
    ),
    "affine of text": (
        lambda: tio.Points(ROWS, affine="abc"), "affine must be made of numbers, got 'abc'",
    ),
    "affine of other axes": (
        lambda: points().to_axes("IJK", FLAT), "affine must be invertible, got the singular",
    ),
    "affine of moved points": (
        lambda: points().with_world(torch.zeros(2, 3), NOBODY, FLAT), "affine must be invertible",
    ),
    # moved points
    "too many places": (
        lambda: points().with_world(torch.zeros(3, 3), NOBODY),
        r"points must have shape \(2, 3\), got \(3, 3\)",
    ),
    "too many flags": (
        lambda: points().with_world(torch.zeros(2, 3), torch.zeros(3, dtype=torch.bool)),
        r"folded must have shape \(2,\), got \(3,\)",
    ),
    "too few places of boxes": (
        lambda: boxes().with_world(torch.zeros(97, 3), torch.zeros(97, dtype=torch.bool)),
        r"points must have shape \(98, 3\), got \(97, 3\)",
    ),
    "a number in brackets": (lambda: points()[0], "Points takes names in brackets, got 0"),
    "a slice in brackets": (lambda: boxes()[:1], "BoundingBoxes takes names in brackets, got sl"),
    # batches and dicts
    "points and a tensor": (
        lambda: tio.Flip(0)(batch(points(), torch.rand(2, 3))),
        "'tips' must be points or boxes in all samples that have it, .*got Tensor in sample 1",
    ),
    "text and points": (
        lambda: tio.Flip(0)(batch("none", points())), "'tips' must be points .*got str in sample 0",
    ),
    "a dict without images": (
        lambda: tio.Flip(0)({"tips": points()}), r"at least one image, got keys \['tips'\]",
    ),
    "points alone": (lambda: tio.Flip(0)(points()), "a transform takes a Subject.*got Points"),
    "map of a number": (
        lambda: tio.Flip(0)(subject(age=3)).applied_map("age"),
        "name must be that of an image, points or boxes, 'age' is int",
    ),
    "map of numbers": (
        lambda: tio.Flip(0)(batch(3, 4)).applied_map("tips"), "name must be .*'tips' is int",
    ),
    # maps
    "matrix of lists": (
        lambda: tio.SpatialMap([[1, 2]]).pull(np.zeros((1, 3))),
        r"matrix must be an array or tensor of shape \(B, 4, 4\), got list",
    ),
    "inverse of a singular matrix": (
        lambda: tio.SpatialMap(FLAT[None]).inverse(), "matrix must be invertible, got",
    ),
    "push by a singular matrix": (
        lambda: tio.SpatialMap(FLAT[None]).push(np.zeros((1, 3))), "matrix must be invertible, got",
    ),
    "singular matrix for SimpleITK": (
        lambda: tio.SpatialMap(FLAT[None]).as_sitk(), "matrix .*SimpleITK must be invertible, got",
    ),
    "product with a matrix": (
        lambda: matrices(1) @ np.eye(4), "a map is composed with a SpatialMap, got ndarray",
    ),
    "product of 2 and 3 samples": (
        lambda: matrices(2) @ matrices(3),
        "maps must be of as many samples, or of one, to be composed: got 2 and 3",
    ),
    "product of 2 bending and 3 samples": (
        lambda: tio.SpatialMap(None, BEND) @ matrices(3), "composed: got 2 and 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_one_sentence(name):
    call, match = CASES[name]
    with pytest.raises((TypeError, ValueError), match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


EMPTY = {
    ".csv": ["", "\n \n", "\ufeff"],
    ".tsv": ["", "\t\n"],
    ".fcsv": ["", "\n"],
    ".mrk.json": ["", " "],
}


@pytest.mark.parametrize("suffix", EMPTY)
def test_empty_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"points{suffix}"
    for text in EMPTY[suffix]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(OSError, match="could not be read: a file of points must not be empty"):
            tio.Points(path)


LACKING = {
    ".csv": ["x,y\n1,2\n", "1,2\n", "label,x,z\na,1,2\n", "x;y;z\n1;2;3\n", "1 2 3\n"],
    ".tsv": ["x\ty\n1\t2\n", "1,2,3\n"],
    ".fcsv": ["# columns = id,x,z\na,1,2\n", "# CoordinateSystem = LPS\n1,2\n"],
    ".mrk.json": [
        "null",
        json.dumps({"markups": [{"controlPoints": [{"position": [1, 2, 3]}]}]}),
        json.dumps({"@schema": "markups-schema-v1.0.0", "markups": [{"controlPoints": [{}]}]}),
    ],
}


@pytest.mark.parametrize("suffix", LACKING)
def test_files_that_lack_columns_are_refused(tmp_path, suffix):
    path = tmp_path / f"points{suffix}"
    for text in LACKING[suffix]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(OSError, match=r"could not be read: .* must .*got") as caught:
            tio.Points(path)
        assert "\n" not in str(caught.value)


def test_missing_points_are_neither_moved_nor_flagged():
    rows = [[1.0, 2, np.nan], [3, 4, 5], [np.nan] * 3]
    before = subject(tips=tio.Points(rows), other=tio.Points(rows[1:2]))
    torch.manual_seed(0)
    steps = [tio.RandomAffine(), tio.RandomElasticDeformation(5, 0.3), tio.Flip(0)]
    for transform in (*steps, tio.Compose(steps)):
        after = transform(before)
        assert not after.tips.folded.any()
        assert torch.equal(after.tips.data[1], after.other.data[0])
        assert after.tips.data[[0, 2]].isnan().any(1).all()
        assert not after.tips.inside(after.t1)[[0, 2]].any()


def test_a_sample_without_points_stays_without():
    before = batch(points(), None, boxes())
    after = tio.RandomAffine()(before)
    assert [type(value) for value in after.tips] == [tio.Points, type(None), tio.BoundingBoxes]
    assert after.unbatch()[1].tips is None
    assert len(after.applied_map("tips")) == 3
    dataset = tio.SubjectsDataset([subject(tips=points()), subject()], tio.RandomAffine())
    (loaded,) = tio.SubjectsLoader(dataset, batch_size=2)
    assert [None if value is None else len(value) for value in loaded.tips] == [2, None]


@pytest.mark.parametrize("nested", [[points()], {"tip": points()}, (points(), points())])
def test_points_within_other_values_are_warned_of(nested):
    name = f"within_{type(nested).__name__}"  # a warning is given once for each name
    before = subject(**{name: nested, "tips": points()})
    with pytest.warns(RuntimeWarning, match=f"{name!r} holds points within a .* give each a name"):
        after = tio.Affine(1, 0, (1, 0, 0))(before)
    assert after[name] is nested
    assert not torch.equal(after.tips.data, before.tips.data)
