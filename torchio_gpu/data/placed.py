"""Geometry that follows from the shape and the affine of an image."""

from __future__ import annotations

import numpy as np

from .. import geometry
from ..shapes import Triple


class Placed:
    """Base of classes with a shape and an affine, from which all properties here follow."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (C, I, J, K)."""
        raise NotImplementedError

    @property
    def affine(self) -> np.ndarray:
        """Voxel to world, RAS+ mm, (4, 4) float64."""
        raise NotImplementedError

    @property
    def spatial_shape(self) -> Triple:
        """Spatial shape (I, J, K)."""
        return self.shape[1:]

    @property
    def num_channels(self) -> int:
        """Number of channels C."""
        return self.shape[0]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxels along I, J, K in mm."""
        i, j, k = geometry.spacing(self.affine).tolist()
        return i, j, k

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position of voxel (0, 0, 0) in mm, RAS+."""
        x, y, z = self.affine[:3, 3].tolist()
        return x, y, z

    @property
    def orientation(self) -> tuple[str, str, str]:
        """Anatomical direction in which I, J, K grow, such as ('R', 'A', 'S')."""
        return geometry.orientation(self.affine)

    @property
    def orientation_str(self) -> str:
        """:attr:`orientation` as one word, such as 'RAS'."""
        return "".join(self.orientation)

    def is_2d(self) -> bool:
        """Return True if there is a single slice along K."""
        return self.spatial_shape[2] == 1

    @property
    def space(self) -> geometry.Space:
        """Grid of the voxels, as a batch of one."""
        return geometry.Space(self.spatial_shape, self.affine[None])
