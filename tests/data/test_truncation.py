"""Truncated files, in formats whose readers return voxels nevertheless."""

import io as streams
import struct

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from torchio_gpu.data import io
from torchio_gpu.data.io.truncation import check_pages

VOXELS = np.random.default_rng(0).integers(1, 200, (12, 13, 14)).astype(np.uint8)
STACKS = [".tif", ".tiff", ".lsm", ".gipl", ".gipl.gz", ".vtk", ".mrc"]
PICTURES = [".bmp", ".jpg", ".jpeg", ".png", ".jp2", ".tif"]


def complete_file(folder, suffix, stored=np.uint8):
    """Write a file of several slices, or of one for 2D formats; its path and voxels."""
    path = folder / f"s{suffix}"
    array = VOXELS if suffix in STACKS else VOXELS[0]
    sitk.WriteImage(sitk.GetImageFromArray(array.astype(stored)), str(path))
    return path, io.read(path)[0]


def truncations(content):
    yield from (content[: len(content) * part // 8] for part in range(1, 8))
    yield content[:-1]


@pytest.mark.parametrize("suffix", [*STACKS, *PICTURES])
def test_truncated_files_are_refused(tmp_path, suffix):
    path, _ = complete_file(tmp_path, suffix)
    for content in truncations(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(OSError, match=rf"s\{suffix}' should ") as caught:
            tio.ScalarImage(path).load()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".gipl", ".vtk", ".mrc", ".tif"])
@pytest.mark.parametrize("stored", [np.int16, np.float32])
def test_truncated_files_of_wider_voxels_are_refused(tmp_path, suffix, stored):
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.astype(stored)), str(path))
    np.testing.assert_array_equal(io.read(path)[0][0].numpy(), VOXELS.T)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match=rf"x\{suffix}'"):
        io.read(path)


@pytest.mark.parametrize("suffix", [".vtk", ".mrc"])
def test_truncated_colour_images_are_refused(tmp_path, suffix):
    array = np.stack([VOXELS, VOXELS + 1, VOXELS + 2], axis=-1)
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path))
    np.testing.assert_array_equal(io.read(path)[0].numpy(), array.T)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match=rf"x\{suffix}'.*the header claims \d+ bytes"):
        io.read(path)


def test_truncated_text_files_are_refused(tmp_path):
    head = (
        "# vtk DataFile Version 3.0\nx\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 14 13 12\n"
        "SPACING 1 1 1\nORIGIN 0 0 0\nPOINT_DATA 2184\nSCALARS x short 1\nLOOKUP_TABLE default\n"
    )
    words = " ".join(map(str, VOXELS.ravel()))
    (tmp_path / "x.vtk").write_text(head + words)
    np.testing.assert_array_equal(io.read(tmp_path / "x.vtk")[0][0].numpy(), VOXELS.T)
    (tmp_path / "x.vtk").write_text(head + words[: len(words) // 2])
    with pytest.raises(OSError, match=r"x\.vtk'.*claims 2184 numbers, the file holds \d+"):
        io.read(tmp_path / "x.vtk")


# Bytes after the end, and files of other programs


@pytest.mark.parametrize("tail", [b"\0" * 9, b"of a camera"])
@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".gipl", ".vtk", ".mrc"])
def test_bytes_after_the_image_are_ignored(tmp_path, suffix, tail):
    path, voxels = complete_file(tmp_path, suffix)
    path.write_bytes(path.read_bytes() + tail)
    assert torch.equal(io.read(path)[0], voxels)


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg_with_a_thumbnail_is_refused(tmp_path, progressive):
    picture = PIL.Image.fromarray(np.kron(VOXELS[0], np.ones((9, 9), np.uint8)))
    inside = streams.BytesIO()
    picture.resize((8, 8)).save(inside, "jpeg")
    exif = b"Exif\0\0" + inside.getvalue()
    path = tmp_path / "x.jpg"
    picture.save(path, "jpeg", exif=exif, progressive=progressive, restart_marker_rows=1)
    assert io.read(path)[0].shape == (1, 126, 117, 1)
    for content in truncations(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"x\.jpg'"):
            io.read(path)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_truncated_tiff_stacks_of_pillow_are_refused(tmp_path, compression):
    first, *others = (PIL.Image.fromarray(one) for one in VOXELS)
    path = tmp_path / "x.tif"
    first.save(path, save_all=True, append_images=others, compression=compression)
    np.testing.assert_array_equal(io.read(path)[0][0].numpy(), VOXELS.T)
    *contents, _ = truncations(path.read_bytes())  # the last byte may be padding
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"x\.tif'"):
            io.read_header(path)


def tiff(order, big, link=None, more=()):
    """Return the bytes of a two-page TIFF whose last directory points to `link`."""
    head, entry, word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    content = bytearray({"<": b"II", ">": b"MM"}[order])
    content += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    at = len(content) - struct.calcsize(word)
    for page in VOXELS[:2]:
        tags = {256: 14, 257: 13, 258: 8, 259: 1, 262: 1, 273: len(content), 277: 1, 278: 13}
        tags = {**tags, 279: page.size, **dict(more)}
        content += page.tobytes()
        content[at : at + struct.calcsize(word)] = struct.pack(order + word, len(content))
        content += struct.pack(order + head, len(tags))
        for tag, value in tags.items():
            content += struct.pack(order + entry + word, tag, 16 if big else 4, 1, value)
        at = len(content)
        content += struct.pack(order + word, 0)
    if link is not None:
        content[at:] = struct.pack(order + word, link)
    return bytes(content)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_chains_of_tiff_pages_are_checked(tmp_path, order, big):
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(order, big))
    np.testing.assert_array_equal(io.read(path)[0][0].numpy(), VOXELS[:2].T)
    for content in truncations(tiff(order, big)):
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"x\.tif'"):
            io.read_header(path)
    path.write_bytes(tiff(order, big, link=10**6))
    with pytest.raises(OSError, match=r"x\.tif'.*page 3 must lie within the file: got bytes 10000"):
        io.read_header(path)
    first = struct.unpack_from(order + ("8xQ" if big else "4xI"), tiff(order, big))[0]
    path.write_bytes(tiff(order, big, link=first))
    with pytest.raises(OSError, match=rf"x\.tif'.*chain with an end: page 2 goes to {first}"):
        io.read_header(path)


def test_lsm_files_may_give_uncompressed_strip_lengths(tmp_path):
    longer, lzw, lsm = (279, 10**6), (259, 5), (34412, 0)
    for more in ([longer], [longer, lzw], [longer, lsm]):
        (tmp_path / "x.tif").write_bytes(tiff("<", False, more=more))
        with pytest.raises(OSError, match="page 1 must lie within the file"):
            check_pages(tmp_path / "x.tif")
    (tmp_path / "x.tif").write_bytes(tiff("<", False, more=[longer, lsm, lzw]))
    check_pages(tmp_path / "x.tif")
