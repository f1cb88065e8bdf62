"""Tables of displacements by cubic B-splines, as the kernels of a warp take them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from torchio_gpu_kernels.tiling import BJ, ROWS, TAPS

from ...geometry import spline_weights
from ...shapes import Triple
from ...tracing import instruction

#: Tables of rows along J by which the warp of each backend reads a displacement: see
#: ``torchio_gpu_kernels.warp.Map`` and ``torchio_gpu_kernels.cpu.coordinates``.
ROWS_OF = {"triton": ("runs", "spans"), "numba": ("along_j", "lowest_j")}
#: Lattices of one structure whose tables are kept, at most.
_MAX_LATTICES = 32
#: Numbers of runs are multiples of this, so that few numbers of runs occur: tables of other shapes
#: need another CUDA graph.
_RUNS = 4
#: Tables of planes and of columns, the same for all backends.
_TABLES = ("along_i", "lowest_i", "along_k")


def spline_tables(
    counts: Sequence[int], lattice: np.ndarray, size: Triple, backend: str
) -> dict[str, np.ndarray]:
    """Return :func:`_tables_of`, from those of lattices that occurred before."""
    tables = _known_tables(counts, lattice, size, backend)
    return dict(zip((*_TABLES, *ROWS_OF[backend]), tables, strict=True))


@instruction
def _known_tables(
    counts: Sequence[int], lattice: np.ndarray, size: Triple, backend: str
) -> tuple[np.ndarray, ...]:
    """Return the tables of :func:`spline_tables`, of one sample if lattices are equal.

    Samples whose affines are the same differ in their mirrors, of which there are eight.
    """
    known = _known_lattices(tuple(counts), size, backend)
    number, tables = known.state
    bits = np.ascontiguousarray(lattice, dtype=np.float64).tobytes()
    keys = [bits[start : start + 128] for start in range(0, len(bits), 128)]
    new = {key: n for n, key in enumerate(keys) if key not in number}
    if new:
        if len(number) > _MAX_LATTICES:
            number, tables, new = {}, (), {key: n for n, key in enumerate(keys)}
        found = _tables_of(counts, lattice[list(new.values())], size, backend)
        rows, first = tuple(found[name] for name in (*_TABLES, *ROWS_OF[backend])), len(number)
        number = number | {key: first + n for n, key in enumerate(new)}
        tables = tuple(map(_below, tables, rows)) if tables else rows
        known.state = number, tables
    which = np.array([number[key] for key in keys])
    which = which[:1] if len(set(keys)) == 1 else which
    picked = tuple([table.take(which, 0) for table in tables])
    if backend == "numba":
        return picked
    runs, spans = picked[-2:]
    most = int((runs[:, :, 2] > 0).any(0).sum())  # empty runs are at the end
    most = -(-most // _RUNS) * _RUNS
    runs, spans = (_below(t[:, :most], t[:0, :1].repeat(most, 1))[: len(t)] for t in (runs, spans))
    return *picked[:-2], np.ascontiguousarray(runs), np.ascontiguousarray(spans)


def _below(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Concatenate tables of samples; the narrower one is extended by zeros."""
    lacking = one.shape[1] - other.shape[1]
    if lacking:
        rest = [(0, 0)] * (one.ndim - 2)
        one = np.pad(one, [(0, 0), (0, max(-lacking, 0)), *rest])
        other = np.pad(other, [(0, 0), (0, max(lacking, 0)), *rest])
    return np.concatenate([one, other])


class _Lattices:
    """Tables of the lattices of a structure: number of each, by its bytes, and its row in them."""

    def __init__(self) -> None:
        # replaced as one, since threads share it
        self.state: tuple[dict[bytes, int], tuple[np.ndarray, ...]] = {}, ()


@lru_cache(maxsize=16)
def _known_lattices(counts: tuple[int, ...], size: Triple, backend: str) -> _Lattices:
    return _Lattices()


def _tables_of(
    counts: Sequence[int], lattice: np.ndarray, size: Triple, backend: str
) -> dict[str, np.ndarray]:
    """Compute the tables of a displacement by a cubic B-spline.

    Returns:
        Weights of control points along I, [B, I, N0]; the lowest one of each plane, int32
        [B, I]; weights along K, [B, N2, K]; and the tables of rows of the backend.
    """
    n0, n1, n2 = counts
    (i, lowest_i), (j, lowest_j), (k, _) = (
        _control_points(lattice, axis, n) for axis, n in enumerate(size)
    )
    tables = {
        "along_i": spline_weights(i, n0),
        "lowest_i": _within(lowest_i, n0),
        "along_k": np.ascontiguousarray(spline_weights(k, n2).swapaxes(1, 2)),
    }
    if backend == "numba":
        return tables | {"along_j": spline_weights(j, n1), "lowest_j": _within(lowest_j, n1)}
    return tables | _runs(j, lowest_j, lattice[:, 1, 1])


def _control_points(lattice: np.ndarray, axis: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of voxels along an axis, in control points, and the lowest control
    point that each depends on, which may be outside of the lattice: float64 [1 or B, n].
    """
    at = lattice[:, axis, axis, None] * np.arange(n) + lattice[:, axis, 3, None]
    return at, np.floor(at) - 1


def _within(lowest: np.ndarray, count: int) -> np.ndarray:
    """Return the lowest of four control points in the lattice that include those needed."""
    return np.minimum(np.maximum(lowest, 0), count - TAPS).astype(np.int32)


def _runs(at: np.ndarray, lowest: np.ndarray, step: np.ndarray) -> dict[str, np.ndarray]:
    """Divide rows into runs that depend on the same control points; see
    ``torchio_gpu_kernels.warp.Map``.

    Args:
        at, lowest: Of each row, from :func:`_control_points`.
        step: Control points from row to row, [1 or B].
    """
    row = np.arange(at.shape[1])
    begins = np.ones(at.shape, dtype=bool)
    begins[:, 1:] = lowest[:, 1:] != lowest[:, :-1]
    # long runs are divided between tiles
    first = np.maximum.accumulate(np.where(begins, row, 0), 1) // BJ * BJ
    begins |= (row - first) % ROWS == 0
    sample, low = np.nonzero(begins)
    count = begins.sum(1)
    number = np.arange(len(low)) - np.repeat(np.cumsum(count) - count, count)
    runs = np.zeros((len(at), count.max(), 4), dtype=np.int32)  # empty ones end where they begin
    spans = np.zeros((len(at), count.max(), 3))
    first = low // BJ * BJ
    last = np.append(low[1:], row.size)
    last[np.cumsum(count) - 1] = row.size
    span = lowest[sample, low]
    # far outside, there are no control points: a number that fits int32
    runs[sample, number] = np.stack([first, low, last, np.clip(span, -TAPS, 2**30)], 1)
    start = at[sample, low] - 1 - span - (low - first) * step[sample]
    spans[sample, number] = np.stack([start, step[sample], 1 / step[sample]], 1)
    return {"runs": runs, "spans": spans}
