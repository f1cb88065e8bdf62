"""Maps between voxels, volumes that are read through them, and checks of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, common, host, on_host
from ..geometry import (
    SPLINE_ORDER,
    BSplineField,
    Field,
    Space,
    apply_affine,
    control_lattice,
    displace,
    product,
)
from ..shapes import Triple, Volume, spatial_shape
from .fields_of_view import FieldOfView
from .operations import Operation

MODES = ("linear", "nearest", "bspline", "label")
#: Modes of maps that keep axes parallel: windowed sinc, and a Gaussian.
WINDOWED = ("lanczos", "hamming", "cosine", "welch", "blackman", "gaussian")
#: Voxels that these modes read to each side of a position, as in SimpleITK.
WINDOW_RADIUS = 5
#: Modes that move values and never compute with them.
MOVING = ("nearest", "label")
#: Tolerance, in voxels, of a map that takes voxel centres to voxel centres: above the rounding of a
#: chain of float64 matrices, and far below a visible shift.
_ON_GRID = 1e-6


class VoxelMap(NamedTuple):
    """Map from output voxels to input voxels, ``v -> matrix (v + u(v))``, of all samples.

    Args:
        matrix: [B, 4, 4].
        control_points: Displacement u in output voxels, [B, 3, N0, N1, N2], or None.
        lattice: Output voxels to control-point coordinates, [B, 4, 4].
        size: Voxels of the output along I, J, K.
        inverse: Invert ``v + u(v)`` of the control points.
        displacement: Displacement u at each output voxel, [B, 3, \\*size], instead of control
            points.
    """

    matrix: Array
    control_points: Array | None
    lattice: Array | None
    size: Triple
    inverse: bool = False
    displacement: Tensor | None = None

    @property
    def vectors(self) -> Array | None:
        """Displacements of control points or of voxels, [B, 3, ...]; None if there are none."""
        return self.displacement if self.control_points is None else self.control_points

    def expand(self, batch: int) -> VoxelMap:
        """Return the map of ``batch`` samples; raise if it is of another number, and not of one."""
        own = len(self.matrix)
        if own not in (1, batch):
            raise ValueError(f"map must be of 1 or {batch} samples, as x, got {own}")
        return self if own == batch else self.select([0] * batch)

    def select(self, samples: Sequence[int]) -> VoxelMap:
        """Return the map of the given samples of the batch."""
        chosen = list(samples)
        points = None if self.control_points is None else self.control_points[chosen]
        lattice = None if self.lattice is None else self.lattice[chosen]
        dense = None if self.displacement is None else self.displacement[chosen]
        return VoxelMap(self.matrix[chosen], points, lattice, self.size, self.inverse, dense)


class Reading(NamedTuple):
    """Volume that is read through a map, and how.

    Args:
        x: Volume.
        mode: One of :data:`MODES`; where the map keeps axes parallel, also of :data:`WINDOWED`.
        fill: Value outside: a number, one per sample (B), or per channel (B, C).
        fields: Fields of view, oldest first, each with its own fill. Without them, ``fill`` is used
            outside the whole volume.
        operations: Pointwise operations on the result, in the same pass where that is linear.
    """

    x: Volume
    mode: str = "linear"
    fill: float | Tensor = 0.0
    fields: Sequence[FieldOfView] = ()
    operations: Sequence[Operation] = ()

    @property
    def moves(self) -> bool:
        """True if values are moved and never computed with."""
        return self.mode in MOVING

    def voxels(self, voxel_map: VoxelMap) -> int:
        """Return the number of voxels of a sample of the result."""
        return self.x.shape[1] * math.prod(voxel_map.size)

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the result before operations."""
        kept = self.moves or self.x.is_floating_point() or self.x.is_complex()
        return self.x.dtype if kept else torch.float32


