"""Files and foreign images: round trips, partial reads, DICOM folders, and every error."""

import locale
import math
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from torchio_gpu.data import io

MEDICAL = [".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd"]
PLAIN = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


def rotation():
    turns = [(0.3, (0, 1)), (-0.5, (1, 2)), (0.2, (0, 2))]
    matrix = torch.eye(3, dtype=torch.float64)
    for angle, (a, b) in turns:
        turn = torch.eye(3, dtype=torch.float64)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def affine(linear, origin=(-80.3, 12.7, 55.1)):
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.as_tensor(linear, dtype=torch.float64)
    matrix[:3, 3] = torch.tensor(origin)
    return matrix


SPACING = torch.diag(torch.tensor([0.7, 1.3, 2.9], dtype=torch.float64))
SHEAR = torch.tensor([[1.0, 0.4, 0.0], [0.0, 1.0, -0.2], [0.0, 0.0, 1.0]], dtype=torch.float64)
AFFINES = {
    "identity": affine(torch.eye(3), (0, 0, 0)),
    "left-handed": affine(SPACING * torch.tensor([-1.0, 1.0, 1.0])),
    "permuted": affine(SPACING[[2, 0, 1]]),
    "oblique": affine(rotation() @ SPACING),
    "sheared": affine(rotation() @ SPACING @ SHEAR),
}
OBLIQUE = AFFINES["oblique"]


def volume(dtype=torch.float32, shape=(1, 4, 5, 6)):
    count = math.prod(shape)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.linspace(-3, 100, count, dtype=torch.float64).reshape(shape).to(dtype)
    return (torch.arange(count) % 101).reshape(shape).to(dtype)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Round trips


@pytest.mark.parametrize("suffix", MEDICAL)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.uint8, torch.uint8),
        (torch.int16, torch.int16),
        (torch.uint16, torch.int32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bool, torch.uint8),
        (torch.bfloat16, torch.float32),
    ],
)
def test_round_trip(tmp_path, capfd, suffix, channels, given, wanted):
    path = tmp_path / f"image{suffix}"
    x = volume(given, (channels, 4, 5, 6))
    io.write(x, OBLIQUE, path)
    y, _ = io.read(path)
    assert y.dtype == wanted
    assert y.is_contiguous()
    assert torch.equal(y, x.to(wanted))
    header = io.read_header(str(path))
    assert (header.shape, header.dtype) == (tuple(x.shape), wanted)
    assert capfd.readouterr() == ("", "")
    twins = {".hdr": ".img", ".img": ".hdr", ".mhd": ".raw", ".nhdr": ".raw"}
    extra = [f"image{twins[suffix]}"] if suffix in twins else []
    assert names(tmp_path) == sorted([path.name, *extra])


@pytest.mark.parametrize("suffix", MEDICAL)
@pytest.mark.parametrize("name", AFFINES)
def test_affine_survives(tmp_path, suffix, name):
    path = tmp_path / f"image{suffix}"
    io.write(volume(), AFFINES[name], path)
    _, got = io.read(path)
    assert got.dtype == torch.float64
    assert torch.equal(got, io.read_header(path).affine)
    if suffix in io.NIFTI:
        assert torch.equal(got, AFFINES[name].float().double())  # what an sform can hold, exactly
    else:
        torch.testing.assert_close(got, AFFINES[name], rtol=0, atol=1e-13)  # spacing x direction


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (2**31 - 1, torch.int32),
        (-(2**31), torch.int32),
        (2**31, torch.int64),
        (-(2**31) - 1, torch.int64),
    ],
)
def test_int64_is_narrowed_in_nifti_only_where_it_fits(tmp_path, value, wanted):
    x = torch.tensor([-5, value]).reshape(1, 2, 1, 1)
    for suffix, dtype in ((".nii", wanted), (".nrrd", torch.int64)):
        io.write(x, PLAIN, tmp_path / f"x{suffix}")
        y, _ = io.read(tmp_path / f"x{suffix}")
        assert y.dtype == dtype
        assert torch.equal(y.long(), x)


