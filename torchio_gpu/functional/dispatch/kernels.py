"""Conversion of arguments of functions to those of kernels."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchio_gpu_kernels import load, shared

from ...arrays import Array, common, host, send
from ...shapes import Triple, Volume, spatial_shape
from ...tracing import instruction
from ..fields_of_view import TIE, FieldOfView
from ..maps import Reading, VoxelMap
from ..operations import Operation, View
from .launch import packed
from .splines import ROWS_OF, spline_tables


def parameters_of(operations: Sequence[Operation]) -> list[object]:
    """Return the parameters of operations, in one list."""
    return [value for operation in operations for value in vars(operation).values()]


def pointwise(
    x: Volume, operations: Sequence[Operation], view: View | None, backend: str
) -> Volume:
    """Run :func:`torchio_gpu.functional.pointwise` by a kernel."""
    program = _Program.of(operations, spatial_shape(x), view)
    return load(backend).pointwise(  # type: ignore[no-any-return]
        x=x,
        program=program.codes,
        **_move(x.device, program.tables(len(x))),
        dtype=x.dtype if x.is_floating_point() else torch.float32,
    )


def warp(
    reading: Reading,
    voxel_map: VoxelMap,
    backend: str,
    exact: np.ndarray | None = None,
    view: View | None = None,
) -> Volume:
    """Sample a volume through a map by a kernel.

    Args:
        reading: The volume; its operations are applied in the same pass.
        voxel_map: The map.
        backend: Backend of the kernel.
        exact: True for samples whose map takes voxel centres to voxel centres, [B]; None for no
            sample.
        view: As for :class:`.pointwise.Program`.
    """
    x, mode, size = reading.x, reading.mode, voxel_map.size
    copies = None
    if exact is not None:
        matrix = host(voxel_map.matrix)
        rounded = np.where(exact[:, None, None], np.rint(matrix), matrix)
        voxel_map = voxel_map._replace(matrix=rounded)
        if mode == "linear":
            copies = exact.astype(np.int32)
    program = _Program.of(reading.operations, size, view)
    tables = program.tables_or_none(len(x))
    tables |= {"fields": _field_ends(reading.fields), "copies": copies}
    fills: list[Any] = [field.fill for field in reading.fields] or [reading.fill]
    outside = {f"fill_{n}": _fill_table(fill, x, mode) for n, fill in enumerate(fills)}
    map_arguments, moved = _move_map(x.device, voxel_map, {**tables, **outside}, backend)
    fill = [moved.pop(name) for name in outside]
    return load(backend).warp(  # type: ignore[no-any-return]
        x=x,
        **map_arguments,
        fill=torch.stack(fill) if reading.fields else fill[0].contiguous(),
        **moved,
        size=size,
        mode=mode,
        program=program.codes,
        dtype=reading.dtype,
    )


def warp_pair(
    reading: Reading,
    labels: Reading,
    voxel_map: VoxelMap,
    backend: str,
    view: View | None = None,
) -> tuple[Volume, Volume]:
    """Sample a volume linearly, and labels on its grid, through a map by one kernel."""
    x, size = reading.x, voxel_map.size
    program = _Program.of(reading.operations, size, view)
    tables = program.tables_or_none(len(x))
    tables["fill"] = _fill_table(reading.fill, x, "linear")
    tables["labels_fill"] = _fill_table(labels.fill, labels.x, "nearest")
    map_arguments, moved = _move_map(x.device, voxel_map, tables, backend)
    fill, labels_fill = moved.pop("fill"), moved.pop("labels_fill")
    return load(backend).warp_pair(  # type: ignore[no-any-return]
        x=x,
        labels=labels.x,
        **map_arguments,
        fill=fill.contiguous(),
        labels_fill=labels_fill.contiguous(),
        **moved,
        size=size,
        program=program.codes,
        dtype=reading.dtype,
    )


def _move_map(
    device: torch.device, voxel_map: VoxelMap, tables: dict[str, Array | None], backend: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy a map and the tables of a call to a device, in a single copy.

    Returns:
        Arguments of the warp operators, by name: ``matrix``, float32 or float64 [B, 3, 4], and the
        displacement; second, the tables on the device.
    """
    rows = ROWS_OF[backend]
    displacement: dict[str, Tensor | None] = dict.fromkeys(("columns", *rows))
    key, known = None, _shared.get()
    new: dict[str, Any] = {}  # tables of a displacement that is not cached
    if voxel_map.control_points is not None:
        assert voxel_map.lattice is not None
        lattice, size = host(voxel_map.lattice), voxel_map.size
        points = _vectors(voxel_map.matrix, voxel_map.control_points)
        key = None if known is None else _key(device, size, points, lattice, backend)
        if known is not None and key in known:
            displacement = known[key]
        else:
            counts = voxel_map.control_points.shape[2:]
            new = {"points": points, **spline_tables(counts, lattice, size, backend)}
    matrix = voxel_map.matrix[:, :3]
    if backend == "numba":  # in float64, to be split into voxels and parts of voxels
        moved = _move(device, {**tables, **new})
        matrix = torch.as_tensor(matrix, dtype=torch.float64, device=device)
        matrix = matrix.detach().contiguous()
    else:
        moved = _move(device, {"matrix": matrix, **tables, **new})
        matrix = moved.pop("matrix").contiguous()
    if new:
        on_device = {name: moved.pop(name) for name in new}
        columns = load(backend).columns(
            points=on_device["points"],
            along_i=on_device["along_i"],
            lowest=on_device["lowest_i"],
            along_k=on_device["along_k"],
        )
        displacement = {"columns": columns, **{name: on_device[name] for name in rows}}
        if known is not None and key is not None:
            known[key] = displacement
    return {"matrix": matrix, **displacement}, moved


