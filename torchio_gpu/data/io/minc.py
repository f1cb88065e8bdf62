"""MINC files: version 2 by SimpleITK, version 1 by NiBabel."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .itk import open_itk, to_sitk
from .nifti import open_other
from .voxels import LPS, Opened, sitk

MINC = ".mnc"
_HDF5 = b"\x89HDF\r\n\x1a\n"  # MINC 2 lies in HDF5, MINC 1 in NetCDF


def open_minc(path: Path) -> Opened:
    """Return header and voxels of a MINC file."""
    with path.open("rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            return open_other(path)
    header, load = open_itk(path)
    return Opened(replace(header, affine=torch.from_numpy(_to_ras()) @ header.affine), load)


def to_minc(tensor: Tensor, affine: Tensor) -> Any:
    """Return a SimpleITK image that is written as the MINC file of a volume and its affine.

    int64 that fits becomes int32, which is the widest integer of SimpleITK's writer.
    """
    if tensor.dtype == torch.int64:
        if tensor.min() < -(2**31) or tensor.max() >= 2**31:
            raise ValueError(f"tensor must fit int32 for {MINC}: got up to {int(tensor.max())}")
        tensor = tensor.int()
    return to_sitk(tensor, torch.from_numpy(_to_ras()) @ affine.double().cpu())


@cache
def _to_ras() -> np.ndarray:
    """Return the matrix that corrects SimpleITK's affines of MINC, whose world is RAS+.

    SimpleITK 2.5 takes world coordinates of MINC as its own, LPS+. A file shows if this one does.
    """
    start = 123.456
    image = sitk().Image([1, 1, 1], sitk().sitkUInt8)
    image.SetOrigin((start, 0, 0))
    with TemporaryDirectory() as folder:
        path = Path(folder, f"x{MINC}")
        sitk().WriteImage(image, str(path))
        same = struct.pack("<d", start) in path.read_bytes()
    return LPS if same else np.eye(4)


__all__ = ["MINC", "open_minc", "to_minc"]
