"""Standard normal numbers, four per call: Philox4x32-10 and the method of Box and Muller (1958).

The generator is that of Salmon et al. 2011, doi:10.1145/2063384.2063405. Number n of a stream is
lane n % 4 of counter n // 4 under the stream's 64-bit key. The four numbers of a counter are for
four neighbouring rows; see ``torchio_gpu.random.gaussian``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .intrinsics import cos, log2, sin, sqrt


@triton.jit
def normals(key, counter):
    """Return the four numbers of each counter.

    Args:
        key: int64 seed.
        counter: int64, any block.
    """
    a, b, c, d = philox(key, counter)
    one, two = box_muller(a, b)
    three, four = box_muller(c, d)
    return one, two, three, four


@triton.jit
def philox(key, counter):
    """Return the four words, uint32, of each counter of Philox4x32-10."""
    key_0 = (key & 0xFFFFFFFF).to(tl.uint32)
    key_1 = (key >> 32).to(tl.uint32)
    # the first round of a counter whose upper words are 0
    low, high = _product(counter.to(tl.uint32), 0xD2511F53)
    a, b = (counter >> 32).to(tl.uint32) ^ key_0, low * 0
    c, d = high ^ key_1, low
    for _ in tl.static_range(9):
        key_0 += 0x9E3779B9
        key_1 += 0xBB67AE85
        low, high = _product(a, 0xD2511F53)
        other_low, other_high = _product(c, 0xCD9E8D57)
        a, b = other_high ^ b ^ key_0, other_low
        c, d = high ^ d ^ key_1, low
    return a, b, c, d


@triton.jit
def _product(x, factor: tl.constexpr):
    """Return the lower and the upper word of a product of words: one instruction of a GPU."""
    f = tl.full(x.shape, factor, tl.uint32)
    return x * f, tl.umulhi(x, f)


@triton.jit
def box_muller(radial, angular):
    """Return two normal numbers from two words."""
    # (word + 1/2) / 2**32 lies in (0, 1]: the logarithm stays finite
    u = radial.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10
    # -2 ln u; an approximate logarithm may come out above 0 where u is nearly 1
    radius = sqrt(tl.maximum(log2(u) * -1.3862943611198906, 0.0))
    # word / 2**32 turns, as an angle in [-pi, pi)
    angle = angular.to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-09
    return radius * cos(angle), radius * sin(angle)
