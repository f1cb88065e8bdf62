"""Image files, SimpleITK images and NiBabel images to tensors, and back.

A volume is a tensor (C, I, J, K) with an affine (4, 4), float64, voxel (i, j, k) to world RAS+ mm.
A 2D image has K = 1. Colours, vector components, time points and directions are channels.

Voxels keep the type they are stored in, except: torch can do little with wide unsigned integers,
so uint16 is read as int32, uint32 and uint64 as int64 (a uint64 voxel that does not fit is an
error), and scaled NIfTI integers become float32.

SimpleITK and NiBabel are imported here alone, when first needed.
"""

from __future__ import annotations

import importlib
import operator
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Box = tuple[slice, slice, slice]  # start, stop, step all integers, within the volume

NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
TIFF = (".tif", ".tiff")
PICTURES = {  # what each can hold
    ".png": ("uint8", "uint16"),
    **dict.fromkeys((".jpg", ".jpeg"), ("uint8",)),
    **dict.fromkeys(TIFF, ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")),
}
WRITABLE = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd", *PICTURES)

_READ_AS = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # between our world and SimpleITK's, either way


@dataclass(frozen=True)
class Header:
    """What is known of an image before its voxels are read.

    shape: (C, I, J, K). affine: (4, 4) float64, voxel to world RAS+ mm. dtype: what `read` returns.
    """

    shape: tuple[int, int, int, int]
    affine: Tensor
    dtype: torch.dtype


Source = tuple[Header, Callable[[Box], Tensor]]  # and what loads the voxels of a box


# ---- Files


def read_header(path: str | os.PathLike[str]) -> Header:
    """Shape, affine and type of an image file or DICOM folder, without reading its voxels.

    Raises FileNotFoundError if no image is there, OSError if its format is unknown or broken,
    ValueError if its affine is singular or not finite, or if it has too many axes.
    """
    return _open(path)[0]


def read(
    path: str | os.PathLike[str], region: tuple[slice, slice, slice] | None = None
) -> tuple[Tensor, Tensor]:
    """Voxels (C, I, J, K) and affine (4, 4) of an image file, or of a folder with one DICOM series.

    region: slices along i, j and k, within the volume, with positive steps; the affine is then the
    region's own. NIfTI, MHA, MHD and folders read little more than the region (gzip: nothing after
    it); other formats read everything and keep the region.

    Raises what `read_header` does, ValueError for a region that is empty or leaves the volume, and
    OSError for voxels that are missing or corrupt.
    """
    header, load = _open(path)
    box = _box(region, header.shape[1:])
    whole = torch.diag(torch.tensor([*(part.step for part in box), 1], dtype=torch.float64))
    whole[:3, 3] = torch.tensor([part.start for part in box])  # voxel of the region -> of the whole
    expected = f"voxels {header.shape} of {header.dtype}"
    with _failing_as(f"'{path}' should hold {expected}, but reading them failed"):
        return load(box), header.affine @ whole


def write(tensor: Tensor, affine: Tensor, path: str | os.PathLike[str]) -> None:
    """Write a volume (C, I, J, K) and its affine (4, 4) in the format that the suffix names.

    NIfTI keeps the affine to float32, shears included; NRRD, MHA and MHD keep it to float64. PNG,
    JPEG and TIFF keep the pixel spacing at most, and hold 1 or 3 channels of the types in
    `PICTURES`; only TIFF holds more than one slice, and JPEG loses detail. bool becomes uint8,
    float16 and bfloat16 float32, int64 that fits int32 in NIfTI, and integers from 0 to 65535
    uint16 in PNG; nothing else is converted.

    The file appears whole or not at all. Raises ValueError for an unknown suffix or for what the
    format cannot hold, FileNotFoundError for a missing folder, OSError if writing fails.
    """
    path = Path(path).expanduser()
    suffix = _suffix(path)
    if not suffix:
        raise ValueError(f"path must end in one of {', '.join(WRITABLE)}: got '{path}'")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path must be in an existing folder: '{path.parent}' is none")
    if suffix in NIFTI:
        image, save = to_nibabel(tensor, affine), _nibabel().save
    else:
        picture = suffix in PICTURES
        image = _picture(tensor, affine, suffix) if picture else to_sitk(tensor, affine)
        save = _sitk().WriteImage
    # In a folder of its own a header can name its raw file rightly; in the target's folder, so that
    # the last step is a rename within one disk.
    with (
        _failing_as(f"'{path}' could not be written"),
        tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder,
    ):
        save(image, str(Path(folder, path.name)))
        for part in sorted(Path(folder).iterdir(), key=lambda part: part.name == path.name):
            os.replace(part, path.parent / part.name)  # the file that was asked for comes last


def _open(path: str | os.PathLike[str]) -> Source:
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"path must be an image or a DICOM folder: '{path}' is missing")
    nifti = _suffix(path) in NIFTI
    opener = _open_series if path.is_dir() else _open_nifti if nifti else _open_sitk
    try:
        header, load = opener(path)
        _checked_affine(header.affine, "header")
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read: {error}") from error
    return header, load


