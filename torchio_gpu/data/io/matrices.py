"""Files of affine transforms, as ITK and NiftyReg write them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...shapes import AffineLike
from .guards import check_exists, expanded
from .voxels import LPS, checked_affine, failing_as, shown, sitk
from .writing import check_target

#: Suffixes of files of ITK, in LPS+, and of NiftyReg, in RAS+.
_ITK, _TEXT = (".tfm", ".h5"), (".txt", ".trsf")


def read_matrix(path: str | os.PathLike[str]) -> Tensor:
    """Read an affine transform, (4, 4) float64 in RAS+ mm, from floating to reference space.

    Files hold the map from reference to floating space, as resampling needs it: they are inverted.

    Args:
        path: File of ITK (.tfm, .h5) or of NiftyReg (.txt, .trsf).

    Raises:
        ValueError: The suffix is another one.
        FileNotFoundError: There is no such file.
        OSError: The file does not hold one affine transform.
    """
    file = expanded(path)
    _check_suffix(file)
    check_exists(file)
    with failing_as(f"'{shown(file)}' must hold one affine transform"):
        matrix = np.loadtxt(file, dtype=np.float64) if file.suffix in _TEXT else _read_itk(file)
        inverse = np.linalg.inv(checked_affine(torch.from_numpy(matrix), "file").numpy())
    return torch.from_numpy(inverse)


def write_matrix(matrix: AffineLike, path: str | os.PathLike[str]) -> None:
    """Write an affine transform; see :func:`read_matrix`."""
    file = expanded(path)
    _check_suffix(file)
    check_target(file)
    ras = np.linalg.inv(checked_affine(torch.as_tensor(np.asarray(matrix)), "matrix").numpy())
    if file.suffix in _TEXT:
        np.savetxt(file, ras)
        return
    lps = LPS @ ras @ LPS
    affine = sitk().AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())
    sitk().WriteTransform(affine, str(file))


def _read_itk(path: Path) -> np.ndarray:
    read = sitk().ReadTransform(str(path))
    if read.GetDimension() != 3 or not read.IsLinear():
        raise ValueError(f"it holds a {read.GetName()} of {read.GetDimension()} dimensions")
    # from points, as rigid, affine and composed transforms differ in parameters and centres
    origin, *ends = np.array([read.TransformPoint(p) for p in np.eye(4, 3, k=-1).tolist()])
    lps = np.eye(4)
    lps[:3, 3] = origin
    lps[:3, :3] = np.transpose(ends - origin)
    ras: np.ndarray = LPS @ lps @ LPS
    return ras


def _check_suffix(path: Path) -> None:
    if path.suffix not in (*_ITK, *_TEXT):
        raise ValueError(
            f"path must end in one of {', '.join((*_ITK, *_TEXT))}, got '{shown(path)}'"
        )
