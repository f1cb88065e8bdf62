"""Slices of a volume that are sampled each through a matrix of its own, in one pass."""

from __future__ import annotations

from torch import Tensor

from ...arrays import Array
from ...shapes import Grid, Volume
from ..dispatch.launch import to_device
from .separable import ramp
from .spatial import Source, is_normalised, sample_by_slabs, to_grid_sample, work_dtype


def sample_slices(source: Source, matrix: Array, axis: int) -> Volume:
    """Sample each slice along an axis through its matrix.

    Args:
        source: The volume.
        matrix: Output voxels to input voxels of each slice, [B, N, 4, 4].
        axis: Axis I, J or K that the slices are stacked along: 0, 1 or 2.
    """
    x, dtype = source.x, work_dtype([source])
    size = x.shape[2:]
    if is_normalised(source.mode):
        matrix = to_grid_sample(size, matrix)
    (matrix,) = to_device(x.device, matrix)
    along = [ramp(n, x.device) for n in size]
    constant = matrix[..., :3, 3] + matrix[..., :3, axis] * along[axis][:, None]
    terms = [_stacked(constant.to(dtype), axis)]
    for other in (each for each in range(3) if each != axis):
        shape = [1, 1, 1, 1, 1]
        shape[(1, 3, 4)[other]] = -1
        slope = _stacked(matrix[..., :3, other].to(dtype), axis)
        terms.append(slope * along[other].to(dtype).view(shape))

    def grid(first: int, last: int) -> Grid:
        parts = [term if len(term[0]) == 1 else term[:, first:last] for term in terms]
        return (parts[0] + parts[1]) + parts[2]

    return sample_by_slabs([source], grid, size)[0]


def _stacked(vectors: Tensor, axis: int) -> Tensor:
    """Return vectors of slices, [B, N, 3], as part of a grid, [B, N or 1, 3, N or 1, N or 1]."""
    if axis == 0:
        return vectors[..., None, None]
    components = vectors.mT[:, None]  # [B, 1, 3, N]
    return components[..., None] if axis == 1 else components[..., None, :]
