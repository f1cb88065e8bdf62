"""Matrices of affine maps in files of ITK."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from .guards import check_exists, check_name, expanded
from .voxels import LPS, failing_as, shown, sitk


def read_matrix(path: str | os.PathLike[str]) -> Tensor:
    """Return the affine map of an ITK transform file (.tfm, .txt, .h5), as TorchIO 1 does.

    ITK stores the map from the reference to the floating image in LPS+; this is its inverse in
    RAS+, which moves points of the floating image, in mm, to the reference: (4, 4) float64.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is no such file.
        ValueError: The transform is not an affine one of 3D space.
    """
    path = expanded(path)
    check_exists(path)
    check_name(path)
    with failing_as(f"'{shown(path)}' cannot be read as a transform"):
        transform = sitk().ReadTransform(str(path))
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise ValueError(f"'{shown(path)}' must hold an affine transform of 3D space")
    # from points that it maps, as classes of transforms differ in their parameters and centres
    points = [transform.TransformPoint(point) for point in np.eye(4, 3, k=-1).tolist()]
    matrix = np.eye(4)
    matrix[:3, 3] = points[0]
    matrix[:3, :3] = (np.array(points[1:]) - points[0]).T
    return torch.from_numpy(np.linalg.inv(LPS @ matrix @ LPS))