def test_qform_never_holds_a_wrong_affine(tmp_path):
    for name, matrix in AFFINES.items():
        io.write(volume(), matrix, tmp_path / "x.nii")
        header = nibabel.load(tmp_path / "x.nii").header
        assert header["sform_code"] == 1
        assert header.get_xyzt_units()[0] == "mm"
        assert header["qform_code"] == (name != "sheared")
        if name != "sheared":
            np.testing.assert_allclose(header.get_qform(), matrix, atol=1e-5)  # float32 quaternion


def test_complex_nifti(tmp_path):
    x = volume(torch.complex64) * 1j
    io.write(x.conj(), PLAIN, tmp_path / "x.nii")
    assert torch.equal(io.read(tmp_path / "x.nii")[0], x.conj())


def test_tensors_with_gradients_or_strides_can_be_saved(tmp_path):
    x = volume().transpose(1, 3).requires_grad_()
    io.write(x, OBLIQUE, tmp_path / "x.mha")
    assert torch.equal(io.read(tmp_path / "x.mha")[0], x.detach())


# What other programs write


def save(array, path, **changes):
    image = nibabel.Nifti1Image(array, OBLIQUE.numpy(), dtype=array.dtype)
    for key, value in changes.items():
        image.header[key] = value
    nibabel.save(image, path)


@pytest.mark.parametrize(
    ("stored", "shape"),
    [
        ((4, 5, 6, 3), (3, 4, 5, 6)),
        ((4, 5, 6, 1, 3), (3, 4, 5, 6)),
        ((4, 5, 1, 3), (3, 4, 5, 1)),
        ((4, 5), (1, 4, 5, 1)),
        ((4,), (1, 4, 1, 1)),
    ],
)
def test_nifti_axes(tmp_path, stored, shape):
    array = np.arange(math.prod(stored), dtype=np.int16).reshape(stored)
    save(array, tmp_path / "x.nii")
    y, _ = io.read(tmp_path / "x.nii")
    assert io.read_header(tmp_path / "x.nii").shape == tuple(y.shape) == shape
    last = [size - 1 for size in shape]
    index = (*last[1:], 0, 0)[: len(stored)]
    if len(stored) > 3:
        index = (*index[:-1], last[0])
    assert y[tuple(last)] == array[index]


def test_big_endian_scaled_and_colour_nifti(tmp_path):
    path = tmp_path / "x.nii"
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6) - 60
    header = nibabel.Nifti1Header(endianness=">")
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header, dtype=np.int16), path)
    assert path.read_bytes()[:4] == (348).to_bytes(4, "big")
    assert nibabel.load(path).dataobj.dtype == np.dtype(">i2")
    y, _ = io.read(path)
    assert y.dtype == torch.int16
    assert torch.equal(y[0], torch.from_numpy(array))

    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    image.dataobj[...] = array  # the header's scale is applied to what is stored
    nibabel.save(image, path)
    raw = nibabel.load(path).dataobj
    y, _ = io.read(path)
    assert io.read_header(path).dtype == y.dtype == torch.float32
    np.testing.assert_array_equal(y[0], raw.get_unscaled() * raw.slope + raw.inter)
    assert raw.slope == 0.5
    assert raw.inter == 10

    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = array + 60
    save(colours, path)
    y, _ = io.read(path, (slice(1, 3), slice(0, 5), slice(2, 6)))
    assert y.shape == (3, 2, 5, 4)
    assert io.read_header(path).shape == (3, 4, 5, 6)
    np.testing.assert_array_equal(y[1], (array + 60)[1:3, :, 2:])


def test_uint64_beyond_int64_is_an_error(tmp_path):
    array = np.array([[[1, 2**63]]], np.uint64)
    save(array, tmp_path / "x.nii")
    with pytest.raises(OSError, match="uint64 voxels must fit int64: got 9223372036854775808"):
        io.read(tmp_path / "x.nii")
    y, _ = io.read(tmp_path / "x.nii", (slice(0, 1), slice(0, 1), slice(0, 1)))
    assert y.dtype == torch.int64


