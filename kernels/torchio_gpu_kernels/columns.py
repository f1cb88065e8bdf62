"""Contraction of control points along I and K: a spline along J is left for each plane and column.

It has N / J times the size of a dense displacement, for N control points and J voxels along J, and
a warp reads nothing else of the displacement.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .library import differentiate, register
from .tiles import OPTIONS
from .tiling import TAPS

_BK = 128
#: Smallest number of rows and columns of a matrix for tensor cores, and largest number of rows of a
#: matrix that a block keeps in registers.
_LEAST, _MOST = 16, 64
_TAPS = tl.constexpr(TAPS)


@triton.jit(do_not_specialize=["I", "per_sample", "KB"])
def columns_kernel(
    points,
    along_i,
    lowest,
    along_k,
    out,
    I,
    K,
    N0,
    N1,
    N2,
    per_sample,
    KB,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    tile = tl.program_id(0)
    k = (tile % KB) * BK + tl.arange(0, BK)
    i, b = tl.program_id(1), tl.program_id(2)
    # m counts components and control points along J
    m, n = (tile // KB) * BM + tl.arange(0, BM), tl.arange(0, BN)
    item = b * per_sample
    first = tl.load(lowest + item * I + i)
    weights = along_i + (item * I + i) * N0 + first
    there = (m < 3 * N1)[:, None] & (n < N2)[None, :]
    own = points + (b * 3 * N0 + first) * N1 * N2
    own += ((m // N1) * (N0 * N1) + m % N1)[:, None] * N2 + n[None, :]
    plane = tl.zeros((BM, BN), dtype=tl.float32)
    for tap in tl.static_range(_TAPS):
        plane += tl.load(weights + tap) * tl.load(own + tap * N1 * N2, mask=there, other=0.0)
    known = (n < N2)[:, None] & (k < K)[None, :]
    along = tl.load(along_k + item * N2 * K + n[:, None] * K + k[None, :], mask=known, other=0.0)
    # three products of tf32, together as exact as one of float32
    total = tl.dot(plane, along, input_precision="tf32x3")
    target = out + (b.to(tl.int64) * I + i) * (3 * N1 * K)
    inside = (m < 3 * N1)[:, None] & (k < K)[None, :]
    tl.store(target + m[:, None] * K + k[None, :], total, mask=inside)


def columns(points: Tensor, along_i: Tensor, lowest: Tensor, along_k: Tensor) -> Tensor:
    """Contract control points along I and K.

    Args:
        points: Displacement vectors, float32 [B, 3, N0, N1, N2].
        along_i: Weights of the control points along I, float32 [B or 1, I, N0].
        lowest: Lowest of the four control points that each plane depends on, int32 [B or 1, I].
        along_k: Weights along K, float32 [B or 1, N2, K].

    Returns:
        float32 [B, I, 3, N1, K].
    """
    B, _, N0, N1, N2 = points.shape
    I, K = along_i.shape[1], along_k.shape[2]
    out = torch.empty((B, I, 3, N1, K), dtype=torch.float32, device=points.device)
    BM = min(_MOST, max(_LEAST, triton.next_power_of_2(3 * N1)))
    BK = min(_BK, max(_LEAST, triton.next_power_of_2(K)))
    KB = triton.cdiv(K, BK)
    columns_kernel[(KB * triton.cdiv(3 * N1, BM), I, B)](
        points=points.contiguous(),
        along_i=along_i,
        lowest=lowest,
        along_k=along_k,
        out=out,
        I=I,
        K=K,
        N0=N0,
        N1=N1,
        N2=N2,
        per_sample=int(along_i.shape[0] > 1),
        KB=KB,
        BM=BM,
        BN=max(_LEAST, triton.next_power_of_2(N2)),
        BK=BK,
        num_warps=4,
        **OPTIONS,
    )
    return out


def _fake(points: Tensor, along_i: Tensor, lowest: Tensor, along_k: Tensor) -> Tensor:
    B, _, _, N1, _ = points.shape
    return points.new_empty((B, along_i.shape[1], 3, N1, along_k.shape[2]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, along_i, _, along_k = inputs
    ctx.save_for_backward(along_i, along_k)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    along_i, along_k = (t.double() for t in ctx.saved_tensors)
    batch = len(grad)
    along_i, along_k = along_i.expand(batch, -1, -1), along_k.expand(batch, -1, -1)
    points = torch.einsum("bidnk,bil,bmk->bdlnm", grad.double(), along_i, along_k)
    return points.float(), None, None, None


operator = register(
    "columns(Tensor points, Tensor along_i, Tensor lowest, Tensor along_k) -> Tensor",
    columns,
    _fake,
)
differentiate("columns", _setup_context, _backward)
