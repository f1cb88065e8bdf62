"""Displacements of every voxel: sampling through them, exponentials and Jacobian determinants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, host, on_host
from ...shapes import Grid, Volume
from ..dispatch.launch import to_device
from .separable import ramp
from .slabs import join, slab_planes
from .spatial import Source, is_normalised, sample_by_slabs, to_grid_sample, work_dtype


def sample_displaced(
    sources: Sequence[Source], matrix: Array, displacement: Tensor
) -> list[Volume]:
    """Sample volumes through ``matrix (v + u(v))`` with a displacement of each output voxel.

    Args:
        sources: Volumes on one grid, whose modes use the same coordinates.
        matrix: Output voxels to input voxels, [B, 4, 4].
        displacement: Displacement u in output voxels, [B, 3, I, J, K].
    """
    x, dtype = sources[0].x, work_dtype(sources)
    if is_normalised(sources[0].mode):
        matrix = to_grid_sample(x.shape[2:], matrix)
    terms, shared = _terms(matrix), _shared(matrix)
    (matrix,) = to_device(x.device, matrix)
    weights = matrix.to(dtype).view(-1, 4, 4, 1, 1, 1)
    size = displacement.shape[2:]
    voxels = [
        ramp(n, x.device).to(dtype).view([-1 if a == axis else 1 for a in range(3)])
        for axis, n in enumerate(size)
    ]

    saved = torch.is_grad_enabled() and (displacement.requires_grad or matrix.requires_grad)

    def grid(first: int, last: int) -> Grid:
        u = displacement[:, :, first:last].to(dtype)
        at = [voxels[0][first:last], voxels[1], voxels[2]]
        shape = (*u.shape[:1], u.shape[2], 3, *u.shape[3:])
        out = None if saved else torch.empty(shape, dtype=dtype, device=u.device)
        rows = []
        for row, axes in enumerate(terms):
            part = weights[:, row, 3]
            for axis in axes:  # without the displacement, of few dimensions
                part = part + at[axis] * weights[:, row, axis]
            for axis in axes:
                into = None if out is None else out[:, :, row]
                if shared is not None:  # a number is multiplied by faster than a tensor
                    part = torch.add(part, u[:, axis], alpha=shared[row, axis], out=into)
                else:
                    part = torch.addcmul(part, u[:, axis], weights[:, row, axis], out=into)
            rows.append(part)
        return torch.stack(rows, 2) if out is None else out

    return sample_by_slabs(sources, grid, size)


def _terms(matrix: Array) -> list[list[int]]:
    """Return the axes that each row of a matrix mixes; all of them if it is not on the host."""
    if not on_host(matrix):
        return [[0, 1, 2]] * 3
    mixed: np.ndarray = np.any(host(matrix)[:, :3, :3], axis=0)
    return [row.nonzero()[0].tolist() or [0] for row in mixed]


def _shared(matrix: Array) -> np.ndarray | None:
    """Return the matrix that all samples have in common, if it is on the host and they do."""
    if not on_host(matrix):
        return None
    matrix = host(matrix)
    return matrix[0] if (matrix == matrix[0]).all() else None


def exponentiate(velocity: Tensor, steps: int) -> Tensor:
    """Integrate velocities, [B, 3, I, J, K] in voxels, by scaling and squaring."""
    identity = np.eye(4)[None].repeat(len(velocity), 0)
    u = velocity.to(torch.promote_types(velocity.dtype, torch.float32)) / 2**steps
    for _ in range(steps):  # no field of view: outermost voxels are repeated outside
        u = u + sample_displaced([Source(u, "linear", ())], identity, u)[0]
    return u.to(velocity.dtype)


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return the determinant of ``v + u(v)``, [B, 1, I, J, K], u in voxels, [B, 3, I, J, K]."""
    batch, _, planes, rows, columns = displacement.shape
    slab = slab_planes(planes, batch * rows * columns, displacement.device)

    def part(first: int) -> Tensor:
        low = max(first - 1, 0)  # central differences need a plane on either side
        found = _determinant(displacement[:, :, low : first + slab + 1])
        return found[:, None, first - low : first - low + slab]

    return join(map(part, range(0, planes, slab)), planes)


def along_line(values: Tensor, axis: int) -> Tensor:
    """Return the change of values from one face of each voxel to the other, [B, ..., I, J, K].

    Values on faces are means of two voxels, and those of the outermost voxels outside, so that the
    sum over a line is the difference of its ends.

    Args:
        values: Values at voxels, [B, ..., I, J, K].
        axis: Axis I, J or K: 0, 1 or 2.
    """
    dim, n = values.ndim - 3 + axis, values.shape[axis - 3]
    ends = values.narrow(dim, 0, 1), values.narrow(dim, n - 1, 1)
    padded = torch.cat((ends[0], values, ends[1]), dim)
    return (padded.narrow(dim, 2, n) - padded.narrow(dim, 0, n)) / 2


def divergence(displacement: Tensor) -> Tensor:
    """Return the divergence of displacements in voxels, [B, 3, I, J, K], as [B, 1, I, J, K]."""
    i, j, k = (along_line(displacement[:, axis : axis + 1], axis) for axis in range(3))
    return i + j + k


def _determinant(displacement: Tensor) -> Tensor:
    """Return the determinants of a slab, [B, I, J, K]."""
    columns = []
    for axis, n in enumerate(displacement.shape[2:]):
        along = torch.zeros_like(displacement)
        if n > 1:
            (along,) = torch.gradient(displacement, dim=2 + axis)
        parts = list(along.unbind(1))
        parts[axis] = parts[axis] + 1
        columns.append(parts)
    a, b, c = columns
    minors = [b[i - 2] * c[i - 1] - b[i - 1] * c[i - 2] for i in range(3)]
    return a[0] * minors[0] + a[1] * minors[1] + a[2] * minors[2]
