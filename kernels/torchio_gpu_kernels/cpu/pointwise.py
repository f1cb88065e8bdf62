"""A program of pointwise operations in one read and one write of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from . import program as pointwise_program
from .compiling import Kernel
from .memory import empty, layout, read, voxels, write


@Kernel
def pointwise_kernel(x, out, program, values, seeds, x_layout, shape, start, stop):
    """Process groups ``start`` to ``stop`` of four neighbouring rows, of all channels and samples.

    Args:
        x, out: Memory of the volume and of the result, for :func:`.read` and :func:`.write`.
        program: Four integers for each operation, int64 [N, 4].
        values, seeds: Values [B, V] and seeds [B, S] of operations.
        x_layout: From :func:`.layout`.
        shape: Voxels along I, J, K.
    """
    channels, sample, channel, (si, sj, sk) = x_layout
    I, J, K = shape
    y, scratch = np.empty(4 * K, np.float32), np.empty((2, 4 * K), np.float32)
    words = np.empty((4, K), np.uint32)
    groups = (J + 3) // 4
    for group in range(start, stop):
        plane, j = group // groups, group % groups * 4
        volume, i = plane // I, plane % I
        b, c = volume // channels, volume % channels
        rows = min(4, J - j)
        for r in range(rows):
            base = b * sample + c * channel + np.int64(i) * si + np.int64(j + r) * sj
            if sk == 1:
                for k in range(K):
                    y[r * K + k] = read(x, base, k)
            else:
                for k in range(K):
                    y[r * K + k] = read(x, base, np.int64(k) * sk)
        place, size = (c, i, j, rows), (channels, I, J, K)
        pointwise_program.run(y, program, values[b], seeds[b], place, size, scratch, words)
        target = (plane * J + j) * K
        for n in range(rows * K):
            write(out, target, n, y[n])


def pointwise(
    x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, dtype: torch.dtype
) -> Tensor:
    """Apply a program; arguments as for :func:`torchio_gpu_kernels.pointwise.pointwise`."""
    x, out = x.resolve_neg(), empty(x.shape, dtype)
    B, C, I, J, K = x.shape
    arguments = (
        voxels(x),
        voxels(out),
        np.array(program, np.int64).reshape(-1, 4),
        values.numpy(),
        seeds.numpy(),
        layout(x),
        (I, J, K),
    )
    pointwise_kernel(*arguments, count=B * C * I * -(-J // 4))
    return out
