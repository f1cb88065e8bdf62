"""Reading volumes through one map: by a kernel, or slab by slab in plain torch.

All warps, of the functions and of the transforms, run here: maps are pull-backs in voxels, samples
whose map takes voxel centres to voxel centres are copied, and volumes on one grid share the
coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ..arrays import Array, host
from ..memory import empty
from ..shapes import Triple, Volume, check_volume
from .dispatch import kernels, limits
from .dispatch.arguments import by_parts
from .dispatch.backend import choose_kernels
from .dispatch.launch import to_device
from .eager import spatial as eager
from .eager.displacement import sample_displaced
from .eager.fields import fill_along_axes
from .eager.spatial import Source
from .fields_of_view import FieldOfView
from .maps import (
    Reading,
    VoxelMap,
    check_fill,
    check_maps,
    check_warp_mode,
    exact_mask,
    exact_samples,
    parts_of,
)
from .operations import View
from .pointwise import Program, check_operations, pointwise
from .samples import Samples, samples_at


def warp_volumes(
    readings: Sequence[Reading], voxel_map: VoxelMap, view: View | None = None
) -> list[Volume]:
    """Read volumes on one grid through one map.

    Args:
        readings: The volumes; all have the samples, spatial shape and device of the first.
        voxel_map: The map, from :func:`.check_maps` or of arrays of float64.
        view: Position of the output in a larger volume, if it is cut from one, for operations that
            depend on voxel coordinates.
    """
    readings = [_checked(reading) for reading in readings]
    exact = exact_mask(voxel_map.matrix, voxel_map.vectors)
    some = bool(exact.any())
    every = some and bool(exact.all())
    out: list[Volume | None] = [None] * len(readings)
    rest: dict[bool, list[int]] = {}
    pair = _pair(readings)
    if pair is not None and not some:
        both = _pair_by_kernel(readings[pair[0]], readings[pair[1]], voxel_map, view)
        out[pair[0]], out[pair[1]] = both or (None, None)
    for n, reading in enumerate(readings):
        if out[n] is not None:
            continue
        if reading.x.is_complex() and not reading.moves:
            out[n] = _complex(reading, voxel_map, view)
            continue
        # on a CPU, torch copies voxels faster than a kernel
        voxels = None if every else reading.voxels(voxel_map)
        chosen = choose_kernels(reading.x, voxels, partial(_why_no_kernel, reading, voxel_map))
        if chosen is not None:
            if every and reading.x.is_floating_point() and not reading.moves:
                reading = reading._replace(mode="nearest")  # voxels are copied, not interpolated
            out[n] = _by_kernel(reading, voxel_map, exact if some else None, view, chosen)
        else:
            rest.setdefault(eager.is_normalised(reading.mode), []).append(n)
    copied = exact_samples(voxel_map.matrix, exact) if rest and some else {}
    for numbers in rest.values():  # readings whose modes use the same coordinates
        alike = [readings[n] for n in numbers]
        for n, volume in zip(numbers, _in_torch(alike, voxel_map, copied, view), strict=True):
            out[n] = volume
    return out  # type: ignore[return-value]


def warp_volume(
    x: Volume,
    matrix: Array | None = None,
    control_points: Array | None = None,
    *,
    lattice: Array | None = None,
    size: Triple | None = None,
    inverse: bool = False,
    view: View | None = None,
    **reading: Any,
) -> Volume:
    """Read one volume through a map; see :class:`Reading` for further arguments."""
    voxel_map = check_maps(x, matrix, control_points, lattice, size, inverse)
    return warp_volumes([Reading(x, **reading)], voxel_map, view)[0]


def _checked(reading: Reading) -> Reading:
    """Return a reading whose fills are expanded to all samples and channels, or raise."""
    x, mode = reading.x, reading.mode
    check_volume(x)
    check_warp_mode(mode)
    check_operations(x, reading.operations)
    fields = [field._replace(fill=check_fill(field.fill, x, mode)) for field in reading.fields]
    return reading._replace(fill=check_fill(reading.fill, x, mode), fields=fields)


def _complex(reading: Reading, voxel_map: VoxelMap, view: View | None) -> Volume:
    """Read real and imaginary parts as channels of their own."""
    x, fields = reading.x, reading.fields
    fill = parts_of(reading.fill, x)
    parted = reading._replace(
        fill=fill,
        fields=[field._replace(fill=parts_of(field.fill, x)) for field in fields],
        operations=(),
    )
    out = by_parts(lambda parts: warp_volumes([parted._replace(x=parts)], voxel_map)[0], x)
    return pointwise(out, reading.operations, view) if reading.operations else out


def _why_no_kernel(reading: Reading, voxel_map: VoxelMap, backend: str) -> str | None:
    if voxel_map.displacement is not None:
        return "displacements of every voxel have no kernel"
    fills = reading.fill, *(field.fill for field in reading.fields)
    lattice, size, inverse = voxel_map[2:5]
    parameters = [*voxel_map[:2], *kernels.parameters_of(reading.operations)]
    return limits.why_no_warp(
        reading.x, size, reading.mode, fills, lattice, inverse, backend, parameters
    )


def _by_kernel(
    reading: Reading,
    voxel_map: VoxelMap,
    exact: np.ndarray | None,
    view: View | None,
    backend: str,
) -> Volume:
    together = reading.operations if reading.dtype.is_floating_point else ()
    out = kernels.warp(reading._replace(operations=together), voxel_map, backend, exact, view)
    if reading.operations and not together:
        return pointwise(out, reading.operations, view)
    return out


def _pair(readings: Sequence[Reading]) -> tuple[int, int] | None:
    """Return the indices of the first reading in mode 'linear' and in mode 'nearest', if any."""
    modes = [reading.mode for reading in readings]
    if "linear" not in modes or "nearest" not in modes:
        return None
    return modes.index("linear"), modes.index("nearest")


def _pair_by_kernel(
    reading: Reading, labels: Reading, voxel_map: VoxelMap, view: View | None
) -> tuple[Volume, Volume] | None:
    """Read a volume linearly and labels with it, where a kernel does both in one pass."""
    special = reading.fields or labels.fields or labels.operations
    if special or reading.x.is_complex():
        return None

    def why_not(backend: str) -> str | None:
        reasons = (_why_no_kernel(each, voxel_map, backend) for each in (reading, labels))
        return next(filter(None, reasons), None)

    chosen = choose_kernels(reading.x, reading.voxels(voxel_map), why_not)
    if chosen is None:
        return None
    parameters = kernels.parameters_of(reading.operations)
    if limits.wants_gradient(reading.x, labels.x, *voxel_map[:2], *parameters):
        return None
    return kernels.warp_pair(reading, labels, voxel_map, chosen, view)


def _in_torch(
    readings: Sequence[Reading], voxel_map: VoxelMap, exact: dict[int, Any], view: View | None
) -> list[Volume]:
    if not exact:
        return _sample(readings, voxel_map, view)
    out = []
    for reading in readings:
        volume = _copied(reading, voxel_map, exact)
        operations = reading.operations
        out.append(pointwise(volume, operations, view) if operations else volume)
    return out


def _copied(reading: Reading, voxel_map: VoxelMap, exact: dict[int, tuple[int, ...]]) -> Volume:
    """Copy the samples whose map takes voxel centres to voxel centres, and sample the others."""
    x, size = _floating(reading), voxel_map.size
    groups: dict[tuple[int, ...], list[int]] = {}
    for sample, key in exact.items():
        groups.setdefault(key, []).append(sample)
    rest = [sample for sample in range(len(x)) if sample not in exact]
    matrix = host(voxel_map.matrix)
    if len(groups) == 1 and not rest:
        out = _copy(x, next(iter(groups)), size, reading.fill).to(reading.dtype)
        return fill_along_axes(out, matrix, reading.fields)
    out = empty((*x.shape[:2], *size), reading.dtype, x.device)
    for key, samples in groups.items():
        at = samples_at(samples, x.device)
        part = _copy(x[at], key, size, _pick(reading.fill, at)).to(reading.dtype)
        out[at] = fill_along_axes(part, matrix[samples], _few(reading.fields, samples))
    if rest:
        at = samples_at(rest, x.device)
        some = Reading(x[at], reading.mode, _pick(reading.fill, at), _few(reading.fields, rest))
        out[at] = _sample([some], voxel_map.select(rest), None)[0]
    return out


def _few(fields: Sequence[FieldOfView], samples: Sequence[int]) -> list[FieldOfView]:
    return [field.select(samples) for field in fields]


def _sample(readings: Sequence[Reading], voxel_map: VoxelMap, view: View | None) -> list[Volume]:
    """Sample volumes whose modes use the same coordinates."""
    sources = [_source(reading, voxel_map.size, view) for reading in readings]
    x, mode = readings[0].x, readings[0].mode
    source = x.shape[2:]
    dense = voxel_map.displacement
    factors = None if dense is not None else eager.separable(source, *voxel_map[:4], mode)
    if dense is not None:
        out = sample_displaced(sources, voxel_map.matrix, dense.to(x.device))
    elif factors is None or (voxel_map.inverse and voxel_map.control_points is not None):
        assert voxel_map.control_points is not None
        assert voxel_map.lattice is not None
        arrays = voxel_map.matrix, voxel_map.control_points, voxel_map.lattice
        matrix, points, lattice = to_device(x.device, *arrays)
        how = voxel_map.size, mode, voxel_map.inverse
        grid = eager.displaced_grid(source, matrix, points, lattice, *how)
        read = eager.reader(sources)
        out = read(grid.to(eager.work_dtype(sources)), 0)
    else:
        out = eager.sample_separable(sources, to_device(x.device, *factors))
    done = []
    for reading, volume in zip(readings, out, strict=True):
        left = reading.mode != "linear" and reading.operations
        volume = volume.to(reading.dtype)
        done.append(pointwise(volume, reading.operations, view) if left else volume)
    return done


def _floating(reading: Reading) -> Volume:
    """Return the voxels to read: integers become float32 where they are interpolated."""
    x = reading.x
    return x if reading.moves or x.is_floating_point() or x.is_complex() else x.float()


def _source(reading: Reading, size: Triple, view: View | None) -> Source:
    """Return the :class:`Source` of a reading, with its operations where they share the pass."""
    x = _floating(reading)
    fields = reading.fields or [FieldOfView.whole(x.shape[2:], len(x), reading.fill)]
    finish: Callable[[Volume, int], Volume] | None = None
    if reading.operations and reading.mode == "linear":
        program = Program(reading.operations, x, size, view)

        def finish(part: Volume, first: int) -> Volume:
            return program(part, first, owns=True)

    return Source(x, reading.mode, fields, finish)


def _copy(x: Volume, key: tuple[int, ...], size: Triple, fill: float | Tensor) -> Volume:
    rows = [key[4 * r : 4 * r + 4] for r in range(3)]
    axes = [next(r for r in range(3) if rows[r][a]) for a in range(3)]
    signs = [rows[axes[a]][a] for a in range(3)]
    offset = [row[3] for row in rows]
    return eager.copy_voxels(x, axes, signs, offset, size, fill)


def _pick(fill: float | Tensor, at: Samples) -> float | Tensor:
    return fill[at] if isinstance(fill, Tensor) else fill
