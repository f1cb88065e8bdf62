"""Damaged and short files: checksums and sizes of compressed files are checked."""

import bz2
import gzip
import shutil
import subprocess
import sys
import zlib
from functools import partial

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from torchio_gpu.data import io
from torchio_gpu.data.io import compressed

SHAPE = (12, 11, 10)
X = torch.from_numpy(np.random.default_rng(0).integers(0, 500, (1, *SHAPE)).astype(np.int16))
AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
PARTIAL = (slice(2, 5), slice(0, 11), slice(1, 3))


@pytest.fixture(autouse=True, params=["isal", "zlib"])
def library(request, monkeypatch):
    """Read and write with isal, and as where it is not installed."""
    assert compressed._zlib.__name__ == "isal.isal_zlib"
    if request.param == "zlib":
        monkeypatch.setattr(compressed, "_zlib", zlib)
        monkeypatch.setattr(compressed, "_Writer", partial(gzip.GzipFile, compresslevel=1))


def test_a_volume_always_makes_the_same_gzip_file(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz", "plain.nii"):
        io.write(X, AFFINE, tmp_path / name)
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[4:8] == bytes(4)  # no time
    assert gzip.decompress(content) == (tmp_path / "plain.nii").read_bytes()


def compress_file(path, compress):
    packed = path.with_name(f"{path.name}.{'bz2' if compress is bz2.compress else 'gz'}")
    packed.write_bytes(compress(path.read_bytes()))
    path.unlink()
    return packed


def write_compressed(folder, name):
    """Write X; return the file to read and the file that is compressed."""
    path = folder / name
    if name.endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        sitk.WriteImage(io.to_sitk(X, AFFINE), str(path), useCompression=True)
        data = [other for other in folder.iterdir() if other != path]
        return path, (data or [path])[0]
    if name.startswith("pair"):
        io.write(X, AFFINE, folder / "pair.img")
        compress_file(folder / "pair.hdr", gzip.compress)
        packed = compress_file(folder / "pair.img", gzip.compress)
        return folder / name, packed
    if name.endswith(".mgz"):
        image = nibabel.freesurfer.MGHImage(X[0].numpy(), AFFINE.numpy())
        nibabel.save(image, path)
        return path, path
    io.write(X, AFFINE, folder / "x.nii")
    packed = compress_file(
        folder / "x.nii", bz2.compress if name.endswith("bz2") else gzip.compress
    )
    return packed, packed


COMPRESSED = [
    *("x.nii.gz", "x.nii.bz2", "pair.hdr.gz", "pair.img.gz"),
    *("x.mha", "x.mhd", "x.nrrd", "x.nhdr", "x.mgz"),
]


def start_of_payload(data, name):
    content = data.read_bytes()
    for end in (b"ElementDataFile = LOCAL\n", b"\n\n"):
        if name in ("x.mha", "x.nrrd") and end in content:
            return content.index(end) + len(end)
    return 0


@pytest.mark.parametrize("name", COMPRESSED)
def test_flipped_bits_never_give_other_voxels(tmp_path, name):
    path, data = write_compressed(tmp_path, name)
    right, affine = io.read(path)
    assert torch.equal(right, X)
    content, start = data.read_bytes(), start_of_payload(data, name)
    rng, refused = np.random.default_rng(1), 0
    for at in rng.integers(start, len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.integers(8)
        data.write_bytes(damaged)
        try:
            y, matrix = io.read(path)
        except OSError as error:
            refused += path.name in str(error) and "\n" not in str(error)
        else:  # a bit that says nothing, such as the time of compression
            assert torch.equal(y, right)
            assert torch.equal(matrix, affine)
    assert refused >= 55


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("lost", [1, 4, 8, 200])
def test_a_short_file_is_an_error(tmp_path, name, lost):
    path, data = write_compressed(tmp_path, name)
    data.write_bytes(data.read_bytes()[:-lost])
    with pytest.raises(OSError, match=path.name):
        io.read(path)


@pytest.mark.parametrize("name", COMPRESSED)
def test_bytes_after_the_end_are_an_error_unless_zero(tmp_path, name):
    path, data = write_compressed(tmp_path, name)
    content = data.read_bytes()
    if name not in ("x.mha", "x.mhd"):  # whose header says how many bytes there are
        data.write_bytes(content + b"\0" * 700)
        assert torch.equal(io.read(path)[0], X)
        data.write_bytes(content + b"tail")
        with pytest.raises(OSError, match="followed by other bytes"):
            io.read(path)


def test_gzip_of_several_members(tmp_path):
    io.write(X, AFFINE, tmp_path / "x.nii")
    content = (tmp_path / "x.nii").read_bytes()
    parts = [content[at : at + 400] for at in range(0, len(content), 400)]  # as bgzip writes
    packed = b"".join(map(gzip.compress, parts))
    (tmp_path / "y.nii.gz").write_bytes(packed)
    assert torch.equal(io.read(tmp_path / "y.nii.gz")[0], X)
    damaged = bytearray(packed)
    damaged[len(damaged) // 2] ^= 4
    (tmp_path / "y.nii.gz").write_bytes(damaged)
    with pytest.raises(OSError, match=r"y\.nii\.gz"):
        io.read(tmp_path / "y.nii.gz")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_compressed_and_plain_nifti_are_equal(tmp_path, channels, scaled, order):
    array = np.random.default_rng(0).integers(0, 500, (4, 5, 6, channels)).astype(order + "i2")
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(array.dtype)
    image = nibabel.Nifti1Image(array, np.eye(4), header)
    if scaled:
        image.header.set_slope_inter(0.37, -3)
    for name in ("x.nii", "x.nii.gz", "x.nii.bz2"):
        nibabel.save(image, tmp_path / name)
    plain, _ = io.read(tmp_path / "x.nii")
    assert plain.dtype == (torch.float32 if scaled else torch.int16)
    assert torch.equal(io.read(tmp_path / "x.nii.gz")[0], plain)
    assert torch.equal(io.read(tmp_path / "x.nii.bz2")[0], plain)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("x.nii", "y.nii.gz"), ("x.nii.gz", "y.nii"), ("x.nii", "y.nii.bz2"),
        ("x.hdr", "y.hdr"), ("x.img", "y.img"),
    ],
)  # fmt: skip
def test_the_content_says_whether_a_file_is_compressed(tmp_path, name, other):
    io.write(X, AFFINE, tmp_path / name)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / f"y{path.suffix}")
    if name in ("x.hdr", "x.img"):  # a packed .img of a plain .hdr
        image = tmp_path / "y.img"
        image.write_bytes(gzip.compress(image.read_bytes()))
    else:
        next(tmp_path.iterdir()).rename(tmp_path / other)
    y, affine = io.read(tmp_path / other)
    assert torch.equal(y, X)
    assert torch.equal(affine, AFFINE)
    part, _ = io.read(tmp_path / other, PARTIAL)
    assert torch.equal(part, X[(slice(None), *PARTIAL)])


