"""Zarr arrays and groups: OME-Zarr, NIfTI-Zarr, and those that are neither."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..guards import without_member
from ..nifti import with_fields
from ..voxels import Opened, failing_as, nibabel, shown, zarr
from . import ome
from .arrays import NAME, array_source, chunked, described_affine, description

#: Edge of chunks in voxels. A chunk is read and inflated as a whole.
_CHUNK = 64
#: Array that holds the voxels of a group that is written.
_ARRAY = "0"
#: Array of a group that holds a NIfTI header.
_NIFTI = "nifti"
_NAMES = {"x": "I", "y": "J", "z": "K", "i": "I", "j": "J", "k": "K", "c": "C", "t": "C"}
#: Bytes of a NIfTI header with its extensions, at most.
_LARGEST = 1 << 20
_SHOWN = 20


def is_zarr(folder: Path) -> bool:
    """Return True if a folder is a Zarr array or group, of version 2 or 3."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def open_zarr(path: Path) -> Opened:
    """Return header and voxels of an array: of a path, of its group, or ``x.zarr::labels/seg``.

    Of several resolutions it is the first, which is the finest, unless ``x.zarr::1`` names another.
    """
    library = zarr()
    folder, member = without_member(path)
    with failing_as(f"'{shown(folder)}' should be a Zarr array or group, but reading it failed"):
        # a URL would be fetched, a local store is not
        root = library.open(library.storage.LocalStore(folder, read_only=True), mode="r")
    array = _located(library, root, member.strip("/"))
    _check_codecs(array)
    group, level = _described(library, folder.absolute() / array.path)
    kind = None if group is None else ome.Multiscale(group.attrs)
    axes = _axes(array) if kind is None else kind.axes(len(array.shape))
    affine = np.eye(4) if kind is None or level not in kind.levels else kind.affine(level, axes)
    if NAME in array.attrs:
        return array_source(array, described_affine(array.attrs[NAME]), axes)
    if kind is None or level not in kind.levels or _NIFTI not in group:
        return array_source(array, affine, axes)
    finest = next(iter(kind.levels))
    coarser = np.linalg.inv(kind.affine(finest, axes)) @ affine
    return _with_nifti_header(array, axes, group[_NIFTI], coarser)


def _described(library: Any, place: Path) -> tuple[Any, str]:
    """Return the group of an image above an array, also above what was opened, and its level.

    Args:
        library: The package.
        place: Folder of the array.

    Returns:
        The group, or None, and the path of the array in it, which is a level of the image or lies
        directly in the group.
    """
    for parent in place.parents:
        if not is_zarr(parent):
            continue
        with failing_as(f"'{shown(parent)}' should be a Zarr group, but reading it failed"):
            group = library.open(library.storage.LocalStore(parent, read_only=True), mode="r")
        if isinstance(group, library.Group) and _is_image(group):
            level = place.relative_to(parent).as_posix()
            if parent == place.parent or level in ome.Multiscale(group.attrs).levels:
                return group, level
    return None, ""


def _located(library: Any, root: Any, member: str) -> Any:
    """Return the array that a path names."""
    item = _member(root, member) if member else root
    if isinstance(item, library.Array):
        return item
    if item is not None and _is_image(item):
        level = next(iter(ome.Multiscale(item.attrs).levels))
        array = _member(item, level)
        if isinstance(array, library.Array):
            return array
        raise ValueError(f"multiscales must name an array of the group: got {level!r}")
    names = list(item.keys() if item is not None else getattr(root, "keys", list)())
    arrays = [name for name in names if isinstance((item or root)[name], library.Array)]
    if item is not None and len(arrays) == 1:
        return item[arrays[0]]
    wish = "path must name one array" if item is not None else f"there is no {member!r}"
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    hint = f": give 'x.zarr::{names[0]}'" if names else ""
    raise ValueError(f"{wish}, the group has {listed or 'no members'}{hint}")


def _member(node: Any, name: Any) -> Any:
    """Return a member of a group; None if there is none of that name below it."""
    if not isinstance(name, str) or {".", ".."} & set(name.split("/")):
        return None
    try:
        return node[name]
    except (KeyError, TypeError, IndexError):  # the last two if the node is an array
        return None


def _is_image(item: Any) -> bool:
    return ome.Multiscale.described(item.attrs)


def _axes(array: Any) -> str:
    """Return a letter for each axis of an array by their names in Zarr 3; '' if it has none."""
    names = getattr(array.metadata, "dimension_names", None) or ()
    letters = "".join(_NAMES.get(str(name).lower(), "?") for name in names)
    spatial = [letter for letter in letters if letter in "IJK"]
    return letters if spatial and "?" not in letters and len({*spatial}) == len(spatial) else ""


def _check_codecs(array: Any) -> None:
    """Raise a ValueError for pickled numbers, of Zarr 2: reading them runs what an author wrote."""
    used = (*(getattr(array.metadata, "filters", None) or ()), *array.compressors)
    if array.dtype.hasobject or any("pickle" in type(codec).__name__.lower() for codec in used):
        raise ValueError("voxels must be numbers, not objects of Python")


def _with_nifti_header(array: Any, axes: str, item: Any, coarser: np.ndarray) -> Opened:
    """Return the source of an array with a NIfTI header.

    Args:
        array: The array.
        axes: A letter for each of its axes.
        item: Array of the header, and what follows it.
        coarser: Voxels of the array to those of the finest resolution, (4, 4).
    """
    library = nibabel()
    with failing_as("array 'nifti' should hold a NIfTI header, but reading it failed"):
        size = int(np.prod(getattr(item, "shape", (_LARGEST + 1,))))
        if size > _LARGEST or item.dtype not in (np.uint8, np.int8):
            raise ValueError(f"it must be an array of at most {_LARGEST} bytes")
        _check_codecs(item)
        stored = np.asarray(item[...]).tobytes()
        cls = next(
            cls
            for cls in (library.Nifti1Header, library.Nifti2Header)
            if cls.sizeof_hdr in np.frombuffer(stored[:4] + stored[3::-1], np.int32)
        )
        header = cls.from_fileobj(BytesIO(stored[: cls.sizeof_hdr]), check=False)
        affine = header.get_best_affine() @ coarser
        slope, inter = header.get_slope_inter()
    scaled = (slope, inter) not in ((None, None), (1.0, 0.0))
    apply = library.volumeutils.apply_read_scaling
    scale = (lambda block: apply(block, slope, inter)) if scaled else None
    source = array_source(array, affine, axes, scale)
    return source._replace(header=with_fields(source.header, header))


def write_zarr(array: np.ndarray, affine: Tensor, kind: str, path: Path) -> None:
    """Write a volume as OME-Zarr 0.5 with one resolution, an array (C, z, y, x).

    The array has the affine as an attribute, too. Where scales and translations cannot tell it, as
    that of a rotated image, metadata of OME-Zarr are left out, since they would be wrong.
    """
    library, voxels = zarr(), array.transpose(0, 3, 2, 1)
    group = library.create_group(library.storage.LocalStore(path), zarr_format=3)
    created = group.create_array(
        _ARRAY,
        shape=voxels.shape,
        chunks=chunked(voxels.shape, _CHUNK),
        dtype=voxels.dtype,
        dimension_names=("c", "z", "y", "x"),
        attributes={NAME: description(affine, kind)},
    )
    created[...] = voxels
    group.attrs.update(ome.metadata(affine.double().numpy(), _ARRAY))


__all__ = ["is_zarr", "open_zarr", "write_zarr"]