_shared: ContextVar[dict[Hashable, dict[str, Tensor | None]] | None] = ContextVar(
    "shared", default=None
)


@contextmanager
def sharing() -> Iterator[None]:
    """Let images with equal control points share the displacement, within the block."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def _key(
    device: torch.device, size: Triple, points: Array, lattice: np.ndarray, backend: str
) -> Hashable:
    """Return the cache key of spline tables, or None if the control points are on a device."""
    if isinstance(points, Tensor):
        return None
    return _Key((backend, device, size), points, lattice)


class _Key:
    """Key of equal arrays, compared by their values: bytes of a trace would be of one call."""

    def __init__(self, fixed: Hashable, *arrays: np.ndarray) -> None:
        self._fixed, self._arrays = (fixed, *(a.shape for a in arrays)), arrays

    def __hash__(self) -> int:
        return hash(self._fixed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key) or self._fixed != other._fixed:
            return False
        return all(map(np.array_equal, self._arrays, other._arrays))


class _Program(NamedTuple):
    """Pointwise operations encoded for a kernel; see ``torchio_gpu_kernels.program``."""

    codes: list[int]
    values: list[Array]  # parameters of each operation, [1 or B, n]
    seeds: list[Array]  # [B] int64

    @staticmethod
    def of(operations: Sequence[Operation], size: Triple, view: View | None) -> _Program:
        """Encode operations.

        Args:
            operations: Operations, in order.
            size, view: As for :class:`.pointwise.Program`.
        """
        if not operations:
            return _Program([], [], [])
        codes: list[int] = []
        values: list[Array] = []
        seeds: list[Array] = []
        at = 0
        for operation in operations:
            kind, columns = operation.packed(size, view)
            code = getattr(shared, operation.code)
            codes += [code, at, kind, len(seeds)]
            values += columns
            at += sum(column.shape[1] for column in columns)
            if operation.seeds is not None:
                seeds.append(operation.seeds)
        return _Program(codes, values, seeds)

    def tables(self, batch: int) -> dict[str, Array | None]:
        """Return ``values`` [B, V] and ``seeds`` [B, S], as tensors if any of them is one."""
        seeds = side_by_side([s[:, None] for s in self.seeds], batch, np.int64)
        return {"values": side_by_side(self.values, batch, np.float32), "seeds": seeds}

    def tables_or_none(self, batch: int) -> dict[str, Array | None]:
        """Return tables, each None if there are no operations."""
        return self.tables(batch) if self.codes else {"values": None, "seeds": None}


def side_by_side(columns: Sequence[Array], batch: int, dtype: Any) -> Array:
    """Concatenate columns [1 or B, n] to one table [B, N], a tensor if any of them is one."""
    widths = [column.shape[1] for column in columns] or [1]
    plain = [column for column in columns if isinstance(column, np.ndarray)]
    if len(plain) == len(columns):
        if len(plain) == 1 and len(plain[0]) == batch and plain[0].dtype == dtype:
            return plain[0]
        return _table(batch, sum(widths), dtype, *plain)
    devices = [c.device for c in columns if isinstance(c, Tensor)]
    device = next((d for d in devices if d.type != "cpu"), devices[0])
    kind = torch.int64 if dtype == np.int64 else torch.float32
    tensors = [
        send(torch.as_tensor(c if isinstance(c, Tensor) else np.array(c)), device, kind)
        for c in columns
    ]
    return torch.cat([t.expand(batch, -1) for t in tensors], 1)


@instruction
def _table(batch: int, width: int, dtype: Any, *columns: np.ndarray) -> np.ndarray:
    table = np.zeros((batch, width), dtype=dtype)
    start = 0
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, as in torch
        for column in columns:
            table[:, start : start + column.shape[1]] = column
            start += column.shape[1]
    return table


def _move(device: torch.device, arrays: dict[str, Array | None]) -> dict[str, Any]:
    """Copy named arrays to a device in one copy, float64 as float32; torch moves tensors."""
    plain = [
        a.astype(np.float32) if a.dtype == np.float64 else a
        for a in arrays.values()
        if isinstance(a, np.ndarray)
    ]
    parts = iter(packed(device, plain))
    moved: dict[str, Any] = {}
    for name, a in arrays.items():
        if isinstance(a, Tensor):
            moved[name] = send(a, device, torch.float32 if a.is_floating_point() else None)
        else:
            moved[name] = None if a is None else next(parts)
    return moved


def _fill_table(fill: float | Tensor, x: Volume, mode: str) -> Array:
    """Return fill values, [B, C]: float32, or int64 for integers that are not interpolated."""
    whole = mode != "linear" and not x.is_floating_point()
    if isinstance(fill, Tensor):
        return fill.to(x.dtype).to(torch.int64) if whole else fill.to(torch.float32)
    # a bool volume takes any nonzero fill as True
    value = bool(fill) if whole and x.dtype == torch.bool else fill
    return np.full(x.shape[:2], value, dtype=np.int64 if whole else np.float32)


def _field_ends(fields: Sequence[FieldOfView]) -> np.ndarray | None:
    """Return the low and high ends of fields of view in source voxels, [F, B, 2, 3]."""
    if not fields:
        return None
    return np.stack([np.stack((low - TIE, high - TIE), 1) for low, high, _ in fields])


def _vectors(matrix: Array, control_points: Array) -> Array:
    """Return control points in input voxels, [B, 3, N0, N1, N2]."""
    _, matrix, points = common(matrix, control_points)
    moved = matrix[:, :3, :3] @ points.reshape(*points.shape[:2], -1)
    return moved.reshape(points.shape)  # type: ignore[no-any-return]
