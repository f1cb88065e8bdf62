"""Arrays in files: Blosc2, HDF5, npy, and folders of nnU-Net, with the packages that read them."""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path

import blosc2
import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from torchio_gpu.data import io

OBLIQUE = np.array([[0, -2, 0.1, 5], [1.5, 0, 0, -60], [0, 0.3, 3, 0.125], [0, 0, 0, 1]])
PLAIN = np.diag([0.1, 2, 1 / 3, 1])
SUFFIXES = (".b2nd", ".h5", ".hdf5", ".npy", ".zarr")
WITH_AFFINE = tuple(suffix for suffix in SUFFIXES if suffix != ".npy")


def volume(shape=(2, 40, 33, 35), dtype=torch.int16) -> torch.Tensor:
    return (torch.rand(shape) * 100).to(dtype)


def written(path: Path, x: torch.Tensor, affine: np.ndarray = OBLIQUE) -> Path:
    tio.ScalarImage(x, affine=np.eye(4) if path.suffix == ".npy" else affine).save(path)
    return path


# ---- Writing and reading


@pytest.mark.parametrize("suffix", WITH_AFFINE)
@pytest.mark.parametrize("affine", [OBLIQUE, PLAIN], ids=["oblique", "plain"])
def test_voxels_and_affine_return_exactly(tmp_path, suffix, affine):
    x = volume()
    path = written(tmp_path / f"x{suffix}", volume())
    written(path, x, affine)  # replaces the former
    image = tio.ScalarImage(path)
    assert image.shape == (2, 40, 33, 35)
    assert np.array_equal(image.affine, affine)
    assert image.dtype == torch.int16
    assert not image.loaded
    assert torch.equal(image.data, x)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]  # nothing temporary is left


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_slices_are_read_without_the_rest(tmp_path, suffix):
    x = volume()
    image = tio.ScalarImage(written(tmp_path / f"x{suffix}", x))
    part = image[10:20, :, 5:9]
    assert not image.loaded
    assert torch.equal(part.data, x[:, 10:20, :, 5:9])
    assert part.data.is_contiguous()
    np.testing.assert_allclose(part.affine[:, 3], image.affine @ [10, 0, 5, 1], atol=1e-12)
    stepped, _ = io.read(image.path, (slice(1, 30, 3), slice(0, 33, 2), slice(4, 35, 5)))
    assert torch.equal(stepped, x[:, 1:30:3, ::2, 4::5])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64, torch.complex64],
)
def test_dtypes(tmp_path, suffix, dtype):
    x = volume((1, 4, 5, 6), dtype)
    image = tio.ScalarImage(written(tmp_path / f"x{suffix}", x))
    assert image.dtype == dtype == image.data.dtype
    assert torch.equal(image.data, x)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_wide_and_half_types_become_the_nearest(tmp_path, suffix):
    x = volume((1, 4, 5, 6), torch.bfloat16)
    image = tio.ScalarImage(written(tmp_path / f"x{suffix}", x))
    assert image.dtype == torch.float32
    assert torch.equal(image.data, x.float())


def test_big_endian_and_unsigned_numbers(tmp_path):
    for dtype, expected in ((">i2", torch.int16), ("<u2", torch.int32), (">f4", torch.float32)):
        np.save(tmp_path / "x.npy", np.arange(60).reshape(3, 4, 5).astype(dtype))
        image = tio.ScalarImage(tmp_path / "x.npy")
        assert image.dtype == expected
        assert torch.equal(image.data, torch.arange(60).view(1, 3, 4, 5).to(expected))


def test_axes_of_arrays_of_others(tmp_path):
    for shape, expected in (
        ((3, 4), (1, 3, 4, 1)),
        ((3, 4, 5), (1, 3, 4, 5)),
        ((2, 3, 4, 5), (2, 3, 4, 5)),
    ):
        x = np.random.default_rng(0).random(shape)
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "f.npy", np.asfortranarray(x))
        blosc2.asarray(x, urlpath=str(tmp_path / "x.b2nd"), mode="w")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["raw"] = x
        for name in ("x.npy", "f.npy", "x.b2nd", "x.h5"):
            image = tio.ScalarImage(tmp_path / name)
            assert image.shape == expected
            assert torch.equal(image.data, torch.from_numpy(x).view(expected))
            assert np.array_equal(image.affine, np.eye(4))


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    x = volume((1, 150, 140, 130))
    for suffix in (".b2nd", ".h5"):
        one, two = (written(tmp_path / f"{name}{suffix}", x).read_bytes() for name in "ab")
        assert one == two


