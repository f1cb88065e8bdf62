"""Reading of image files and folders of any format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from . import dicom, dicom_tags
from .guards import check_exists, expanded, without_member
from .itk import open_itk
from .minc import MINC, open_minc
from .nifti import FALLBACK, FREESURFER, open_nifti, open_other
from .sources import registered
from .stores import OPENERS, WITH_MEMBERS, is_zarr
from .voxels import Header, Opened, Region, bounded_region, checked_affine, failing_as, shown

#: Suffixes of NIfTI and Analyze, which are read by NiBabel.
NIFTI_READ = tuple(
    suffix + packed for suffix in (".nii", ".hdr", ".img") for packed in ("", ".gz", ".bz2")
)


class Volume(NamedTuple):
    """Voxels (C, I, J, K), affine (4, 4), and header of the whole file."""

    data: Tensor
    affine: Tensor
    header: Header


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return shape, affine and dtype of an image file or DICOM folder, without reading voxels.

    Raises FileNotFoundError if no image is there, PermissionError if it may not be read, OSError
    if its format is unknown or broken, ValueError if its affine is singular or not finite, if it
    has too many axes, or if it is no file or folder.
    """
    return _open(path)[0]


def read(
    path: str | os.PathLike[str], region: tuple[slice, slice, slice] | None = None
) -> tuple[Tensor, Tensor]:
    """Return voxels (C, I, J, K) and affine (4, 4) of an image file or a DICOM series.

    region: slices along i, j and k, within the volume, with positive steps; the affine is then the
    region's own. NIfTI, MHA, MHD, folders and arrays in chunks read little more than the region
    (gzip: nothing after it); other formats read everything and keep the region.

    Whole reads of gzip and bzip2 files and of compressed MetaImage and NRRD check the checksums of
    all compressed bytes. Reads of a region do not: a damaged file can give wrong voxels there.
    Neither DICOM, TIFF, JPEG and .b2nd nor anything uncompressed has checksums, but files that are
    shorter than their headers say are errors. Chunks of HDF5 that this library has written have
    checksums, which are checked whatever is read.

    A MetaImage or NRRD header may only name data files that lie beside or below it. Sizes that a
    header claims are compared with the file before memory is taken for them, other than those of
    HDF5, Zarr and .b2nd, whose chunks may be compressed to any degree or missing. Units of NIfTI,
    NRRD and MetaImage headers are converted to millimetres; a unit that is unknown or not given is
    taken as mm.

    Raises what `read_header` does, ValueError for a region that is empty or leaves the volume,
    OSError for voxels that are missing or corrupt, and MemoryError, naming the file, if they are
    too many.
    """
    data, affine, _ = read_volume(path, region)
    return data, affine


def read_volume(
    path: str | os.PathLike[str], region: tuple[slice, slice, slice] | None = None
) -> Volume:
    """Return the result of :func:`read`, and the header of the whole file."""
    header, load = _open(path)
    bounds = bounded_region(region, header.shape[1:])
    whole = torch.diag(torch.tensor([*(part.step for part in bounds), 1], dtype=torch.float64))
    whole[:3, 3] = torch.tensor(
        [part.start for part in bounds]
    )  # voxel of the region -> of the whole
    expected = f"voxels {header.shape} of {header.dtype}"
    with failing_as(f"'{shown(path)}' should hold {expected}, but reading them failed"):
        return Volume(load(bounds), header.affine @ whole, header)


def _open(path: str | os.PathLike[str]) -> Opened:
    path = expanded(path)
    check_exists(path)
    try:
        header, load = _opener(path)(path)
        checked_affine(header.affine, "header")
    except ValueError as error:
        raise ValueError(f"'{shown(path)}' cannot be read: {shown(str(error))}") from error
    return Opened(header, load)


#: Functions that open files by their suffixes.
_OPENERS: dict[str, Callable[[Path], Opened]] = {
    **dict.fromkeys((*NIFTI_READ, *FREESURFER), open_nifti),
    **dict.fromkeys(FALLBACK, open_other),
    **dict.fromkeys(dicom.SUFFIXES, dicom.open_file),
    MINC: open_minc,
    **OPENERS,
}


def _opener(path: Path) -> Callable[[Path], Opened]:
    """Return the function that opens a file or folder, by its suffix or its content."""
    file, member = without_member(path)
    found = registered(path)
    if found is not None:
        return found
    name = file.name.lower()
    if file.is_dir() and is_zarr(file):
        return OPENERS[".zarr"]
    if member and not name.endswith(WITH_MEMBERS):
        raise ValueError("only files of HDF5 and Zarr have members, to be named after '::'")
    if file.is_dir() and not name.endswith(".zarr"):
        return dicom.open_series
    found = next((each for end, each in _OPENERS.items() if name.endswith(end)), None)
    return found or (dicom.open_file if dicom_tags.is_dicom(file) else open_itk)


__all__ = ["Region", "Volume", "read", "read_header", "read_volume"]
