"""Axial planes of CT images: their axis in each sample, and functions applied to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ... import geometry
from ...arrays import Array
from ...shapes import Volume
from ...tracing import instruction
from ..dispatch.arguments import check_spacing
from ..samples import by_axis, samples_by_axis

#: Axes that span the planes across each axis.
IN_PLANE = ((1, 2), (0, 2), (0, 1))


@instruction
def slice_axes(affine: np.ndarray) -> np.ndarray:
    """Return the voxel axis across axial planes of each sample, [B].

    It is the one nearest to the axis of the world from inferior to superior; of an oblique scan,
    as under a tilted gantry, that which :func:`geometry.anatomical_axes` pairs with it.

    Args:
        affine: Voxel to world, [B, 4, 4].

    >>> sagittal = np.eye(4)[[2, 0, 1, 3]]  # I, J, K lie along y, z, x
    >>> slice_axes(np.stack([np.eye(4), sagittal]))
    array([2, 1])
    """
    return geometry.axis_indices("IS", affine)


def in_plane(spacing: np.ndarray, axis: int | Sequence[int] | Array, batch: int) -> np.ndarray:
    """Return the distances of voxels within the planes of each sample, [B, 2].

    Args:
        spacing: Distances along I, J, K, [1 or B, 3].
        axis: Axis across the planes: 0, 1, 2, or one per sample (B) on the host.
        batch: Number of samples.

    >>> in_plane(np.array([[1.0, 2.0, 3.0]]), [2, 0], 2)
    array([[1., 2.],
           [2., 3.]])
    """
    sides = np.empty((batch, 2))
    spacing = np.broadcast_to(spacing, (batch, 3))
    for each, samples in samples_by_axis(axis, batch).items():
        sides[samples] = spacing[samples][:, IN_PLANE[each]]
    return sides


def by_planes(
    x: Volume,
    axis: int | Sequence[int] | Array,
    function: Callable[..., Tensor],
    *arrays: Array,
) -> Volume:
    """Call a function of axial planes, for samples whose axes may differ.

    Args:
        x: Volume, (B, C, I, J, K).
        axis: Axis across the planes: 0, 1, 2, or one per sample (B) on the host.
        function: Called once per axis that occurs, with planes (b, C, N, P, Q) of the samples that
            have it (a view: N planes of P x Q voxels, in the order of the other two axes) and their
            ``arrays``; it returns planes of the same shape.
        arrays: Parameters, one entry per sample or one for all; see :func:`in_plane`.

    >>> x = torch.zeros(2, 1, 3, 4, 5)
    >>> by_planes(x, [0, 2], lambda planes: planes.cumsum(2) * 0 + planes.shape[2])[:, 0, 0, 0, 0]
    tensor([3., 5.])
    """

    def run(part: Volume, across: int, *some: Array) -> Volume:
        return function(part.movedim(2 + across, 2), *some).movedim(2, 2 + across)

    return by_axis(x, axis, run, *arrays)


__all__ = ["IN_PLANE", "by_planes", "check_spacing", "in_plane", "slice_axes"]