@pytest.mark.parametrize("name", ["identity", "left-handed", "permuted", "oblique"])
def test_simpleitk_and_nibabel_agree_on_where_a_voxel_is(tmp_path, name):
    path = tmp_path / "x.nii"
    io.write(volume(), AFFINES[name], path)
    ours, matrix = io.read(path)
    theirs = sitk.ReadImage(str(path))
    for corner in np.ndindex(2, 2, 2):
        index = [n * (size - 1) for n, size in zip(corner, (4, 5, 6), strict=True)]
        x, y, z = theirs.TransformIndexToPhysicalPoint(index)
        world = matrix @ torch.tensor([*index, 1.0], dtype=torch.float64)
        # float32 quaternions, over 80 mm
        np.testing.assert_allclose(world[:3], [-x, -y, z], atol=1e-4)
        assert theirs.GetPixel(index) == ours[(0, *index)]
    tensor, again = io.from_sitk(theirs)
    assert torch.equal(tensor, ours)
    torch.testing.assert_close(again, matrix, rtol=0, atol=1e-4)


# Images in memory


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("channels", [1, 2])
def test_images_of_other_libraries_keep_their_type(name, channels):
    x = volume(torch.int16, (channels, 4, 5, 6))
    image = io.to_sitk(x, AFFINES[name])
    assert image.GetSize() == (4, 5, 6)
    assert image.GetNumberOfComponentsPerPixel() == channels
    x_, y_, z_ = image.TransformIndexToPhysicalPoint((3, 1, 2))
    world = AFFINES[name] @ torch.tensor([3, 1, 2, 1], dtype=torch.float64)
    np.testing.assert_allclose(world[:3], [-x_, -y_, z_], atol=1e-12)
    y, matrix = io.from_sitk(image)
    assert torch.equal(y, x)
    assert y.is_contiguous()
    torch.testing.assert_close(matrix, AFFINES[name], rtol=0, atol=1e-13)

    image = io.to_nibabel(x, AFFINES[name])
    y, matrix = io.from_nibabel(image)
    assert torch.equal(y, x)
    assert torch.equal(matrix, AFFINES[name])
    y.zero_(), matrix.zero_()
    assert image.dataobj.any()
    assert image.affine.any()


def test_sitk_images_of_two_and_four_axes():
    flat = sitk.GetImageFromArray(np.arange(30, dtype=np.uint8).reshape(5, 2, 3), isVector=True)
    flat.SetSpacing((2, 3))
    y, matrix = io.from_sitk(flat)
    assert y.shape == (3, 2, 5, 1)
    assert y[1, 1, 4, 0] == flat[1, 4][1]
    assert matrix.diagonal().tolist() == [-2, -3, 1, 1]

    film = sitk.JoinSeries([io.to_sitk(volume() + n, OBLIQUE) for n in range(2)])
    y, matrix = io.from_sitk(film)
    assert torch.equal(y, torch.cat([volume(), volume() + 1]))
    torch.testing.assert_close(matrix, OBLIQUE, rtol=0, atol=1e-13)


def test_complex_sitk_image(tmp_path):
    array = np.arange(24, dtype=np.complex64).reshape(2, 3, 4) * np.complex64(1 + 2j)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "x.nrrd"))
    header, (y, _) = io.read_header(tmp_path / "x.nrrd"), io.read(tmp_path / "x.nrrd")
    assert header.shape == (1, 4, 3, 2)
    assert header.dtype == torch.complex64
    np.testing.assert_array_equal(y[0], array.T)


def test_kinds():
    s, n = io.to_sitk(volume(), PLAIN), io.to_nibabel(volume(), PLAIN)
    assert [io.is_sitk(x) for x in (s, n, volume(), None)] == [True, False, False, False]
    assert [io.is_nibabel(x) for x in (s, n, volume(), None)] == [False, True, False, False]


