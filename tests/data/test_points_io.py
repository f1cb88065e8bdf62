"""Files of points: tables, and lists of 3D Slicer."""

import csv
import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.data.test_points import OBLIQUE, ROWS, to_ras
from torchio_gpu.data import io

SUFFIXES = [".csv", ".tsv", ".fcsv", ".mrk.json"]
#: Labels with what separates fields and lines in these formats.
LABELS = ["F-1", 'with, "quotes"\tand é', "# two\nlines"]


def written(tmp_path, suffix: str, text: str | bytes):
    path = tmp_path / f"points{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("axes", ["RAS", "LPS", "IJK", "SPL"])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_round_trip(tmp_path, suffix, axes, labels):
    path = tmp_path / f"points{suffix.upper()}"
    p = tio.Points(ROWS, axes=axes, affine=OBLIQUE, labels=labels)
    p.save(path)
    again = tio.Points(path)
    assert again.axes == ("RAS" if axes == "RAS" or suffix in (".csv", ".tsv") else "LPS")
    assert again.labels == labels
    assert again.dtype == torch.float64
    if axes in ("RAS", "LPS"):
        assert torch.equal(again.to_axes(axes).data, p.data)
    np.testing.assert_allclose(again.world(), to_ras(ROWS, axes, OBLIQUE), atol=1e-12)
    again.save(str(path))
    assert torch.equal(tio.Points(str(path)).data, again.data)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_points_no_points_and_numbers(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rows = np.array([[1.0, 2, 3], [np.nan] * 3, [1 / 3, -1e-9, 1e9]], np.float32)
    tio.Points(rows, labels=[1, 2, 3]).save(path)
    again = tio.Points(path)
    np.testing.assert_array_equal(again.data.float(), rows)
    assert again.labels == ["1", "2", "3"]
    tio.Points([], axes="LPS").save(path)
    assert tio.Points(path).data.shape == (0, 3)
    assert tio.Points(path).labels is None


def test_arguments_come_before_the_file(tmp_path):
    path = written(tmp_path, ".csv", "1,2,3,a\n4,5,6,b\n")
    p = tio.Points(path, axes="IJK", affine=OBLIQUE, labels=[7, 8], site="x")
    assert (p.axes, p.labels, p.site) == ("IJK", [7, 8], "x")
    rows = np.array([[1.0, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(p.world(), to_ras(rows, "IJK", OBLIQUE), atol=1e-12)
    assert tio.Points(path).labels == ["a", "b"]
    assert np.array_equal(tio.Points(path, affine=OBLIQUE).affine, OBLIQUE)


MARKED = "\ufeff# mm\r\n\r\nx,y,z,label\r\n1,2,3,a\r\n,,,\r\n4,5,6,b"
TABLES = {
    "numbers": ("1,2,3\n4,5,6\n", None),
    "labels": ("1, 2, 3, a\n4, 5, 6, b\n", ["a", "b"]),
    "names": ("x,y,z\n1,2,3\n4,5,6\n", None),
    "names in another order": ("Name,Z,Y,X,extra\na,3,2,1,9\nb,6,5,4,9\n", ["a", "b"]),
    "byte order mark, comment, empty lines, other line ends": (MARKED, ["a", "b"]),
    "some labels": ("x,y,z,label\n1,2,3\n4,5,6,b\n", ["", "b"]),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables(tmp_path, name, suffix):
    text, labels = TABLES[name]
    text = text.replace(",", "\t" if suffix == ".tsv" else ",")
    p = tio.Points(written(tmp_path, suffix, text))
    assert p.data.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert p.axes == "RAS"
    assert p.labels == labels


FCSV = """# Markups fiducial file version = {version}
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,1.5,-2,30,0,0,0,1,1,1,0,tip,"a, b",,2,0
vtkMRMLMarkupsFiducialNode_1,4,5,6,0,0,0,1,1,1,0,"x, y",,
"""


@pytest.mark.parametrize(
    ("system", "axes"), [("LPS", "LPS"), ("RAS", "RAS"), ("0", "RAS"), ("1", "LPS")]
)
def test_lists_as_slicer_writes_them(tmp_path, system, axes):
    p = tio.Points(written(tmp_path, ".fcsv", FCSV.format(version=4.11, system=system)))
    assert p.data.tolist() == [[1.5, -2, 30], [4, 5, 6]]
    assert p.labels == ["tip", "x, y"]
    assert p.axes == axes
    old = "# name = old\n# columns = label,x,y,z,sel,vis\ntip,1,2,3,1,1\n"
    p = tio.Points(written(tmp_path, ".fcsv", old))
    assert (p.data.tolist(), p.labels, p.axes) == ([[1, 2, 3]], ["tip"], "RAS")


def test_written_lists_have_the_fields_of_slicer(tmp_path):
    path = tmp_path / "a.fcsv"
    tio.Points([[1, 2, 3]], axes="LPS", labels=["a, b"]).save(path)
    lines = path.read_text().splitlines()
    columns = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    assert lines[:3] == ["# Markups fiducial file version = 4.11", "# CoordinateSystem = LPS",
                         f"# columns = {columns}"]  # fmt: skip
    (fields,) = csv.reader(lines[3:])
    assert dict(zip(columns.split(","), fields, strict=True)) == {
        "id": "1", "x": "1.0", "y": "2.0", "z": "3.0", "ow": "0", "ox": "0", "oy": "0", "oz": "1",
        "vis": "1", "sel": "1", "lock": "0", "label": "a, b", "desc": "", "associatedNodeID": "",
    }  # fmt: skip
    path = tmp_path / "a.mrk.json"
    tio.Points([[1, 2, 3], [np.nan] * 3], labels=["é", "gone"]).save(path)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content["@schema"].endswith("/markups-schema-v1.0.3.json#")
    (markups,) = content["markups"]
    assert (markups["type"], markups["coordinateSystem"]) == ("Fiducial", "RAS")
    first, second = markups["controlPoints"]
    assert (first["position"], first["label"]) == ([1, 2, 3], "é")
    assert first["positionStatus"] == "defined"
    assert (second.get("position"), second["positionStatus"]) == (None, "missing")


SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/markups-schema-v1.0.0.json#"


def markups(**members) -> str:
    return json.dumps({"@schema": SCHEMA, "markups": [{"type": "Curve", **members}]})


def test_markups_of_other_writers(tmp_path):
    points = [
        {"position": [1, 2.5, -3], "label": "a"},
        {"position": [4, 5, 6], "positionStatus": "defined"},
        {"positionStatus": "undefined", "position": [0, 0, 0]},
    ]
    p = tio.Points(written(tmp_path, ".mrk.json", markups(controlPoints=points)))
    np.testing.assert_array_equal(p.data, [[1, 2.5, -3], [4, 5, 6], [np.nan] * 3])
    assert (p.axes, p.labels) == ("LPS", ["a", "", ""])
    unit = ["UCUM", "mm", "millimeter"]
    text = markups(coordinateSystem="RAS", coordinateUnits=unit)
    p = tio.Points(written(tmp_path, ".mrk.json", text))
    assert (p.axes, len(p)) == ("RAS", 0)


DAMAGED = [
    (".csv", "x,y,z\n1,2,3\n4,5\n", "line 3 must have 3 fields or more, got 2"),
    (".csv", "x,y,z\n1,a,3\n", "y in line 2 must be a finite number or nan, got 'a'"),
    (".csv", "x,y,z\n1,inf,3\n", "y in line 2 must be a finite number"),
    (".csv", "x,y,z\n1,1_0,3\n", "y in line 2 must be a finite number"),
    (".csv", "x,y,z\n1,,3\n", "y in line 2 must be a finite number"),
    (".csv", "a,b,c\n1,2,3\n", "line 1 must name each of x, y and z once, got 'a,b,c'"),
    (".csv", "x,y,z,x\n1,2,3,4\n", "line 1 must name each of x, y and z once"),
    (".csv", "1,2,3,a,b\n", "line 1 must be x, y, z and perhaps a label.*got 5 fields"),
    (".csv", "a,1,2,3\n", "x in line 1 must be a finite number"),
    (".csv", "\n1;2;3\n", "line 2 must name each of x, y and z"),
    (".csv", 'x,y,z,label\n1,2,3,"a\n', "line 2: unexpected end of data"),
    (".tsv", "1,2,3\n", "line 1 must name"),
    (".csv", b"\xff\xfe\x00", "can't decode"),
    (".fcsv", FCSV.format(version=4, system=2), "CoordinateSystem in line 2 must be LPS.*'2'"),
    (".fcsv", "# columns = id,x,y\n1,2,3\n", "columns in line 1 must name each of x, y and z"),
    (".fcsv", "# a = b\n1,2,3\n", "line 2 must have 4 fields or more, got 3"),
    (".fcsv", "1,2,3,b\n", "z in line 1 must be a finite number"),
    (".mrk.json", "{", "line 1 column 2"),
    (".mrk.json", "[" * 100000, "JSON must not be nested so deeply|recursion"),
    (".mrk.json", "[]", r"the file must be a JSON object, got \[\]"),
    (".mrk.json", "{}", "@schema must be version 1 of markups, got ''"),
    (".mrk.json", json.dumps({"@schema": SCHEMA}), "one list of points, got 0"),
    (".mrk.json", json.dumps({"@schema": SCHEMA, "markups": [1, 2]}), "one list of points, got 2"),
    (".mrk.json", json.dumps({"@schema": SCHEMA, "markups": [1]}), r"markups\[0\] must be a JSON"),
    (".mrk.json", markups(coordinateSystem="IJK"), "coordinateSystem of .* LPS or RAS, got 'IJK'"),
    (".mrk.json", markups(coordinateSystem=1), "coordinateSystem of .* must be a string, got 1"),
    (".mrk.json", markups(coordinateUnits="um"), "coordinateUnits of .* must be 'mm', got 'um'"),
    (".mrk.json", markups(controlPoints={}), "controlPoints of .* must be a list"),
    (".mrk.json", markups(controlPoints=[3]), r"controlPoints\[0\] must be a JSON object, got 3"),
    (".mrk.json", markups(controlPoints=[{}]), r"position of controlPoints\[0\] must be three"),
    *[
        (".mrk.json", markups(controlPoints=[{"position": p}]), "three finite numbers")
        for p in ([1, 2], [1, 2, "3"], [1, 2, True], [1, 2, float("inf")], [1, 2, 10**400], "abc")
    ],
    (".mrk.json", markups(controlPoints=[{"label": 3}]), "label of .* must be a string, got 3"),
]


@pytest.mark.parametrize(("suffix", "text", "match"), DAMAGED)
def test_damaged_files_are_errors_that_name_the_place(tmp_path, suffix, text, match):
    path = written(tmp_path, suffix, text)
    with pytest.raises(OSError, match=match) as caught:
        tio.Points(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"'{path}' could not be read: ")


def test_names_of_files(tmp_path):
    for path in ("a.json", "a.txt", "csv"):
        with pytest.raises(ValueError, match=r"path of points must end in one of \.csv, \.tsv"):
            tio.Points(path)
        with pytest.raises(ValueError, match=r"path of points must end in one of \.csv, \.tsv"):
            tio.Points(ROWS).save(path)
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        tio.Points(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="path must be in an existing folder"):
        tio.Points(ROWS).save(tmp_path / "no" / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(ValueError, match="path must be a file to replace"):
        tio.Points(ROWS).save(tmp_path / "b.csv")
    with pytest.raises(OSError, match="could not be read"):
        tio.Points(tmp_path / "b.csv")
    with pytest.raises(OSError, match="could not be written"):
        tio.Points(ROWS[:1], labels=["\ud800"]).save(tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_file_that_was_cut_is_read_or_refused(tmp_path, suffix):
    """A cut that leaves whole lines cannot be told; all others are one-sentence errors."""
    tio.Points(ROWS, labels=LABELS).save(tmp_path / f"a{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    for size in range(len(content)):
        path = written(tmp_path, suffix, content[:size])
        error = ""
        try:
            rows = io.read_points(path).rows
        except OSError as caught:
            error = str(caught)
        assert error.startswith(f"'{path}' could not be read: ") or not error
        assert "\n" not in error
        if not error:
            assert rows.shape[1] == 3
            assert suffix != ".mrk.json"
