"""Files of numpy: one array, without an affine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ..voxels import Opened, failing_as, shown
from .arrays import array_source


def open_npy(path: Path) -> Opened:
    """Return header and voxels of a .npy file, which is mapped into memory."""
    with failing_as(f"'{shown(path)}' should hold an array of numpy, but reading it failed"):
        array = np.load(path, mmap_mode="c", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays")
    return array_source(array, np.eye(4))


def write_npy(array: np.ndarray, affine: Tensor, kind: str, path: Path) -> None:
    """Write an array (C, I, J, K); its affine must be the identity, which is not written."""
    np.save(path, array, allow_pickle=False)


__all__ = ["open_npy", "write_npy"]