def voxel_map(
    matrix: Array | None,
    field: Field | None,
    to_source: Array,
    grid: Array,
    to_grid: Array,
    size: Triple,
) -> VoxelMap:
    """Return the map between voxels of a map of the world, ``q -> matrix (q + d(q))``.

    Args:
        matrix: [B, 4, 4]; identity by default.
        field: Displacement d in mm, or none.
        to_source: World to voxel of the source, [B, 4, 4].
        grid: Voxel of the output to world, [B, 4, 4].
        to_grid: Inverse of ``grid``.
        size: Voxels of the output along I, J, K.
    """
    matrix, linear = product(to_source, product(matrix, grid)), to_grid[:, :3, :3]
    if field is None:
        return VoxelMap(matrix, None, None, size)
    if hasattr(field, "flow") and not field.inverse_is_known:  # of a velocity
        field = field.flow
    if isinstance(field, BSplineField) and field.covers(grid, size):
        points = displace(field.control_points, linear)
        return VoxelMap(matrix, points, product(field.lattice, grid), size, field.inverse)
    if on_host(grid):
        moved = field.on_grid(Space(size, host(grid)))
    else:  # of a matrix with a gradient
        _, grid, voxels = common(grid, Space(size, np.eye(4)[None]).points())
        moved = field.at(apply_affine(grid, voxels)).mT.reshape(-1, 3, *size)
    return VoxelMap(matrix, None, None, size, displacement=displace(moved, linear))


def check_mode(mode: str, name: str = "mode", known: Sequence[str] = MODES[:2]) -> str:
    """Return ``mode`` if it is one of the ``known`` names; raise otherwise."""
    if not isinstance(mode, str) or mode not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {mode!r}")
    return mode


def check_warp_mode(mode: str) -> str:
    """Return ``mode`` if it is one for any map; raise otherwise."""
    if mode in WINDOWED:
        raise ValueError(
            f"mode must be one of {', '.join(MODES)} for maps that may rotate axes, got {mode!r}, "
            "which only resample takes"
        )
    return check_mode(mode, known=MODES)


def check_maps(
    x: Volume,
    matrix: Array | None = None,
    control_points: Array | None = None,
    lattice: Array | None = None,
    size: Triple | None = None,
    inverse: bool = False,
) -> VoxelMap:
    """Return the map of the arguments of :func:`torchio_gpu.functional.warp`, or raise."""
    size = spatial_shape(x) if size is None else check_size(size)
    matrix = check_matrix(matrix, len(x), "matrix")
    if control_points is None:
        return VoxelMap(matrix, None, None, size)  # a lattice alone has no effect
    control_points = _check_control_points(control_points, len(x))
    if lattice is None:
        a, b, c = control_points.shape[2:]
        lattice = control_lattice(Space(size, np.eye(4)[None]), (a, b, c))
    lattice = check_matrix(lattice, len(x), "lattice")
    return VoxelMap(matrix, control_points, lattice, size, inverse)


def is_exact(matrix: Array, control_points: Array | None = None) -> bool:
    """Return True if a map is known to take voxel centres to voxel centres for every sample.

    Args:
        matrix: Output voxel to input voxel, (B, 4, 4).
        control_points: Displacement, (B, 3, N0, N1, N2), or None.
    """
    return bool(exact_mask(matrix, control_points).all())


def exact_mask(matrix: Array, vectors: Array | None = None) -> np.ndarray:
    """Return True for the samples whose map takes voxel centres to voxel centres, [B].

    Only maps on the host and without gradient are examined; the others are always interpolated.

    Args:
        matrix: Output voxel to input voxel, [B, 4, 4].
        vectors: Displacements, [B, 3, ...], or None.
    """
    if not on_host(matrix) or (vectors is not None and not on_host(vectors)):
        return np.zeros(len(matrix), dtype=bool)
    matrix = host(matrix)
    integer = np.rint(matrix)
    exact: np.ndarray = np.abs(matrix - integer).reshape(-1, 16).max(1) < _ON_GRID
    if vectors is not None and exact.any():
        vectors = host(vectors)
        moved = vectors[..., ::4, ::4, ::4].any((1, 2, 3, 4))  # most are seen by a few
        exact = exact & ~(moved if moved.all() else vectors.any((1, 2, 3, 4)))
    if not exact.any():
        return exact
    # A signed permutation has a single entry of size one in each row and column.
    linear = np.abs(integer[:, :3, :3])
    return exact & ((linear.sum(1) == 1) & (linear.sum(2) == 1)).all(1)


