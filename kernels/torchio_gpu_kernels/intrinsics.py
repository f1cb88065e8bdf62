"""Elementary functions of float32 by the special function unit of a GPU.

Those of the CUDA library are exact to the last bit and take many times as many instructions. Each
function has a twin for Triton's interpreter, which does not run assembly. Subnormal numbers count
as 0. The errors are those that NVIDIA's PTX ISA states.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: True in Triton's interpreter.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def log2(x):
    """Base-2 logarithm, with an absolute error of 2**-22 in [1/2, 2], a relative one elsewhere."""
    if INTERPRETED:
        return tl.log2(x)
    return _call("lg2.approx.ftz.f32 $0, $1;", x)


@triton.jit
def exp2(x):
    """Two to the power x, with a relative error of 2**-22."""
    if INTERPRETED:
        return tl.exp2(x)
    return _call("ex2.approx.ftz.f32 $0, $1;", x)


@triton.jit
def sqrt(x):
    """Square root, with a relative error of 2**-23."""
    if INTERPRETED:
        return tl.sqrt(x)
    return _call("sqrt.approx.ftz.f32 $0, $1;", x)


@triton.jit
def sin(x):
    """Sine of an angle in [-pi, pi], with an absolute error of 2**-20.9."""
    if INTERPRETED:
        return tl.sin(x)
    return _call("sin.approx.ftz.f32 $0, $1;", x)


@triton.jit
def cos(x):
    """Cosine of an angle in [-pi, pi], with an absolute error of 2**-20.9."""
    if INTERPRETED:
        return tl.cos(x)
    return _call("cos.approx.ftz.f32 $0, $1;", x)


@triton.jit
def log2_of_magnitude(x):
    """Base-2 logarithm of abs(x), as :func:`log2`; -inf for magnitudes that count as 0."""
    if INTERPRETED:
        small = is_zero(x)
        return tl.where(small, float("-inf"), tl.log2(tl.where(small, 1.0, tl.abs(x))))
    return _call("{ .reg .f32 t; abs.f32 t, $1; lg2.approx.ftz.f32 $0, t; }", x)


@triton.jit
def is_zero(x):
    """Return True for 0 and for subnormal numbers, which count as 0."""
    return tl.abs(x) < 1.1754943508222875e-38  # 2**-126


@triton.jit
def saturated_difference(x, y):
    """Return x - y, clamped to [0, 1]; 0 for NaN."""
    if INTERPRETED:
        return tl.minimum(tl.maximum(x - y, 0.0), 1.0)
    code: tl.constexpr = "sub.sat.f32 $0, $1, $2;"
    return tl.inline_asm_elementwise(code, "=f,f,f", [x, y], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def with_sign(magnitude, x):
    """Return a magnitude with the sign of x."""
    if INTERPRETED:
        return tl.where(x.to(tl.int32, bitcast=True) < 0, -magnitude, magnitude)
    code: tl.constexpr = "copysign.f32 $0, $2, $1;"
    return tl.inline_asm_elementwise(
        code, "=f,f,f", [magnitude, x], dtype=tl.float32, is_pure=True, pack=1
    )


@triton.jit
def _call(code: tl.constexpr, x):
    return tl.inline_asm_elementwise(code, "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
