"""Zone plate: a test image of all spatial frequencies."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..data import ScalarImage, Subject
from ..signature import checked


class ZonePlate(Subject):
    """Concentric shells whose spatial frequency grows with the radius.

    Interpolation, filters and aliasing show where in the image, and so at which frequency, they
    fail. The value at radius r is sin(k r² / 2R) (tanh((R - r) / w) + 1) / 2, where R is the
    largest radius along an axis, k = 0.8 π the frequency there in radians per voxel and w = R / 10
    the width of the border (Jähne, Practical Handbook on Image Processing for Scientific and
    Technical Applications, 2004, eq. 10.63). Voxels have 1 mm, and the centre lies at the origin.

    Args:
        size: Voxels along each axis, at least 3.

    >>> ZonePlate(31).image.shape
    (1, 31, 31, 31)
    """

    size: int = 0  # declared here, as it is an attribute and no metadata

    @checked
    def __init__(self, size: int = 501) -> None:
        if size < 3:
            raise ValueError(f"size must be at least 3, got {size!r}")
        first = -((size - 1) // 2)
        squares = torch.arange(first, first + size, dtype=torch.float64) ** 2
        r2 = squares[:, None, None] + squares[:, None] + squares  # (I, J, K)
        radius = float(size // 2)
        wave = torch.sin(r2 * (0.8 * math.pi / (2 * radius)))
        border = (torch.tanh((radius - r2.sqrt()) / (radius / 10)) + 1) / 2
        affine = np.eye(4)
        affine[:3, 3] = first
        super().__init__(image=ScalarImage((wave * border).float()[None], affine=affine))
        self.size = size