def exact_samples(matrix: Array, exact: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Return the samples of :func:`exact_mask`, each with its integer matrix, (3, 4), in a row."""
    samples = exact.nonzero()[0].tolist()
    rows = np.rint(host(matrix)[samples, :3]).astype(int).reshape(-1, 12).tolist()
    return {n: tuple(row) for n, row in zip(samples, rows, strict=True)}


def check_size(size: Triple) -> Triple:
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise ValueError(f"size must be three positive integers, got {size!r}")
    return int(size[0]), int(size[1]), int(size[2])


def check_matrix(matrix: Array | None, batch: int, name: str) -> Array:
    if matrix is None:
        return np.eye(4)[None].repeat(batch, 0)
    matrix = as_array(matrix, name)
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    if tuple(matrix.shape) not in ((batch, 4, 4), (1, 4, 4)):
        raise ValueError(
            f"{name} must have shape (4, 4) or ({batch}, 4, 4), got {tuple(matrix.shape)}"
        )
    return _widen(matrix, batch)


def _widen(array: Array, batch: int) -> Array:
    """Expand to all samples in float64; host tensors without gradient become numpy arrays."""
    if isinstance(array, Tensor) and not on_host(array):
        return array.expand(batch, *array.shape[1:]).to(torch.float64)
    array = host(array).astype(np.float64, copy=False)
    return array if len(array) == batch else array.repeat(batch, 0)


def check_displacement(displacement: Tensor, x: Tensor, name: str = "displacement") -> Tensor:
    """Return vectors at each voxel of a grid, [B, 3, I, J, K] float, or raise.

    Args:
        displacement: The vectors, for all samples or for each.
        x: Tensor of B samples whose device they must have.
        name: Name of the argument, for errors.
    """
    shape = tuple(displacement.shape)
    if len(shape) not in (4, 5) or shape[-4] != 3 or 0 in shape:
        raise ValueError(f"{name} must have shape (B, 3, I, J, K) or (3, I, J, K), got {shape}")
    if not displacement.is_floating_point():
        raise ValueError(f"{name} must be of a floating dtype, got {displacement.dtype}")
    if displacement.device != x.device:
        raise ValueError(f"{name} must be on {x.device} as x is, got {displacement.device}")
    batch = len(x)
    if len(shape) == 5 and shape[0] not in (1, batch):
        raise ValueError(f"{name} must be of 1 or {batch} samples, as x, got {shape[0]}")
    return displacement.expand(batch, *shape[-4:])


def _check_control_points(points: Array, batch: int) -> Array:
    points = as_array(points, "control_points")
    points = points[None] if points.ndim == 4 else points
    enough = points.ndim == 5 and all(n > SPLINE_ORDER for n in points.shape[2:])
    if not enough or points.shape[1] != 3 or points.shape[0] not in (1, batch):
        raise ValueError(
            f"control_points must have shape ({batch}, 3, N0, N1, N2) with at least 4 points "
            f"along each axis, got {tuple(points.shape)}"
        )
    return _widen(points, batch)


def parts_of(fill: float | Tensor, x: Volume) -> Tensor:
    """Return the fill for real and imaginary parts, [B, 2 C]: see :func:`.arguments.by_parts`."""
    value = check_fill(fill, x, "nearest")
    if not isinstance(value, Tensor):
        value = torch.full(x.shape[:2], value, dtype=x.dtype, device=x.device)
    value = value.to(x.dtype)
    return torch.cat([value.real, value.imag], 1)


def check_fill(fill: float | Tensor, x: Volume, mode: str) -> float | Tensor:
    if not isinstance(fill, Tensor):
        whole = not (x.is_floating_point() or x.is_complex()) and mode in MOVING
        if whole and x.dtype != torch.bool:
            limits = torch.iinfo(x.dtype)
            if not limits.min <= fill <= limits.max or fill != int(fill):  # NaN neither
                raise ValueError(f"fill must be a value that {x.dtype} can hold, got {fill!r}")
        computed = x.dtype if x.dtype == torch.float64 else torch.float32
        if not whole and torch.finfo(computed).max < abs(fill) < math.inf:
            raise ValueError(f"fill must be a value that {computed} can hold, got {fill!r}")
        return fill if whole else float(fill)
    batch, channels = x.shape[:2]
    if fill.shape in ((), (batch,), (batch, 1), (batch, channels)):
        columns = fill.reshape(-1, 1) if fill.ndim < 2 else fill
        return columns.expand(batch, channels).to(x.device, non_blocking=True)
    raise ValueError(
        f"fill must be a number, or have shape [{batch}] or [{batch}, {channels}], "
        f"got {list(fill.shape)}"
    )
