"""Zarr arrays and groups, OME-Zarr and NIfTI-Zarr, written by the packages zarr and nibabel."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import torchio_gpu as tio

zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 needs Python 3.11")

OBLIQUE = np.array([[0, -2, 0.1, 5], [1.5, 0, 0, -60], [0, 0.3, 3, 0.125], [0, 0, 0, 1]])
RNG = np.random.default_rng(0)
AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    *({"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"),
]


def ome(path: Path, arrays: list[np.ndarray], axes: list, transforms: list, version="0.5", **more):
    """Write arrays as the resolutions of an OME-Zarr image."""
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for n, (array, each) in enumerate(zip(arrays, transforms, strict=True)):
        group.create_array(str(n), data=array)
        datasets.append({"path": str(n), "coordinateTransformations": each})
    image = {"axes": axes, "datasets": datasets, "version": version, **more}
    content = {"multiscales": [image]}
    group.attrs.update({"ome": {"version": version, **content}} if version == "0.5" else content)
    return group


def scale(*values: float) -> dict:
    return {"type": "scale", "scale": list(values)}


def translation(*values: float) -> dict:
    return {"type": "translation", "translation": list(values)}


# ---- What this library writes


def test_a_written_image_is_ome_zarr(tmp_path):
    affine = np.diag([0.5, 1.25, 3, 1])
    affine[:3, 3] = 5, -6, 7.125
    x = torch.rand(2, 5, 6, 7)
    tio.ScalarImage(x, affine=affine).save(tmp_path / "x.zarr")
    group = zarr.open_group(tmp_path / "x.zarr", mode="r")
    assert group["0"].shape == (2, 7, 6, 5)
    assert np.array_equal(group["0"][...], x.permute(0, 3, 2, 1).numpy())
    assert group.attrs["ome"]["version"] == "0.5"
    (image,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    assert [axis.get("unit") for axis in image["axes"]] == [None, *["millimeter"] * 3]
    first, second = image["datasets"][0]["coordinateTransformations"]
    assert first == scale(1, 3, 1.25, 0.5)
    assert second == translation(0, 7.125, -6, 5)
    attribute = json.loads((tmp_path / "x.zarr/0/zarr.json").read_text())["attributes"]
    assert attribute["torchio_gpu"]["affine"] == affine.tolist()


@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([-1.0, 1, 1, 1])], ids=["oblique", "flipped"])
def test_ome_metadata_are_left_out_where_they_would_be_wrong(tmp_path, affine):
    tio.ScalarImage(torch.rand(1, 5, 6, 7), affine=affine).save(tmp_path / "x.zarr")
    assert dict(zarr.open_group(tmp_path / "x.zarr").attrs) == {}
    assert np.array_equal(tio.ScalarImage(tmp_path / "x.zarr").affine, affine)


def test_folders_of_others_are_not_replaced(tmp_path):
    image = tio.ScalarImage(torch.rand(1, 5, 6, 7))
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr/thesis.tex").touch()
    with pytest.raises(ValueError, match=r"path must be a Zarr group to replace, or new"):
        image.save(tmp_path / "x.zarr")
    assert (tmp_path / "x.zarr/thesis.tex").exists()
    with pytest.raises(ValueError, match=r"must not end in \.nii\.zarr, which is only read"):
        image.save(tmp_path / "x.nii.zarr")


# ---- OME-Zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_units_and_transformations(tmp_path, version):
    x = RNG.integers(0, 100, (2, 3, 4, 5, 6)).astype(np.uint16)
    transforms = [[scale(1, 1, 3, 0.5, 0.25), translation(0, 0, 10, 20, 30)]]
    ome(tmp_path / "x.zarr", [x], AXES, transforms, version, coordinateTransformations=[
        scale(1, 1, 1000, 1000, 2000)
    ])  # fmt: skip
    image = tio.ScalarImage(tmp_path / "x.zarr")
    assert image.shape == (6, 6, 5, 4)  # times of each channel are next to each other
    expected = torch.from_numpy(x.astype(np.int32)).permute(0, 1, 4, 3, 2).reshape(6, 6, 5, 4)
    assert torch.equal(image.data, expected)
    part = tio.ScalarImage(tmp_path / "x.zarr")[1:3, 2:, 1]
    assert torch.equal(part.data, expected[:, 1:3, 2:, 1:2])
    matrix = np.diag([0.5, 0.5, 3, 1])  # micrometres become millimetres
    matrix[:3, 3] = 60, 20, 10
    np.testing.assert_allclose(image.affine, matrix, rtol=1e-14)


def test_resolutions_and_members(tmp_path):
    fine, coarse = np.ones((4, 6, 8), "int16"), np.zeros((2, 3, 4), "int16")
    axes = AXES[2:]
    levels = [[scale(1e3, 1e3, 1e3)], [scale(2e3, 2e3, 2e3), translation(500, 500, 500)]]
    ome(tmp_path / "x.zarr/image", [fine, coarse], axes, levels)
    path = tmp_path / "x.zarr"
    zarr.open_group(path, mode="a").create_group("tables")
    with pytest.raises(ValueError, match=r"path must name one array, the group has .*image.*::"):
        tio.ScalarImage(path).load()
    image = tio.ScalarImage(f"{path}::image")
    assert image.shape == (1, 8, 6, 4)
    assert np.array_equal(image.affine, np.eye(4))
    lower = tio.ScalarImage(f"{path}::image/1")
    assert lower.shape == (1, 4, 3, 2)
    assert np.array_equal(
        lower.affine, [[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]]
    )
    assert torch.equal(lower.data, torch.zeros(1, 4, 3, 2, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"there is no 'image/7', the group has"):
        tio.ScalarImage(f"{path}::image/7").load()
    with pytest.raises(ValueError, match=r"there is no '\.\./x\.zarr/image'"):
        tio.ScalarImage(f"{path}::../x.zarr/image").load()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_resolution_is_opened_by_its_folder(tmp_path, version):
    levels = [[scale(3, 2, 1)], [scale(6, 4, 2)]]
    axes = [axis | {"unit": "millimeter"} for axis in AXES[2:]]
    arrays = [RNG.random((4, 5, 6)), RNG.random((2, 3, 3))]
    path = tmp_path / "x.zarr/image"
    ome(path, arrays, axes, levels, version)
    for n in (0, 1):
        expected, image = tio.ScalarImage(f"{path}::{n}"), tio.ScalarImage(path / str(n))
        assert image.shape == (1, *arrays[n].shape[::-1])
        assert torch.equal(image.data, expected.data)
        assert np.array_equal(image.affine, expected.affine)


def test_letters_of_axes_are_by_type(tmp_path):
    axes = [{"name": "i", "type": "channel"}, *AXES[2:4], {"name": "x", "type": "space"}]
    ome(tmp_path / "x.zarr", [np.ones((2, 4, 5, 6))], axes, [[scale(1, 1, 1, 1)]])
    assert tio.ScalarImage(tmp_path / "x.zarr").shape == (2, 6, 5, 4)
    axes = [{"name": name, "type": "space"} for name in "kix"]
    ome(tmp_path / "y.zarr", [np.ones((4, 5, 6))], axes, [[scale(1, 1, 1)]])
    assert tio.ScalarImage(tmp_path / "y.zarr").shape == (1, 6, 5, 4)
    axes = AXES[:2]
    ome(tmp_path / "z.zarr", [np.ones((4, 5))], axes, [[scale(1, 1)]])
    with pytest.raises(ValueError, match="must have an axis in space"):
        tio.ScalarImage(tmp_path / "z.zarr").load()


def test_a_failed_replacement_leaves_the_former_group(tmp_path, monkeypatch):
    path = tmp_path / "x.zarr"
    tio.ScalarImage(torch.zeros(1, 4, 5, 6)).save(path)
    rename = os.rename

    def fail(source, target):
        if Path(source).name.startswith("image"):
            raise OSError("disk")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="disk"):
        tio.ScalarImage(torch.ones(1, 4, 5, 6)).save(path)
    assert not tio.ScalarImage(path).data.any()


def test_orientations_of_axes(tmp_path):
    directions = ("superior-to-inferior", "left-to-right", "anterior-to-posterior")
    axes = [
        {"name": n, "type": "space", "orientation": {"type": "anatomical", "value": value}}
        for n, value in zip("zyx", directions, strict=True)
    ]
    ome(tmp_path / "x.zarr", [np.ones((4, 5, 6))], axes, [[scale(3, 2, 1), translation(5, 6, 7)]])
    image = tio.ScalarImage(tmp_path / "x.zarr")
    assert image.orientation_str == "PRI"
    expected = [[0, 2, 0, 6], [-1, 0, 0, -7], [0, 0, -3, -5], [0, 0, 0, 1]]
    assert np.array_equal(image.affine, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": AXES[3:]}, "must have the 2 axes of multiscales, got 3"),
        ({"datasets": []}, "multiscales must be as in OME-Zarr"),
        ({"datasets": [{"path": "../../etc"}]}, r"multiscales must name an array of the group"),
        ({"datasets": [{"path": "nothing"}]}, r"must name an array of the group: got 'nothing'"),
        ({"datasets": 5}, "multiscales must be as in OME-Zarr"),
        ({"axes": [{"type": "space"}] * 3}, "multiscales must be as in OME-Zarr"),
        (
            {"coordinateTransformations": [{"type": "rotation", "rotation": []}]},
            "must be scales and translations: transformation rotation is not known",
        ),
        ({"coordinateTransformations": [scale(1, 2)]}, r"scale must have 3 numbers, got \[1, 2\]"),
        ({"coordinateTransformations": [{"type": "scale", "path": "s"}]}, "must be scales"),
        ({"coordinateTransformations": [scale(1, 0, 1)]}, r"must have an invertible \(4, 4\)"),
        ({"coordinateTransformations": [scale(1, "a", 1)]}, "must be scales"),
    ],
)
def test_metadata_that_do_not_fit(tmp_path, change, message):
    group = ome(tmp_path / "x.zarr", [np.ones((4, 5, 6))], AXES[2:], [[]])
    image = {**group.attrs["ome"]["multiscales"][0], **change}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with pytest.raises(ValueError, match=rf"x\.zarr' cannot be read: .*{message}"):
        tio.ScalarImage(tmp_path / "x.zarr").load()


# ---- Arrays that are no OME-Zarr


@pytest.mark.parametrize("version", [2, 3])
def test_plain_arrays(tmp_path, version):
    x = RNG.random((2, 3, 4, 5))
    zarr.create_array(tmp_path / "x.zarr", data=x, zarr_format=version)
    group = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=version)
    group.create_array("a/b", data=x)
    group.create_array("c", data=x[0])
    zarr.create_array(tmp_path / "other", data=x, zarr_format=version)  # known by its content
    for name, expected in (
        ("x.zarr", x), ("g.zarr::a/b", x), ("g.zarr", x[:1]), ("g.zarr::c", x[:1]), ("other", x),
    ):  # fmt: skip
        image = tio.ScalarImage(tmp_path / name)
        assert np.array_equal(image[:2, 1:3].data.numpy(), expected[:, :2, 1:3])
        assert np.array_equal(image.affine, np.eye(4))


def test_names_of_axes_of_an_array(tmp_path):
    x = RNG.random((5, 2, 4, 3))
    zarr.create_array(tmp_path / "x.zarr", data=x, dimension_names=("x", "c", "z", "y"))
    assert np.array_equal(tio.ScalarImage(tmp_path / "x.zarr").numpy(), x.transpose(1, 0, 3, 2))


def test_five_axes_without_names(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=np.ones((1, 1, 2, 2, 2)))
    with pytest.raises(ValueError, match="array must have 2, 3 or 4 axes"):
        tio.ScalarImage(tmp_path / "x.zarr").load()


@pytest.mark.parametrize(
    "change",
    [
        {"filters": [{"id": "pickle"}], "compressor": None},
        {"compressor": {"id": "pickle"}},
        {"filters": [{"id": "pickle"}], "dtype": "|O", "fill_value": 0},
    ],
)
def test_pickled_voxels_are_refused(tmp_path, change):
    zarr.create_array(tmp_path / "x.zarr", data=np.ones((2, 3, 4)), zarr_format=2)
    file = tmp_path / "x.zarr/.zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    (tmp_path / "x.zarr/0.0.0").write_bytes(pickle.dumps(Trap()))
    with pytest.raises((ValueError, OSError), match=r"x\.zarr' (cannot be read|should be a Zarr)"):
        tio.ScalarImage(tmp_path / "x.zarr").load()


class Trap:
    """Value whose pickle runs a function."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_damaged_stores(tmp_path):
    image = tio.ScalarImage(torch.rand(1, 70, 70, 70))
    path = tmp_path / "x.zarr"
    image.save(path)
    chunk = path / "0/c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"x\.zarr' should hold voxels .*, but reading them failed"):
        tio.ScalarImage(path).load()
    assert tio.ScalarImage(path)[65:].shape == (1, 5, 70, 70)
    (path / "0/zarr.json").write_text("{")
    with pytest.raises((OSError, ValueError), match=r"x\.zarr'"):
        tio.ScalarImage(path).load()
    (path / "zarr.json").write_text("{")
    with pytest.raises(OSError, match=r"x\.zarr' should be a Zarr array or group"):
        tio.ScalarImage(path).load()
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(OSError, match=r"empty\.zarr' should be a Zarr array or group"):
        tio.ScalarImage(tmp_path / "empty.zarr").load()
    zarr.open_group(tmp_path / "none.zarr", mode="w")
    with pytest.raises(ValueError, match="the group has no members"):
        tio.ScalarImage(tmp_path / "none.zarr").load()