# Sizes


def write_header_claiming(folder, name, sizes):
    """Write a small file whose header claims other sizes."""
    path = folder / name
    if name.endswith(".mgz"):
        path = write_compressed(folder, name)[0]
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[4:16] = np.array(sizes, ">i4").tobytes()
        path.write_bytes(gzip.compress(content))
        return path
    packed = name.startswith("packed")
    if name.endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        sitk.WriteImage(io.to_sitk(X, AFFINE), str(path), useCompression=packed)
        text = path.read_bytes()
        was = b" ".join(b"%d" % n for n in SHAPE)
        assert text.count(was) == 1
        path.write_bytes(text.replace(was, b" ".join(b"%d" % n for n in sizes)))
        return path
    io.write(X, AFFINE, path)
    header = path.with_suffix(".hdr") if path.suffix == ".img" else path
    content = header.read_bytes()
    content = bytearray(gzip.decompress(content) if name.endswith("gz") else content)
    content[42:48] = np.array(sizes, "<i2").tobytes()
    header.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return path


CLAIMS = [
    *("x.nii", "x.nii.gz", "x.hdr", "x.img", "x.mha", "x.mhd", "x.nrrd", "x.nhdr", "x.mgz"),
    *("packed.mha", "packed.mhd", "packed.nrrd", "packed.nhdr"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_sizes_are_compared_with_the_file_before_memory_is_taken(tmp_path):
    paths = []
    for name in CLAIMS:
        (tmp_path / name).mkdir()
        sizes = (30000, 30000, 30000) if "mha" not in name else (3000, 3000, 3000)
        paths.append(write_header_claiming(tmp_path / name, name, sizes))
    code = f"""
import resource
from torchio_gpu.data import io
import nibabel, SimpleITK
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
for path in {list(map(str, paths))!r}:
    try:
        io.read(path)
    except OSError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for path, line in zip(paths, result.stdout.splitlines(), strict=True):
        assert f"'{path}'" in line
        assert "the header claims" in line


@pytest.mark.parametrize("name", ["x.nii", "x.img", "x.mha", "x.mhd", "x.nrrd", "x.nhdr"])
def test_an_uncompressed_file_without_its_last_byte_is_an_error(tmp_path, name):
    io.write(X, AFFINE, tmp_path / name)
    largest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(OSError, match=rf"{name}.*the header claims \d+ bytes, .*{largest.name}"):
        io.read(tmp_path / name)


def test_highly_compressed_files_are_read(tmp_path):
    zeros = torch.zeros(1, 200, 200, 200, dtype=torch.int16)  # deflate reaches 1030 times
    for name in ("x.nii.gz", "x.nrrd", "x.mha"):
        if name == "x.nii.gz":
            io.write(zeros, AFFINE, tmp_path / "x.nii")
            (tmp_path / name).write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes(), 9))
        else:
            sitk.WriteImage(io.to_sitk(zeros, AFFINE), str(tmp_path / name), True, 9)
        assert (tmp_path / name).stat().st_size < zeros.nbytes / 900
        assert not io.read(tmp_path / name)[0].any()


def test_gzip_payloads_of_meta_images_are_read_and_checked(tmp_path):
    """MetaIO also accepts a payload in gzip format."""
    sitk.WriteImage(io.to_sitk(X, AFFINE), str(tmp_path / "x.mha"), useCompression=True)
    head, payload = (tmp_path / "x.mha").read_bytes().split(b"LOCAL\n", 1)
    size = len(payload)
    packed = gzip.compress(zlib.decompress(payload))
    head = head.replace(b"%d" % size, b"%d" % len(packed))
    (tmp_path / "x.mha").write_bytes(head + b"LOCAL\n" + packed)
    assert torch.equal(io.read(tmp_path / "x.mha")[0], X)
    shutil.copy(tmp_path / "x.mha", tmp_path / "y.mha")
    damaged = bytearray(head + b"LOCAL\n" + packed)
    damaged[-20] ^= 1
    (tmp_path / "y.mha").write_bytes(damaged)
    with pytest.raises(OSError, match=r"y\.mha"):
        tio.ScalarImage(tmp_path / "y.mha").load()
