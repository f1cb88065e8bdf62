"""The logarithm of the GPU's special function unit."""

from __future__ import annotations

import triton
import triton.language as tl

#: Whether kernels run in Triton's interpreter, which knows no assembly.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def log2(x):
    """Base-2 logarithm of float32, off by 2**-22 at most, or that share of it.

    The library's own is exact to the last bit and takes ten times as many instructions: as many as
    all else that is done to a voxel.
    """
    if INTERPRETED:
        return tl.log2(x)
    return tl.inline_asm_elementwise(
        "lg2.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
    )
