"""Warp: sampling of a volume and of labels through a map, and a program of pointwise operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import program as pointwise_program
from .compiling import Kernel
from .coordinates import fill_points
from .memory import bits, copy, empty, layout, read, voxels, write
from .sampling import fill_outside, interpolate, nearest, neighbours


@Kernel
def warp_kernel(
    x,
    out,
    labels,
    labels_out,
    matrix,
    columns,
    along_j,
    lowest_j,
    fill,
    labels_fill,
    fields,
    copies,
    program,
    values,
    seeds,
    x_layout,
    labels_layout,
    shape,
    start,
    stop,
):
    """Fill groups ``start`` to ``stop`` of neighbouring rows, of all samples.

    Args:
        x, out: Memory of the volume and of the result, for :func:`.read` and :func:`.write`.
        labels, labels_out: Memory of the labels and of the result, for :func:`.copy`.
        matrix, columns, along_j, lowest_j: See :func:`.fill_points`.
        fill: Fill outside the volume, float32 [1, B, C], or outside fields of view, [F, B, C].
        labels_fill: Bits of the labels outside, likewise.
        fields: Low and high ends of fields of view, float32 [F, B, 2, 3].
        copies: Not 0 for samples whose voxels are copied without interpolation, int32 [B].
        program: Four integers for each operation, int64 [N, 4].
        values, seeds: Values [B, V] and seeds [B, S] of operations.
        x_layout, labels_layout: Channels, strides of samples and channels, and strides along
            I, J, K, which are int32 unless offsets need more.
        shape: Voxels of the volume along I, J, K, and of the result.
    """
    channels, x_sample, x_channel, steps = x_layout
    D, label_sample, label_channel, label_steps = labels_layout
    source, (I, J, K) = shape
    points, origins = np.empty((3, 4 * K), np.float32), np.empty((3, 5), np.float32)
    shares, edges = np.empty((3, 4 * K), np.float32), np.empty((4, 4 * K), np.float32)
    y, scratch = np.empty(4 * K, np.float32), np.empty((2, 4 * K), np.float32)
    words, places = np.empty((4, K), np.uint32), np.empty(4 * K, np.int64)
    groups, framed = (J + 3) // 4, len(fields) > 0
    for group in range(start, stop):
        b, i, j = group // groups // I, group // groups % I, group % groups * 4
        rows = min(4, J - j)
        count = rows * K
        fill_points(points, origins, matrix, columns, along_j, lowest_j, b, i, j, rows, K)
        moved = copies[b] != 0
        if moved:
            nearest(places, points, origins, rows, K, source, steps, framed)
        elif channels > 0:
            neighbours(places, shares, points, origins, rows, K, source, steps, framed)
        for c in range(channels):
            base = b * x_sample + c * x_channel
            outside = fill[0, b, c]
            if moved:
                for n in range(count):
                    y[n] = read(x, base, places[n]) if places[n] >= 0 else outside
            else:
                interpolate(y, x, base, places, shares, count, steps, outside, edges)
            for f in range(len(fields)):
                fill_outside(y, points, origins, rows, K, fields[f, b], fill[f, b, c])
            if len(program) > 0:
                place, size = (c, i, j, rows), (channels, I, J, K)
                pointwise_program.run(y, program, values[b], seeds[b], place, size, scratch, words)
            target = (((b * channels + c) * I + i) * J + j) * K
            for n in range(count):
                write(out, target, n, y[n])
        if D > 0:
            nearest(places, points, origins, rows, K, source, label_steps, framed)
        for c in range(D):
            base = b * label_sample + c * label_channel
            target = (((b * D + c) * I + i) * J + j) * K
            label = labels_out[target : target + count]
            outside = labels_fill[0, b, c]
            for n in range(count):
                label[n] = copy(labels, base, places[n]) if places[n] >= 0 else outside
            for f in range(len(fields)):
                fill_outside(label, points, origins, rows, K, fields[f, b], labels_fill[f, b, c])


def warp(
    x: Tensor,
    fill: Tensor,
    copies: Tensor | None,
    mode: str,
    program: Sequence[int],
    dtype: torch.dtype,
    **shared: Any,
) -> Tensor:
    """Sample a volume; arguments as for :func:`torchio_gpu_kernels.warp.warp`, by name.

    In mode 'nearest', voxels are moved as they are, unless a program changes them.

    Args:
        shared: Arguments of :func:`warp_pair`.
    """
    if mode == "nearest" and not program:
        none = _no_channels(x, torch.float32)
        no_fill = fill[..., :0]
        return warp_pair(none, x, fill=no_fill, labels_fill=fill, dtype=none.dtype, **shared)[1]
    if mode == "nearest":
        copies = torch.ones(len(x), dtype=torch.int32, device="cpu")
    none, how = _no_channels(x, torch.uint8), {"copies": copies, "program": program, **shared}
    return warp_pair(x, none, fill=fill, labels_fill=fill[..., :0], dtype=dtype, **how)[0]


def warp_pair(
    x: Tensor,
    labels: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    along_j: Tensor | None,
    lowest_j: Tensor | None,
    fill: Tensor,
    labels_fill: Tensor,
    values: Tensor | None,
    seeds: Tensor | None,
    size: Sequence[int],
    dtype: torch.dtype,
    program: Sequence[int] = (),
    fields: Tensor | None = None,
    copies: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sample a volume and labels, either of which may have no channels.

    Arguments are as for :func:`torchio_gpu_kernels.warp.warp`, but for the matrix, which is
    float64, and the displacement along J, for which see :func:`.fill_points`.
    """
    x, labels = x.resolve_neg(), labels.resolve_neg()
    B, source = len(x), x.shape[2:]
    out = empty((B, x.shape[1], *size), dtype)
    labels_out = empty((B, labels.shape[1], *size), labels.dtype)
    if columns is None or along_j is None or lowest_j is None:
        columns, along_j, lowest_j = _no_displacement()
    fields = _table((0, B, 2, 3)) if fields is None else fields
    if fill.ndim == 2:  # outside the volume
        fill, labels_fill = fill[None], labels_fill[None]
    labels_fill = labels_fill.to(labels.dtype)
    arguments = (
        voxels(x),
        voxels(out),
        bits(labels),
        bits(labels_out),
        matrix.numpy(),
        columns.numpy(),
        along_j.numpy(),
        lowest_j.numpy(),
        fill.to(torch.float32).numpy(),
        bits(labels_fill).reshape(labels_fill.shape),
        fields.numpy(),
        (_table((B,), torch.int32) if copies is None else copies).numpy(),
        np.array(program, np.int64).reshape(-1, 4),
        (_table((B, 0)) if values is None else values).numpy(),
        (_table((B, 0), torch.int64) if seeds is None else seeds).numpy(),
        layout(x),
        layout(labels),
        (tuple(source), tuple(size)),
    )
    I, J, _ = size
    warp_kernel(*arguments, count=B * I * -(-J // 4))
    return out, labels_out


def _no_channels(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a volume of no channels on the grid of another."""
    return _table((len(x), 0, *x.shape[2:]), dtype)


def _no_displacement() -> tuple[Tensor, Tensor, Tensor]:
    """Return columns, weights and lowest control points of none."""
    return _table((1, 1, 3, 0, 1)), _table((1, 1, 0)), _table((1, 0), torch.int32)


def _table(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    # whatever the default device is
    return torch.zeros(tuple(shape), dtype=dtype, device="cpu")
