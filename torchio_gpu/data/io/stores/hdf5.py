"""HDF5 files: one dataset of a file, ``scans.h5``, or a named one, ``scans.h5::/raw/t1``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..guards import without_member
from ..voxels import Opened, failing_as, h5py, shown
from .arrays import NAME, array_source, chunked, described_affine, description

#: Edge of chunks in voxels. A chunk is read and inflated as a whole.
_CHUNK = 64
#: Names in an error message, at most.
_SHOWN = 20


def open_hdf5(path: Path) -> Opened:
    """Return header and voxels of a dataset in an HDF5 file."""
    library = h5py()
    name, member = without_member(path)
    with failing_as(f"'{shown(name)}' should be an HDF5 file, but reading it failed"):
        file = library.File(name, "r")
        dataset = file.get(member) if member else None
        found: list[str] = []
        if not isinstance(dataset, library.Dataset):  # a list of many takes long
            file.visititems(lambda key, each: found.append(f"/{key}") if _is_image(each) else None)
            dataset = None
    if dataset is None:
        dataset = _only(file, found, member)
    if dataset.external or dataset.is_virtual or dataset.file.filename != file.filename:
        raise ValueError(f"voxels of {dataset.name} must lie in the file itself, not in others")
    affine: Any = np.eye(4)
    if NAME in dataset.attrs:
        affine = described_affine(dataset.attrs[NAME])
    return array_source(dataset, affine)


def _only(file: Any, found: list[str], member: str) -> Any:
    """Return the only dataset of a file; raise a ValueError if one is named that is not there."""
    if not member and len(found) == 1:
        return file[found[0]]
    shown_names = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
    wish = f"file has no dataset {member}" if member else "path must name one dataset of the file"
    hint = f": give 'file.h5::{found[0]}'" if found else ""
    raise ValueError(f"{wish}, it has {shown_names or 'none of 2 to 4 axes'}{hint}")


def _is_image(item: Any) -> bool:
    shape = getattr(item, "shape", None)  # groups have none
    return shape is not None and 2 <= len(shape) <= 4 and item.dtype.kind in "biufc"


def write_hdf5(array: np.ndarray, affine: Tensor, kind: str, path: Path) -> None:
    """Write a volume as the dataset ``data``, in chunks compressed by gzip."""
    with h5py().File(path, "w") as file:
        dataset = file.create_dataset(
            "data",
            data=array,
            chunks=chunked(array.shape, _CHUNK),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
            fletcher32=True,
        )
        dataset.attrs[NAME] = json.dumps(description(affine, kind))


__all__ = ["open_hdf5", "write_hdf5"]
