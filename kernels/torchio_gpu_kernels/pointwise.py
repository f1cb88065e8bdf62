"""A run of pointwise operations in one read and one write, and its gradient likewise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import program
from .library import differentiate, has_no_gradient, register
from .tiles import OPTIONS, Tiles, is_wide, locate, readable, strides, within


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
    first, k0 = locate(KB, steps, BJ, BK)
    i, volume = tl.program_id(1), tl.program_id(2)
    b, c = volume // C, volume % C
    k = k0 + tl.arange(0, BK)
    x += b.to(tl.int64) * sb + c.to(tl.int64) * sc + i.to(tl.int64) * si
    out += (volume.to(tl.int64) * I + i) * (tl.cast(J, tl.int64) * K)
    values, seeds = values + b * V, seeds + b * S
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    for step in range(steps):
        j = first + step * BJ + tl.arange(0, BJ)
        inside = (j < J)[:, None] & (k < K)[None, :]
        y = tl.load(x + within(j, k, sj, sk, WIDE), mask=inside, other=0).to(tl.float32)
        y = program.run(y, ready, values, (c, i, j, k0), (C, I, J, K), PROGRAM)
        tl.store(out + within(j, k, K, 1, WIDE), y, mask=inside)


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
    WANTS: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    j0, k0 = locate(KB, 1, BJ, BK)
    i, volume = tl.program_id(1), tl.program_id(2)
    b, c = volume // C, volume % C
    j, k = j0 + tl.arange(0, BJ), k0 + tl.arange(0, BK)
    inside = (j < J)[:, None] & (k < K)[None, :]
    source = x + b.to(tl.int64) * sb + c.to(tl.int64) * sc + i.to(tl.int64) * si
    y = tl.load(source + within(j, k, sj, sk, WIDE), mask=inside, other=0).to(tl.float32)
    source = grad + b.to(tl.int64) * gb + c.to(tl.int64) * gc + i.to(tl.int64) * gi
    g = tl.load(source + within(j, k, gj, gk, WIDE), mask=inside, other=0).to(tl.float32)
    if WANTS:
        number = (volume.to(tl.int64) * I + i) * tl.num_programs(0) + tl.program_id(0)
        partial += number * V
    values, seeds = values + b * V, seeds + b * S
    place, shape = (c, i, j, k0), (C, I, J, K)
    ready = program.prepare(values, seeds, i, k, PROGRAM)
    g = program.run_back(g, y, ready, values, partial, place, shape, k, inside, PROGRAM, WANTS)
    plane = (volume.to(tl.int64) * I + i) * (tl.cast(J, tl.int64) * K)
    tl.store(out + plane + within(j, k, K, 1, WIDE), g, mask=inside)


def pointwise(
    x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, dtype: torch.dtype
) -> Tensor:
    """Apply a program of pointwise operations.

    Args:
        x: [B, C, I, J, K], any strides, float32 or shorter or integers.
        program: Four numbers for each operation; see :mod:`.program`.
        values: float32, [B, V].
        seeds: int64, [B, S].
        dtype: Of the result.
    """
    x = readable(x)
    B, C, I, J, K = x.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    tiles = Tiles.of(J, K)
    source_steps = strides(x)
    wide = is_wide((J, K), source_steps[3:]) or J * K >= 2**31
    grid = (tiles.JB * tiles.KB, I, B * C)
    pointwise_kernel[grid](
        x,
        out,
        values,
        seeds,
        C,
        I,
        J,
        K,
        *source_steps,
        values.shape[1],
        seeds.shape[1],
        tiles.KB,
        tiles.steps,
        PROGRAM=tuple(program),
        WIDE=wide,
        BJ=tiles.BJ,
        BK=tiles.BK,
        num_warps=tiles.warps,
        **OPTIONS,
    )
    return out


def pointwise_backward(
    grad: Tensor, x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, wants: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`pointwise` with respect to the volume and to the values.

    Args:
        grad: Of the result.
        wants: Whether the second one is wanted; else it is zero.
    """
    B, C, I, J, K = x.shape
    out = torch.empty(
        x.shape, dtype=x.dtype if x.is_floating_point() else grad.dtype, device=x.device
    )
    tiles = Tiles.of(J, K, rows=1)
    programs = C * I * tiles.JB * tiles.KB
    partial = torch.zeros(
        (B, programs if wants else 0, values.shape[1]), dtype=torch.float32, device=x.device
    )
    source = readable(x)
    grad_steps, source_steps = strides(grad), strides(source)
    wide = is_wide((J, K), source_steps[3:]) or is_wide((J, K), grad_steps[3:]) or J * K >= 2**31
    pointwise_backward_kernel[(tiles.JB * tiles.KB, I, B * C)](
        grad,
        source,
        out,
        partial,
        values,
        seeds,
        C,
        I,
        J,
        K,
        *grad_steps,
        *source_steps,
        values.shape[1],
        seeds.shape[1],
        tiles.KB,
        PROGRAM=tuple(program),
        WANTS=wants,
        WIDE=wide,
        BJ=tiles.BJ,
        BK=tiles.BK,
        num_warps=tiles.warps,
        **OPTIONS,
    )
    return out, partial.sum(1)


def _fake(
    x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, dtype: torch.dtype
) -> Tensor:
    return torch.empty(x.shape, dtype=dtype, device=x.device)


def _fake_backward(
    grad: Tensor, x: Tensor, program: Sequence[int], values: Tensor, seeds: Tensor, wants: bool
) -> tuple[Tensor, Tensor]:
    dtype = x.dtype if x.is_floating_point() else grad.dtype
    return torch.empty(x.shape, dtype=dtype, device=x.device), torch.empty_like(values)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.program, values, seeds, _ = inputs
    ctx.save_for_backward(x, values, seeds)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, values, seeds = ctx.saved_tensors
    wants = ctx.needs_input_grad[2]
    g, g_values = backward_operator(grad, x, ctx.program, values, seeds, wants)
    return g, None, g_values if wants else None, None, None


operator = register(
    "pointwise(Tensor x, int[] program, Tensor values, Tensor seeds, ScalarType dtype) -> Tensor",
    pointwise,
    _fake,
)
backward_operator = register(
    "pointwise_backward(Tensor grad, Tensor x, int[] program, Tensor values, Tensor seeds, "
    "bool wants) -> (Tensor, Tensor)",
    pointwise_backward,
    _fake_backward,
)
differentiate("pointwise", _remember, _backward)
has_no_gradient("pointwise_backward")