def _open_nifti(path: Path) -> Source:
    with _failing_as(f"'{path}' should start with a NIfTI header, but reading it failed"):
        image = _nibabel().load(path)
    return _nibabel_source(image)


def _open_sitk(path: Path) -> Source:
    reader = _sitk().ImageFileReader()
    reader.SetFileName(str(path))
    with _failing_as(f"'{path}' should be an image that SimpleITK knows, but has no such header"):
        reader.ReadImageInformation()
    header, sizes = _sitk_header(reader, reader.GetNumberOfComponents()), reader.GetSize()

    def load(box: Box) -> Tensor:
        spans = [(part.start, part.stop - part.start) for part in box[: len(sizes)]]
        starts, extents = zip(*spans, *((0, size) for size in sizes[3:]), strict=True)
        reader.SetExtractIndex(starts)
        reader.SetExtractSize(extents)
        i, j, k = (slice(0, part.stop - part.start, part.step) for part in box)
        return _sitk_tensor(reader.Execute(), (i, j, k), header.dtype)

    return header, load


def _open_series(folder: Path) -> Source:
    series = _sitk().ImageSeriesReader
    ids = series.GetGDCMSeriesIDs(str(folder))
    if not ids:
        raise FileNotFoundError(f"folder must hold a DICOM series: '{folder}' holds none")
    if len(ids) > 1:
        raise ValueError(f"folder must hold one DICOM series: got {', '.join(ids)}")
    names = series.GetGDCMSeriesFileNames(str(folder), ids[0])  # sorted by position
    headers, loads = zip(*(_open_sitk(Path(name)) for name in names), strict=True)
    if len(names) == 1:
        return headers[0], loads[0]

    channels, i, j, _ = shape = (*headers[0].shape[:3], 1)
    for name, header in zip(names, headers, strict=True):
        if header.shape != shape:
            raise ValueError(f"slices must all be {shape}: '{name}' is {header.shape}")

    # The positions of the slices, not their thickness and normal, give the step between them: gaps
    # count, and a tilted gantry is a shear. Uneven slices have no affine, so they are an error.
    affines = torch.stack([header.affine for header in headers])  # [K, 4, 4]
    step = (affines[-1, :, 3] - affines[0, :, 3]) / (len(names) - 1)
    corners = [[0, i - 1, 0], [0, 0, j - 1], [0, 0, 0], [1, 1, 1]]
    placed = affines @ torch.tensor(corners, dtype=torch.float64)  # [K, 4, 3], mm
    even = placed[0] + torch.arange(len(names))[:, None, None] * step[:, None]
    astray, gap = (placed - even).norm(dim=1).max().item(), step.norm().item()
    if not astray < gap / 10:
        raise ValueError(
            f"slices must be parallel and evenly spaced: with steps of {gap:.4g} mm one is "
            f"{astray:.4g} mm astray, so a slice may be missing or there twice"
        )
    affine = torch.stack([*affines[0, :, :2].T, step, affines[0, :, 3]], dim=1)
    dtype = headers[0].dtype
    for header in headers:  # each slice has a scale of its own, so some may be floats
        dtype = torch.promote_types(dtype, header.dtype)

    def load(box: Box) -> Tensor:
        one = slice(0, 1, 1)
        parts = [loads[k]((*box[:2], one)) for k in range(box[2].start, box[2].stop, box[2].step)]
        return torch.cat(parts, dim=3).to(dtype)

    return Header((channels, i, j, len(names)), affine, dtype), load


# ---- Images of other libraries


def is_sitk(x: object) -> bool:
    """Whether x is a SimpleITK image, found out without importing SimpleITK."""
    library: Any = sys.modules.get("SimpleITK")
    return library is not None and isinstance(x, library.Image)


def is_nibabel(x: object) -> bool:
    """Whether x is a spatial NiBabel image, found out without importing NiBabel."""
    library: Any = sys.modules.get("nibabel")
    return library is not None and isinstance(x, library.spatialimages.SpatialImage)


def from_sitk(image: Any) -> tuple[Tensor, Tensor]:
    """Voxels (C, I, J, K), copied, and affine (4, 4) of a SimpleITK image with 2 to 4 axes."""
    header = _sitk_header(image, image.GetNumberOfComponentsPerPixel())
    affine = _checked_affine(header.affine, "SimpleITK image")
    return _sitk_tensor(image, _box(None, header.shape[1:]), header.dtype), affine


