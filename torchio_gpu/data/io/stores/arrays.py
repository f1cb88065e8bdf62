"""Arrays as sources of voxels, and the description that is stored with a volume."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..voxels import Header, NiftiFields, Opened, Region, checked_affine, copied, torch_dtype

#: Name of the description among the attributes of an array.
NAME = "torchio_gpu"
_VERSION = 1
#: Axes by their number, where nothing else is known.
_AXES = {2: "IJ", 3: "IJK", 4: "CIJK"}


def array_source(
    array: Any,
    affine: Any,
    axes: str = "",
    scale: Callable[[np.ndarray], np.ndarray] | None = None,
    nifti: NiftiFields | None = None,
) -> Opened:
    """Return the source of an array that takes slices, as those of h5py and zarr do.

    Args:
        array: The array.
        affine: Voxel to world, (4, 4), mm.
        axes: A letter for each axis: I, J and K in space, any other for channels.
        scale: Converts stored numbers to voxels, of float32.
        nifti: Fields of a NIfTI header.

    Raises:
        ValueError: The number of axes or the type of the numbers is not one that images have.
    """
    axes = axes or _AXES.get(len(array.shape), "")
    if not axes:
        raise ValueError(
            "array must have 2, 3 or 4 axes, (I, J), (I, J, K) or (C, I, J, K): "
            f"got shape {tuple(array.shape)}"
        )
    stored = np.dtype(array.dtype)
    dtype = torch_dtype(stored) if scale is None else torch.float32
    sizes = {axis: int(n) for axis, n in zip(axes, array.shape, strict=True) if axis in "IJK"}
    if not sizes:
        raise ValueError(f"array must have an axis in space: got shape {tuple(array.shape)}")
    others = [n for n, axis in enumerate(axes) if axis not in "IJK"]
    channels = int(np.prod([int(array.shape[n]) for n in others]))
    if min(channels, *sizes.values()) < 1:
        raise ValueError(f"array must have voxels: got shape {tuple(array.shape)}")
    shape = (channels, *(sizes.get(axis, 1) for axis in "IJK"))
    order = (*others, *(axes.index(axis) for axis in "IJK" if axis in axes))

    def read(region: Region) -> Tensor:
        # with steps of 1: not all packages have others
        parts = {a: slice(p.start, p.stop) for a, p in zip("IJK", region, strict=True)}
        block = np.asarray(array[tuple(parts.get(axis, slice(None)) for axis in axes)])
        extents = (part.stop - part.start for part in region)
        block = block.transpose(order).reshape(channels, *extents)
        i, j, k = (slice(None, None, part.step) for part in region)
        block = block[:, i, j, k]
        # packages of chunks return new arrays, numpy views of its own
        fresh = not isinstance(array, np.ndarray)
        return copied(block if scale is None else scale(block), dtype, fresh)

    affine = torch.from_numpy(np.array(affine, dtype=np.float64))
    return Opened(Header(shape, affine, dtype, nifti), read)  # type: ignore[arg-type]


def storable(tensor: Tensor) -> np.ndarray:
    """Return a volume as an array of a type that numpy has: bfloat16 as float32."""
    if tensor.ndim != 4 or 0 in tensor.shape:
        raise ValueError(f"tensor must be a volume (C, I, J, K): got shape {tuple(tensor.shape)}")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.detach().cpu().contiguous().resolve_conj().resolve_neg().numpy()


def chunked(shape: Sequence[int], edge: int) -> tuple[int, ...]:
    """Return the shape of chunks of one channel, at most ``edge`` voxels along I, J and K."""
    return (1, *(min(edge, n) for n in shape[1:]))


# ---- Description


def description(affine: Tensor, kind: str) -> dict[str, Any]:
    """Return what is stored with the voxels of a volume, as values that JSON has."""
    matrix = checked_affine(affine, "affine").tolist()
    return {"version": _VERSION, "affine": matrix, "kind": kind}


def described_affine(stored: Any) -> np.ndarray:
    """Return the affine of a description: a mapping, or its JSON.

    Raises:
        ValueError: It is none of this library, or of a later version of it.
    """
    try:
        values = stored if isinstance(stored, Mapping) else json.loads(stored)
        version, affine = int(values["version"]), np.array(values["affine"], dtype=np.float64)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"attribute {NAME} must have a version and an affine: got {stored!r:.200}"
        ) from error
    if version != _VERSION:
        raise ValueError(
            f"attribute {NAME} must be of version {_VERSION}, got {version}: "
            "install a newer torchio-gpu"
        )
    return affine


__all__ = ["NAME", "array_source", "chunked", "described_affine", "description", "storable"]
