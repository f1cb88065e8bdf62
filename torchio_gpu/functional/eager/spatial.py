"""Sampling a volume through a map: ``out(v) = x(matrix (v + displacement(v)))``, v in voxels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...arrays import Array, common
from ...geometry import cubic_bspline, is_diagonal, spline_weights
from ...memory import empty
from ...shapes import Affine, ControlPoints, Grid, Triple, Volume, with_voxel_axes
from ..fields_of_view import TIE, FieldOfView
from .fields import boxes_on_grid, fill_outside, inside_boxes
from .interpolation import label_reader, spline_reader
from .separable import Expansion, Factors, ramp
from .slabs import join, join_each, slab_planes

#: Steps of the fixed-point iteration on a dense displacement, and on the spline itself.
_INVERSE_STEPS, _INVERSE_POLISH = 10, 2
#: Size in bytes from which malloc asks Linux for new pages at each call.
_FRESH = 2**25


def separable(
    source: Sequence[int],
    matrix: Array,
    control_points: Array | None,
    lattice: Array | None,
    size: Triple,
    mode: str,
) -> Factors | None:
    """Write ``matrix (v + u(lattice v))`` as a sum of products of one function per axis.

    An affine map is a sum of products of the functions 1 and v along each axis; a spline adds its
    basis functions to these two, so that both together cost as much as the spline alone.

    Args:
        source: Voxels of the input along I, J, K.
        matrix: Output voxels to input voxels, [B, 4, 4].
        control_points: Displacement u in output voxels, [B, 3, N0, N1, N2], or None.
        lattice: Output voxels to control-point coordinates, [B, 4, 4].
        size: Voxels of the output along I, J, K.
        mode: Interpolation; :func:`is_normalised` tells its coordinates.

    Returns:
        The map in factors; None if the control points do not lie along the voxel axes.
    """
    n0, n1, n2 = (0, 0, 0)
    if control_points is not None:
        assert lattice is not None
        if isinstance(lattice, Tensor) or not is_diagonal(lattice):
            return None
        n0, n1, n2 = control_points.shape[2:]
    if is_normalised(mode):
        matrix = to_grid_sample(source, matrix)
    xp, matrix, *points = common(matrix, *([] if control_points is None else [control_points]))
    where = {} if xp is np else {"device": matrix.device}
    shape = (matrix.shape[0], n0 + 2, 3, n1 + 2, n2 + 2)
    coefficients = xp.zeros(shape, dtype=xp.float64, **where)
    coefficients[:, n0, :, n1, n2] = matrix[:, :3, 3]
    coefficients[:, n0 + 1, :, n1, n2] = matrix[:, :3, 0]
    coefficients[:, n0, :, n1 + 1, n2] = matrix[:, :3, 1]
    coefficients[:, n0, :, n1, n2 + 1] = matrix[:, :3, 2]
    for p in points:
        moved = matrix[:, :3, :3] @ p.reshape(*p.shape[:2], -1)  # [B, 3, N0 N1 N2]
        vectors = moved.reshape(-1, 3, n0, n1, n2).swapaxes(1, 2)
        coefficients[:, :n0, :, :n1, :n2] = vectors
    return Factors(coefficients, *_bases(size, (n0, n1, n2), lattice))


def _bases(size: Triple, counts: Sequence[int], lattice: Array | None) -> list[np.ndarray]:
    """Return basis functions, 1 and v at the voxels of each axis, three of [B, size, count + 2]."""
    voxel, axis = _voxels(size)
    splines = np.empty((1, len(voxel), 0))
    if lattice is not None:
        scale, offset = lattice[:, (0, 1, 2), (0, 1, 2)], lattice[:, :3, 3]
        at = scale[:, axis] * voxel + offset[:, axis]  # [B, I + J + K]
        splines = spline_weights(at, max(counts))
    bases, start = [], 0
    for n, count in zip(size, counts, strict=True):
        basis = np.empty((len(splines), n, count + 2))
        basis[..., :count] = splines[:, start : start + n, :count]
        basis[..., count] = 1
        basis[..., count + 1] = voxel[start : start + n]
        bases.append(basis)
        start += n
    return bases


@lru_cache(maxsize=256)
def _voxels(size: Triple) -> tuple[np.ndarray, np.ndarray]:
    """Return voxel indices along I, J and K in one array, and the axis of each."""
    voxel = np.concatenate([np.arange(n, dtype=np.float64) for n in size])
    return voxel, np.repeat((0, 1, 2), size)


def to_grid_sample(size: Sequence[int], matrix: Array) -> Array:
    """Compose a map to voxels (i, j, k) with that to the (k, j, i) in [-1, 1] of grid_sample."""
    i, j, k = (2.0 / n for n in size)
    normalise = np.array(
        ((0, 0, k, k / 2 - 1), (0, j, 0, j / 2 - 1), (i, 0, 0, i / 2 - 1), (0, 0, 0, 1))
    )
    _, left, right = common(normalise, matrix)
    return left @ right  # type: ignore[no-any-return]


class Source(NamedTuple):
    """Volume that is sampled through a map, and operations on the result.

    Args:
        x: Volume.
        mode: 'linear', 'nearest', 'bspline' or 'label'.
        fields: Fields of view, oldest first.
        finish: Function of each slab, while it is in the CPU cache, and of its first plane.
    """

    x: Volume
    mode: str
    fields: Sequence[FieldOfView]
    finish: Callable[[Volume, int], Volume] | None = None


def sample_separable(sources: Sequence[Source], factors: Sequence[Tensor]) -> list[Volume]:
    """Sample volumes through the map of :func:`separable`.

    Coordinates are computed slab by slab: those of the whole grid are three times the volume.

    Args:
        sources: Volumes on one grid, whose modes use the same coordinates.
        factors: The map, on the device of the volumes.
    """
    grid = Expansion(factors, work_dtype(sources))
    return sample_by_slabs(sources, grid.planes, [along.shape[1] for along in factors[1:]])


def sample_by_slabs(
    sources: Sequence[Source], grid: Callable[[int, int], Grid], size: Sequence[int]
) -> list[Volume]:
    """Sample volumes at a grid slab by slab, given its planes ``first`` to ``last`` along I."""
    x, (planes, rows, columns) = sources[0].x, size
    slab = slab_planes(planes, x.shape[0] * rows * columns, x.device)
    read, starts = reader(sources), range(0, planes, slab)

    def parts(first: int) -> list[Volume]:
        return read(grid(first, min(first + slab, planes)), first)

    if len(starts) == 1:
        return [join(iter([part]), planes) for part in parts(0)]
    return join_each((parts(first) for first in starts), planes)


def work_dtype(sources: Sequence[Source]) -> torch.dtype:
    """Return the dtype in which coordinates and interpolation of volumes are computed."""
    double = any(source.x.dtype == torch.float64 for source in sources)
    return torch.float64 if double else torch.float32


def is_normalised(mode: str) -> bool:
    """Return True if a mode uses the coordinates of ``F.grid_sample`` instead of voxels."""
    return mode in ("linear", "nearest")


def displaced_grid(
    source: Sequence[int],
    matrix: Affine,
    control_points: ControlPoints,
    lattice: Affine,
    size: Triple,
    mode: str,
    inverse: bool,
) -> Grid:
    """Evaluate ``matrix (v + u(v))`` at each voxel: for any lattice, and for the inverse map."""
    if is_normalised(mode):
        matrix = torch.as_tensor(to_grid_sample(source, matrix))
    points = _displaced(control_points, lattice, size, inverse)  # [B, N, 3]
    grid = points @ matrix[:, :3, :3].mT + matrix[:, None, :3, 3]
    return grid.view(-1, *size, 3).movedim(-1, 2)


def sample(source: Source, grid: Grid) -> Volume:
    """Sample a volume at the coordinates of a grid.

    Args:
        source: The volume.
        grid: [B, I, 3, J, K], from :func:`displaced_grid` for the same mode; it may be
            overwritten.
    """
    return reader([source])(grid.to(work_dtype([source])), 0)[0]


def reader(sources: Sequence[Source]) -> Callable[[Grid, int], list[Volume]]:
    """Return a function that samples volumes at a grid, given its first plane in the output.

    Work that is common to all grids is done here, once.
    """
    x, work = sources[0].x, work_dtype(sources)
    like = torch.empty(0, dtype=work, device=x.device)
    fields = [field for source in sources for field in source.fields]
    boxes = boxes_on_grid(fields, x.shape[2:], is_normalised(sources[0].mode), like)
    readers = [_clamped(source.x, source.mode, work) for source in sources]

    def read(grid: Grid, first: int) -> list[Volume]:
        parts = [each(grid) for each in readers]
        saved = grid.requires_grad or any(part.requires_grad for part in parts)
        inside = inside_boxes(grid, boxes, spare=not saved)
        out = []
        for part, source in zip(parts, sources, strict=True):
            filled = fill_outside(part, source.fields, inside)
            out.append(filled if source.finish is None else source.finish(filled, first))
        return out

    return read


def _clamped(x: Volume, mode: str, work: torch.dtype) -> Callable[[Grid], Volume]:
    """Return a function that samples a volume whose outermost voxels are repeated outside."""
    if mode == "nearest":
        return lambda grid: _sample_nearest(x, grid)
    if mode == "label":
        return label_reader(x)
    y = x.to(work)
    if mode == "bspline":
        return spline_reader(y)
    return lambda grid: _sample_linear(y, grid)


def voxel_grid(size: Triple, device: torch.device) -> Tensor:
    """Return coordinates of all voxels, [N, 3] float64."""
    return torch.cartesian_prod(*[ramp(n, device) for n in size])


def spline_at(control_points: ControlPoints, points: Tensor) -> Tensor:
    """Evaluate the displacement at any points, [B, N, 3]: 64 products for each point.

    Args:
        control_points: [B, 3, N0, N1, N2].
        points: Points in control-point coordinates, [B, N, 3].
    """
    batch, _, n0, n1, n2 = control_points.shape
    # Two layers of zeros hold all taps of points in or near the lattice; points further out are
    # clamped to the zeros.
    table = F.pad(control_points, (2, 2) * 3).flatten(2)  # [B, 3, (N0+4)(N1+4)(N2+4)]
    counts = (n0, n1, n2)
    first = points.detach().floor().long() - 1  # lowest of the four taps along each axis
    weights = [cubic_bspline(points - (first + tap)) for tap in range(4)]  # 4 of [B, N, 3]
    strides = ((n1 + 4) * (n2 + 4), n2 + 4, 1)
    offsets = [  # of each tap along each axis: 3 times 4 of [B, N]
        [(first[..., a] + tap + 2).clamp_(0, counts[a] + 3) * strides[a] for tap in range(4)]
        for a in range(3)
    ]
    out = points.new_zeros(points.shape)
    for i, j, k in itertools.product(range(4), repeat=3):
        index = offsets[0][i] + offsets[1][j] + offsets[2][k]
        values = table.gather(2, index[:, None].expand(batch, 3, -1))  # [B, 3, N]
        weight = weights[i][..., 0] * weights[j][..., 1] * weights[k][..., 2]
        out = out + weight[..., None] * values.mT
    return out


def _displaced(
    control_points: ControlPoints, lattice: Affine, size: Triple, inverse: bool
) -> Tensor:
    """Return ``v + u(v)`` for all voxels, or the point that is displaced to v, [B, N, 3]."""

    def displacement(points: Tensor) -> Tensor:
        at = points @ lattice[:, :3, :3].mT + lattice[:, None, :3, 3]
        return spline_at(control_points, at)

    start = voxel_grid(size, control_points.device).expand(len(control_points), -1, -1)
    if not inverse:
        return start + displacement(start)
    # Fixed point of p = v - u(p). The first steps interpolate a dense copy of u, which is fast; the
    # last ones evaluate the spline, which removes the error of linear interpolation.
    dense = displacement(start)
    table = dense.mT.reshape(-1, 3, *size)
    scale = torch.as_tensor(
        to_grid_sample(size, torch.eye(4, dtype=start.dtype, device=start.device))
    )
    points = start
    for _ in range(_INVERSE_STEPS):
        at = (points @ scale[:3, :3].mT + scale[:3, 3])[:, None, None]
        read = F.grid_sample(table, at, padding_mode="border", align_corners=False)
        points = start - read[:, :, 0, 0].mT
    for _ in range(_INVERSE_POLISH):
        points = start - displacement(points)
    return points


def _sample_linear(y: Volume, grid: Grid) -> Volume:
    """Interpolate linearly; coordinates outside are clamped."""
    batch, parts = y.shape[0], _parts(y, grid)
    if parts > 1:
        # grid_sample uses one thread per sample: split the output of a single sample along I.
        y = y.expand(parts, -1, -1, -1, -1)
        grid = grid.view(parts, -1, *grid.shape[2:])
    at = grid.movedim(2, -1)
    out = F.grid_sample(y, at, mode="bilinear", padding_mode="border", align_corners=False)
    if parts > 1:
        out = out.transpose(0, 1).reshape(batch, out.shape[1], -1, *out.shape[3:])
    return out


def _parts(y: Tensor, grid: Grid) -> int:
    threads = torch.get_num_threads()
    splits = y.device.type == "cpu" and len(y) == 1 and grid.shape[1] % threads == 0
    return threads if splits else 1


def _sample_nearest(x: Volume, grid: Grid) -> Volume:
    """Return the nearest voxels; coordinates outside are clamped."""
    flat = x.flatten(2)  # [B, C, N]
    shape = (*x.shape[:2], grid.shape[1], *grid.shape[3:])
    index: Any = 0
    for axis, n in enumerate(x.shape[2:]):
        # from (k, j, i) in [-1, 1] to voxels; the upper voxel of a tie
        at = grid[:, :, 2 - axis] * (n / 2)
        nearest = at.add_(n / 2 + TIE).floor_().to(torch.int32).clamp_(0, n - 1)
        index = nearest.long() if axis == 0 else index.mul_(n).add_(nearest)
    return flat.gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view(shape)


def copy_voxels(
    x: Volume,
    axes: Sequence[int],
    signs: Sequence[int],
    offset: Sequence[int],
    size: Triple,
    fill: float | Tensor,
) -> Volume:
    """Apply a map that takes voxel centres to voxel centres: permute, mirror, crop and pad.

    ``out[v] = x[w]`` with ``w[axes[a]] = signs[a] v[a] + offset[axes[a]]``; ``fill`` outside.
    """
    y = x.permute(0, 1, *[2 + axis for axis in axes])
    mirrored = [2 + a for a in range(3) if signs[a] < 0]
    y = _flip(y, mirrored) if mirrored else y
    source: list[slice] = []
    target: list[slice] = []
    for a in range(3):
        n, start = y.shape[2 + a], offset[axes[a]]
        start = start if signs[a] > 0 else n - 1 - start
        low, high = max(0, -start), min(size[a], n - start)
        target.append(slice(low, max(low, high)))
        source.append(slice(low + start, max(low, high) + start))
    read: Any = (..., *source)
    write: Any = (..., *target)
    if all(t == slice(0, n) for t, n in zip(target, size, strict=True)):
        part = y[read].contiguous()
        # a contiguous part is a view, which would keep the memory of x alive and share writes
        owned = part.numel() == x.numel() or part.data_ptr() != y[read].data_ptr()
        return part if owned else part.clone()
    value = with_voxel_axes(fill.to(x)) if isinstance(fill, Tensor) else fill
    out = empty((*x.shape[:2], *size), x.dtype, x.device)
    for axis, (inside, n) in enumerate(zip(target, size, strict=True)):
        for outside in (slice(0, inside.start), slice(inside.stop, n)):
            if outside.start < outside.stop:
                out.movedim(2 + axis, -1)[..., outside] = value
    out[write] = y[read]
    return out


def _flip(y: Volume, dims: list[int]) -> Volume:
    """Mirror a volume along dimensions, a large one slab by slab into large pages of memory."""
    planes = y.shape[2]
    if y.device.type != "cpu" or y.numel() * y.element_size() < _FRESH:
        return y.flip(dims)
    slab = slab_planes(planes, y.numel() // planes, y.device)
    ends = [(n, min(n + slab, planes)) for n in range(0, planes, slab)]
    if 2 in dims:
        ends = [(planes - last, planes - first) for first, last in ends]
    return join((y[:, :, first:last].flip(dims) for first, last in ends), planes)