def test_blocks_of_b2nd_are_as_patches(tmp_path):
    path = written(tmp_path / "x.b2nd", volume((2, 150, 140, 20)))
    array = blosc2.open(str(path))
    assert array.chunks == (1, 128, 128, 20)
    assert array.blocks == (1, 32, 32, 20)
    stored = json.loads(array.schunk.vlmeta["torchio_gpu"])
    assert stored == {"version": 1, "affine": OBLIQUE.tolist(), "kind": "intensity"}
    tio.LabelMap(volume()).save(path)
    array = blosc2.open(str(path))
    assert json.loads(array.schunk.vlmeta["torchio_gpu"])["kind"] == "label"


def test_npy_refuses_an_affine(tmp_path):
    image = tio.ScalarImage(volume(), affine=PLAIN)
    with pytest.raises(ValueError, match=r"affine must be the identity for \.npy.*\.b2nd keeps it"):
        image.save(tmp_path / "x.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_arrays_keep_four_axes(tmp_path, suffix):
    with pytest.raises(ValueError, match="squeeze must be False"):
        tio.ScalarImage(volume((1, 4, 4, 1))).save(tmp_path / f"x{suffix}", squeeze=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_former_file(tmp_path, suffix, monkeypatch):
    x = volume((1, 4, 5, 6))
    path = written(tmp_path / f"x{suffix}", x)

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("torchio_gpu.data.io.writing._replace", fail)
    with pytest.raises(OSError, match="could not be written: no space left"):
        written(path, x + 1)
    assert torch.equal(tio.ScalarImage(path).data, x)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


# ---- HDF5


def test_datasets_of_a_file_are_named(tmp_path):
    path = tmp_path / "x.h5"
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    with h5py.File(path, "w") as file:
        file["raw/t1"], file["raw/t2"], file["names"] = x, x + 1, [1, 2]
    with pytest.raises(ValueError, match=r"x\.h5' cannot be read: path must name one dataset of "):
        tio.ScalarImage(path).load()
    with pytest.raises(ValueError, match=r"it has /raw/t1, /raw/t2: give 'file\.h5::/raw/t1'"):
        tio.ScalarImage(path).load()
    with pytest.raises(ValueError, match=r"no dataset /t2, it has /raw/t1, /raw/t2"):
        tio.ScalarImage(f"{path}::/t2").load()
    image = tio.ScalarImage(f"{path}::/raw/t2")
    assert torch.equal(image.data, torch.from_numpy(x + 1))
    assert torch.equal(
        tio.ScalarImage(f"{path}::raw/t1")[:, 1].data, torch.from_numpy(x)[:, :, 1:2]
    )
    with pytest.raises(FileNotFoundError, match=r"none\.h5 does not exist"):
        tio.ScalarImage(tmp_path / "none.h5::/raw")
    with pytest.raises(ValueError, match="only files of HDF5 and Zarr have members"):
        tio.ScalarImage(f"{written(tmp_path / 'x.npy', volume())}::/raw").load()


def test_a_named_dataset_needs_no_list_of_all(tmp_path, monkeypatch):
    path = written(tmp_path / "x.h5", volume())

    def fail(*_):
        raise OSError("listed")

    monkeypatch.setattr(h5py.Group, "visititems", fail)
    assert tio.ScalarImage(f"{path}::/data").shape == (2, 40, 33, 35)
    with pytest.raises(OSError, match="listed"):
        tio.ScalarImage(path).load()


def test_hdf5_does_not_read_other_files(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.ones((3, 4, 5))
    (tmp_path / "raw").write_bytes(bytes(480))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["link"] = h5py.ExternalLink("secret.h5", "/data")
        file.create_dataset("outside", (3, 4, 5), "f8", external=[(str(tmp_path / "raw"), 0, 480)])
        layout = h5py.VirtualLayout((3, 4, 5), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "data", (3, 4, 5))
        file.create_virtual_dataset("virtual", layout)
    for name in ("link", "outside", "virtual"):
        with pytest.raises(ValueError, match="must lie in the file itself, not in others"):
            tio.ScalarImage(f"{tmp_path / 'x.h5'}::{name}").load()


def test_damaged_chunks_of_hdf5_are_noticed(tmp_path):
    path = written(tmp_path / "x.h5", volume((1, 64, 64, 64)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"x\.h5' should hold voxels .*reading them failed"):
        tio.ScalarImage(path).load()


# ---- nnU-Net


class Trap:
    """Value whose pickle runs a function."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_preprocessed_folder_of_nnunet(tmp_path):
    folder = tmp_path / "nnUNetPlans_3d_fullres"
    folder.mkdir()
    x = np.random.default_rng(0).random((2, 5, 6, 7)).astype(np.float32)  # (C, z, y, x)
    cparams = {"codec": blosc2.Codec.LZ4HC, "clevel": 5}
    for name, array in (("case", x), ("case_seg", (x[:1] > 0.5).astype(np.int8))):
        blosc2.asarray(array, urlpath=str(folder / f"{name}.b2nd"), cparams=cparams)
    (folder / "case.pkl").write_bytes(pickle.dumps(Trap()))
    image = tio.ScalarImage(folder / "case.b2nd")
    assert image.shape == (2, 7, 6, 5)
    assert np.array_equal(image.affine, np.eye(4))
    expected = torch.from_numpy(x).permute(0, 3, 2, 1)
    assert torch.equal(image[1:3, 2:, :4].data, expected[:, 1:3, 2:, :4])
    assert torch.equal(image.data, expected)
    labels = tio.LabelMap(folder / "case_seg.b2nd")
    assert torch.equal(labels.data, (expected[:1] > 0.5).to(torch.int8))
    plans = {
        "configurations": {
            "2d": {"data_identifier": "nnUNetPlans_2d", "spacing": [1, 1]},
            "3d": {"data_identifier": folder.name, "spacing": [3.0, 0.5, 0.25]},
        }
    }
    (tmp_path / "dataset.json").write_text('["other"]')
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert tio.ScalarImage(folder / "case.b2nd").spacing == (0.25, 0.5, 3)
    plans["configurations"]["3d"]["spacing"] = [3.0, 0.5, 0.125]
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert tio.ScalarImage(folder / "case.b2nd").spacing == (0.125, 0.5, 3)
    plans["configurations"]["3d"]["spacing"] = [1, 1, 1]
    (tmp_path / "a.json").write_text(json.dumps(plans))  # plans are looked at first
    assert tio.ScalarImage(folder / "case.b2nd").spacing == (0.125, 0.5, 3)


# ---- Bad input


@pytest.mark.parametrize("suffix", [".b2nd", ".h5", ".npy"])
@pytest.mark.parametrize("keep", [0, 10, 400, 0.5, 0.98])
def test_truncated_files(tmp_path, suffix, keep):
    path = written(tmp_path / f"x{suffix}", volume((1, 64, 64, 64)))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises((OSError, ValueError), match=re.escape(path.name)) as caught:
        tio.ScalarImage(path).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".b2nd", ".h5", ".npy"])
def test_other_content(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"This is text, which is none of these formats.\n" * 40)
    with pytest.raises((OSError, ValueError), match=rf"x\{suffix}' should"):
        tio.ScalarImage(path).load()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tio.ScalarImage(tmp_path / f"none{suffix}")


def test_arrays_that_are_no_image(tmp_path):
    rng = np.random.default_rng(0)
    for array, message in (
        (rng.random((2, 2, 2, 2, 2)), r"must have 2, 3 or 4 axes.* got shape \(2, 2, 2, 2, 2\)"),
        (rng.random(4), r"must have 2, 3 or 4 axes"),
        (np.zeros((3, 4, 0)), r"must have voxels: got shape \(3, 4, 0\)"),
        (np.full((2, 2), "a"), "type that torch has"),
        (np.zeros((2, 2), "datetime64[s]"), "type that torch has"),
    ):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(ValueError, match=rf"x\.npy' cannot be read: .*{message}"):
            tio.ScalarImage(tmp_path / "x.npy").load()
    np.save(tmp_path / "x.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    with pytest.raises(OSError, match=r"x\.npy' should hold an array of numpy, but"):
        tio.ScalarImage(tmp_path / "x.npy").load()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["names"] = ["a", "b"]
    with pytest.raises(ValueError, match=r"it has none of 2 to 4 axes"):
        tio.ScalarImage(tmp_path / "x.h5").load()


def test_descriptions_that_are_not_ours(tmp_path):
    path = tmp_path / "x.b2nd"
    for value, message in (
        ("{}", "must have a version and an affine"),
        ("no json", "must have a version and an affine"),
        ([1, 2], "must have a version and an affine"),
        (json.dumps({"version": 2, "affine": OBLIQUE.tolist()}), "install a newer torchio-gpu"),
        (json.dumps({"version": 1, "affine": [[1, 0], [0, 1]]}), r"invertible \(4, 4\) affine"),
        (json.dumps({"version": 1, "affine": np.zeros((4, 4)).tolist()}), "invertible"),
    ):
        array = blosc2.asarray(np.zeros((3, 4, 5)), urlpath=str(path), mode="w")
        array.schunk.vlmeta["torchio_gpu"] = value
        with pytest.raises(ValueError, match=rf"x\.b2nd' cannot be read: .*{message}"):
            _ = tio.ScalarImage(path).shape


def test_blosc2_that_holds_no_array(tmp_path):
    path = tmp_path / "x.b2nd"
    array = blosc2.asarray(np.ones((4, 4)), urlpath=str(tmp_path / "a.b2nd"))
    expression = array + 1
    expression.save(str(path))
    with pytest.raises(OSError, match=r"x\.b2nd' .*computed or elsewhere, as b2o says"):
        tio.ScalarImage(path).load()
    blosc2.SChunk(data=bytes(100), urlpath=str(tmp_path / "s.b2nd"))
    with pytest.raises(OSError, match=r"s\.b2nd' should hold an array of Blosc2.*SChunk"):
        tio.ScalarImage(tmp_path / "s.b2nd").load()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_boxes_outside(tmp_path, suffix):
    image = tio.ScalarImage(written(tmp_path / f"x{suffix}", volume()))
    with pytest.raises(IndexError, match="must select voxels of"):
        image[40:50]
    with pytest.raises(ValueError, match="region must take voxels"):
        io.read(image.path, (slice(0, 41), slice(None), slice(None)))


@pytest.mark.parametrize(("suffix", "package"), [(".b2nd", "blosc2"), (".h5", "h5py")])
def test_a_missing_package_is_named(tmp_path, suffix, package, monkeypatch):
    path = written(tmp_path / f"x{suffix}", volume())
    monkeypatch.setitem(sys.modules, package, None)
    for act in (lambda: tio.ScalarImage(path).shape, lambda: written(path, volume())):
        with pytest.raises(ImportError, match=rf'{package} is needed.*"torchio-gpu\[store\]"'):
            act()


# ---- Workers


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_stores(tmp_path, method):
    x = volume((1, 20, 21, 22))
    paths = [written(tmp_path / f"x{suffix}", x) for suffix in SUFFIXES]
    images = [tio.ScalarImage(path) for path in paths]
    for image in images:  # libraries have been used before processes are forked
        assert image[3:5].shape == (1, 2, 21, 22)
    dataset = tio.SubjectsDataset([tio.Subject(t1=image) for image in images])
    loader = DataLoader(dataset, num_workers=2, multiprocessing_context=method)
    assert [torch.equal(batch.t1.data[0], x) for batch in loader] == [True] * len(SUFFIXES)
