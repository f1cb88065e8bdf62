"""Elementary functions of float32 that LLVM vectorizes, with stated errors.

Their branches are selections, so that a loop over them has none. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import inlined

_MANTISSA = np.int32(0x7FFFFF)
#: Bits of sqrt(1/2): mantissas are taken from [sqrt(1/2), sqrt(2)).
_HALF_ROOT = np.int32(0x3F3504F3)
_INFINITE = np.float32(np.inf)
_LEAST = np.float32(2.0**-126)  # the smallest normal number


@intrinsic
def bits_of(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the bits of a float32 as int32."""
    return types.int32(x), lambda _, builder, __, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def from_bits(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the float32 with the bits of an int32."""
    return types.float32(x), lambda _, builder, __, args: builder.bitcast(args[0], ir.FloatType())


@inlined
def log2(x):
    """Base-2 logarithm of a number >= 0, with a relative error of at most 2e-7.

    The minimax polynomial of degree 8 of log2(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1] errs by
    5e-8 of its value, with coefficients in float32.
    """
    small = x < _LEAST
    bits = bits_of(np.float32(x * np.float32(2.0**24)) if small else x)
    exponent = np.int32((bits - _HALF_ROOT) >> 23)
    f = from_bits(np.int32(bits - np.int32(exponent << 23))) - np.float32(1)
    y = np.float32(0.12583689391613007)
    y = y * f + np.float32(-0.20726968348026276)
    y = y * f + np.float32(0.21571561694145203)
    y = y * f + np.float32(-0.23894482851028442)
    y = y * f + np.float32(0.28791624307632446)
    y = y * f + np.float32(-0.3607036769390106)
    y = y * f + np.float32(0.48091062903404236)
    y = y * f + np.float32(-0.7213473320007324)
    y = y * f + np.float32(1.4426950216293335)
    whole = np.float32(exponent) - (np.float32(24) if small else np.float32(0))
    y = y * f + whole
    y = y if x < _INFINITE else x
    return -_INFINITE if x == np.float32(0) else y


@inlined
def exp2(x):
    """Two to the power x, with a relative error of at most 1e-7; 0 below 2**-126.

    The minimax polynomial of degree 6 on [-1/2, 1/2] errs by 2e-8, with coefficients in
    float32.
    """
    near = x if x > np.float32(-127) else np.float32(-127)  # NaN too
    near = near if near < np.float32(128) else np.float32(128)
    # truncation of a positive number rounds down
    whole = np.int32(np.int32(near + np.float32(1024.5)) - np.int32(1024))
    r = near - np.float32(whole)
    y = np.float32(0.00015345810970757157)
    y = y * r + np.float32(0.0013399930903688073)
    y = y * r + np.float32(0.009618489071726799)
    y = y * r + np.float32(0.05550328642129898)
    y = y * r + np.float32(0.24022646248340607)
    y = y * r + np.float32(0.6931471824645996)
    y = y * r + np.float32(1)
    # in two factors: 2**128 is not a float32, but its product with less than 1 may be
    half = np.int32(whole >> 1)
    y = y * from_bits(np.int32((half + np.int32(127)) << 23))
    y = y * from_bits(np.int32((whole - half + np.int32(127)) << 23))
    y = y if x < np.float32(128) else x * _INFINITE
    return np.float32(0) if x < np.float32(-126) else y


@inlined
def cos_sin(word):
    """Return cosine and sine of ``word`` / 2**32 turns, for a uint32, with errors of at most 1e-7.

    The nearest quarter turn is subtracted in integers, which is exact; the rest lies within an
    eighth of a turn, where Taylor series to the 8th and 9th power err by less than 3e-8.
    """
    quarter = np.uint32(np.uint32(word + np.uint32(0x20000000)) >> np.uint32(30))
    rest = np.int32(np.uint32(word - np.uint32(quarter << np.uint32(30))))
    a = np.float32(rest) * np.float32(1.4629180792671596e-9)  # radians: 2 pi / 2**32
    s = a * a
    sin = np.float32(2.7557319e-6)
    sin = sin * s + np.float32(-1.9841270e-4)
    sin = sin * s + np.float32(8.3333333e-3)
    sin = sin * s + np.float32(-1.6666667e-1)
    sin = a + a * s * sin
    cos = np.float32(2.4801587e-5)
    cos = cos * s + np.float32(-1.3888889e-3)
    cos = cos * s + np.float32(4.1666667e-2)
    cos = cos * s + np.float32(-0.5)
    cos = cos * s + np.float32(1)
    odd = (quarter & np.uint32(1)) != 0
    one = -sin if odd else cos
    two = cos if odd else sin
    back = (quarter & np.uint32(2)) != 0
    return (-one if back else one), (-two if back else two)
