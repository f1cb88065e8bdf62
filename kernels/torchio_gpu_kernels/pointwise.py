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
from .tiles import OPTIONS, Strides, Tiles, is_wide, plane_offsets, readable, tile_start


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
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    first, k0 = tile_start(KB, steps, BJ, BK)
    i, volume = tl.program_id(1), tl.program_id(2)
    b, c = volume // C, volume % C
    k = k0 + tl.arange(0, BK)
    x += b.to(tl.int64) * sb + c.to(tl.int64) * sc + i.to(tl.int64) * si
    out += (volume.to(tl.int64) * I + i) * (tl.cast(J, tl.int64) * K)
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    for step in range(steps):
        j0 = first + step * BJ
        j = j0 + tl.arange(0, BJ)
        inside = (j < J)[:, None] & (k < K)[None, :]
        y = tl.load(x + plane_offsets(j, k, sj, sk, WIDE), mask=inside, other=0).to(tl.float32)
        y = program.run(y, ready, values, (c, i, j, j0, k0), (C, I, J, K), PROGRAM)
        tl.store(out + plane_offsets(j, k, K, 1, WIDE), y, mask=inside)


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
    PROGRAM: tl.constexpr,
    NEEDS_VALUES: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    j0, k0 = tile_start(KB, 1, BJ, BK)
    i, volume = tl.program_id(1), tl.program_id(2)
    b, c = volume // C, volume % C
    j, k = j0 + tl.arange(0, BJ), k0 + tl.arange(0, BK)
    inside = (j < J)[:, None] & (k < K)[None, :]
    source = x + b.to(tl.int64) * sb + c.to(tl.int64) * sc + i.to(tl.int64) * si
    y = tl.load(source + plane_offsets(j, k, sj, sk, WIDE), mask=inside, other=0).to(tl.float32)
    source = grad + b.to(tl.int64) * gb + c.to(tl.int64) * gc + i.to(tl.int64) * gi
    g = tl.load(source + plane_offsets(j, k, gj, gk, WIDE), mask=inside, other=0).to(tl.float32)
    if NEEDS_VALUES:
        number = (volume.to(tl.int64) * I + i) * tl.num_programs(0) + tl.program_id(0)
        partial += number * V
    values, seeds = values + b * V, seeds + b * S
    place, shape = (c, i, j, j0, k0), (C, I, J, K)
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    g = program.run_back(
        g, y, ready, values, partial, place, shape, k, inside, PROGRAM, NEEDS_VALUES
    )
    plane = (volume.to(tl.int64) * I + i) * (tl.cast(J, tl.int64) * K)
    tl.store(out + plane + plane_offsets(j, k, K, 1, WIDE), g, mask=inside)


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
    tiles = Tiles.of(J, K)
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
    tiles = Tiles.of(J, K, rows=1)
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
