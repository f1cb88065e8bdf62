"""A program of pointwise operations in one read and one write of a volume, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import program
from .library import differentiate, refuse_gradient, register
from .tiles import OPTIONS, Strides, Tiles, is_wide, readable, row_offsets, voxels_along_k
from . import tiling


BJ = tl.constexpr(tiling.BJ)
#: Bytes of a row that a thread loads and stores at a time, the most that a GPU can.
_WIDEST = 16


@triton.jit(do_not_specialize=["I", "V", "S"])
def pointwise_kernel(
    x,
    out,
    values,
    seeds,
    C,
    I,
    J,
    K,
    sb,
    sc,
    si,
    sj,
    sk,
    V,
    S,
    KB,
    steps,
    PROGRAM: tl.constexpr,
    WIDE: tl.constexpr,
    BK: tl.constexpr,
):
    first, k = (tl.program_id(0) // KB) * (BJ * steps), voxels_along_k(KB, BK)
    i, volume = tl.program_id(1), tl.program_id(2)
    b, c = volume // C, volume % C
    x += b.to(tl.int64) * sb + c.to(tl.int64) * sc + i.to(tl.int64) * si
    out += (volume.to(tl.int64) * I + i) * (tl.cast(J, tl.int64) * K)
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    for step in range(steps):
        j0 = first + step * BJ
        rows = load_rows(x, j0, k, J, K, sj, sk, WIDE)
        rows = program.run(rows, ready, values, (c, i, j0, k), (C, I, J, K), PROGRAM)
        store_rows(out, rows, j0, k, J, K, WIDE)


@triton.jit(do_not_specialize=["I", "V", "S"])
def pointwise_backward_kernel(
    grad,
    x,
    out,
    partial,
    values,
    seeds,
    C,
    I,
    J,
    K,
    gb,
    gc,
    gi,
    gj,
    gk,
    sb,
    sc,
    si,
    sj,
    sk,
    V,
    S,
    KB,
    steps,
    PROGRAM: tl.constexpr,
    NEEDS_VALUES: tl.constexpr,
    WIDE: tl.constexpr,
    BK: tl.constexpr,
):
    first, k = (tl.program_id(0) // KB) * (BJ * steps), voxels_along_k(KB, BK)
    i, volume = tl.program_id(1), tl.program_id(2)
    b, c = volume // C, volume % C
    x += b.to(tl.int64) * sb + c.to(tl.int64) * sc + i.to(tl.int64) * si
    grad += b.to(tl.int64) * gb + c.to(tl.int64) * gc + i.to(tl.int64) * gi
    out += (volume.to(tl.int64) * I + i) * (tl.cast(J, tl.int64) * K)
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    sums = program.no_sums(k, PROGRAM)
    for step in range(steps):
        j0 = first + step * BJ
        rows = load_rows(x, j0, k, J, K, sj, sk, WIDE)
        g = load_rows(grad, j0, k, J, K, gj, gk, WIDE)
        inside = ()
        for r in tl.static_range(BJ):
            inside = inside + ((k < K) & (j0 + r < J),)
        place, shape = (c, i, j0, k), (C, I, J, K)
        g, sums = program.run_back(
            g, rows, ready, values, sums, place, shape, inside, PROGRAM, NEEDS_VALUES
        )
        store_rows(out, g, j0, k, J, K, WIDE)
    if NEEDS_VALUES:
        number = (volume.to(tl.int64) * I + i) * tl.num_programs(0) + tl.program_id(0)
        program.store_sums(partial + number * V, sums, ready, values, (c, i, first, k), PROGRAM)


@triton.jit
def load_rows(plane, j0, k, J, K, sj, sk, WIDE: tl.constexpr):
    """Return rows of a plane, float32, a tuple of [BK]; 0 outside.

    Args:
        plane: Pointer to its first voxel.
        j0, k: First row, and voxels along K [BK].
        sj, sk: Strides along J and K.
    """
    rows = ()
    for r in tl.static_range(BJ):
        at = row_offsets(j0 + r, k, sj, sk, WIDE)
        row = tl.load(plane + at, mask=(k < K) & (j0 + r < J), other=0)
        rows = rows + (row.to(tl.float32),)
    return rows


@triton.jit
def store_rows(plane, rows, j0, k, J, K, WIDE: tl.constexpr):
    """Store rows of a contiguous plane."""
    for r in tl.static_range(BJ):
        at = row_offsets(j0 + r, k, K, 1, WIDE)
        tl.store(plane + at, rows[r], mask=(k < K) & (j0 + r < J))


def pointwise(
    x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, dtype: torch.dtype
) -> Tensor:
    """Apply a program of pointwise operations.

    Args:
        x: Volume [B, C, I, J, K] of any strides, float32 or shorter or integers.
        program: Four integers for each operation; see :mod:`.program`.
        values: Parameters of operations, float32 [B, V].
        seeds: Seeds of operations, int64 [B, S].
        dtype: Dtype of the result.
    """
    x = readable(x)
    B, C, I, J, K = x.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    tiles = Tiles.of(J, K, per_thread=_WIDEST // min(4, x.element_size(), out.element_size()))
    steps = Strides.of(x)
    pointwise_kernel[tiles.grid(I, B * C)](
        x=x,
        out=out,
        values=values,
        seeds=seeds,
        C=C,
        I=I,
        J=J,
        K=K,
        **steps.arguments("sb", "sc", "si", "sj", "sk"),
        V=values.shape[1],
        S=seeds.shape[1],
        steps=tiles.steps,
        PROGRAM=tuple(program),
        WIDE=is_wide((J, K), steps.plane) or J * K >= 2**31,
        **tiles.arguments(),
        **OPTIONS,
    )
    return out


def pointwise_backward(
    grad: Tensor,
    x: Tensor,
    program: Sequence[int],
    values: Tensor,
    seeds: Tensor,
    needs_values: bool,
) -> tuple[Tensor, Tensor]:
    """Return gradients of :func:`pointwise` with respect to the volume and to the values.

    Args:
        grad: Gradient of the result.
        x, program, values, seeds: As for :func:`pointwise`.
        needs_values: True if the gradient of the values is wanted; else it is zero.
    """
    B, C, I, J, K = x.shape
    out = torch.empty(
        x.shape, dtype=x.dtype if x.is_floating_point() else grad.dtype, device=x.device
    )
    tiles = Tiles.of(J, K)
    blocks = C * I * tiles.JB * tiles.KB
    partial = torch.zeros(
        (B, blocks if needs_values else 0, values.shape[1]), dtype=torch.float32, device=x.device
    )
    source = readable(x)
    grad_steps, source_steps = Strides.of(grad), Strides.of(source)
    wide = is_wide((J, K), source_steps.plane) or is_wide((J, K), grad_steps.plane)
    pointwise_backward_kernel[tiles.grid(I, B * C)](
        grad=grad,
        x=source,
        out=out,
        partial=partial,
        values=values,
        seeds=seeds,
        C=C,
        I=I,
        J=J,
        K=K,
        **grad_steps.arguments("gb", "gc", "gi", "gj", "gk"),
        **source_steps.arguments("sb", "sc", "si", "sj", "sk"),
        V=values.shape[1],
        S=seeds.shape[1],
        steps=tiles.steps,
        PROGRAM=tuple(program),
        NEEDS_VALUES=needs_values,
        WIDE=wide or J * K >= 2**31,
        **tiles.arguments(),
        **OPTIONS,
    )
    return out, partial.sum(1)


def _fake(
    x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, dtype: torch.dtype
) -> Tensor:
    return torch.empty(x.shape, dtype=dtype, device=x.device)


def _fake_backward(
    grad: Tensor,
    x: Tensor,
    program: Sequence[int],
    values: Tensor,
    seeds: Tensor,
    needs_values: bool,
) -> tuple[Tensor, Tensor]:
    dtype = x.dtype if x.is_floating_point() else grad.dtype
    return torch.empty(x.shape, dtype=dtype, device=x.device), torch.empty_like(values)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.program, values, seeds, _ = inputs
    ctx.save_for_backward(x, values, seeds)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, values, seeds = ctx.saved_tensors
    needs_values = ctx.needs_input_grad[2]
    g, g_values = backward_operator(
        grad=grad,
        x=x,
        program=ctx.program,
        values=values,
        seeds=seeds,
        needs_values=needs_values,
    )
    return g, None, g_values if needs_values else None, None, None


operator = register(
    "pointwise(Tensor x, int[] program, Tensor values, Tensor seeds, ScalarType dtype) -> Tensor",
    pointwise,
    _fake,
)
backward_operator = register(
    "pointwise_backward(Tensor grad, Tensor x, int[] program, Tensor values, Tensor seeds, "
    "bool needs_values) -> (Tensor, Tensor)",
    pointwise_backward,
    _fake_backward,
)
differentiate("pointwise", _setup_context, _backward)
refuse_gradient("pointwise_backward")
