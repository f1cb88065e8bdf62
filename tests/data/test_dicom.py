"""DICOM folders with damaged slices, and files with several frames."""

import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests.data.test_io import volume, write_series
from torchio_gpu.data import io

HEIGHTS = [0, 3, 6, 9, 12, 15]
X = volume(torch.int16)[0]
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


# Series


@pytest.mark.parametrize("which", [0, 2, 5])
@pytest.mark.parametrize("kept", [0, 50, 131, 140, 400, -10, -41])
@pytest.mark.parametrize("name", ["same", "IM0007", "00000001"])
def test_a_damaged_slice_is_named(tmp_path, which, kept, name):
    write_series(tmp_path / "d", X, HEIGHTS)
    files = sorted((tmp_path / "d").iterdir())
    if name != "same":  # as scanners name them, without suffix
        digits = name.strip("IM")
        prefix = name[: len(name) - len(digits)]
        files = [
            file.rename(file.with_name(f"{prefix}{n:0{len(digits)}}"))
            for n, file in enumerate(files, start=1)
        ]
    file = files[which]
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"d' cannot be read: .*'{file.name}'"):
        io.read_header(tmp_path / "d")


def test_a_garbled_slice_is_named(tmp_path):
    write_series(tmp_path / "d", X, HEIGHTS)
    file = sorted((tmp_path / "d").iterdir())[0]
    file.write_bytes(bytes(range(256)) * 4)
    with pytest.raises((OSError, ValueError), match=file.name):
        io.read(tmp_path / "d")
    for other in sorted((tmp_path / "d").iterdir())[1:]:
        other.unlink()
    with pytest.raises((OSError, ValueError), match=file.name):
        io.read(tmp_path / "d")


def test_other_files_in_the_folder_are_ignored(tmp_path):
    write_series(tmp_path / "d", X, HEIGHTS)
    for name in ("README.txt", "DICOMDIR", ".DS_Store", "LICENSE", "Thumbs.db", "._1.2.3.4_1.dcm"):
        (tmp_path / "d" / name).write_bytes(b"hello")
    (tmp_path / "d" / "below").mkdir()
    assert torch.equal(io.read(tmp_path / "d")[0][0], X)


def test_a_slice_with_truncated_pixel_data_is_named(tmp_path):
    """GDCM parses such a file, encapsulated or not, so its length is checked."""
    write_series(tmp_path / "d", X, HEIGHTS)
    file = sorted((tmp_path / "d").iterdir())[0]
    slices = pydicom.dcmread(file)
    slices.PixelData = slices.PixelData[:-8]
    slices.save_as(file)
    with pytest.raises(OSError, match=rf"{file.name}' should be a whole DICOM file.*40 .*32"):
        io.read_header(tmp_path / "d")


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFF0, 1 << 25])
@pytest.mark.parametrize("place", ["x.dcm", "folder/x.dcm"])
def test_elements_that_end_outside_the_file_are_refused(tmp_path, size, place):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    write_frames(path, [0, 3])
    content = bytearray(path.read_bytes())
    at = content.index(b"\xe0\x7f\x10\x00OW")
    content[at + 8 : at + 12] = size.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(
        OSError, match=r"x\.dcm.*element \(7fe0,0010\) claims \d+ bytes, 80 are left"
    ):
        io.read_header(path.parent if "folder" in place else path)


# Frames


