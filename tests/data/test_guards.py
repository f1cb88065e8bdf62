"""Invalid headers and file names: each is refused in one sentence that names the file."""

import os
import socket
import sys

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.data.test_io import volume, write_series
from torchio_gpu.data import io

AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
X = torch.arange(120, dtype=torch.int16).reshape(1, 4, 5, 6)
SUFFIXES = [".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".mgz"]
HUGE = ["1000000", "4294967299", "99999999999999999999"]


def refused(path, error=(OSError, ValueError)):
    """Return the error message, which names the file, of reading the voxels and the header."""
    texts = []
    for read in (io.read_header, io.read):
        with pytest.raises(error) as caught:
            read(path)
        texts.append(str(caught.value))
        assert os.path.basename(path) in texts[-1]
        assert "\n" not in texts[-1]
    return texts[-1]


def replaced(path, was, becomes):
    text = path.read_bytes()
    assert was in text
    path.write_bytes(text.replace(was, becomes))


# Text headers


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(
    ("field", "value", "requirement"),
    [
        *(("NDims", value, "NDims must be a number from 1 to 5") for value in
          ["-1", "0", "6", "11", "3.5", "x", "", *HUGE]),
        *(("DimSize", value, "DimSize must be") for value in
          ["4 5", "4 5 6 7", "4 5 -6", "4 0 6", "4 5 x", "4 5 1e3", ""]),
        *(("ElementType", value, "ElementType must be") for value in
          ["MET_STRING", "MET_OTHER", "short", ""]),
        *(("ElementNumberOfChannels", value, "ElementNumberOfChannels must be") for value in
          ["0", "-1", *HUGE]),
        *(("TransformMatrix", value, "TransformMatrix must be 9 finite") for value in
          ["1 0 0", "1 0 0 0 1 0 0 0 nan", "1 0 0 0 1 0 0 0 inf", "1 " * 100, "x"]),
        *(("ElementSpacing", value, "ElementSpacing must be 3 finite") for value in
          ["1 2", "1 2 nan", "1 2 3 4"]),
        *(("Offset", value, "Offset must be 3 finite") for value in ["0 0", "0 0 inf"]),
        *(("BinaryData", value, "BinaryData must be True or False") for value in ["maybe", "2"]),
        *(("CompressedDataSize", value, "CompressedDataSize must be") for value in
          ["-1", "x", "9" * 30]),
        ("HeaderSize", "-2", "HeaderSize must be"),
        ("Comment", "x" * 5000, "fields must have at most 4000 characters"),
        ("Comment", "x\0y", "header must be text"),
        ("A" * 300, "1", "header must have lines like"),
    ],
)  # fmt: skip
def test_invalid_fields_of_meta_images_are_refused(tmp_path, suffix, field, value, requirement):
    path = tmp_path / f"x{suffix}"
    io.write(X, AFFINE, path)
    lines = path.read_bytes().split(b"\n", 14)
    key = field.encode() + b" = "
    lines = [line for line in lines if not line.startswith(key)]
    at = next(n for n, line in enumerate(lines) if line.startswith(b"ElementDataFile"))
    more = [b"CompressedData = True"] if field == "CompressedDataSize" else []
    if more:
        lines = [line for line in lines if not line.startswith(b"CompressedData = ")]
        at = next(n for n, line in enumerate(lines) if line.startswith(b"ElementDataFile"))
    path.write_bytes(b"\n".join([*lines[:at], *more, key + value.encode(), *lines[at:]]))
    assert requirement in refused(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
@pytest.mark.parametrize(
    ("field", "value", "requirement"),
    [
        *(("dimension", value, "dimension must be a number from 1 to 5") for value in
          ["-1", "0", "6", "17", "x", "", *HUGE]),
        *(("sizes", value, "sizes must be") for value in
          ["4 5", "4 5 6 7", "4 5 -6", "4 0 6", "4 5 x", ""]),
        *(("type", value, "type must be a type of numbers") for value in ["block", "x", ""]),
        *(("encoding", value, "encoding must be") for value in ["bzip2", "zrl", "x", ""]),
        *(("byte skip", value, "byte skip must be") for value in ["-2", "x"]),
        *(("line skip", value, "line skip must be") for value in ["-1", "9999999999"]),
    ],
)  # fmt: skip
def test_invalid_fields_of_nrrd_are_refused(tmp_path, suffix, field, value, requirement):
    path = tmp_path / f"x{suffix}"
    io.write(X, AFFINE, path)
    lines = path.read_bytes().split(b"\n", 12)
    key = field.encode() + b": "
    lines = [line for line in lines if not line.startswith(key)]
    path.write_bytes(b"\n".join([lines[0], key + value.encode(), *lines[1:]]))
    assert requirement in refused(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("/etc/passwd", "must lie beside or below"),
        ("../x.raw", "must lie beside or below"),
        ("below/../../x.raw", "must lie beside or below"),
        ("C:\\x.raw", "must lie beside or below"),
        ("\\\\server\\x.raw", "must lie beside or below"),
        ("..\\x.raw", "must lie beside or below"),
        ("LIST\n/etc/passwd", "must lie beside or below"),
        ("LIST\nx.raw\n../x.raw", "must lie beside or below"),
        ("x%03d.raw 1 6 1", "one file"),
        ("gone.raw", "data file must exist"),
        ("below", "is a folder"),
        ("LIST", ""),
        ("LIST_x.raw", "begins not with LIST"),
        ("LISTEN", "begins not with LIST"),
        ("LIST\t", ""),
    ],
)
def test_detached_headers_may_only_name_files_of_their_folder(tmp_path, suffix, name, requirement):
    (tmp_path / "here" / "below").mkdir(parents=True)
    path = tmp_path / "here" / f"x{suffix}"
    io.write(X, AFFINE, path)
    for each in (tmp_path / "x.raw", path.with_name("LIST_x.raw"), path.with_name("LISTEN")):
        each.write_bytes(bytes(240))
    replaced(path, b"x.raw", name.encode())
    assert requirement in refused(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("name", ["below/y.raw", "./x.raw", "LIST", "List.raw", "LOCALS", "LOC"])
def test_data_files_below_the_header_are_read(tmp_path, suffix, name):
    (tmp_path / "below").mkdir()
    path = tmp_path / f"x{suffix}"
    io.write(X, AFFINE, path)
    if name == "LIST":
        voxels = (tmp_path / "x.raw").read_bytes()
        names = [f"below/{k}.raw" for k in range(6)]
        for k, each in enumerate(names):
            (tmp_path / each).write_bytes(voxels[k * 40 : (k + 1) * 40])
        name = "\n".join(["LIST 2" if suffix == ".nhdr" else "LIST", *names, ""])
    elif name != "./x.raw":
        (tmp_path / "x.raw").rename(tmp_path / name)
    replaced(path, b"x.raw" if "LIST" not in name else b"x.raw\n", name.encode())
    assert torch.equal(io.read(path)[0], X)


# Numbers in NIfTI


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".img"])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("size", [-1, -32768, 0])
def test_invalid_sizes_of_nifti_are_refused(tmp_path, suffix, axis, size):
    import gzip

    io.write(X, AFFINE, tmp_path / f"x{suffix}")
    header = tmp_path / f"x{'.hdr' if suffix == '.img' else suffix}"
    content = header.read_bytes()
    content = bytearray(gzip.decompress(content) if suffix.endswith("gz") else content)
    content[40 + 2 * axis : 42 + 2 * axis] = np.int16(size).tobytes()
    header.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert "image must have voxels" in refused(tmp_path / f"x{suffix}")
    with pytest.raises(ValueError, match="x"):
        tio.ScalarImage(tmp_path / f"x{suffix}").shape  # noqa: B018


