"""Space of a volume: its grid in the world, spacing and orientation.

Conventions of axes and maps are defined here, once: voxel (i, j, k) has integer coordinates at its
centre, and an affine maps voxels to RAS+ millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..arrays import as_array, host
from ..cached import cached_property
from ..shapes import Triple
from ..tracing import instruction
from .matrices import apply_affine, invert

CODES = (("L", "R"), ("P", "A"), ("I", "S"))
_AXIS_NAMES = frozenset(
    [*"lrpais", "lr", "rl", "pa", "ap", "is", "si"]
    + ["left", "right", "posterior", "anterior", "inferior", "superior"]
)
#: Two grids are one space if their corners agree within this share of the smallest voxel side:
#: above the rounding of float32 affines in files, and below a visible shift.
SPACE_TOLERANCE = 0.01
#: Tolerance of a number of voxels that may be whole: above the rounding of float64 products.
WHOLE = 1e-6


@dataclass(frozen=True)
class Space:
    """Grid of a batch of images in the world: a shape for all, an affine for each.

    Args:
        shape: Voxels along I, J, K.
        affine: Voxel to world, [B, 4, 4] float64 on the host.
    """

    shape: Triple
    affine: np.ndarray

    @cached_property
    def to_voxel(self) -> np.ndarray:
        """Map from world to voxels, [B, 4, 4]; read-only."""
        return _inverse(self.affine)

    @property
    def centre(self) -> np.ndarray:
        """World position of the centre, voxel (n - 1) / 2, [B, 3], for odd and even n."""
        return self.affine[:, :3] @ middle(self.shape)

    def points(self) -> np.ndarray:
        """Return the world positions of all voxels in C order, [B, N, 3]."""
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), -1)
        return apply_affine(self.affine, index.reshape(-1, 3).astype(np.float64))

    @property
    def corners(self) -> np.ndarray:
        """World positions of the eight corner voxels, [B, 8, 3]."""
        ends = np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")
        return apply_affine(self.affine, np.stack(ends, -1).reshape(-1, 3))

    def distance_mm(self, other: Space) -> float:
        """Return the largest distance between corresponding corners; infinite if shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        if np.array_equal(self.affine, other.affine):
            return 0.0
        return float(np.linalg.norm(self.corners - other.corners, axis=-1).max())

    def is_same(self, other: Space) -> bool:
        """Return True if both are one space: corners agree within 1 % of the smallest voxel side.

        The tolerance is relative, so that it is independent of the unit.
        """
        return self.distance_mm(other) <= SPACE_TOLERANCE * self._side(other)

    def is_aligned(self, other: Space) -> bool:
        """Return True if affines agree as in :meth:`is_same`, for any shapes."""
        shape = tuple(min(pair) for pair in zip(self.shape, other.shape, strict=True))
        i, j, k = shape
        return Space((i, j, k), self.affine).is_same(Space((i, j, k), other.affine))

    def _side(self, other: Space) -> float:
        return float(min(spacing(self.affine).min(), spacing(other.affine).min()))


@instruction
def _inverse(affine: np.ndarray) -> np.ndarray:
    return _to_voxel(affine.astype(np.float64, copy=False).tobytes())


@lru_cache(maxsize=64)
def _to_voxel(affine: bytes) -> np.ndarray:
    """Return the inverse of affines, [B, 4, 4], cached by their bytes: few grids occur in a run."""
    inverse: np.ndarray = invert(np.frombuffer(affine).reshape(-1, 4, 4))
    inverse.flags.writeable = False
    return inverse


@lru_cache(maxsize=256)
def middle(shape: Triple) -> np.ndarray:
    """Return the centre of a grid in homogeneous voxel coordinates, [4]."""
    i, j, k = shape
    return np.array(((i - 1) / 2, (j - 1) / 2, (k - 1) / 2, 1.0))