def to_sitk(tensor: Tensor, affine: Tensor) -> Any:
    """3D SimpleITK image, of vectors if C > 1, of a volume (C, I, J, K) and its affine (4, 4).

    A sheared affine is kept exactly: SimpleITK holds and uses directions that are not orthogonal.
    Complex voxels raise ValueError: most of SimpleITK's formats lose them.
    """
    array = _writable_array(tensor)
    if array.dtype.kind == "c":
        raise ValueError(f"tensor must be real for SimpleITK: got {tensor.dtype}")
    matrix = _LPS @ _checked_affine(affine, "affine").numpy()
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    vectors = len(array) > 1
    image = _sitk().GetImageFromArray(array.T if vectors else array[0].T, isVector=vectors)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def from_nibabel(image: Any) -> tuple[Tensor, Tensor]:
    """Voxels (C, I, J, K), copied, and affine (4, 4) of a NiBabel image.

    The affine is NiBabel's choice: the sform if it has a code, else the qform, else voxel sizes.
    """
    header, load = _nibabel_source(image)
    return load(_box(None, header.shape[1:])), _checked_affine(header.affine, "NiBabel image")


def to_nibabel(tensor: Tensor, affine: Tensor) -> Any:
    """NIfTI-1 image of a volume (C, I, J, K) and its affine (4, 4); if C > 1, the fourth axis is C.

    The sform holds the affine in float32. The qform cannot hold a shear, and then has no code, so
    that programs which prefer it do not go wrong. int64 voxels become int32 if all of them fit.
    Image and tensor may share memory.
    """
    array = _writable_array(tensor)
    if max(array.shape) > 32767:
        raise ValueError(f"tensor must be at most 32767 along each axis for NIfTI: {array.shape}")
    if array.dtype == np.int64 and array.min() >= -(2**31) and array.max() < 2**31:
        array = array.astype(np.int32)
    matrix = _checked_affine(affine, "affine").numpy()
    array = array.transpose(1, 2, 3, 0) if len(array) > 1 else array[0]
    image = _nibabel().Nifti1Image(array, matrix, dtype=array.dtype)
    direction = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    sheared = np.abs(direction.T @ direction - np.eye(3)).max() > 1e-6  # float32 rounds, too
    image.header.set_sform(matrix, "scanner")
    image.header.set_qform(matrix, "unknown" if sheared else "scanner")
    image.header.set_xyzt_units("mm")
    return image


# ---- Voxels


def _nibabel_source(image: Any) -> Source:
    proxy = image.dataobj
    colours = proxy.dtype.names or ()  # NIfTI's RGB voxels are records
    stored = proxy.dtype[0] if colours else proxy.dtype
    scaled = (getattr(proxy, "slope", 1), getattr(proxy, "inter", 0)) != (1, 0)
    dtype = torch.float32 if scaled and stored.kind in "iu" else _torch_dtype(stored)
    shape = _shape(proxy.shape, max(1, len(colours)))

    def load(box: Box) -> Tensor:
        array = np.asanyarray(proxy[box[: len(proxy.shape)]])
        if colours:
            array = np.stack([array[colour] for colour in colours], axis=-1)
        return _tensor(array, box, dtype)

    affine = np.array(image.affine, dtype=np.float64)  # a copy: the image's own stays as it is
    return Header(shape, torch.from_numpy(affine), dtype), load


def _sitk_header(source: Any, components: int) -> Header:
    """Header of a SimpleITK image, or of a reader that has read its file's header."""
    twin = _sitk().Image([1, 1], source.GetPixelID())
    dtype = _torch_dtype(_sitk().GetArrayViewFromImage(twin).dtype)
    sizes = source.GetSize()
    n, dims = len(sizes), min(3, len(sizes))
    affine = np.eye(4)
    direction = np.reshape(source.GetDirection(), (n, n)) * source.GetSpacing()
    affine[:dims, :dims] = direction[:dims, :dims]
    affine[:dims, 3] = source.GetOrigin()[:dims]
    shape = _shape(sizes, 1 if dtype.is_complex else components)  # a reader counts two in complex
    return Header(shape, torch.from_numpy(_LPS @ affine), dtype)


def _sitk_tensor(image: Any, box: Box, dtype: torch.dtype) -> Tensor:
    array = _sitk().GetArrayViewFromImage(image).T  # ([C,] I, J[, K[, T]])
    if array.ndim > image.GetDimension():
        array = np.moveaxis(array, 0, -1)
    return _tensor(array[box[: image.GetDimension()]], box, dtype)


