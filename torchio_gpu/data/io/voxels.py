"""Headers, regions of voxels and conversion to tensors, shared by the readers of all formats."""

from __future__ import annotations

import importlib
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

Region = tuple[slice, slice, slice]  # start, stop, step all integers, within the volume

_READ_AS = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}
#: Extra with the packages of stores of chunks.
_STORE = '"torchio-gpu[store]"'
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # between RAS+ and SimpleITK's world, either way


@dataclass(frozen=True)
class NiftiFields:
    """NIfTI fields that a tensor and its affine cannot hold, from a header of any format.

    Args:
        sform_code, qform_code: NIfTI's codes of the two transforms.
        affine: Affine (4, 4), mm, as read.
        step: Distance of channels along the fourth axis.
        step_unit: NiBabel's name of the unit of ``step``; times are always in 'sec'.
        qform: The qform, (4, 4), mm, if there is one.
    """

    sform_code: int
    qform_code: int
    affine: np.ndarray
    step: float
    step_unit: str
    qform: np.ndarray | None = None


@dataclass(frozen=True)
class Header:
    """Properties of an image that are known before its voxels are read.

    Args:
        shape: Shape (C, I, J, K).
        affine: Voxel to world, RAS+ mm, (4, 4) float64.
        dtype: Type of the voxels that ``read`` returns.
        nifti: Fields that only NIfTI has.

    >>> Header((1, 240, 240, 155), torch.eye(4, dtype=torch.float64), torch.int16).shape
    (1, 240, 240, 155)
    """

    shape: tuple[int, int, int, int]
    affine: Tensor
    dtype: torch.dtype
    nifti: NiftiFields | None = field(default=None, compare=False)


class Source(Protocol):
    """Image in a file, of which the header is known and any box can be read.

    Objects with these two members are sources; no base class is needed. A new one is opened for
    each read, in the process that reads, so it may hold open files: it is never pickled.
    See :func:`register_source`.
    """

    @property
    def header(self) -> Header:
        """Shape, affine and dtype of the whole image."""

    def read(self, box: Region, /) -> Tensor | np.ndarray:
        """Return the voxels of a box, (C, I, J, K).

        Args:
            box: Slices along i, j and k, whose start, stop and step are integers within the image;
                an array in that order takes them as ``array[(slice(None), *box)]``.
        """


class Opened(NamedTuple):
    """Source of a built-in format: a header, and the function that reads a box."""

    header: Header
    read: Callable[[Region], Tensor]


# ---- Voxels


def tensor_of(array: np.ndarray, region: Region, dtype: torch.dtype) -> Tensor:
    """Return a contiguous tensor (C, I, J, K) of an array with spatial axes first.

    Args:
        array: Voxels of a region, (I[, J[, K[, C]]]).
        region: The region.
        dtype: Type of the tensor.
    """
    sizes = (len(range(part.start, part.stop, part.step)) for part in region)
    return copied(array.reshape(*sizes, -1).transpose(3, 0, 1, 2), dtype)


def copied(array: np.ndarray, dtype: torch.dtype, fresh: bool = False) -> Tensor:
    """Return a contiguous tensor of an array in any layout, which shares no memory with others.

    torch changes the layout: numpy takes several times as long where the first axis is the fastest.

    Args:
        array: Voxels.
        dtype: Type of the tensor.
        fresh: Nobody else has the memory of the array, which need not be copied.
    """
    if array.dtype.name == "uint64" and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"uint64 voxels must fit int64: got {array.max()}")
    native = torch.empty(0, dtype=dtype).numpy().dtype
    if fresh and array.dtype == native and array.flags.carray:
        return torch.from_numpy(array)
    result = torch.empty(array.shape, dtype=dtype)
    if array.dtype != native or not array.flags.writeable or not array.flags.aligned:
        array = np.array(array, dtype=native, order="K")
    return result.copy_(torch.from_numpy(array))


def writable_array(tensor: Tensor) -> np.ndarray:
    """Return an array (C, I, J, K) of a type that files hold: bool as uint8, float16 as float32."""
    if tensor.ndim != 4 or 0 in tensor.shape:
        raise ValueError(f"tensor must be a volume (C, I, J, K): got shape {tuple(tensor.shape)}")
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy()


# ---- Checks