def check_affine(affine: Any, name: str = "affine") -> np.ndarray:
    """Return an affine as a (4, 4) float64 array; raise if it is not finite and invertible."""
    matrix = host(as_array(affine, name)).astype(np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{name} must have shape (4, 4), got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got {matrix.tolist()}")
    if matrix[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"{name} must have [0, 0, 0, 1] as last row, got {matrix[3].tolist()}")
    # Relative to the volume of a box of the same spacing, so that it is independent of the unit.
    if abs(np.linalg.det(matrix[:3, :3])) <= 1e-9 * spacing(matrix).prod():
        raise ValueError(f"{name} must be invertible, got the singular matrix {matrix.tolist()}")
    return matrix


def spacing(affine: np.ndarray) -> np.ndarray:
    """Return the distance between neighbouring voxels along I, J, K in mm, [..., 3]."""
    return np.sqrt((affine[..., :3, :3] ** 2).sum(-2))


def anatomical_axes(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the closest world axis of each voxel axis, and whether both increase together.

    The closest pairs are assigned first, so that each world axis is assigned once.

    Args:
        affine: [B, 4, 4].

    Returns:
        World axes 0, 1, 2 of I, J, K, [B, 3], and bool [B, 3].
    """
    cosines = affine[:, :3, :3] / spacing(affine)[:, None]  # [B, world, voxel]
    strength, samples = np.abs(cosines), np.arange(len(affine))
    world = np.empty((len(affine), 3), dtype=np.int64)
    for _ in range(3):
        along, voxel = np.divmod(strength.reshape(-1, 9).argmax(1), 3)
        world[samples, voxel] = along
        strength[samples, along] = strength[samples, :, voxel] = -1
    return world, cosines[samples[:, None], world, np.arange(3)] > 0


def orientation(affine: np.ndarray) -> tuple[str, str, str]:
    """Return the anatomical directions in which I, J and K grow, for example ('R', 'A', 'S')."""
    world, forward = anatomical_axes(affine[None])
    i, j, k = (CODES[axis][int(up)] for axis, up in zip(world[0], forward[0], strict=True))
    return i, j, k


def axis_indices(axis: str, affine: np.ndarray) -> np.ndarray:
    """Return the voxel axis of each sample that an anatomical name means, [B].

    A name counts by its first letter, one of L, R, A, P, I, S: 'L', 'Left' and 'LR' are the same.

    Args:
        axis: The name.
        affine: [B, 4, 4].

    >>> axis_indices("LR", np.eye(4)[None])
    array([0])
    """
    letter = check_axis_name(axis)[0].upper()
    wanted = next(n for n, pair in enumerate(CODES) if letter in pair)
    return (anatomical_axes(affine)[0] == wanted).argmax(1)


def axis_index(axis: int | str, affine: np.ndarray) -> int:
    """Return the voxel axis (0, 1 or 2) of an integer or an anatomical name.

    >>> axis_index("LR", np.eye(4))
    0
    """
    return check_axis(axis) if isinstance(axis, int) else int(axis_indices(axis, affine[None])[0])


def check_axis(axis: int) -> int:
    """Return an integer voxel axis; raise if it is not 0, 1 or 2."""
    if isinstance(axis, bool) or not isinstance(axis, int) or axis not in (0, 1, 2):
        raise ValueError(f"axes must be 0, 1, 2 or anatomical names such as 'LR', got {axis!r}")
    return axis


def check_axis_name(axis: str, name: str = "axes") -> str:
    """Return an anatomical axis name; raise if it is unknown."""
    if not isinstance(axis, str) or axis.lower() not in _AXIS_NAMES:
        raise ValueError(
            f"{name} must be 0, 1, 2 or anatomical names such as 'LR', 'Anterior' or 'S', "
            f"got {axis!r}"
        )
    return axis


def check_same_space(spaces: Mapping[str, Space]) -> None:
    """Raise unless images, given by name, have the same shape and corners."""
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