def test_zarr_needs_python_3_11(tmp_path, monkeypatch):
    tio.ScalarImage(torch.rand(1, 3, 4, 5)).save(tmp_path / "x.zarr")
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    with pytest.raises(ImportError, match=r"zarr 3, which needs Python 3\.11 or later"):
        tio.ScalarImage(tmp_path / "x.zarr").load()
    monkeypatch.undo()
    monkeypatch.setattr(zarr, "__version__", "2.18.0")
    with pytest.raises(ImportError, match=r"zarr must be version 3, got 2\.18\.0"):
        tio.ScalarImage(tmp_path / "x.zarr").load()


# ---- NIfTI-Zarr


def nifti_zarr(path: Path, image, x: np.ndarray, axes: str, levels: int = 1) -> None:
    """Write stored numbers in the order of axes, and a header, as NIfTI-Zarr does."""
    known = {axis["name"]: axis for axis in AXES}
    named = [known[name] | ({"unit": "millimeter"} if name in "xyz" else {}) for name in axes]
    size = len(axes)
    transforms = [[scale(*[1.0] * (size - 3), *[2.0**n] * 3)] for n in range(levels)]
    arrays = [x[(..., *[slice(None, None, 2**n)] * 3)] for n in range(levels)]
    group = ome(path, arrays, named, transforms)
    group.create_array("nifti", data=np.frombuffer(image.header.binaryblock, np.uint8))


