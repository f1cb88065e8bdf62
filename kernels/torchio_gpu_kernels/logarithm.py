"""Logarithm by the special function unit of a GPU."""

from __future__ import annotations

import triton
import triton.language as tl

#: True in Triton's interpreter, which does not run assembly.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def log2(x):
    """Base-2 logarithm of float32, with an absolute or relative error of at most 2**-22.

    The one of the CUDA library is exact to the last bit and takes ten times as many instructions,
    as many as all other operations on a voxel.
    """
    if INTERPRETED:
        return tl.log2(x)
    return tl.inline_asm_elementwise(
        "lg2.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
    )
