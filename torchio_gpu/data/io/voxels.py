"""Headers, boxes of voxels and conversion to tensors, shared by the readers of all formats."""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

Box = tuple[slice, slice, slice]  # start, stop, step all integers, within the volume

_READ_AS = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # between RAS+ and SimpleITK's world, either way


@dataclass(frozen=True)
class NiftiFields:
    """Fields of NIfTI for what a tensor and its affine cannot hold, from a header of any format.

    sform_code, qform_code: NIfTI's codes of the two transforms. affine: (4, 4), mm, as read.
    step: Distance of channels along the fourth axis. step_unit: NiBabel's name of its unit, a time
    always in 'sec'. qform: (4, 4), mm, if there is one.
    """

    sform_code: int
    qform_code: int
    affine: np.ndarray
    step: float
    step_unit: str
    qform: np.ndarray | None = None


@dataclass(frozen=True)
class Header:
    """Facts about an image that are known before its voxels are read.

    shape: (C, I, J, K). affine: (4, 4) float64, voxel to world RAS+ mm. dtype: what `read` returns.
    nifti: Further fields.
    """

    shape: tuple[int, int, int, int]
    affine: Tensor
    dtype: torch.dtype
    nifti: NiftiFields | None = field(default=None, compare=False)


Source = tuple[Header, Callable[[Box], Tensor]]  # and what loads the voxels of a box


# ---- Voxels


def tensor_of(array: np.ndarray, box: Box, dtype: torch.dtype) -> Tensor:
    """Contiguous tensor (C, I, J, K) of the voxels of a box, whose spatial axes come first."""
    if array.dtype.name == "uint64" and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"uint64 voxels must fit int64: got {array.max()}")
    volume = array.reshape(*(len(range(part.start, part.stop, part.step)) for part in box), -1)
    native = torch.empty(0, dtype=dtype).numpy().dtype
    # One copy for all: type, byte order, layout, and memory that is no file's and no one else's.
    return torch.from_numpy(np.array(volume.transpose(3, 0, 1, 2), dtype=native, order="C"))


def writable_array(tensor: Tensor) -> np.ndarray:
    """Array (C, I, J, K) of a type that files can hold: bool as uint8, short floats as float32."""
    if tensor.ndim != 4 or 0 in tensor.shape:
        raise ValueError(f"tensor must be a volume (C, I, J, K): got shape {tuple(tensor.shape)}")
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy()


# ---- Checks


def checked_affine(affine: Any, owner: str) -> Tensor:
    """Affine as (4, 4) float64 on the host; ValueError unless finite and invertible."""
    matrix = torch.as_tensor(affine, dtype=torch.float64, device="cpu").detach()
    proper = matrix.shape == (4, 4) and matrix[3].tolist() == [0, 0, 0, 1]
    valid = proper and matrix.isfinite().all()
    # With unit columns, how close to singular does not depend on the size of a voxel.
    if not valid or torch.nn.functional.normalize(matrix[:3, :3], dim=0).det().abs() < 1e-6:
        raise ValueError(f"{owner} must have an invertible (4, 4) affine: got {matrix.tolist()}")
    return matrix


def torch_dtype(stored: np.dtype) -> torch.dtype:
    """Type of the tensor that voxels of a stored type become."""
    native = np.dtype(_READ_AS.get(stored.name, stored)).newbyteorder("=")
    try:
        return torch.from_numpy(np.empty(0, native)).dtype
    except TypeError:
        raise ValueError(f"voxels must be of a type that torch has: got {stored}") from None


def shape_of(sizes: Sequence[int], components: int) -> tuple[int, int, int, int]:
    """(C, I, J, K) of an image with sizes (I[, J[, K[, ...]]]) and components in each voxel."""
    i, j, k, *more = (*sizes, *[1] * (3 - len(sizes)))
    channels = [size for size in (*more, components) if size != 1]
    if len(channels) > 1 or min(i, j, k, *channels, 1) < 1:
        raise ValueError(
            "image must have voxels, up to three axes in space and one of channels: "
            f"got {tuple(sizes)} with {components} component(s) each"
        )
    return (channels or [1])[0], i, j, k


def box_of(region: tuple[slice, slice, slice] | None, shape: Sequence[int]) -> Box:
    """Region as slices of integers, within the shape (I, J, K); None is the whole."""
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


def is_whole(box: Box, shape: Sequence[int]) -> bool:
    """Tell whether a box is all voxels of a shape (I, J, K)."""
    return all(part == slice(0, n, 1) for part, n in zip(box, shape, strict=True))


# ---- Libraries and their errors


def _import(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is needed {purpose}: pip install {name}") from error


nibabel = partial(_import, "nibabel", "to read and write NIfTI")
sitk = partial(_import, "SimpleITK", "to read and write images other than NIfTI")


def shown(path: str | os.PathLike[str]) -> str:
    """Name of a file as text that can be printed, also where the name is not UTF-8."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def failing_as(message: str) -> Iterator[None]:
    """Turn whatever a reader or writer throws into one OSError that begins with the message.

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
