"""Products along an axis by a kernel, without transposed copies of the volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchio_gpu_kernels import load

from ...shapes import Volume
from ..dispatch.backend import use_kernel

#: Axis of all samples; or those that occur, and that of each sample, [B] int32 on the device.
Axis = int | tuple[Sequence[int], Tensor]

#: Lines of k-space up to which a product costs less than Fourier transforms with their copies: by
#: its instructions, as much as 2.5 copies of the volume for 128 lines, against 6 to 9.
MOST_LINES = 384


def has_kernel(device: torch.device) -> bool:
    """Return True if :func:`along` can run, and is to."""
    return use_kernel(device)


def along(x: Volume, matrix: Tensor, axis: Axis, base: Volume | None = None) -> Volume:
    """Multiply the voxels along an axis by a matrix per sample; weights of 0 ignore NaN.

    Args:
        x: Volume in float32 or float64.
        matrix: Weights [B or 1, N out, N in].
        axis: The axis; with several, all voxel axes must have the same size.
        base: Volume to which the product is added, in its shape.
    """
    dims, axes = ([axis], None) if isinstance(axis, int) else axis
    return load().along(x, matrix.to(x.dtype), base, axes, dims)  # type: ignore[no-any-return]


def circulant(kernel: Tensor) -> Tensor:
    """Return the matrices of circular convolutions with kernels [B, N], [B, N, N]."""
    size = kernel.shape[1]
    rows = torch.cat((kernel, kernel), 1).unfold(1, size, 1)  # rows[m, j] = kernel[m + j]
    return rows[:, 1:].flip(2)  # kernel[m - n]


def axis_of(dims: Sequence[int], axes: Tensor | None = None) -> Axis:
    """Return the axis of all samples, or ``dims`` with that of each sample, [B]."""
    return dims[0] if axes is None else (dims, axes.to(torch.int32))