# Names


def special(path, kind):
    if kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes with names here")
        os.mkfifo(path)
    elif kind == "socket":
        if not hasattr(socket, "AF_UNIX"):
            pytest.skip("no sockets with names here")
        made = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(path.parent)  # such names are short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)
            made.close()
    else:
        if not os.path.exists("/dev/zero"):
            pytest.skip("no devices with names here")
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".dcm", ""])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_pipes_sockets_and_devices_are_refused(tmp_path, suffix, kind):
    path = special(tmp_path / f"x{suffix}", kind)
    assert f"is a {kind}" in refused(path)
    with pytest.raises(ValueError, match=f"x{suffix}' is a {kind}"):
        tio.ScalarImage(path)
    with pytest.raises(ValueError, match=f"x{suffix}' is a {kind}"):
        tio.ScalarImage(path, verify_path=False).load()
    if suffix in io.WRITABLE:
        with pytest.raises(ValueError, match="must be a file to replace"):
            io.write(X, AFFINE, path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("name", ["x.img", "x.raw", "x.dcm"])
def test_pipes_sockets_and_devices_are_refused_as_data_files(tmp_path, kind, name):
    if name == "x.dcm":
        write_series(tmp_path / "d", volume(torch.int16)[0], range(6))
        special(tmp_path / "d" / name, kind)
        text = refused(tmp_path / "d")
    else:
        path = tmp_path / ("x.hdr" if name == "x.img" else "x.mhd")
        io.write(X, AFFINE, path)
        (tmp_path / name).unlink()
        special(tmp_path / name, kind)
        text = refused(path) if name == "x.raw" else refused(tmp_path / name)
    assert f"{name}' is a {kind}" in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".dcm", ""])
def test_names_that_are_not_utf8(tmp_path, suffix):
    path = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    path.write_bytes(b"nothing of use" * 40)
    with pytest.raises((OSError, ValueError)) as caught:
        io.read(path)
    assert "caf" in str(caught.value).encode("utf-8").decode()  # can be printed
    if suffix in io.WRITABLE and suffix != ".png":
        path.unlink()
        if suffix in (".nii", ".nii.gz", ".hdr", ".img"):
            io.write(X, AFFINE, path)
            assert torch.equal(io.read(path)[0], X)
        else:
            with pytest.raises(ValueError, match=r"name must be UTF-8 for this format: got '.*caf"):
                io.write(X, AFFINE, path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_folders_that_are_not_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_series(tmp_path / "d", volume(torch.int16)[0], range(6))
    (tmp_path / "d").rename(folder)
    with pytest.raises(ValueError, match="name must be UTF-8"):
        io.read(folder)


def test_impossible_file_names_are_refused(tmp_path):
    for name in ("x\0.nii", "x" * 5000 + ".nii"):
        for make in (io.read, tio.ScalarImage):
            with pytest.raises(ValueError, match=r"path must name a file or folder: .*cannot"):
                make(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unreadable_files_are_named(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"nothing")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    assert "may not" in refused(path, PermissionError)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable_folders_are_named(tmp_path):
    (tmp_path / "closed").mkdir()
    io.write(X, AFFINE, tmp_path / "closed" / "x.nii")
    (tmp_path / "closed").chmod(0)
    try:
        assert "may not" in refused(tmp_path / "closed" / "x.nii", PermissionError)
    finally:
        (tmp_path / "closed").chmod(0o700)
