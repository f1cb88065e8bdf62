"""Functions of ``torchio.io``: files of images and of affine transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import ScalarImage
from ..data.checks import SitkImage
from ..data.io import read_matrix, write_matrix
from ..shapes import AffineLike


def read_image(path: str | Path) -> tuple[Tensor, np.ndarray]:
    """Read the voxels (C, I, J, K) of an image file, and their affine (4, 4)."""
    image = ScalarImage(path)
    return image.data, image.affine


def write_image(
    tensor: Tensor, affine: AffineLike, path: str | Path, squeeze: bool | None = None
) -> None:
    """Write voxels (C, I, J, K) and their affine (4, 4); see :meth:`.Image.save`."""
    ScalarImage(tensor=tensor, affine=affine).save(path, squeeze)


def read_shape(path: str | Path) -> tuple[int, int, int, int]:
    """Read the shape (C, I, J, K) of an image file from its header."""
    return ScalarImage(path).shape


def read_affine(path: str | Path) -> np.ndarray:
    """Read the affine (4, 4) of an image file from its header."""
    return ScalarImage(path).affine


def nib_to_sitk(
    data: Tensor | np.ndarray, affine: AffineLike, force_3d: bool = False, force_4d: bool = False
) -> SitkImage:
    """Return voxels (C, I, J, K) with their affine (4, 4), RAS+, as a SimpleITK image.

    Args:
        data: Voxels; channels become vector components.
        affine: Voxel to world.
        force_3d: Keep the third axis of a single slice.
        force_4d: Must be False: channels along a fourth axis have no place in the affine.
    """
    if force_4d:
        raise ValueError("force_4d must be False: channels become vector components, got True")
    voxels = data if isinstance(data, Tensor) else torch.from_numpy(np.array(data))
    return ScalarImage(tensor=voxels, affine=affine).as_sitk(force_3d=force_3d)


def sitk_to_nib(image: SitkImage, keepdim: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels (C, I, J, K) of a SimpleITK image, and their affine (4, 4), RAS+.

    Args:
        image: The image.
        keepdim: Accepted for TorchIO 1: voxels have four dimensions either way.
    """
    read = ScalarImage(image)
    return read.numpy(), read.affine


__all__ = [
    "nib_to_sitk",
    "read_affine",
    "read_image",
    "read_matrix",
    "read_shape",
    "sitk_to_nib",
    "write_image",
    "write_matrix",
]