@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_zarr_is_read_as_its_nifti_file(tmp_path, cls):
    x = RNG.integers(-100, 100, (6, 7, 8, 3)).astype(np.int16)
    nifti = cls(x, OBLIQUE)
    nifti.header.set_xyzt_units("meter", "msec")
    nifti.header["pixdim"][4] = 1500
    nib.save(nifti, tmp_path / "x.nii")
    nifti_zarr(tmp_path / "x.nii.zarr", nifti, x.transpose(3, 2, 1, 0), "tzyx", levels=2)
    one, two = tio.ScalarImage(tmp_path / "x.nii"), tio.ScalarImage(tmp_path / "x.nii.zarr")
    assert np.array_equal(one.affine, two.affine)
    assert torch.equal(one.data, two.data)
    assert torch.equal(one[1:3, 2].data, tio.ScalarImage(two.path)[1:3, 2].data)
    lower = tio.ScalarImage(f"{two.path}::1")
    np.testing.assert_allclose(lower.affine, one.affine @ np.diag([2, 2, 2, 1]), rtol=1e-12)
    for image, name in ((one, "a.nii"), (two, "b.nii")):
        image.save(tmp_path / name)
    kept = [nib.load(tmp_path / name).header for name in ("a.nii", "b.nii")]
    assert kept[0].binaryblock == kept[1].binaryblock  # steps of time and codes, too


