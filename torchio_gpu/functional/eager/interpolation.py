"""Interpolation: weights along one axis, and readers of voxel neighbourhoods.

Beyond the outermost voxel centres, the outermost voxels are repeated; a B-spline is mirrored there,
as in ITK. Voxels outside a field of view are filled by :mod:`.fields`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...geometry import cubic_bspline
from ...shapes import Grid, Volume
from ..fields_of_view import TIE
from .filters import along_axis

#: Tolerance for equal memberships of labels: above the rounding of sums of products in float32.
_SAME = 1e-6


def nearest_voxel(position: np.ndarray, size: int) -> np.ndarray:
    """Return the voxel nearest to each position along an axis; the upper one of a tie."""
    return np.floor(position + (0.5 + TIE)).clip(0, size - 1)  # type: ignore[no-any-return]


def linear_weights(position: np.ndarray, size: int) -> np.ndarray:
    """Return weights of linear interpolation at positions [B, N] on an axis, [B, N, size]."""
    distance = position.clip(0, size - 1)[..., None] - np.arange(size)
    return (1 - abs(distance)).clip(0)  # type: ignore[no-any-return]


def bspline_weights(position: np.ndarray, size: int) -> np.ndarray:
    """Return weights of interpolation by the cubic B-spline through all voxels, [B, N, size].

    The axis is mirrored at its outermost voxels.
    """
    first = np.floor(position) - 1
    taps = first[..., None] + np.arange(4)  # [B, N, 4]
    share = cubic_bspline(position[..., None] - taps)
    weights = by_voxel(share, _mirror(taps, size), size)
    return without_tails(weights @ spline_prefilter(size))


def by_voxel(share: np.ndarray, voxel: np.ndarray, size: int) -> np.ndarray:
    """Return the sum of the shares [B, N, taps] of each voxel of an axis, [B, N, size]."""
    weights = np.zeros((*share.shape[:-1], size))
    voxel = voxel.astype(np.int64)
    for tap in range(share.shape[-1]):  # two taps may be one voxel
        at = voxel[..., tap : tap + 1]
        old = np.take_along_axis(weights, at, -1)
        np.put_along_axis(weights, at, old + share[..., tap : tap + 1], -1)
    return weights


def without_tails(weights: np.ndarray) -> np.ndarray:
    """Set weights below float32 precision to 0, so that NaN and infinities spread no further."""
    return np.where(abs(weights) < 1e-9, 0, weights)  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def spline_prefilter(size: int) -> np.ndarray:
    """Return the matrix from voxels to B-spline coefficients of an axis, [size, size]: Unser 1999.

    See https://doi.org/10.1109/79.799930. The axis is mirrored in its outermost voxels.
    """
    matrix = np.zeros((size, size))
    for tap, weight in ((-1, 1 / 6), (0, 2 / 3), (1, 1 / 6)):
        voxels = np.arange(size)
        np.add.at(matrix, (voxels, _mirror(voxels + tap, size).astype(np.int64)), weight)
    return without_tails(np.linalg.inv(matrix))


def _mirror(voxel: Any, size: int) -> Any:
    """Replace voxels beyond the ends of an axis by their mirror images."""
    if size == 1:
        return voxel * 0
    folded = abs(voxel) % (2 * (size - 1))
    return (size - 1) - abs(folded - (size - 1))


def spline_coefficients(x: Volume) -> Volume:
    """Return coefficients of the cubic B-spline through all voxels, for float32 or float64."""
    for axis, size in enumerate(x.shape[2:]):
        if size > 1:
            matrix = torch.from_numpy(spline_prefilter(size)).to(x.device, non_blocking=True)
            x = along_axis(x, matrix[None], axis)
    return x


def spline_reader(x: Volume) -> Callable[[Grid], Volume]:
    """Return a function that samples a float volume by its B-spline, with 64 taps per point."""
    size = x.shape[2:]
    table = spline_coefficients(x).flatten(2)  # [B, C, N]

    def read(grid: Grid) -> Volume:
        first = grid.detach().floor() - 1
        index, weight = [], []  # of each axis: [B, I, J, K, 4]
        for axis, n in enumerate(size):
            taps = first[:, :, axis, ..., None] + torch.arange(4, device=x.device, dtype=grid.dtype)
            weight.append(cubic_bspline(grid[:, :, axis, ..., None] - taps))
            index.append(_mirror(taps, n).long())
        out = x.new_zeros(*x.shape[:2], grid.shape[1], *grid.shape[3:])
        for i, j, k in itertools.product(range(4), repeat=3):
            at = (index[0][..., i] * size[1] + index[1][..., j]) * size[2] + index[2][..., k]
            share = weight[0][..., i] * weight[1][..., j] * weight[2][..., k]
            out = out + _look_up(table, at) * share[:, None]
        return out

    return read


def label_reader(x: Volume) -> Callable[[Grid], Volume]:
    """Return a function that samples the label whose linearly interpolated membership is largest.

    Ties go to the smallest label. No membership volumes are allocated: the weights of the eight
    neighbouring voxels are compared.
    """
    size = x.shape[2:]
    table = x.flatten(2)

    def read(grid: Grid) -> Volume:
        first = grid.floor()
        above = grid - first  # [B, I, 3, J, K], weight of the upper voxel along each axis
        labels, shares = [], []
        for corner in itertools.product((0, 1), repeat=3):
            at: Any = 0
            share: Any = 1
            for axis, step in enumerate(corner):
                voxel = first[:, :, axis] + step
                at = at * size[axis] + voxel.clamp(0, size[axis] - 1).long()
                share = share * (above[:, :, axis] if step else 1 - above[:, :, axis])
            label = _look_up(table, at)
            labels.append(label)
            shares.append(share[:, None].expand(label.shape))
        totals = [share.clone() for share in shares]
        for (one, a), (other, b) in itertools.combinations(enumerate(labels), 2):
            same = a == b
            totals[one] += shares[other] * same
            totals[other] += shares[one] * same
        best, most = labels[0], totals[0]
        for label, total in zip(labels[1:], totals[1:], strict=True):
            wins = (total > most + _SAME) | ((total >= most - _SAME) & (label < best))
            best, most = torch.where(wins, label, best), torch.where(wins, total, most)
        return best

    return read


def _look_up(table: Tensor, at: Tensor) -> Tensor:
    """Return values [B, C, I, J, K] of a table [B, C, N] at indices [B, I, J, K]."""
    places = at.flatten(1)[:, None].expand(-1, table.shape[1], -1)
    return table.gather(2, places).view(*table.shape[:2], *at.shape[1:])
