"""Selection of samples of a batch, and functions applied to groups of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..shapes import rectangular
from .dispatch.launch import indices
from .eager.slabs import last

Samples = slice | Tensor


def samples_at(samples: Sequence[int], device: torch.device) -> Samples:
    """Return ascending samples as an index: a slice if they are contiguous, which avoids a copy."""
    if samples[-1] - samples[0] + 1 == len(samples):
        return slice(samples[0], samples[-1] + 1)
    return indices(np.array(samples), device)


def pick(array: Array, samples: Sequence[int]) -> Array:
    """Return the entries of the given samples; ``array`` itself if it has one entry for all."""
    if len(array) == 1:
        return array
    if isinstance(array, Tensor):
        return array[samples_at(samples, array.device)]
    return array[list(samples)]


def samples_by_axis(axis: int | Sequence[int] | Array, batch: int) -> dict[int, list[int]]:
    """Group samples by their axis.

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
    samples_of: dict[int, list[int]] = {}
    for sample, each in enumerate(np.broadcast_to(axes, batch).tolist()):
        samples_of.setdefault(each, []).append(sample)
    return samples_of


def by_axis(
    x: Tensor, axis: int | Sequence[int] | Array, function: Callable[..., Tensor], *arrays: Array
) -> Tensor:
    """Call a function that works along one axis, for samples whose axes may differ.

    Args:
        x: Volume, (B, C, I, J, K).
        axis: Voxel axis of all samples, or one for each, (B) on the host.
        function: Called once per axis with its samples, the axis, and their ``arrays``.
        arrays: Parameters, one entry per sample or one for all.

    Raises:
        ValueError: An axis is not 0, 1 or 2, or there is not one for each sample.
    """
    return by_group(x, samples_by_axis(axis, len(x)), function, *arrays)


def by_group(
    x: Tensor, samples_of: Mapping[Any, list[int]], function: Callable[..., Tensor], *arrays: Array
) -> Tensor:
    """Call a function for each group of samples.

    Args:
        x: Volume, (B, C, I, J, K).
        samples_of: Samples of each group, ascending; together all.
        function: Called once per group with its samples, its key, and their ``arrays``; it returns
            a volume of the same shape.
        arrays: Parameters, one entry per sample or one for all.
    """
    if len(samples_of) == 1:
        return function(x, next(iter(samples_of)), *arrays)
    out = None
    for each, samples in samples_of.items():
        at = samples_at(samples, x.device)
        part = function(x[at], each, *(pick(a, samples) for a in arrays))
        if out is None:
            out = torch.empty_like(x, dtype=part.dtype)
        out[at] = part
    assert out is not None
    return out


def with_axis_last(
    x: Tensor, axis: int | Sequence[int] | Array, function: Callable[..., Tensor], *arrays: Array
) -> Tensor:
    """Call a function that needs the axis last, with as few calls as possible.

    Cubes have one shape whichever axis is last, so that one call serves all samples.

    Args:
        x, axis, arrays: As for :func:`by_axis`.
        function: Called with samples, the axis orders that :func:`slabs.join` takes, and their
            ``arrays``.
    """
    samples_of = samples_by_axis(axis, len(x))
    if len(samples_of) > 1 and len(set(x.shape[2:])) == 1:
        orders = [(samples_at(some, x.device), last(each)) for each, some in samples_of.items()]
        return function(x, orders, *arrays)

    def alone(part: Tensor, each: int, *some: Array) -> Tensor:
        return function(part, [(slice(None), last(each))], *some)

    return by_axis(x, axis, alone, *arrays)


def with_axes(
    x: Tensor, axis: int | Sequence[int] | Array, function: Callable[..., Tensor], *arrays: Array
) -> Tensor:
    """Call a function that works along an axis of each sample, with as few calls as possible.

    Args:
        x, axis, arrays: As for :func:`by_axis`.
        function: Called with samples, the axes that occur, the axis of each sample, [B], or None if
            there is one axis, and their ``arrays``. There are several for cubes only.
    """
    samples_of = samples_by_axis(axis, len(x))
    if len(samples_of) > 1 and len(set(x.shape[2:])) == 1:
        axes = np.empty(len(x), dtype=np.int32)
        for each, samples in samples_of.items():
            axes[samples] = each
        return function(x, sorted(samples_of), axes, *arrays)
    return by_axis(x, axis, lambda part, each, *some: function(part, [each], None, *some), *arrays)
