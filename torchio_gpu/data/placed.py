"""Geometry that follows from the shape and the affine of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from .. import geometry
from ..shapes import Triple

_PAIRS = (*geometry.CODES, ("T", "B"), ("D", "V"))
_OPPOSITE = {a: b for one, other in _PAIRS for a, b in ((one, other), (other, one))}


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
    def dtype(self) -> torch.dtype:
        """dtype of the voxels."""
        raise NotImplementedError

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return self.dtype.itemsize

    @property
    def memory(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.itemsize

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

    @property
    def direction(self) -> tuple[float, ...]:
        """World directions of I, J, K, RAS+: the nine numbers of a matrix, row by row.

        Its columns are unit vectors.
        """
        return tuple((self.affine[:3, :3] / self.spacing).ravel().tolist())

    def is_2d(self) -> bool:
        """Return True if there is a single slice along K."""
        return self.spatial_shape[2] == 1

    def check_is_2d(self) -> None:
        """Raise a RuntimeError unless there is a single slice along K."""
        if not self.is_2d():
            raise RuntimeError(f"image must be 2D, with shape (I, J, 1), got {self.spatial_shape}")

    @property
    def width(self) -> int:
        """Number of voxels along I of a 2D image; a RuntimeError for others."""
        self.check_is_2d()
        return self.spatial_shape[0]

    @property
    def height(self) -> int:
        """Number of voxels along J of a 2D image; a RuntimeError for others."""
        self.check_is_2d()
        return self.spatial_shape[1]

    @property
    def bounds(self) -> np.ndarray:
        """World positions of the centres of the first and the last voxel, (2, 3), mm, RAS+."""
        return self._world(((0, 0, 0), np.array(self.spatial_shape) - 1))

    def get_bounds(self) -> tuple[tuple[float, float], ...]:
        """Return the world positions of the outer corners of the first and the last voxel.

        Returns:
            For each world axis, RAS+, a pair in mm.

        >>> ScalarImage(torch.rand(1, 4, 5, 6)).get_bounds()
        ((-0.5, 3.5), (-0.5, 4.5), (-0.5, 5.5))
        """
        ends = self._world(((-0.5, -0.5, -0.5), np.array(self.spatial_shape) - 0.5))
        return tuple((first, last) for first, last in ends.T.tolist())

    def get_center(self, lps: bool = False) -> tuple[float, float, float]:
        """Return the world position of the centre in mm.

        Args:
            lps: Return LPS+ coordinates, as SimpleITK has them, rather than RAS+.
        """
        x, y, z = self.space.centre[0].tolist()
        return (-x, -y, z) if lps else (x, y, z)

    def _world(self, voxels: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
        return geometry.apply_affine(self.affine, np.array(voxels, dtype=np.float64))

    def axis_name_to_index(self, axis: str) -> int:
        """Return the index of the voxel axis that an anatomical name means, from -3 to -1.

        Args:
            axis: Name, of which the first letter counts: left, right, anterior, posterior,
                inferior or superior; top or bottom for J of a 2D image.

        Raises:
            ValueError: The name is another one.

        >>> ScalarImage(torch.rand(1, 4, 5, 6)).axis_name_to_index("Anterior")
        -2
        """
        opposite = self.flip_axis(axis)
        letter = axis[0].upper()
        if letter in "TB":
            return -2
        for index, code in enumerate(self.orientation):
            if code in (letter, opposite):
                return index - 3
        raise ValueError(f"axis must be one of {', '.join(_OPPOSITE)}, without D and V, got {axis}")

    @staticmethod
    def flip_axis(axis: str) -> str:
        """Return the letter of the opposite direction.

        Args:
            axis: Name, of which the first letter counts: one of L, R, P, A, I, S, T (top),
                B (bottom), D (dorsal) and V (ventral).

        >>> ScalarImage.flip_axis("left")
        'R'
        """
        if not isinstance(axis, str):
            raise TypeError(f"axis must be a string, got {axis!r}")
        opposite = _OPPOSITE.get(axis[:1].upper())
        if opposite is None:
            raise ValueError(f"axis must begin with one of {', '.join(_OPPOSITE)}, got {axis!r}")
        return opposite

    @property
    def space(self) -> geometry.Space:
        """Grid of the voxels, as a batch of one."""
        return geometry.Space(self.spatial_shape, self.affine[None])