def _tensor(array: np.ndarray, box: Box, dtype: torch.dtype) -> Tensor:
    """Contiguous tensor (C, I, J, K) of the voxels of a box, whose spatial axes come first."""
    if array.dtype.name == "uint64" and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"uint64 voxels must fit int64: got {array.max()}")
    volume = array.reshape(*(len(range(part.start, part.stop, part.step)) for part in box), -1)
    native = torch.empty(0, dtype=dtype).numpy().dtype
    # One copy for all: type, byte order, layout, and memory that is no file's and no one else's.
    return torch.from_numpy(np.array(volume.transpose(3, 0, 1, 2), dtype=native, order="C"))


def _writable_array(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 4 or 0 in tensor.shape:
        raise ValueError(f"tensor must be a volume (C, I, J, K): got shape {tuple(tensor.shape)}")
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy()


def _picture(tensor: Tensor, affine: Tensor, suffix: str) -> Any:
    array = _writable_array(tensor)
    channels, *_, slices = array.shape
    if channels not in (1, 3) or (slices > 1 and suffix not in TIFF):
        allowed = "1 or 3 channels" if suffix in TIFF else "1 or 3 channels and one slice, K = 1,"
        raise ValueError(f"tensor must have {allowed} for {suffix}: got shape {array.shape}")
    integer = array.dtype.kind in "iu" and array.dtype != np.uint8
    if suffix == ".png" and integer and array.min() >= 0 and array.max() < 2**16:
        array = array.astype(np.uint16)  # what was read from such a PNG is int32
    if array.dtype.name not in PICTURES[suffix]:
        types = " or ".join(PICTURES[suffix])
        raise ValueError(f"tensor must fit {types} for {suffix}: got {tensor.dtype}; convert it")
    spacing = _checked_affine(affine, "affine")[:3, :3].norm(dim=0)
    plain = torch.from_numpy(_LPS) * torch.cat([spacing, torch.ones(1)])
    image = to_sitk(torch.from_numpy(array), plain)
    return image if slices > 1 else image[:, :, 0]


# ---- Checks


def _checked_affine(affine: Any, owner: str) -> Tensor:
    matrix = torch.as_tensor(affine, dtype=torch.float64, device="cpu").detach()
    proper = matrix.shape == (4, 4) and matrix[3].tolist() == [0, 0, 0, 1]
    valid = proper and matrix.isfinite().all()
    # With unit columns, how close to singular does not depend on the size of a voxel.
    if not valid or torch.nn.functional.normalize(matrix[:3, :3], dim=0).det().abs() < 1e-6:
        raise ValueError(f"{owner} must have an invertible (4, 4) affine: got {matrix.tolist()}")
    return matrix


def _torch_dtype(stored: np.dtype) -> torch.dtype:
    native = np.dtype(_READ_AS.get(stored.name, stored)).newbyteorder("=")
    try:
        return torch.from_numpy(np.empty(0, native)).dtype
    except TypeError:
        raise ValueError(f"voxels must be of a type that torch has: got {stored}") from None


def _shape(sizes: Sequence[int], components: int) -> tuple[int, int, int, int]:
    """(C, I, J, K) of an image with sizes (I[, J[, K[, ...]]]) and components in each voxel."""
    i, j, k, *more = (*sizes, *[1] * (3 - len(sizes)))
    channels = [size for size in (*more, components) if size != 1]
    if len(channels) > 1 or 0 in (i, j, k, *channels):
        raise ValueError(
            "image must have voxels, up to three axes in space and one of channels: "
            f"got {tuple(sizes)} with {components} component(s) each"
        )
    return (channels or [1])[0], i, j, k


def _box(region: tuple[slice, slice, slice] | None, shape: Sequence[int]) -> Box:
    parts: tuple[slice, ...] = (slice(None),) * 3 if region is None else tuple(region)
    if len(parts) != 3 or not all(isinstance(part, slice) for part in parts):
        raise ValueError(f"region must be three slices, of i, j and k: got {region}")
    box = []
    for axis, part, size in zip("ijk", parts, shape, strict=True):
        ends = ((part.start, 0), (part.stop, size), (part.step, 1))
        start, stop, step = (one if x is None else operator.index(x) for x, one in ends)
        if not 0 <= start < stop <= size or step < 1:
            wish = f"region must take voxels, forwards, from the {size} along {axis}"
            raise ValueError(f"{wish}: got {start}:{stop}:{step}")
        box.append(slice(start, stop, step))
    return box[0], box[1], box[2]


def _suffix(path: Path) -> str:
    return next((suffix for suffix in WRITABLE if path.name.lower().endswith(suffix)), "")


def _import(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is needed {purpose}: pip install {name}") from error


_nibabel = partial(_import, "nibabel", "to read and write NIfTI")
_sitk = partial(_import, "SimpleITK", "to read and write images other than NIfTI")


@contextmanager
def _failing_as(message: str) -> Iterator[None]:
    """Turn whatever a reader or writer throws into one OSError that begins with the message."""
    try:
        yield
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(f"{message}: {reason[-1]}") from error
