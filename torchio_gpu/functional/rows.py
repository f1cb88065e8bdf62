"""Some samples of a batch: picking them out, and putting them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..shapes import rectangular
from .dispatch.launch import indices
from .eager.slabs import last

Rows = slice | Tensor


def rows_at(rows: Sequence[int], device: torch.device) -> Rows:
    """Rows as an index: neighbours as a slice, which views where an index would copy."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(rows[0], rows[-1] + 1)
    return indices(np.array(rows), device)


def pick(array: Array, rows: Sequence[int]) -> Array:
    """The entries of some samples; of all when there is one entry for all."""
    if len(array) == 1:
        return array
    if isinstance(array, Tensor):
        return array[rows_at(rows, array.device)]
    return array[list(rows)]


def rows_by_axis(axis: int | Sequence[int] | Array, batch: int) -> dict[int, list[int]]:
    """The samples for which each axis is meant.

    Args:
        axis: Voxel axis of all samples, or one for each, (B) on the host.
        batch: Number of samples.

    Raises:
        ValueError: An axis is not 0, 1 or 2, or there is not one for each sample.
    """
    axes = rectangular(axis, "axis")
    known = np.issubdtype(axes.dtype, np.integer) and np.isin(axes, (0, 1, 2)).all()
    if not known or axes.shape not in ((), (1,), (batch,)):
        raise ValueError(f"axis must be 0, 1 or 2, or one of them per sample, got {axis!r}")
    rows_of: dict[int, list[int]] = {}
    for row, each in enumerate(np.broadcast_to(axes, batch).tolist()):
        rows_of.setdefault(each, []).append(row)
    return rows_of


def by_axis(
    x: Tensor, axis: int | Sequence[int] | Array, function: Callable[..., Tensor], *arrays: Array
) -> Tensor:
    """Call a function that works along one axis on samples that may differ in it.

    Args:
        x: Volume, (B, C, I, J, K).
        axis: Voxel axis of all samples, or one for each, (B) on the host.
        function: Called with some of the samples, the axis they share, and their ``arrays``.
        arrays: Parameters, one entry per sample or one for all.

    Raises:
        ValueError: An axis is not 0, 1 or 2, or there is not one for each sample.
    """
    rows_of = rows_by_axis(axis, len(x))
    if len(rows_of) == 1:
        return function(x, next(iter(rows_of)), *arrays)
    out = None
    for each, rows in rows_of.items():
        at = rows_at(rows, x.device)
        part = function(x[at], each, *(pick(a, rows) for a in arrays))
        if out is None:
            out = torch.empty_like(x, dtype=part.dtype)
        out[at] = part
    assert out is not None
    return out


def with_axis_last(
    x: Tensor, axis: int | Sequence[int] | Array, function: Callable[..., Tensor], *arrays: Array
) -> Tensor:
    """Call a function that wants the axis behind the others, for as many samples at once as can be.

    Cubes are of one size whichever axis is behind, so it is called once for all of them.

    Args:
        x, axis, arrays: As for :func:`by_axis`.
        function: Called with some of the samples, what :func:`slabs.join` is to be told of the
            order of their axes, and their ``arrays``.
    """
    rows_of = rows_by_axis(axis, len(x))
    if len(rows_of) > 1 and len(set(x.shape[2:])) == 1:
        turned = [(rows_at(rows, x.device), last(each)) for each, rows in rows_of.items()]
        return function(x, turned, *arrays)

    def alone(part: Tensor, each: int, *some: Array) -> Tensor:
        return function(part, [(slice(None), last(each))], *some)

    return by_axis(x, axis, alone, *arrays)