def test_scaled_and_swapped_headers(tmp_path):
    x = RNG.integers(0, 100, (6, 7, 8)).astype(np.int16)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nifti = nib.Nifti1Image(x, OBLIQUE, header)
    nifti.header.set_slope_inter(0.5, 3)
    nifti_zarr(tmp_path / "x.nii.zarr", nifti, x.transpose(2, 1, 0), "zyx")
    image = tio.ScalarImage(tmp_path / "x.nii.zarr")
    assert image.dtype == torch.float32
    assert np.array_equal(image.numpy()[0], x * np.float32(0.5) + 3)
    np.testing.assert_allclose(image.affine, OBLIQUE, rtol=1e-6)


def test_broken_headers(tmp_path):
    x = np.ones((4, 5, 6), np.int16)
    nifti_zarr(tmp_path / "x.nii.zarr", nib.Nifti1Image(x, OBLIQUE), x, "zyx")
    group = zarr.open_group(tmp_path / "x.nii.zarr")
    for content in (b"", bytes(348), bytes([92, 1, 0, 0]), bytes(range(256)) * 2):
        del group["nifti"]
        group.create_array("nifti", data=np.frombuffer(content, np.uint8), chunks=(512,))
        with pytest.raises((OSError, ValueError), match="nifti' should hold a NIfTI header"):
            tio.ScalarImage(tmp_path / "x.nii.zarr").load()
    for wrong in (np.zeros(100), np.zeros((1 << 20) + 1, np.uint8)):
        del group["nifti"]
        group.create_array("nifti", data=wrong)
        with pytest.raises(OSError, match="must be an array of at most 1048576 bytes"):
            tio.ScalarImage(tmp_path / "x.nii.zarr").load()
