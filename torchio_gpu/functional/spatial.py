"""Spatial operations on volumes (B, C, I, J, K): affine and elastic warps, flips.

Maps are pull-backs in voxels: they say where in the input each output voxel comes from. World
coordinates, and parameters that speak of the content, belong to the transforms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, host, on_host
from ..geometry import SPLINE_ORDER, Space, control_lattice, reflection
from ..memory import empty
from ..shapes import Triple, Volume, check_volume, spatial_shape
from ..signature import checked
from .dispatch import kernels
from .dispatch.arguments import by_parts
from .dispatch.backend import use_kernel
from .dispatch.launch import to_device
from .eager import spatial as _reference
from .eager.frames import Frame, fill_along_axes
from .operations import Operation, View
from .pointwise import Program, check_operations, pointwise
from .rows import Rows, rows_at

MODES = ("linear", "nearest", "bspline", "label")
#: Modes that move values and never compute with them.
MOVING = ("nearest", "label")
#: A map counts as one from voxel centres to voxel centres when it misses them by less than this
#: many voxels: the rounding of a chain of float64 matrices, and far below a visible shift.
_ON_LATTICE = 1e-6

__all__ = [
    "MODES",
    "Frame",
    "affine_warp",
    "bspline_warp",
    "check_fill",
    "check_maps",
    "check_matrix",
    "check_mode",
    "check_size",
    "exact_rows",
    "flip",
    "is_exact",
    "warp",
]


def check_mode(mode: str, name: str = "mode", known: Sequence[str] = MODES[:2]) -> str:
    """Return the name of an interpolation, or raise listing the known ones."""
    if not isinstance(mode, str) or mode not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {mode!r}")
    return mode


@checked
def affine_warp(
    x: Volume,
    matrix: Array,
    size: Triple | None = None,
    *,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
) -> Volume:
    """Sample a volume through an affine map: ``out(v) = x(matrix v)``.

    Args:
        x: Volume, (B, C, I, J, K).
        matrix: Output voxel to input voxel, (4, 4) for all samples or (B, 4, 4). Gradients reach
            it in 'linear' mode.
        size: Voxels of the output along I, J, K; those of ``x`` by default.
        mode: 'linear'; 'nearest'; 'bspline', the cubic B-spline through all voxels (quick where
            axes stay parallel, see :func:`resample`; else 64 voxels are looked at for each); or
            'label', the label whose membership, interpolated linearly, is largest.
        fill: Value outside the input: a number, one per sample (B), or per channel (B, C). As in
            ITK, the input ends half a voxel beyond the outermost voxel centres; up to there the
            outermost voxels go on.

    Returns:
        Volume (B, C, \\*size). Floats keep their dtype; integers become float32 where they are
        interpolated and are kept in modes 'nearest' and 'label'. Samples whose map takes voxel
        centres to voxel centres (identity, shifts by whole voxels, mirrors, permutations) are
        copied exactly.

    Raises:
        ValueError: A shape, the mode or the fill is not as above.

    >>> x = torch.arange(8.).view(1, 1, 2, 2, 2)
    >>> shift = torch.eye(4)
    >>> shift[0, 3] = 1  # out(i) = x(i + 1)
    >>> affine_warp(x, shift)[0, 0, :, 0, 0]
    tensor([4., 0.])
    """
    return warp(x, matrix, size=size, mode=mode, fill=fill)


@checked
def bspline_warp(
    x: Volume,
    control_points: Array,
    *,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
    inverse: bool = False,
) -> Volume:
    """Sample a volume through a smooth displacement: ``out(v) = x(v + u(v))``.

    The displacement u is a cubic B-spline of control points laid over the volume as ITK's
    BSplineTransform does (:func:`torchio_gpu._g.bspline.control_lattice`).

    Args:
        x: Volume, (B, C, I, J, K).
        control_points: Displacement vectors in voxels, (B, 3, N0, N1, N2) with at least 4 points
            along each axis, or (3, N0, N1, N2) for all samples. Gradients reach them.
        mode, fill: As for :func:`affine_warp`.
        inverse: Sample through the inverse map, found by fixed-point iteration: it undoes the
            warp with the same control points where the map does not fold.

    >>> x = torch.rand(1, 1, 8, 8, 8)
    >>> bool((bspline_warp(x, torch.zeros(1, 3, 5, 5, 5)) == x).all())
    True
    """
    return warp(x, control_points=control_points, mode=mode, fill=fill, inverse=inverse)


@checked
def warp(
    x: Volume,
    matrix: Array | None = None,
    control_points: Array | None = None,
    *,
    lattice: Array | None = None,
    size: Triple | None = None,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
    inverse: bool = False,
    operations: Sequence[Operation] = (),
    frames: Sequence[Frame] = (),
    view: View | None = None,
) -> Volume:
    """Affine and elastic map in one sampling: ``out(v) = x(matrix (v + u(v)))``.

    The displacement acts on output coordinates first, the matrix on the result; seen from the
    content, the affine motion comes first and the elastic one second.

    Args:
        x: Volume, (B, C, I, J, K).
        matrix: Output voxel to input voxel, (4, 4) or (B, 4, 4); identity by default.
        control_points: Displacement u in output voxels, (3, N0, N1, N2) or (B, 3, N0, N1, N2).
        lattice: Output voxel to control-point coordinates, (4, 4) or (B, 4, 4); by default the
            control points cover the output grid. Quickest where it is diagonal and on the host.
        size, mode, fill: As for :func:`affine_warp`.
        inverse: Use the inverse of ``v + u(v)``; see :func:`bspline_warp`.
        operations: Pointwise operations to apply to the result, in the same pass where samples
            are interpolated linearly; see :func:`torchio_gpu.functional.pointwise`.
        frames: Boxes of the input, oldest first, each with the value of what is read from outside
            it, in place of ``fill``, whose box is the whole input.
        view: Where in a larger volume the output lies, if it is a window of one, for operations
            that depend on the place.

    Returns:
        Volume (B, C, \\*size).

    Raises:
        ValueError: A shape, the mode or the fill is not as above.

    >>> x = torch.rand(2, 1, 8, 8, 8)
    >>> warp(x, torch.eye(4), torch.zeros(3, 4, 4, 4), size=(4, 8, 8)).shape
    torch.Size([2, 1, 4, 8, 8])
    """
    check_volume(x)
    check_mode(mode, known=MODES)
    moving = mode in MOVING
    if x.is_complex() and not moving:
        options: dict[str, Any] = {"lattice": lattice, "size": size, "mode": mode}
        options |= {"inverse": inverse, "fill": parts_of(fill, x)}
        options["frames"] = [f._replace(fill=parts_of(f.fill, x)) for f in frames]
        out = by_parts(lambda parts: warp(parts, matrix, control_points, **options), x)
        return pointwise(out, operations, view) if operations else out
    batch = len(x)
    matrix, control_points, lattice, size = check_maps(x, matrix, control_points, lattice, size)
    fill = check_fill(fill, x, mode)
    boxes = [frame._replace(fill=check_fill(frame.fill, x, mode)) for frame in frames]
    out_dtype = x.dtype if moving or x.is_floating_point() else torch.float32
    check_operations(x, operations)
    exact = exact_rows(matrix, control_points)
    obstacle = kernels.warp_obstacle(x, size, mode, fill, boxes, lattice, inverse)
    if use_kernel(x.device, obstacle):
        if len(exact) == batch and x.is_floating_point() and not moving:
            mode = "nearest"
        together = operations if out_dtype.is_floating_point else ()
        out = kernels.warp(
            x,
            matrix,
            control_points,
            None if lattice is None else host(lattice),
            size,
            mode,
            fill,
            boxes,
            together,
            view,
            out_dtype,
            list(exact),
        )
        return pointwise(out, operations, view) if operations and not together else out
    if not x.is_floating_point() and not moving:
        x = x.to(torch.float32)
    own = boxes or [Frame.whole(x.shape[2:], batch, fill)]
    if not exact:
        together = operations if mode == "linear" else ()
        out = _sample(
            x, matrix, control_points, lattice, size, mode, own, inverse, together, view
        ).to(out_dtype)
        return pointwise(out, operations, view) if operations and not together else out
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, key in exact.items():
        groups.setdefault(key, []).append(row)
    rest = [row for row in range(batch) if row not in exact]
    if len(groups) == 1 and not rest:
        out = _copy(x, next(iter(groups)), size, fill).to(out_dtype)
        out = fill_along_axes(out, host(matrix), boxes)
        return pointwise(out, operations, view) if operations else out
    out = empty((*x.shape[:2], *size), out_dtype, x.device)
    for key, rows in groups.items():
        at = rows_at(rows, x.device)
        part = _copy(x[at], key, size, _pick(fill, at)).to(out_dtype)
        few = [frame.rows(rows) for frame in boxes]
        out[at] = fill_along_axes(part, host(matrix)[rows], few)
    if rest:
        at = rows_at(rest, x.device)
        points = None if control_points is None else control_points[rest]
        places = None if lattice is None else lattice[rest]
        few = [frame.rows(rest) for frame in own]
        part = _sample(x[at], matrix[rest], points, places, size, mode, few, inverse)
        out[at] = part.to(out_dtype)
    return pointwise(out, operations, view) if operations else out


def check_maps(
    x: Volume,
    matrix: Array | None,
    control_points: Array | None,
    lattice: Array | None,
    size: Triple | None,
) -> tuple[Array, Array | None, Array | None, Triple]:
    """The maps of a warp for all samples, and voxels of the output, with defaults; or raise."""
    size = spatial_shape(x) if size is None else check_size(size)
    matrix = check_matrix(matrix, len(x), "matrix")
    if control_points is None:
        return matrix, None, None, size  # there is nothing to which a lattice would lead
    control_points = _check_control_points(control_points, len(x))
    if lattice is None:
        a, b, c = control_points.shape[2:]
        lattice = control_lattice(Space(size, np.eye(4)[None]), (a, b, c))
    return matrix, control_points, check_matrix(lattice, len(x), "lattice"), size


def is_exact(matrix: Array, control_points: Array | None = None) -> bool:
    """Whether a map is known to take voxel centres to voxel centres for every sample.

    Args:
        matrix: Output voxel to input voxel, (B, 4, 4).
        control_points: Displacement, (B, 3, N0, N1, N2), or None.
    """
    return len(exact_rows(matrix, control_points)) == matrix.shape[0]


@checked
def flip(x: Volume, axes: Sequence[int] | Tensor) -> Volume:
    """Mirror volumes along voxel axes: an exact permutation of voxels.

    Args:
        x: Volume, (B, C, I, J, K).
        axes: Voxel axes (0, 1, 2) for all samples, or a host mask (B, 3): which axes of which
            sample.

    >>> flip(torch.tensor([1, 2, 3]).view(1, 1, 3, 1, 1), (0,)).flatten()
    tensor([3, 2, 1])
    """
    check_volume(x)
    if isinstance(axes, (Tensor, np.ndarray)):
        mask = host(axes).astype(bool)
        if mask.shape != (len(x), 3):
            raise ValueError(f"axes must be a mask ({len(x)}, 3), got {mask.shape}")
    else:
        mask = np.zeros((len(x), 3), dtype=bool)
        for axis in axes:
            if axis not in (0, 1, 2):
                raise ValueError(f"axes must be among 0, 1, 2, got {axis!r}")
            mask[:, axis] = True
    matrix = reflection(Space(spatial_shape(x), np.eye(4)[None]), mask)
    return warp(x, matrix, mode="nearest")


def _sample(
    x: Volume,
    matrix: Array,
    control_points: Array | None,
    lattice: Array | None,
    size: Triple,
    mode: str,
    frames: Sequence[Frame],
    inverse: bool,
    operations: Sequence[Operation] = (),
    view: View | None = None,
) -> Volume:
    finish = None
    if operations:
        program = Program(operations, x, size, view)

        def finish(part: Volume, first: int) -> Volume:
            return program(part, first, owns=True)

    factors = _reference.separable(x.shape[2:], matrix, control_points, lattice, size, mode)
    if factors is None or (inverse and control_points is not None):
        assert control_points is not None
        assert lattice is not None
        matrix_, points, places = to_device(x.device, matrix, control_points, lattice)
        source = x.shape[2:]
        grid = _reference.displaced_grid(source, matrix_, points, places, size, mode, inverse)
        out = _reference.sample(x, grid, mode, frames)
        return out if finish is None else finish(out, 0)
    moved = to_device(x.device, *factors)
    return _reference.sample_separable(x, moved, mode, frames, finish)


def exact_rows(matrix: Array, control_points: Array | None = None) -> dict[int, tuple[int, ...]]:
    """Samples whose map takes voxel centres to voxel centres, each with its integer map.

    Only maps that the host knows can be told apart; a map on the device, or one with a gradient,
    is always sampled.
    """
    if not on_host(matrix) or (control_points is not None and not on_host(control_points)):
        return {}
    matrix = host(matrix)
    integer = np.rint(matrix)
    exact = np.abs(matrix - integer).max((1, 2)) < _ON_LATTICE
    if control_points is not None and exact.any():
        exact &= ~host(control_points).any((1, 2, 3, 4))
    if not exact.any():
        return {}
    # A signed permutation has a single entry of size one in each row and column.
    linear = np.abs(integer[:, :3, :3])
    exact &= ((linear.sum(1) == 1) & (linear.sum(2) == 1)).all(1)
    rows = exact.nonzero()[0].tolist()
    return {row: tuple(integer[row, :3].astype(int).ravel().tolist()) for row in rows}


def _copy(x: Volume, key: tuple[int, ...], size: Triple, fill: float | Tensor) -> Volume:
    rows = [key[4 * r : 4 * r + 4] for r in range(3)]
    axes = [next(r for r in range(3) if rows[r][a]) for a in range(3)]
    signs = [rows[axes[a]][a] for a in range(3)]
    offset = [row[3] for row in rows]
    return _reference.copy_voxels(x, axes, signs, offset, size, fill)


def _pick(fill: float | Tensor, at: Rows) -> float | Tensor:
    return fill[at] if isinstance(fill, Tensor) else fill


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
    """For all samples and in float64; host tensors without gradient as numpy arrays."""
    if isinstance(array, Tensor) and not on_host(array):
        return array.expand(batch, *array.shape[1:]).to(torch.float64)
    array = host(array).astype(np.float64, copy=False)
    return array if len(array) == batch else array.repeat(batch, 0)


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
    """A fill of complex voxels for their parts, [B, 2 C]: see :func:`.arguments.by_parts`."""
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
        f"fill must be a number, [{batch}] or [{batch}, {channels}], got {list(fill.shape)}"
    )
