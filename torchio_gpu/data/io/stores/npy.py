"""Files of numpy: one array, without an affine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..voxels import Opened, checked_affine, failing_as, shown
from .arrays import array_source, storable


def open_npy(path: Path) -> Opened:
    """Return header and voxels of a .npy file, which is mapped into memory."""
    with failing_as(f"'{shown(path)}' should hold an array of numpy, but reading it failed"):
        array = np.load(path, mmap_mode="c", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays")
    return array_source(array, np.eye(4))


def write_npy(tensor: Tensor, affine: Tensor, kind: str, path: Path) -> None:
    """Write an array (C, I, J, K); raise a ValueError unless the affine is the identity."""
    matrix = checked_affine(affine, "affine")
    if not torch.equal(matrix, torch.eye(4, dtype=torch.float64)):
        raise ValueError(
            f"affine must be the identity for .npy, which has no place for it, got "
            f"{matrix.tolist()}: .b2nd keeps it"
        )
    np.save(path, storable(tensor), allow_pickle=False)


__all__ = ["open_npy", "write_npy"]