def dataset(**values):
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def write_frames(path, heights, syntax=ExplicitVRLittleEndian, groups=True, **changes):
    """Enhanced MR with one frame for each height; frame n has voxels 100 n, 100 n + 1, …"""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ENHANCED_MR, "1.2.3"
    meta.TransferSyntaxUID = syntax
    whole = dataset(
        SOPClassUID=ENHANCED_MR, SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2.4",
        StudyInstanceUID="1.2.5", Modality="MR", NumberOfFrames=len(heights), Rows=5, Columns=4,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=16,
        BitsStored=16, HighBit=15, PixelRepresentation=0,
    )  # fmt: skip
    measures = dataset(PixelSpacing=[0.8, 0.7], SliceThickness=2)
    rotated = dataset(ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    shared = dataset(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[rotated])
    frames = [
        dataset(PlanePositionSequence=[dataset(ImagePositionPatient=[height, 10, 20])])
        for height in heights
    ]
    if groups:
        whole.SharedFunctionalGroupsSequence = [shared]
        whole.PerFrameFunctionalGroupsSequence = frames
    x = torch.arange(20).reshape(1, 5, 4) + 100 * torch.arange(len(heights)).reshape(-1, 1, 1)
    stored = x.numpy().astype(">u2" if syntax == ExplicitVRBigEndian else "<u2")
    whole.add_new("PixelData", "OW", stored.tobytes())
    for name, value in changes.items():
        setattr(whole, name, value)
    whole.file_meta = meta
    whole.save_as(path, enforce_file_format=True)
    return x.permute(2, 1, 0)[None].to(torch.int32)  # [1, I, J, frame]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    "heights", [[0, 3, 6, 9], [9, 6, 3, 0], [6, 0, 9, 3], [-4.5, -4, -3.5, -3]]
)
@pytest.mark.parametrize("place", ["x.dcm", "folder/x", "x"])
def test_frames_are_placed_by_their_positions(tmp_path, syntax, heights, place):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    x = write_frames(path, heights, syntax)
    y, matrix = io.read(path.parent if "folder" in place else path)
    assert y.dtype == torch.int32
    assert y.shape == x.shape
    for n, height in enumerate(heights):
        # the frames' rows run along +y, their columns along +z, in LPS
        world = torch.tensor([-height, -10 - 0.7 * 3, 20 + 0.8 * 4, 1], dtype=torch.float64)
        i, j, k, _ = torch.linalg.solve(matrix, world).round(decimals=6).tolist()
        assert (i, j) == (3, 4)
        assert torch.equal(y[..., int(k)], x[..., n])
    region = (slice(1, 3), slice(0, 5), slice(1, 4, 2))
    part, moved = io.read(path.parent if "folder" in place else path, region)
    assert torch.equal(part, y[(slice(None), *region)])
    corner = torch.tensor([1, 0, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(moved[:, 3], matrix @ corner)


@pytest.mark.parametrize("heights", [[0, 3, 6, 20], [0, 0, 3, 3], [0, 3, 7, 9]])
def test_unevenly_spaced_frames_are_an_error(tmp_path, heights):
    write_frames(tmp_path / "x.dcm", heights)
    with pytest.raises(ValueError, match=r"x\.dcm' cannot be read: frames must be parallel and ev"):
        io.read_header(tmp_path / "x.dcm")


def test_frames_without_position_are_an_error(tmp_path):
    write_frames(tmp_path / "x.dcm", [0, 3, 6, 9])
    whole = pydicom.dcmread(tmp_path / "x.dcm")
    del whole.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    whole.save_as(tmp_path / "x.dcm")
    with pytest.raises(ValueError, match=r"x\.dcm' cannot be read: frames must have a position"):
        io.read(tmp_path / "x.dcm")


def test_frames_of_several_scales_are_an_error(tmp_path):
    write_frames(tmp_path / "x.dcm", [0, 3, 6, 9])
    whole = pydicom.dcmread(tmp_path / "x.dcm")
    for n, frame in enumerate(whole.PerFrameFunctionalGroupsSequence):
        scale = dataset(RescaleIntercept=0, RescaleSlope=1 + n // 3, RescaleType="US")
        frame.PixelValueTransformationSequence = [scale]
    whole.save_as(tmp_path / "x.dcm")
    with pytest.raises(ValueError, match=r"x\.dcm' cannot be read: frames must share one rescale"):
        io.read(tmp_path / "x.dcm")


def test_frames_without_functional_groups_become_slices_with_a_warning(tmp_path):
    capture = "1.2.840.10008.5.1.4.1.1.7.3"  # multi-frame grayscale word secondary capture
    x = write_frames(tmp_path / "x.dcm", [0, 3], groups=False, SOPClassUID=capture)
    with pytest.warns(UserWarning, match=r"x\.dcm' has no spacing between its 2 frames"):
        y, _ = io.read(tmp_path / "x.dcm")
    assert torch.equal(y, x)


@pytest.mark.parametrize(
    "start", [b"II*\0", b"MM\0*", b"II+\0", b"BM", b"\xff\xd8\xff", b"\x1f\x8b", b"# vtk DataFile"]
)
def test_a_preamble_that_looks_like_another_format(tmp_path, start):
    """The preamble of 128 bytes may hold anything, such as the header of a TIFF."""
    path = tmp_path / "x.dcm"
    write_frames(path, [0, 3])
    raw = path.read_bytes()
    assert raw[128:132] == b"DICM"
    expected = io.read(path)[0]
    path.write_bytes(start.ljust(128, b"\x07") + raw[128:])
    assert torch.equal(io.read(path)[0], expected)
