"""Image files, SimpleITK images and NiBabel images to tensors, and back; files of points.

A volume is a tensor (C, I, J, K) with an affine (4, 4), float64, voxel (i, j, k) to world RAS+ mm.
A 2D image has K = 1. Colours, vector components, time points and directions are channels.

Voxels keep the type they are stored in, except: torch can do little with wide unsigned integers,
so uint16 is read as int32, uint32 and uint64 as int64 (a uint64 voxel that does not fit is an
error), and scaled NIfTI integers become float32.

Only this package imports SimpleITK and NiBabel, when they are first needed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from .changes import file_stamps
from .guards import check_exists, expanded, without_member
from .itk import PICTURES, from_sitk, sitk_fields, to_flat_sitk, to_sitk
from .matrices import read_matrix, write_matrix
from .nifti import from_nibabel, nifti_fields, to_nibabel
from .points import POINTS, points_system, read_points, write_points
from .reading import Volume, read, read_header, read_volume
from .sources import register_source
from .stores import is_zarr
from .transforms import bspline_axes, to_sitk_transform
from .viewer import show
from .voxels import Header, NiftiFields, Source, failing_as, shown
from .writing import NIFTI, WRITABLE, write

#: Functions of TorchIO 1's ``torchio.data.io``, which are in a higher layer.
_ELSEWHERE = (
    *("nib_to_sitk", "read_affine", "read_image", "read_shape", "sitk_to_nib", "write_image"),
)


def __getattr__(name: str) -> object:
    """Return what TorchIO 1 has in this module and is elsewhere here."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("torchio_gpu.io"), name)


def is_sitk(x: object) -> bool:
    """Return True if x is a SimpleITK image, without importing SimpleITK."""
    library: Any = sys.modules.get("SimpleITK")
    return library is not None and isinstance(x, library.Image)


def is_nibabel(x: object) -> bool:
    """Return True if x is a spatial NiBabel image, without importing NiBabel."""
    library: Any = sys.modules.get("nibabel")
    return library is not None and isinstance(x, library.spatialimages.SpatialImage)


__all__ = [
    "NIFTI",
    "PICTURES",
    "POINTS",
    "WRITABLE",
    "Header",
    "NiftiFields",
    "Source",
    "Volume",
    "bspline_axes",
    "check_exists",
    "expanded",
    "failing_as",
    "file_stamps",
    "from_nibabel",
    "from_sitk",
    "is_nibabel",
    "is_sitk",
    "is_zarr",
    "nifti_fields",
    "points_system",
    "read",
    "read_header",
    "read_matrix",
    "read_points",
    "read_volume",
    "register_source",
    "show",
    "shown",
    "sitk_fields",
    "to_flat_sitk",
    "to_nibabel",
    "to_sitk",
    "to_sitk_transform",
    "without_member",
    "write",
    "write_matrix",
    "write_points",
]
