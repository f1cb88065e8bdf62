"""Resampling along the axes: a map that keeps them parallel is one small matrix per axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import Volume
from .filters import along_axis


def by_weights(x: Volume, weights: Sequence[Tensor | None]) -> Volume:
    """Multiply the voxels along each axis by a matrix.

    Axes that lose the most voxels come first: it leaves the fewest voxels for the others.

    Args:
        x: Volume in float32 or float64.
        weights: Matrix of each axis, [B or 1, N out, N in], or None to keep it.
    """
    known = [(w.shape[1] / w.shape[2], a, w) for a, w in enumerate(weights) if w is not None]
    for _, axis, matrix in sorted(known, key=lambda each: each[:2]):
        x = along_axis(x, matrix, axis)
    return x


def by_index(x: Volume, source: Sequence[Tensor | None]) -> Volume:
    """Index the voxels along each axis, without interpolation.

    Args:
        x: Volume.
        source: Indices along each axis, [B or 1, N out] int64, or None to keep it.
    """
    for axis, index in enumerate(source):
        if index is None:
            continue
        if len(index) == 1:
            x = x.index_select(2 + axis, index[0])
        else:
            shape = [len(index), 1, 1, 1, 1]
            shape[2 + axis] = index.shape[1]
            x = torch.take_along_dim(x, index.view(shape), 2 + axis)
    return x
