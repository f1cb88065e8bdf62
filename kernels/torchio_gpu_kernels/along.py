"""Products of the voxels along an axis with a matrix of each sample, without transposed copies.

Filters, interpolation along the axes and masks of lines of k-space are such products. Of large
matrices, blocks of zeros are skipped, so that a band costs what it holds. Tensor cores multiply
float32 as three products in TF32, which keep all but the last bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .library import differentiate, register
from .tiles import OPTIONS, before_hopper, capped, is_wide

#: Tile of the result: lines times voxels along the axis; and voxels that are summed at once.
_LINES, _TO, _FROM = 64, 64, 16
#: Voxels along an axis up to which it costs more to look for blocks of zeros than to multiply them.
_DENSE = 160
#: The fewest that tensor cores take.
_LEAST = 16


@triton.jit
def _high_bits(x):
    """Return float32 with the bits that TF32 keeps."""
    return (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def along_kernel(
    out,
    x,
    base,
    matrix,
    axes,
    C,
    M,
    N,
    A1,
    A2,
    tiles,
    parts,
    steps,
    ob,
    oc,
    o1,
    o2,
    om,
    xb,
    xc,
    x1,
    x2,
    xn,
    bb,
    bc,
    b1,
    b2,
    bm,
    wb,
    wm,
    wn,
    AXIS: tl.constexpr,
    CENTRED: tl.constexpr,
    DOT: tl.constexpr,
    SPARSE: tl.constexpr,
    WIDE: tl.constexpr,
    LINES: tl.constexpr,
    TO: tl.constexpr,
    FROM: tl.constexpr,
):
    volume, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    b, c = volume // C, volume % C
    here = True
    if axes is not None:
        here = tl.load(axes + b) == AXIS
    if here:
        line = (tile // parts) * LINES + tl.arange(0, LINES)
        m = (tile % parts) * TO + tl.arange(0, TO)
        a1, a2 = line // A2, line % A2
        on_line, on_axis = line < A1 * A2, m < M
        inside = on_line[:, None] & on_axis[None, :]
        if WIDE:
            a1, a2, m = a1.to(tl.int64), a2.to(tl.int64), m.to(tl.int64)
            b, c = b.to(tl.int64), c.to(tl.int64)
        weights = matrix + b * wb + m[None, :] * wm
        source = x + b * xb + c * xc + (a1 * x1 + a2 * x2)[:, None]
        acc = tl.zeros((LINES, TO), out.dtype.element_ty)
        worst = 1
        if DOT:
            for step in range(steps):
                n = step * FROM + tl.arange(0, FROM)
                if WIDE:
                    n = n.to(tl.int64)
                w = tl.load(weights + n[:, None] * wn, (n < N)[:, None] & on_axis[None, :], 0.0)
                if CENTRED:
                    w -= tl.where((n[:, None] == m[None, :]) & (n < N)[:, None], 1.0, 0.0)
                needed = True
                if SPARSE:
                    needed = tl.max(tl.max((w != 0).to(tl.int32), 1), 0) != 0
                if needed:
                    v = tl.load(source + n[None, :] * xn, on_line[:, None] & (n < N)[None, :], 0.0)
                    v_high, w_high = _high_bits(v), _high_bits(w)
                    acc = tl.dot(v - v_high, w_high, acc, input_precision="tf32")
                    acc = tl.dot(v_high, w - w_high, acc, input_precision="tf32")
                    acc = tl.dot(v_high, w_high, acc, input_precision="tf32")
            if base is not None:
                start = base + b * bb + c * bc + (a1 * b1 + a2 * b2)[:, None]
                acc += tl.load(start + m[None, :] * bm, inside, 0.0)
            fine = tl.abs(acc) < float("inf")
            worst = tl.max(tl.max(tl.where(fine, 0, 1), 1), 0)
        if worst != 0:  # of voxels that are not finite, only those with a weight count
            acc = tl.zeros((LINES, TO), out.dtype.element_ty)
            for n in tl.range(N, loop_unroll_factor=1):
                w = tl.load(weights + n * wn, on_axis[None, :], 0.0)  # [1, TO]
                v = tl.load(source + tl.cast(n, tl.int64) * xn, on_line[:, None], 0.0)
                acc += tl.where(w != 0, w * v, 0.0)
            if base is not None and not CENTRED:
                start = base + b * bb + c * bc + (a1 * b1 + a2 * b2)[:, None]
                acc += tl.load(start + m[None, :] * bm, inside, 0.0)
        target = out + b * ob + c * oc + (a1 * o1 + a2 * o2)[:, None] + m[None, :] * om
        tl.store(target, acc, inside)


def _strides(x: Tensor | None, axis: int, *names: str) -> dict[str, int]:
    """Return strides of a volume, the axis last, by the names of a kernel's arguments."""
    if x is None:
        return dict.fromkeys(names, 0)
    first, second = (a for a in (2, 3, 4) if a != 2 + axis)
    order = (0, 1, first, second, 2 + axis)
    return {name: x.stride(dim) for name, dim in zip(names, order, strict=True)}


