"""Files that SimpleITK reads, and SimpleITK images in memory."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import headers
from .compressed import MOST_INFLATED
from .guards import check_name, check_size
from .truncation import check_ending, check_pages
from .voxels import (
    LPS,
    Header,
    NiftiFields,
    Opened,
    Region,
    bounded_region,
    checked_affine,
    failing_as,
    is_whole,
    shape_of,
    shown,
    sitk,
    tensor_of,
    torch_dtype,
    writable_array,
)

TIFF = (".tif", ".tiff")
PICTURES = {  # dtypes that each format can hold
    ".png": ("uint8", "uint16"),
    **dict.fromkeys((".jpg", ".jpeg"), ("uint8",)),
    **dict.fromkeys(TIFF, ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")),
}
#: Largest ratio of voxel bytes to file bytes, for formats that compress more than deflate.
_MOST = {**dict.fromkeys(TIFF, 1 << 17), ".jp2": 1 << 17}
#: Suffixes that ITK does not recognise in capitals, with readers that can be set explicitly, ...
_CAPITALS = {
    **dict.fromkeys((".mha", ".mhd"), "MetaImageIO"),
    **dict.fromkeys((".jpg", ".jpeg"), "JPEGImageIO"),
    ".gipl": "GiplImageIO",
}
#: ... and those that even their readers refuse.
_SMALL = (".gipl.gz", ".jp2", ".j2k", ".jpt")


def open_itk(path: Path) -> Opened:
    """Return header and voxels of a file that SimpleITK recognises by its suffix or content."""
    check_name(path)
    with failing_as(f"'{shown(path)}' should be an image with a right header, but is not"):
        with path.open("rb") as file:
            start = file.read(4)
        payload = _payload(path, start)
        reader = sitk().ImageFileReader()
        reader.SetFileName(str(path))
        suffix = "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffix)
        if suffix != suffix.lower():
            if suffix.lower() in _SMALL:
                raise ValueError(f"suffix must be in small letters for SimpleITK: got {suffix}")
            if not sitk().ImageFileReader.GetImageIOFromFileName(str(path)):
                reader.SetImageIO(_CAPITALS.get(suffix.lower(), ""))
        check_pages(path)
    with failing_as(
        f"'{shown(path)}' should be an image that SimpleITK knows, but has no such header"
    ):
        reader.ReadImageInformation()
    header, sizes = _header(reader, reader.GetNumberOfComponents()), reader.GetSize()
    if payload is not None and payload.scale != 1:
        header.affine[:3] *= payload.scale
    needed = math.prod(header.shape) * header.dtype.itemsize
    itemsize = _stored(reader).itemsize
    most = _MOST.get(path.suffix.lower(), MOST_INFLATED)

    def load(region: Region) -> Tensor:
        whole = is_whole(region, header.shape[1:])
        if payload is not None and whole:
            payload.check_size()
            payload.verify()
        elif payload is None:
            check_size(needed, path.stat().st_size * most)
            check_ending(path, math.prod(header.shape), itemsize)
        spans = [(part.start, part.stop - part.start) for part in region[: len(sizes)]]
        starts, extents = zip(*spans, *((0, size) for size in sizes[3:]), strict=True)
        reader.SetExtractIndex(starts)
        reader.SetExtractSize(extents)
        i, j, k = (slice(0, part.stop - part.start, part.step) for part in region)
        return image_tensor(reader.Execute(), (i, j, k), header.dtype)

    return Opened(header, load)


def _payload(path: Path, start: bytes) -> headers.Payload | None:
    suffix = path.suffix.lower()
    if suffix in (".mha", ".mhd"):
        return headers.meta_image(path)
    if suffix in (".nrrd", ".nhdr") or start == b"NRRD":
        return headers.nrrd(path)
    return None


def _stored(source: Any) -> np.dtype:
    """Return the voxel type of a SimpleITK image, or of a reader that has read a header."""
    pixel = sitk().Image([1, 1], source.GetPixelID())
    return sitk().GetArrayViewFromImage(pixel).dtype


def _header(source: Any, components: int) -> Header:
    """Return the header of a SimpleITK image, or of a reader that has read a header."""
    dtype = torch_dtype(_stored(source))
    sizes = source.GetSize()
    n, dims = len(sizes), min(3, len(sizes))
    affine = np.eye(4)
    direction = np.reshape(source.GetDirection(), (n, n)) * source.GetSpacing()
    affine[:dims, :dims] = direction[:dims, :dims]
    affine[:dims, 3] = source.GetOrigin()[:dims]
    shape = shape_of(
        sizes, 1 if dtype.is_complex else components
    )  # a reader counts two for complex numbers
    affine = LPS @ affine
    steps = [
        step for step, size in zip(source.GetSpacing()[3:], sizes[3:], strict=True) if size > 1
    ]
    nifti = NiftiFields(0, 0, affine, steps[0], "sec") if steps else None  # ITK's unit of time
    return Header(shape, torch.from_numpy(affine.copy()), dtype, nifti)


def image_tensor(image: Any, region: Region, dtype: torch.dtype) -> Tensor:
    """Return voxels (C, I, J, K) of a region of a SimpleITK image."""
    array = sitk().GetArrayViewFromImage(image).T  # ([C,] I, J[, K[, T]])
    if array.ndim > image.GetDimension():
        array = np.moveaxis(array, 0, -1)
    return tensor_of(array[region[: image.GetDimension()]], region, dtype)


# ---- Images in memory


def from_sitk(image: Any) -> tuple[Tensor, Tensor]:
    """Return copied voxels (C, I, J, K) and affine (4, 4) of a SimpleITK image of 2 to 4 axes."""
    header = _header(image, image.GetNumberOfComponentsPerPixel())
    affine = checked_affine(header.affine, "SimpleITK image")
    return image_tensor(image, bounded_region(None, header.shape[1:]), header.dtype), affine


def sitk_fields(image: Any) -> NiftiFields | None:
    """Return the time step of a SimpleITK image with a time axis; None if it has none."""
    return _header(image, image.GetNumberOfComponentsPerPixel()).nifti


def to_sitk(tensor: Tensor, affine: Tensor, like: Any = None) -> Any:
    """Return a 3D SimpleITK image, of vectors if C > 1, of a volume (C, I, J, K) and its affine.

    A sheared affine is kept exactly: SimpleITK holds and uses directions that are not orthogonal.
    Complex voxels raise ValueError: most of SimpleITK's formats lose them.

    like: SimpleITK image whose number of axes the result gets. If its channels lie along a fourth
    axis, so do those of the result, with the same step, origin and direction. If ``like`` is 2D,
    several slices, or a slice that is rotated out of its plane, raise ValueError.
    """
    array = writable_array(tensor)
    if array.dtype.kind == "c":
        raise ValueError(f"tensor must be real for SimpleITK: got {tensor.dtype}")
    matrix = LPS @ checked_affine(affine, "affine").numpy()
    axes = 3 if like is None else like.GetDimension()
    tilted = np.abs(matrix[2, :2]).max() > 1e-6 * np.abs(matrix[:2, :2]).max()
    if axes == 2 and (array.shape[3] > 1 or tilted):
        raise ValueError(
            "volume must have one slice, K = 1, that lies across the third axis, to become a 2D "
            f"SimpleITK image: got shape {tuple(tensor.shape)} and affine {affine.tolist()}"
        )
    more = [] if like is None else list(like.GetSize()[3:])
    vectors = len(array) > 1
    if more and like.GetNumberOfComponentsPerPixel() == 1:
        vectors = False
        more[next((axis for axis, size in enumerate(more) if size > 1), 0)] = len(array)
    sizes = (*more[::-1], *array.shape[:0:-1])[-axes:]
    channels_last = array.T if vectors else array.transpose(0, 3, 2, 1)
    voxels = channels_last.reshape(*sizes, len(array)) if vectors else channels_last.reshape(sizes)
    image = sitk().GetImageFromArray(voxels, isVector=vectors)
    space = min(axes, 3)
    spacing, origin, direction = np.ones(axes), np.zeros(axes), np.eye(axes)
    if more:
        spacing[3:], origin[3:] = like.GetSpacing()[3:], like.GetOrigin()[3:]
        direction = np.reshape(like.GetDirection(), (axes, axes))
    spacing[:space] = np.linalg.norm(matrix[:3, :3], axis=0)[:space]
    origin[:space] = matrix[:space, 3]
    direction[:space, :space] = matrix[:space, :space] / spacing[:space]
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(origin.tolist())
    return image


def to_flat_sitk(tensor: Tensor, affine: Tensor) -> Any:
    """Return a 2D SimpleITK image of one slice, K = 1, that lies across the third axis."""
    return to_sitk(tensor, affine, sitk().Image([1, 1], sitk().sitkUInt8))


def picture(tensor: Tensor, affine: Tensor, suffix: str) -> Any:
    """Return a SimpleITK image for a 2D picture format; raise a ValueError if it cannot hold it."""
    array = writable_array(tensor)
    channels, *_, slices = array.shape
    if channels not in (1, 3) or (slices > 1 and suffix not in TIFF):
        allowed = "1 or 3 channels" if suffix in TIFF else "1 or 3 channels and one slice, K = 1,"
        raise ValueError(f"tensor must have {allowed} for {suffix}: got shape {array.shape}")
    if array.dtype.kind == "f" and suffix not in TIFF:
        warnings.warn(
            f"{suffix} holds no fractions: {tensor.dtype} is saved as uint8, clamped to 0..255 and "
            "with fractions cut off",
            RuntimeWarning,
            stacklevel=4,
        )
        array = np.nan_to_num(array, nan=0).clip(0, 255).astype(np.uint8)
    integer = array.dtype.kind in "iu" and array.dtype != np.uint8
    if suffix == ".png" and integer and array.min() >= 0 and array.max() < 2**16:
        array = array.astype(np.uint16)  # uint16 PNGs are read as int32
    if array.dtype.name not in PICTURES[suffix]:
        types = " or ".join(PICTURES[suffix])
        raise ValueError(f"tensor must fit {types} for {suffix}: got {tensor.dtype}; convert it")
    spacing = checked_affine(affine, "affine")[:3, :3].norm(dim=0)
    plain = torch.from_numpy(LPS) * torch.cat([spacing, torch.ones(1)])
    image = to_sitk(torch.from_numpy(array), plain)
    return image if slices > 1 else image[:, :, 0]
