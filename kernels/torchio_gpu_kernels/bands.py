"""Products of banded matrices and voxels that are not finite.

A dense product multiplies a voxel that is NaN by the zeros of the matrix, too. If all voxels are
finite, which is known on the device only, the launch does nothing.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .library import register
from .tiles import OPTIONS

_BLOCK = 256


@triton.jit
def bands_kernel(
    out,
    x,
    matrix,
    doubt,
    total,
    B,
    G,
    A1,
    A2,
    M,
    N,
    og,
    o1,
    o2,
    om,
    xg,
    x1,
    x2,
    xn,
    BLOCK: tl.constexpr,
):
    if tl.load(doubt) != 0:
        number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = number < total
        m, rest = number % M, number // M
        a2, rest = rest % A2, rest // A2
        a1, g = rest % A1, rest // A1
        weights = matrix + ((g * B // G) * M + m) * N
        source = x + g * xg + a1 * x1 + a2 * x2
        sums = tl.zeros((BLOCK,), out.dtype.element_ty)
        for n in range(N):
            weight = tl.load(weights + n, mask=inside, other=0)
            value = tl.load(source + tl.cast(n, tl.int64) * xn, mask=inside, other=0)
            sums += weight * tl.where(weight != 0, value, 0)
        tl.store(out + g * og + a1 * o1 + a2 * o2 + m * om, sums, mask=inside)


def _strides(x: Tensor, *names: str) -> dict[str, int]:
    """Return the strides of a tensor by the names of a kernel's arguments."""
    return dict(zip(names, x.stride(), strict=True))


def mend_bands(out: Tensor, x: Tensor, matrix: Tensor, doubt: Tensor) -> None:
    """Repeat a product with nonzero weights only, if a voxel is not finite.

    Args:
        out: Product, overwritten, [G, A1, A2, M], any strides.
        x: Voxels, [G, A1, A2, N], of the same dtype, any strides.
        matrix: [B, M, N], contiguous; G is a multiple of B, and samples come first.
        doubt: True if a voxel is not finite, bool [].
    """
    G, A1, A2, M = out.shape
    B, _, N = matrix.shape
    bands_kernel[(triton.cdiv(out.numel(), _BLOCK),)](
        out=out,
        x=x,
        matrix=matrix,
        doubt=doubt.view(torch.uint8),
        total=out.numel(),
        B=B,
        G=G,
        A1=A1,
        A2=A2,
        M=M,
        N=N,
        **_strides(out, "og", "o1", "o2", "om"),
        **_strides(x, "xg", "x1", "x2", "xn"),
        BLOCK=_BLOCK,
        num_warps=4,
        **OPTIONS,
    )


register(
    "mend_bands_(Tensor(a!) out, Tensor x, Tensor matrix, Tensor doubt) -> ()",
    mend_bands,
    lambda out, x, matrix, doubt: None,
)
