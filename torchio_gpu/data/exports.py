"""Conversion of images to arrays, to images of other libraries, and to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from . import io
from .placed import Placed

if TYPE_CHECKING:
    import SimpleITK

Self = TypeVar("Self", bound="Exports")


class Exports(Placed):
    """Base of images: conversion to arrays, to images of other libraries, and to files."""

    kind: ClassVar[str]
    _nifti: io.NiftiFields | None

    @property
    def data(self) -> Tensor:
        """Voxels (C, I, J, K)."""
        raise NotImplementedError

    def _in_memory(self: Self) -> Self:
        """Return this image if its voxels are in memory, else a copy that has read them."""
        raise NotImplementedError

    def numpy(self) -> np.ndarray:
        """Return the voxels as an array (C, I, J, K)."""
        return self.data.detach().cpu().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype)

    def as_sitk(self, *, force_3d: bool = True) -> SimpleITK.Image:
        """Return a SimpleITK image; channels become vector components.

        Args:
            force_3d: Keep the third axis of a 2D image, and its position and spacing. Unlike in
                TorchIO 1 it is kept by default.
        """
        flat = self.is_2d() and not force_3d
        return (io.to_flat_sitk if flat else io.to_sitk)(*self._on_host())

    @classmethod
    def from_sitk(cls: type[Self], sitk_image: SimpleITK.Image) -> Self:
        """Create an image from a SimpleITK image."""
        return cls(sitk_image)  # type: ignore[call-arg]

    def save(self, path: str | Path, squeeze: bool | None = None) -> None:
        """Write the image in the format that the path's suffix names.

        An interruption leaves the former file or the new one. Permissions are kept, links followed.
        NIfTI keeps the time step that was read, and while the affine is the same qform and codes.

        Args:
            path: File to write.
            squeeze: Write a single slice as a 2D image, without the position of the slice; by
                default only in PNG, JPEG and TIFF, which have no third axis.
        """
        image = self._in_memory()
        io.write(*image._on_host(), path, image._nifti, squeeze=bool(squeeze), kind=image.kind)

    def _as_nibabel(self) -> Any:
        return io.to_nibabel(*self._on_host(), self._nifti)

    def _on_host(self) -> tuple[Tensor, Tensor]:
        return self.data.detach().cpu(), torch.tensor(self.affine)