def _shape(x: Tensor, matrix: Tensor, dims: list[int]) -> list[int]:
    shape = list(x.shape)
    for axis in dims:
        shape[2 + axis] = matrix.shape[1]
    return shape


def along(
    x: Tensor, matrix: Tensor, base: Tensor | None, axes: Tensor | None, dims: list[int]
) -> Tensor:
    """Multiply the voxels along an axis by a matrix of each sample.

    Args:
        x: Volume [B, C, I, J, K] in float32 or float64, any strides.
        matrix: [B or 1, M, N] in its dtype, any strides.
        base: Volume that is added to the result, in its shape and dtype.
        axes: Axis of each sample, [B] int32; None if it is one for all.
        dims: Axes that occur; if there are several, M and N are the voxels along each.
    """
    out = x.new_empty(_shape(x, matrix, dims))
    M, N = matrix.shape[1:]
    centred = base is None and M == N  # the difference to x, so that an identity changes no bit
    added = x if centred else base
    # where loads are of single voxels, and before Hopper, larger tiles take too many registers
    narrow = before_hopper() or any(n % 16 for n in (*x.shape[2:], *out.shape[2:]))
    lines = out.shape[2] * out.shape[3] * out.shape[4] // max(1, M)
    LINES = min(_LINES // (1 + narrow), max(_LEAST, triton.next_power_of_2(lines)))
    TO = min(_TO, max(_LEAST, triton.next_power_of_2(M)))
    parts = triton.cdiv(M, TO)
    volumes = (out, x) if added is None else (out, x, added)
    wide = any(is_wide(v.shape, v.stride()) for v in volumes)
    matrices = {"wb": matrix.stride(0) if len(matrix) > 1 else 0}
    matrices |= {"wm": matrix.stride(1), "wn": matrix.stride(2)}
    for axis in dims:
        first, second = (n for a, n in enumerate(x.shape[2:]) if a != axis)
        tiles = triton.cdiv(first * second, LINES) * parts
        along_kernel[(tiles * x.shape[0] * x.shape[1],)](
            out=out,
            x=x,
            base=added,
            matrix=matrix,
            axes=axes,
            C=x.shape[1],
            M=M,
            N=N,
            A1=first,
            A2=second,
            tiles=tiles,
            parts=parts,
            steps=triton.cdiv(N, _FROM),
            **_strides(out, axis, "ob", "oc", "o1", "o2", "om"),
            **_strides(x, axis, "xb", "xc", "x1", "x2", "xn"),
            **_strides(added, axis, "bb", "bc", "b1", "b2", "bm"),
            **matrices,
            AXIS=axis,
            CENTRED=centred,
            DOT=x.dtype == torch.float32,
            SPARSE=N > _DENSE,
            WIDE=wide,
            LINES=LINES,
            TO=TO,
            FROM=_FROM,
            num_warps=8,
            num_stages=1,
            **capped(True),
            **OPTIONS,
        )
    return out


_ALONG = register(
    "along(Tensor x, Tensor matrix, Tensor? base, Tensor? axes, int[] dims) -> Tensor",
    along,
    lambda x, matrix, base, axes, dims: x.new_empty(_shape(x, matrix, dims)),
)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, matrix, _, axes, dims = inputs
    wanted = ctx.needs_input_grad
    ctx.save_for_backward(x if wanted[1] else None, matrix if wanted[0] else None, axes)
    ctx.dims, ctx.shape, ctx.rows = dims, x.shape, len(matrix)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, matrix, axes = ctx.saved_tensors
    g_x = g_matrix = None
    if ctx.needs_input_grad[0]:
        g_x = _ALONG(grad, matrix.mT, None, axes, ctx.dims)
    if ctx.needs_input_grad[1]:
        g_matrix = torch.zeros((), dtype=grad.dtype, device=grad.device)
        for axis in ctx.dims:
            g, v = (
                each.movedim(2 + axis, -1).flatten(1, 3) for each in (grad, x)
            )  # [B, R, M or N]
            found = torch.bmm(g.mT, v)
            if axes is not None:
                found = found * (axes == axis)[:, None, None]
            g_matrix = g_matrix + found
        if ctx.rows == 1:
            g_matrix = g_matrix.sum(0, keepdim=True)
    return g_x, g_matrix, grad if ctx.needs_input_grad[2] else None, None, None


differentiate("along", _keep, _backward)
