"""A volume and its labels, which move together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..arrays import Array, host
from ..shapes import Triple, Volume, check_volume
from ..signature import checked
from .dispatch import kernels
from .dispatch.backend import use_kernel
from .operations import Operation, View
from .pointwise import check_operations
from .spatial import check_fill, check_maps, exact_rows, warp

__all__ = ["warp_pair"]


@checked
def warp_pair(
    x: Volume,
    labels: Volume,
    matrix: Array | None = None,
    control_points: Array | None = None,
    *,
    lattice: Array | None = None,
    size: Triple | None = None,
    fill: float | Tensor = 0.0,
    labels_fill: float | Tensor = 0.0,
    operations: Sequence[Operation] = (),
    view: View | None = None,
) -> tuple[Volume, Volume]:
    """:func:`warp` of a volume, linearly, and of labels on its grid.

    What two calls do. A kernel does it in one pass, where no gradient is wanted: where voxels are
    read is computed once for both.

    Args:
        x: Volume, (B, C, I, J, K).
        labels: Labels, (B, D, I, J, K), read in mode 'nearest'.
        matrix, control_points, lattice, size, fill, operations, view: As for :func:`warp`.
        labels_fill: Label outside, as ``fill``.

    Returns:
        Both, (B, C, \\*size) and (B, D, \\*size).

    Raises:
        ValueError: The two are not on one grid, or as for :func:`warp`.

    >>> image, labels = torch.rand(2, 1, 8, 8, 8), torch.ones(2, 1, 8, 8, 8, dtype=torch.uint8)
    >>> half = torch.diag(torch.tensor([2.0, 1, 1, 1]))  # content half as long
    >>> image, labels = warp_pair(image, labels, half)
    >>> labels[0, 0, :, 0, 0]
    tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.uint8)
    """
    check_volume(x)
    check_volume(labels, "labels")
    if (len(x), x.shape[2:], x.device) != (len(labels), labels.shape[2:], labels.device):
        raise ValueError(
            f"labels must be on the grid of x, {list(x.shape)} on {x.device}, "
            f"got {list(labels.shape)} on {labels.device}"
        )
    matrix, control_points, lattice, size = check_maps(x, matrix, control_points, lattice, size)
    check_operations(x, operations)
    fill = check_fill(fill, x, "linear")
    labels_fill = check_fill(labels_fill, labels, "nearest")
    dtype = x.dtype if x.is_floating_point() else torch.float32
    parameters = [value for operation in operations for value in vars(operation).values()]
    together = not (
        _wants_gradient(x, labels, matrix, control_points, *parameters)
        or exact_rows(matrix, control_points)
        or kernels.warp_obstacle(x, size, "linear", fill, (), lattice, False)
        or kernels.warp_obstacle(labels, size, "nearest", labels_fill, (), lattice, False)
    )
    if together and use_kernel(x.device):
        bent = None if lattice is None else host(lattice)
        maps = (matrix, control_points, bent, size)
        return kernels.warp_pair(x, labels, *maps, fill, labels_fill, operations, view, dtype)
    return (
        warp(
            *(x, matrix, control_points),
            lattice=lattice,
            size=size,
            fill=fill,
            operations=operations,
            view=view,
        ),
        warp(
            *(labels, matrix, control_points),
            lattice=lattice,
            size=size,
            mode="nearest",
            fill=labels_fill,
        ),
    )


def _wants_gradient(*values: object) -> bool:
    return torch.is_grad_enabled() and any(
        isinstance(value, Tensor) and value.requires_grad for value in values
    )
