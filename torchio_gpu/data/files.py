"""Reading of an image's file or files, by the library's readers or a function of the user."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..shapes import AffineLike, Triple
from . import io, meta_tensor
from .io.compressed import compression
from .io.headers import meta_image
from .io.sources import registered

PathLike: TypeAlias = str | os.PathLike[str]
Paths = Path | list[Path]
#: Function that returns voxels (C, I, J, K) and an affine (4, 4), or None for the identity.
Reader = Callable[[Path], tuple[Tensor | np.ndarray, AffineLike | None]]
Region = tuple[slice, slice, slice]

#: Suffixes of files whose voxels are stored with I fastest and K slowest.
_K_SLOWEST = (".nii", ".hdr", ".img", ".mha", ".mhd")
#: Suffixes of files of which a region is read without the rest, unless they are compressed.
_SLICED = (*_K_SLOWEST, ".npy", ".b2nd", ".zarr", ".h5", ".hdf5")
#: Size of the boxes by which other files, which may be in chunks, are read once.
_BRICK = (128, 128, 128)


def is_path(source: object) -> bool:
    """Return True if a source of an image is a path, or a list or tuple of paths."""
    if isinstance(source, (list, tuple)):
        return len(source) > 0 and all(isinstance(one, (str, os.PathLike)) for one in source)
    return isinstance(source, (str, os.PathLike))


def parse(source: Any, verify: bool) -> Paths:
    """Return paths with ``~`` expanded; if ``verify``, raise unless each is a file or folder."""
    if isinstance(source, (list, tuple)):
        return [parse(one, verify) for one in source]  # type: ignore[misc]
    path = io.expanded(source)
    if verify:
        io.check_exists(path)
    return path


def shown(paths: Paths) -> str:
    """Return paths as text for an error message."""
    return ", ".join(map(shown, paths)) if isinstance(paths, list) else f"'{io.shown(paths)}'"


def header(paths: Paths) -> io.Header:
    """Return the header of a file, or of several whose channels are stacked, without voxels."""
    if isinstance(paths, Path):
        return io.read_header(paths)
    return _stacked_header(paths, [io.read_header(path) for path in paths])


def slices(paths: Paths, reader: Reader | None) -> bool:
    """Return True if a region of a file, or of each of several, is read without the rest.

    Not so for compressed streams, formats that are decoded as a whole, and readers of the user.
    """
    if isinstance(paths, list):
        return all(slices(path, reader) for path in paths)
    if reader is not None:
        return False
    if registered(paths) is not None:
        return True
    if not _name(paths).endswith(_SLICED):
        return False
    if not _name(paths).endswith(_K_SLOWEST) or not paths.exists():
        return True
    meta = paths.suffix.lower() in (".mha", ".mhd")
    return not (meta_image(paths).kind if meta else compression(paths))


def _name(path: Path) -> str:
    """Return the name of a file, without a member in it, in small letters."""
    return io.without_member(path)[0].name.lower()


def box_at_a_time(paths: Paths, shape: Triple) -> Triple:
    """Return the size of the boxes by which a file is read once, of some 8 MiB in float32.

    Args:
        paths: The file, or several.
        shape: Shape of the volume along I, J, K.
    """
    if isinstance(paths, list):
        return box_at_a_time(paths[0], shape)
    if not _name(paths).endswith(_K_SLOWEST):
        return _BRICK
    i, j = shape[:2]
    return i, j, max(1, math.prod(_BRICK) // (i * j))


def volume(paths: Paths, reader: Reader | None, region: Region | None = None) -> io.Volume:
    """Return voxels, affine and header of a file, or of several whose channels are stacked.

    Args:
        paths: The file or files.
        reader: Function that reads one whole file; by default the library's readers.
        region: Slices along I, J, K to return.
    """
    if isinstance(paths, Path):
        if reader is None:
            return io.read_volume(paths, region)
        return _read_by(reader, paths, region)
    parts = [volume(path, reader, region) for path in paths]
    header = _stacked_header(paths, [part.header for part in parts])
    data = torch.cat([part.data.to(header.dtype) for part in parts])
    return io.Volume(data, parts[0].affine, header)


def _stacked_header(paths: Sequence[Path], headers: Sequence[io.Header]) -> io.Header:
    first = headers[0]
    geometry.check_same_space(
        {
            io.shown(path): geometry.Space(one.shape[1:], one.affine.numpy()[None])
            for path, one in zip(paths, headers, strict=True)
        }
    )
    channels = sum(one.shape[0] for one in headers)
    dtype = reduce(torch.promote_types, (one.dtype for one in headers))
    return io.Header((channels, *first.shape[1:]), first.affine, dtype, first.nifti)


def _read_by(reader: Reader, path: Path, region: Region | None) -> io.Volume:
    name = f"reader must return voxels (C, I, J, K) and an affine for {shown(path)}"
    try:
        result = reader(path)
    except Exception as error:
        raise OSError(f"{name}, but raised {type(error).__name__}: {error}") from error
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(f"{name}: got {type(result).__name__}")
    data, affine = result
    if meta_tensor.is_meta_tensor(data):
        data, own = meta_tensor.split(data)
        affine = own if affine is None else affine
    if isinstance(data, (Tensor, np.ndarray)):
        data = _as_volume(data)
    shape = tuple(getattr(data, "shape", ()))
    if not isinstance(data, (Tensor, np.ndarray)) or len(shape) != 4 or 0 in shape:
        raise TypeError(f"{name}: got {shape or type(data).__name__}")
    try:
        matrix = geometry.check_affine(np.eye(4) if affine is None else affine)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    i, j, k = region or (slice(None),) * 3
    voxels = _copied(data[:, i, j, k])
    header = io.Header(shape, torch.from_numpy(matrix), voxels.dtype)
    moved = header.affine.clone()
    start = torch.tensor([part.start or 0 for part in (i, j, k)], dtype=torch.float64)
    moved[:3, 3] += header.affine[:3, :3] @ start
    return io.Volume(voxels, moved, header)


def _as_volume(data: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Return voxels (I, J), (I, J, K), (3, I, J) or (I, J, 3) as (C, I, J, K); others as they are.

    As in TorchIO 1, three axes of which the last or the first has length 3 are colours of a slice.
    """
    if data.ndim == 2:
        return data[None, :, :, None]
    if data.ndim == 3 and data.shape[-1] == 3:
        return (data.permute if isinstance(data, Tensor) else data.transpose)(2, 0, 1)[..., None]
    if data.ndim == 3:
        return data[..., None] if data.shape[0] == 3 else data[None]
    return data


def _copied(data: Tensor | np.ndarray) -> Tensor:
    """Return a copy of voxels, since a reader may keep those that it returns."""
    if isinstance(data, Tensor):
        return data.clone(memory_format=torch.contiguous_format)
    wider = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}.get(data.dtype.name)
    native: Any = wider or data.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(data, dtype=native, order="C"))