WITHOUT_THE_LIBRARIES = """
import sys
sys.modules["nibabel"] = sys.modules["SimpleITK"] = None
from torchio_gpu.data import io
print(io.is_sitk(1), io.is_nibabel(1))
for path in sys.argv[1:]:
    try:
        io.read(path)
    except ImportError as error:
        print(error)
"""


def test_without_the_libraries(tmp_path):
    paths = [str(tmp_path / name) for name in ("x.nii", "x.mha")]
    for path in paths:
        io.write(volume(), PLAIN, path)
    command = [sys.executable, "-c", WITHOUT_THE_LIBRARIES, *paths]
    kinds, nifti, meta = subprocess.check_output(command, text=True).splitlines()
    assert kinds == "False False"
    assert "pip install nibabel" in nifti
    assert "pip install SimpleITK" in meta


# Regions

REGION = (slice(1, 4), slice(2, 3), slice(1, 6, 2))


@pytest.mark.parametrize("suffix", MEDICAL)
@pytest.mark.parametrize("channels", [1, 2])
def test_region_is_a_slice_of_the_volume(tmp_path, suffix, channels):
    path = tmp_path / f"x{suffix}"
    io.write(volume(torch.int16, (channels, 4, 5, 6)), AFFINES["sheared"], path)
    whole, matrix = io.read(path)
    part, moved = io.read(path, REGION)
    assert torch.equal(part, whole[(slice(None), *REGION)])
    voxel = torch.tensor([[2, 0, 1, 1], [1 + 2, 2, 1 + 2 * 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(moved @ voxel[0], matrix @ voxel[1], rtol=0, atol=1e-12)
    open_ended = (slice(None), slice(3, None), slice(None, 2))
    part, _ = io.read(path, open_ended)
    assert torch.equal(part, whole[(slice(None), *open_ended)])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd"])
def test_headers_and_regions_do_not_read_the_rest(tmp_path, suffix):
    x = torch.randint(0, 30000, (1, 32, 32, 64), dtype=torch.int16)
    path = tmp_path / f"x{suffix}"
    io.write(x, OBLIQUE, path)
    file = path.with_suffix(".raw") if suffix == ".mhd" else path
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])  # slices 32 and up are lost
    assert io.read_header(path).shape == tuple(x.shape)
    region = (slice(3, 20), slice(0, 30), slice(4, 12))
    part, _ = io.read(path, region)
    assert torch.equal(part, x[(slice(None), *region)])
    with pytest.raises(OSError, match=r"should hold voxels \(1, 32, 32, 64\) of torch.int16"):
        io.read(path)


@pytest.mark.parametrize(
    "region",
    [
        (slice(0, 5), slice(0, 5), slice(0, 6)),
        (slice(-2, 4), slice(0, 5), slice(0, 6)),
        (slice(0, 4), slice(3, 3), slice(0, 6)),
        (slice(0, 4), slice(0, 5), slice(5, 1, -1)),
        (slice(0, 4), slice(0, 5)),
        (),
        (0, slice(0, 5), slice(0, 6)),
    ],
)
def test_bad_regions(tmp_path, region):
    io.write(volume(), PLAIN, tmp_path / "x.nii")
    with pytest.raises(ValueError, match="region must"):
        io.read(tmp_path / "x.nii", region)


# DICOM


def write_series(folder, x, heights, uid="1.2.3.4", **more):
    """Write one file per slice of x (I, J, K), with names in reverse order."""
    folder.mkdir(exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for n, height in enumerate(heights):
        image = sitk.JoinSeries(sitk.GetImageFromArray(x[:, :, n].T.contiguous().numpy()))
        image.SetSpacing((0.7, 0.8, 1))
        tags = {
            "0008|0060": "CT",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0052": "1.2.5",
            "0008|0018": f"{uid}.{n}",
            "0020|0013": str(n),
            "0020|0032": "\\".join(map(str, (10, 20 + height * 0.1, height))),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for key, value in (tags | more).items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}_{len(heights) - n}.dcm"))
        writer.Execute(image)
    # writing DICOM sets it to "C", by which whatever text is opened later would be ASCII
    locale.setlocale(locale.LC_ALL, before)


def test_dicom_folder(tmp_path, capfd, monkeypatch):
    x = volume(torch.int16)[0]
    heights = [-30, -27, -24, -21, -18, -15]
    write_series(tmp_path / "d", x, heights)
    y, matrix = io.read(tmp_path / "d")
    assert y.dtype == torch.int16
    assert torch.equal(y[0], x)
    assert capfd.readouterr() == ("", "")
    # DICOM is LPS; the second coordinate moves with the slices, as in a tilted gantry
    wanted = affine([[-0.7, 0, 0], [0, -0.8, -0.3], [0, 0, 3]], (-10, -17, -30))
    torch.testing.assert_close(matrix, wanted, rtol=0, atol=1e-6)
    header = io.read_header(tmp_path / "d")
    assert header.shape == (1, 4, 5, 6)
    assert header.dtype == torch.int16

    opened, execute = [], sitk.ImageFileReader.Execute
    monkeypatch.setattr(
        sitk.ImageFileReader,
        "Execute",
        lambda reader: opened.append(reader.GetFileName()) or execute(reader),
    )
    part, moved = io.read(tmp_path / "d", REGION)
    assert torch.equal(part[0], x[REGION])
    assert [name[-5] for name in opened] == ["5", "3", "1"]  # slices 1, 3, 5 and no others
    corner = matrix @ torch.tensor([1, 2, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(moved[:, 3], corner)


def test_dicom_file_with_and_without_suffix(tmp_path):
    write_series(tmp_path / "d", volume(torch.int16)[0, :, :, :1], [7])
    file = next((tmp_path / "d").iterdir())
    whole, matrix = io.read(tmp_path / "d")
    plain = file.rename(tmp_path / "IM0001")
    y, again = io.read(plain)
    assert torch.equal(y, whole)
    assert torch.equal(matrix, again)
    assert y.shape == (1, 4, 5, 1)
    assert again[2, 3] == 7


def test_slices_scaled_differently(tmp_path):
    x = volume(torch.int16)[0]
    write_series(tmp_path / "d", x, range(6), **{"0028|1052": "1", "0028|1053": "1"})
    file = tmp_path / "d" / "1.2.3.4_5.dcm"  # the second slice
    tag = b"\x28\0\x53\x10\2\0\0\0"  # rescale slope, implicit type, two bytes long
    content = file.read_bytes()
    assert content.count(tag + b"1 ") == 1
    file.write_bytes(content.replace(tag + b"1 ", tag + b".5"))
    x = x.double()
    x[:, :, 1] = (x[:, :, 1] - 1) / 2 + 1
    header, (y, _) = io.read_header(tmp_path / "d"), io.read(tmp_path / "d")
    assert header.dtype == y.dtype == torch.float64
    assert torch.equal(y[0], x)
    assert io.read(tmp_path / "d", (slice(0, 4), slice(0, 5), slice(0, 1)))[0].dtype == y.dtype
    assert io.read(tmp_path / "d", REGION)[0].dtype == header.dtype


def test_invalid_dicom_folders_are_refused(tmp_path):
    x = volume(torch.int16)[0]
    write_series(tmp_path / "gap", x, [0, 3, 6, 9, 15, 18])
    with pytest.raises(ValueError, match=r"evenly spaced: .*a slice may be missing"):
        io.read_header(tmp_path / "gap")
    write_series(tmp_path / "same", x, [0, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="evenly spaced"):
        io.read(tmp_path / "same")
    write_series(tmp_path / "two", x, range(6))
    write_series(tmp_path / "two", x, range(6), uid="1.9.8.7")
    with pytest.raises(
        ValueError, match=r"two' cannot be read: .*one DICOM series.*1\.2\.3\.4.*1\.9\.8\.7"
    ):
        io.read(tmp_path / "two")
    write_series(tmp_path / "sizes", x[:, :, :2], [0, 1])
    write_series(tmp_path / "more", x[:3, :, :1], [2])
    (file,) = (tmp_path / "more").iterdir()
    file.rename(tmp_path / "sizes" / "3.dcm")
    with pytest.raises(ValueError, match=r"must all be \(1, 4, 5, 1\).*\(1, 3, 5, 1\)"):
        io.read(tmp_path / "sizes")


# Pictures


@pytest.mark.parametrize(
    ("suffix", "dtype", "shape"),
    [
        (".png", torch.uint8, (1, 4, 5, 1)),
        (".PNG", torch.uint8, (3, 4, 5, 1)),
        (".png", torch.int32, (3, 4, 5, 1)),
        (".tif", torch.uint8, (3, 4, 5, 1)),
        (".tiff", torch.int16, (1, 4, 5, 6)),
        (".tif", torch.float32, (1, 4, 5, 6)),
        (".tif", torch.uint8, (3, 4, 5, 6)),
    ],
)
def test_pictures_round_trip(tmp_path, capfd, suffix, dtype, shape):
    path = tmp_path / f"x{suffix}"
    x = volume(dtype, shape)
    if dtype == torch.int32:
        x[0, 0, 0, 0] = 65535
    io.write(x, OBLIQUE, path)
    y, matrix = io.read(path)
    assert y.dtype == dtype
    assert torch.equal(y, x)
    assert io.read_header(path).shape == shape
    spacing = [
        -0.7,
        -1.3,
        1.0,
    ]  # a picture's first row is posterior-most; pixels are whole per metre
    np.testing.assert_allclose(matrix.diagonal()[:3], spacing, rtol=1e-3)
    part, _ = io.read(path, (slice(1, 3), slice(2, 5, 2), slice(0, 1)))
    assert torch.equal(part, x[:, 1:3, 2:5:2, :1])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(tmp_path, capfd, channels):
    x = torch.arange(0, 240, 10).reshape(1, 24, 1, 1).expand(channels, 24, 16, 1).to(torch.uint8)
    io.write(x, PLAIN, tmp_path / "x.jpg")
    y, _ = io.read(tmp_path / "x.jpg")
    assert y.dtype == torch.uint8
    assert y.shape == x.shape
    assert (y.int() - x.int()).abs().max() < 16  # JPEG's loss on a smooth ramp
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("suffix", "x", "message"),
    [
        (".png", volume(torch.uint8), "K = 1"),
        (".jpg", volume(torch.uint8, (2, 4, 5, 1)), "1 or 3 channels"),
        (".png", volume(torch.float32), "1 or 3 channels and one slice"),
        (".png", volume(torch.int32, (1, 4, 5, 1)) - 1, "must fit uint8 or uint16 .*int32"),
        (".png", volume(torch.int32, (1, 4, 5, 1)) + 65536, "must fit uint8 or uint16 .*int32"),
        (".jpeg", volume(torch.int16, (1, 4, 5, 1)), "must fit uint8 .*int16"),
        (".tif", volume(torch.float64), "must fit .*float32 .*float64"),
        (".tif", volume(torch.int64), "int64"),
        (".mha", volume(torch.complex64), "real"),
        (".xyz", volume(), r"\.nii, \.nii\.gz, .*\.tiff: got"),
        (".dcm", volume(torch.int16), "must end in"),
        (".nii", volume()[0], r"\(C, I, J, K\)"),
        (".nii", volume()[:, :0], r"\(C, I, J, K\)"),
        (".nii", torch.zeros(1, 32768, 1, 1), "32767"),
    ],
)
def test_images_that_a_format_cannot_store_are_refused(tmp_path, suffix, x, message):
    with pytest.raises(ValueError, match=message):
        io.write(x, PLAIN, tmp_path / f"x{suffix}")
    assert names(tmp_path) == []


# Errors


def test_a_failed_write_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "x.nii"
    path.write_text("old")

    def broken(image, name):
        with open(name, "w") as file:
            file.write("half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(nibabel, "save", broken)
    with pytest.raises(OSError, match=r"x\.nii' could not be written: disk full"):
        io.write(volume(), PLAIN, path)
    assert names(tmp_path) == ["x.nii"]
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError, match="existing folder"):
        io.write(volume(), PLAIN, tmp_path / "none" / "x.nii")


@pytest.mark.parametrize(
    "matrix",
    [
        torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0])),
        torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        torch.eye(4) * torch.nan,
        torch.eye(3),
        torch.eye(4) * 2,
    ],
)
def test_bad_affines_are_not_written(tmp_path, matrix):
    for suffix in (".nii", ".nrrd", ".png"):
        with pytest.raises(ValueError, match="affine must have an invertible"):
            io.write(volume(torch.uint8, (1, 4, 5, 1)), matrix, tmp_path / f"x{suffix}")
    assert names(tmp_path) == []


def test_tiny_voxels_are_not_singular(tmp_path):
    tiny = torch.diag(torch.tensor([1e-6, 1e-6, 1e-6, 1.0], dtype=torch.float64))
    io.write(volume(), tiny, tmp_path / "x.nii")
    assert torch.equal(io.read(tmp_path / "x.nii")[1], tiny.float().double())


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_bad_affine_in_a_nifti_header(tmp_path, value):
    io.write(volume(), AFFINES["identity"], tmp_path / "bad.nii")
    content = bytearray((tmp_path / "bad.nii").read_bytes())
    content[280:284] = np.float32(value).tobytes()  # srow_x[0]
    (tmp_path / "bad.nii").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.nii' cannot be read: header must have an inv"):
        io.read_header(tmp_path / "bad.nii")


def test_singular_meta_image(tmp_path):
    io.write(volume(), AFFINES["identity"], tmp_path / "bad.mha")
    content = (tmp_path / "bad.mha").read_bytes()
    good, bad = b"TransformMatrix = -1 0 0 0 -1 0 0 0 1", b"TransformMatrix = -1 0 0 0 -1 0 0 1 0"
    assert good in content
    (tmp_path / "bad.mha").write_bytes(content.replace(good, bad))
    with pytest.raises(ValueError, match=r"bad\.mha' cannot be read: header must have an inv"):
        io.read(tmp_path / "bad.mha")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.nii does not exist"):
        io.read(tmp_path / "gone.nii")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match="empty' holds none"):
        io.read(tmp_path / "empty")
    for name in ("text", "text.png", "text.nrrd"):
        (tmp_path / name).write_text("no image either")
        with pytest.raises(OSError, match=f"{name}' should be an image"):
            io.read_header(tmp_path / name)
    for name in ("text.nii", "text.nii.gz", "text.hdr"):
        (tmp_path / name).write_text("no image either")
        with pytest.raises(OSError, match=f"{name}' should start with a NIfTI header"):
            io.read_header(tmp_path / name)
    io.write(volume(), PLAIN, tmp_path / "x.mhd")
    (tmp_path / "x.raw").unlink()
    with pytest.raises(OSError, match=r"x\.mhd' should be an image .*'x\.raw' does not"):
        io.read(tmp_path / "x.mhd")


def test_truncated_gzip(tmp_path):
    x = torch.randint(0, 30000, (1, 16, 16, 64), dtype=torch.int16)
    io.write(x, PLAIN, tmp_path / "x.nii.gz")
    content = (tmp_path / "x.nii.gz").read_bytes()
    for kept in (3000, len(content) - 3000):
        (tmp_path / "x.nii.gz").write_bytes(content[:kept])
        assert io.read_header(tmp_path / "x.nii.gz").dtype == torch.int16
        with pytest.raises(OSError, match=r"x\.nii\.gz' should hold voxels .*int16"):
            io.read(tmp_path / "x.nii.gz")
    (tmp_path / "x.nii.gz").write_bytes(content[:100])
    with pytest.raises(OSError, match=r"x\.nii\.gz' should start with a NIfTI header"):
        io.read_header(tmp_path / "x.nii.gz")


def test_too_many_axes(tmp_path):
    save(np.zeros((2, 2, 2, 3, 4), np.int16), tmp_path / "x.nii")
    with pytest.raises(ValueError, match="one of channels"):
        io.read_header(tmp_path / "x.nii")
