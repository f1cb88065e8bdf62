"""Arrays in files, most of them in chunks, of which any box can be read.

A volume is stored as it is in memory, (C, I, J, K), with its affine and kind beside it. Arrays of
others are taken as (I, J), (I, J, K) or (C, I, J, K) with the identity as affine, unless they say
more: OME-Zarr and NIfTI-Zarr do, and the folders of nnU-Net.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..voxels import Opened, checked_affine
from .arrays import storable
from .blosc import open_blosc, write_blosc
from .hdf5 import open_hdf5, write_hdf5
from .npy import open_npy, write_npy
from .zarr_groups import is_zarr, open_zarr, write_zarr

#: Functions that open files, and folders, by their suffixes.
OPENERS: dict[str, Callable[[Path], Opened]] = {
    ".b2nd": open_blosc,
    **dict.fromkeys((".h5", ".hdf5"), open_hdf5),
    ".npy": open_npy,
    ".zarr": open_zarr,
}
#: Suffixes of files that hold several arrays, of which ``x.h5::/raw/t1`` names one.
WITH_MEMBERS = (".h5", ".hdf5", ".zarr")
#: Functions that write an array that `storable` returned, its affine and its kind.
WRITERS: dict[str, Callable[[np.ndarray, Tensor, str, Path], None]] = {
    ".b2nd": write_blosc,
    **dict.fromkeys((".h5", ".hdf5"), write_hdf5),
    ".npy": write_npy,
    ".zarr": write_zarr,
}


def check_affine(suffix: str, affine: Tensor) -> None:
    """Raise a ValueError unless an affine is invertible, and one that the format can keep."""
    matrix = checked_affine(affine, "affine")
    if suffix == ".npy" and not torch.equal(matrix, torch.eye(4, dtype=torch.float64)):
        raise ValueError(
            "affine must be the identity for .npy, which has no place for it, got "
            f"{matrix.tolist()}: .b2nd keeps it"
        )


__all__ = ["OPENERS", "WITH_MEMBERS", "WRITERS", "check_affine", "is_zarr", "storable"]
