"""Where voxels lie in the world: the grid of a volume, its spacing and orientation.

The order of axes and the direction of maps are said here, once: voxel (i, j, k) sits at integer
coordinates, an affine maps voxels to RAS+ millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..arrays import as_array, host
from ..shapes import Triple
from .matrices import apply_affine, invert

CODES = (("L", "R"), ("P", "A"), ("I", "S"))
_AXIS_NAMES = frozenset(
    [*"lrpais", "lr", "rl", "pa", "ap", "is", "si"]
    + ["left", "right", "posterior", "anterior", "inferior", "superior"]
)
#: Two grids are the same space when their corners agree within this share of a voxel.
SPACE_TOLERANCE = 0.01
#: Rounding of a number of voxels that may be whole.
WHOLE = 1e-6


@dataclass(frozen=True)
class Space:
    """Where the voxels of a batch of images lie: a shape for all, an affine for each.

    Args:
        shape: Voxels along I, J, K.
        affine: Voxel to world, [B, 4, 4] float64 on the host.
    """

    shape: Triple
    affine: np.ndarray

    @cached_property
    def to_voxel(self) -> np.ndarray:
        """World to voxel, [B, 4, 4]; not to be written to."""
        return _to_voxel(self.affine.astype(np.float64, copy=False).tobytes())

    @property
    def centre(self) -> np.ndarray:
        """World position of voxel (n - 1) / 2, [B, 3]: the middle, for odd and even n alike."""
        return self.affine[:, :3] @ middle(self.shape)

    @property
    def corners(self) -> np.ndarray:
        """World positions of the eight corner voxels, [B, 8, 3]."""
        ends = np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")
        return apply_affine(self.affine, np.stack(ends, -1).reshape(-1, 3))

    def distance_mm(self, other: Space) -> float:
        """Largest distance between corresponding corners; infinite when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        if np.array_equal(self.affine, other.affine):
            return 0.0
        return float(np.linalg.norm(self.corners - other.corners, axis=-1).max())

    def is_same(self, other: Space) -> bool:
        """Return whether both are one space: corners agree within 1 % of the smallest voxel side.

        The limit is relative, so that it holds for micrometres and for metres.
        """
        return self.distance_mm(other) <= SPACE_TOLERANCE * self._side(other)

    def is_aligned(self, other: Space) -> bool:
        """Return whether affines agree as those of one space do, whatever the shapes."""
        shape = tuple(min(pair) for pair in zip(self.shape, other.shape, strict=True))
        i, j, k = shape
        return Space((i, j, k), self.affine).is_same(Space((i, j, k), other.affine))

    def _side(self, other: Space) -> float:
        return float(min(spacing(self.affine).min(), spacing(other.affine).min()))


@lru_cache(maxsize=64)
def _to_voxel(affine: bytes) -> np.ndarray:
    """Inverse of affines, [B, 4, 4], known by their bytes: the same grids come again and again."""
    inverse: np.ndarray = invert(np.frombuffer(affine).reshape(-1, 4, 4))
    inverse.flags.writeable = False
    return inverse


@lru_cache(maxsize=256)
def middle(shape: Triple) -> np.ndarray:
    i, j, k = shape
    return np.array(((i - 1) / 2, (j - 1) / 2, (k - 1) / 2, 1.0))


def check_affine(affine: Any, name: str = "affine") -> np.ndarray:
    """Return an affine as a (4, 4) float64 array; raises when it cannot place voxels in the world."""
    matrix = np.array(host(as_array(affine, name)), dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{name} must have shape (4, 4), got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got {matrix.tolist()}")
    if matrix[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"the last row of {name} must be [0, 0, 0, 1], got {matrix[3].tolist()}")
    # Compared with the volume of a box of the same spacing, so that units do not matter.
    if abs(np.linalg.det(matrix[:3, :3])) <= 1e-9 * spacing(matrix).prod():
        raise ValueError(f"{name} must be invertible, got the singular matrix {matrix.tolist()}")
    return matrix


def spacing(affine: np.ndarray) -> np.ndarray:
    """Distance between neighbouring voxels along I, J, K in mm, [..., 3]."""
    return np.sqrt((affine[..., :3, :3] ** 2).sum(-2))


def orientation(affine: np.ndarray) -> tuple[str, str, str]:
    """Anatomical direction in which I, J and K grow, for example ('R', 'A', 'S').

    Each voxel axis takes the world axis it runs along most; strongest matches are settled first.
    """
    cosines = affine[:3, :3] / spacing(affine)  # [world, voxel]
    codes = ["", "", ""]
    strength = np.abs(cosines)
    for _ in range(3):
        world, voxel = divmod(int(strength.argmax()), 3)
        codes[voxel] = CODES[world][int(cosines[world, voxel] > 0)]
        strength[world, :] = -1
        strength[:, voxel] = -1
    return codes[0], codes[1], codes[2]


def axis_index(axis: int | str, affine: np.ndarray) -> int:
    """Voxel axis (0, 1 or 2) meant by an integer or an anatomical name.

    A name counts by its first letter, one of L, R, A, P, I, S: 'L', 'Left' and 'LR' are the same.

    >>> axis_index("LR", np.eye(4))
    0
    """
    if isinstance(axis, int):
        return check_axis(axis)
    letter = check_axis_name(axis)[0].upper()
    codes = orientation(affine)
    pair = next(pair for pair in CODES if letter in pair)
    return next(n for n, code in enumerate(codes) if code in pair)


def check_axis(axis: int) -> int:
    """Return an integer voxel axis, or raise."""
    if isinstance(axis, bool) or not isinstance(axis, int) or axis not in (0, 1, 2):
        raise ValueError(f"axes must be 0, 1, 2 or anatomical names such as 'LR', got {axis!r}")
    return axis


def check_axis_name(axis: str, name: str = "axes") -> str:
    """Return an anatomical axis name, or raise."""
    if not isinstance(axis, str) or axis.lower() not in _AXIS_NAMES:
        raise ValueError(
            f"{name} must be 0, 1, 2 or anatomical names such as 'LR', 'Anterior' or 'S', "
            f"got {axis!r}"
        )
    return axis


def check_same_space(spaces: Mapping[str, Space]) -> None:
    """Raise unless images of some names have the same shape and corners."""
    first_name, first = next(iter(spaces.items()))
    for name, space in spaces.items():
        if space.shape != first.shape:
            raise ValueError(
                f"images must share a spatial shape: {first_name!r} has {first.shape}, "
                f"{name!r} has {space.shape}"
            )
        if not first.is_same(space):
            raise ValueError(
                f"images must share a space: corners of {first_name!r} and {name!r} are up "
                f"to {first.distance_mm(space):.3g} mm apart"
            )