def checked_affine(affine: Any, owner: str) -> Tensor:
    """Return an affine as (4, 4) float64 on the host; raise a ValueError if it is singular."""
    matrix = torch.as_tensor(affine, dtype=torch.float64, device="cpu").detach()
    proper = matrix.shape == (4, 4) and matrix[3].tolist() == [0, 0, 0, 1]
    valid = proper and matrix.isfinite().all()
    # Columns are normalised, so that the tolerance does not depend on the size of a voxel.
    if not valid or torch.nn.functional.normalize(matrix[:3, :3], dim=0).det().abs() < 1e-6:
        raise ValueError(f"{owner} must have an invertible (4, 4) affine: got {matrix.tolist()}")
    return matrix


def torch_dtype(stored: np.dtype) -> torch.dtype:
    """Return the dtype of the tensor that voxels of a stored type become."""
    native = np.dtype(_READ_AS.get(stored.name, stored)).newbyteorder("=")
    try:
        return torch.from_numpy(np.empty(0, native)).dtype
    except TypeError:
        raise ValueError(f"voxels must be of a type that torch has: got {stored}") from None


def shape_of(sizes: Sequence[int], components: int) -> tuple[int, int, int, int]:
    """Return (C, I, J, K) of an image with sizes (I[, J[, K[, ...]]]) and components per voxel."""
    i, j, k, *more = (*sizes, *[1] * (3 - len(sizes)))
    channels = [size for size in (*more, components) if size != 1]
    if len(channels) > 1 or min(i, j, k, *channels, 1) < 1:
        raise ValueError(
            "image must have voxels, up to three axes in space and one of channels: "
            f"got {tuple(sizes)} with {components} component(s) each"
        )
    return (channels or [1])[0], i, j, k


def bounded_region(region: tuple[slice, slice, slice] | None, shape: Sequence[int]) -> Region:
    """Return a region as slices of integers within the shape (I, J, K); None is the whole."""
    parts: tuple[slice, ...] = (slice(None),) * 3 if region is None else tuple(region)
    if len(parts) != 3 or not all(isinstance(part, slice) for part in parts):
        raise ValueError(f"region must be three slices, of i, j and k: got {region}")
    bounds = []
    for axis, part, size in zip("ijk", parts, shape, strict=True):
        ends = ((part.start, 0), (part.stop, size), (part.step, 1))
        start, stop, step = (one if x is None else operator.index(x) for x, one in ends)
        if not 0 <= start < stop <= size or step < 1:
            wish = f"region must take voxels, forwards, from the {size} along {axis}"
            raise ValueError(f"{wish}: got {start}:{stop}:{step}")
        bounds.append(slice(start, stop, step))
    return bounds[0], bounds[1], bounds[2]


def is_whole(region: Region, shape: Sequence[int]) -> bool:
    """Return True if a region is all of a shape (I, J, K)."""
    return all(part == slice(0, n, 1) for part, n in zip(region, shape, strict=True))


# ---- Libraries and their errors


def _import(name: str, purpose: str, install: str = "") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        install = install or name
        raise ImportError(f"{name} is needed {purpose}: pip install {install}") from error


nibabel = partial(_import, "nibabel", "to read and write NIfTI")
sitk = partial(_import, "SimpleITK", "to read and write images other than NIfTI")
blosc2 = partial(_import, "blosc2", "to read and write .b2nd", _STORE)
h5py = partial(_import, "h5py", "to read and write HDF5", _STORE)


def zarr() -> Any:
    """Return the package zarr, version 3."""
    if sys.version_info < (3, 11):
        raise ImportError("Zarr is read and written by zarr 3, which needs Python 3.11 or later")
    library = _import("zarr", "to read and write Zarr", _STORE)
    version = library.__version__
    if int(version.partition(".")[0]) < 3:
        raise ImportError(f"zarr must be version 3, got {version}: pip install {_STORE}")
    return library


def shown(path: str | os.PathLike[str]) -> str:
    """Return the name of a file as printable text, even if it is not UTF-8."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def failing_as(message: str) -> Iterator[None]:
    """Convert any error of a reader or writer into an OSError that begins with the message.

    A MemoryError stays one, with the message.
    """
    try:
        yield
    except ImportError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{message}: there is not enough memory") from error
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(f"{message}: {shown(reason[-1])}") from error
