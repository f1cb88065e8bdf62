"""Types and files: what goes in and what must come out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .answers import Answer, no, partly, yes
from .tensors import noise

SPACING = (1.5, 2.0, 3.0)
SHAPE = (9, 8, 7)


def array() -> np.ndarray:
    """Voxels (I, J, K), int16: what DICOM can hold."""
    return (noise(*SHAPE) * 1000).numpy().astype(np.int16)


def types(calls: Mapping[str, Callable[[Any], Any]]) -> Answer:
    """calls: Of 'numpy', 'SimpleITK', 'NiBabel' and 'dict', those that the library takes."""
    good = []
    for name, call in calls.items():
        x = _made(name)
        if x is None:
            raise ImportError(f"{name} is not installed here")
        y = call(x)
        if name == "dict":
            same = isinstance(y, dict) and isinstance(y["image"], torch.Tensor)
        else:
            same = isinstance(y, type(x))
        if same:
            good.append(name)
    if len(good) == 4:
        return yes()
    return partly(f"{' and '.join(good)} only") if good else no("tensors only")


def _made(name: str) -> Any:
    if name == "numpy":
        return array().astype(np.float32)[None]
    if name == "dict":
        return {"image": torch.from_numpy(array()).float()[None]}
    if name == "SimpleITK":
        return _sitk()
    import nibabel as nib

    return nib.Nifti1Image(array().astype(np.float32), np.diag([*SPACING, 1]))


def _sitk() -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array().astype(np.float32).T)
    image.SetSpacing(SPACING)
    return image


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def files(read: Callable[[Path], tuple[Any, Any]], dicom: bool = True) -> Answer:
    """read: Path of a file or DICOM folder to voxels and spacing (3)."""
    right = []
    with folder() as where:
        nifti, series = where / "image.nii.gz", where / "series"
        write_nifti(nifti, array(), np.diag([*SPACING, 1]))
        kinds = {"NIfTI": nifti}
        if dicom:
            _write_dicom(series)
            kinds["DICOM"] = series
        for kind, path in kinds.items():
            voxels, spacing = read(path)
            if spacing is None or not np.allclose(np.asarray(spacing), SPACING, atol=1e-4):
                continue
            found = np.sort(np.asarray(voxels).ravel())  # slices may come in another order
            if np.allclose(found, np.sort(array().ravel())):
                right.append(kind)
    if len(right) == 2:
        return yes()
    return partly(f"{right[0]} only") if right else no("voxels or spacing differ")


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write voxels (I, J, K) and where they lie."""
    import nibabel as nib

    nib.save(nib.Nifti1Image(voxels, affine), path)


def _write_dicom(folder: Path) -> None:
    import SimpleITK as sitk

    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, plane in enumerate(array().T):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(SPACING)
        place = (0.0, 0.0, index * SPACING[2])
        image.SetOrigin(place)
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR image
            "0008|0018": f"1.2.3.4.{index + 1}",
            "0008|0060": "MR",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.2",
            "0020|0013": str(index),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": str(SPACING[2]),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(image)
