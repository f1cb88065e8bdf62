"""Standard normal numbers, four per call: Philox4x32-10 and the method of Box and Muller (1958).

The generator is that of Salmon et al. 2011, doi:10.1145/2063384.2063405, as Triton has it. Number n
of a stream is lane n % 4 of counter n // 4 under the stream's 64-bit key.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .logarithm import log2


@triton.jit
def normals(key, counter):
    """Return the four numbers of each counter.

    Args:
        key: int64 seed.
        counter: int64, any block.
    """
    low = (counter & 0xFFFFFFFF).to(tl.uint32)
    high = (counter >> 32).to(tl.uint32)
    zero = low * 0
    a, b, c, d = tl.philox(key, low, high, zero, zero)
    one, two = _box_muller(a, b)
    three, four = _box_muller(c, d)
    return one, two, three, four


@triton.jit
def _box_muller(radial, angular):
    """Return two normal numbers from two words."""
    # (word + 1/2) / 2**32 lies in (0, 1]: the logarithm stays finite
    u = (radial.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    # -2 ln u; an approximate logarithm may come out above 0 where u is nearly 1
    radius = tl.sqrt(tl.maximum(log2(u) * -1.3862943611198906, 0.0))
    cos, sin = _cos_sin(angular)
    return radius * cos, radius * sin


@triton.jit
def _cos_sin(word):
    """Cosine and sine of word / 2**32 turns.

    The nearest quarter turn is subtracted in integers, which is exact; the rest lies within an
    eighth of a turn, where Taylor series to the 8th and 9th power err by less than 3e-9.
    """
    quarter = (word + 0x20000000) >> 30
    rest = (word - (quarter << 30)).to(tl.int32, bitcast=True)
    a = rest.to(tl.float32) * 1.4629180792671596e-09  # radians: 2 pi / 2**32
    s = a * a
    sin = a + a * s * (-1.6666667e-1 + s * (8.3333333e-3 + s * (-1.9841270e-4 + s * 2.7557319e-6)))
    cos = 1.0 + s * (-0.5 + s * (4.1666667e-2 + s * (-1.3888889e-3 + s * 2.4801587e-5)))
    odd = (quarter & 1) == 1
    one = tl.where(odd, -sin, cos)
    two = tl.where(odd, cos, sin)
    back = (quarter & 2) == 2
    return tl.where(back, -one, one), tl.where(back, -two, two)


@triton.jit
def noise_tile(key, first, place, shape, BJ: tl.constexpr, BK: tl.constexpr):
    """Return normal numbers for a tile [BJ, BK]: the four of a counter are for four rows.

    Args:
        key: Seed of the sample.
        first: Counter of voxel (0, 0) of the plane, int64.
        place, shape: As for :func:`.program.run`; the tile begins at a multiple of BJ along J.
    """
    G: tl.constexpr = (BJ + 3) // 4
    j0, k0, K = place[3], place[4], shape[3]
    offset = tl.arange(0, G)[:, None] * K + (k0 + tl.arange(0, BK))[None, :]
    counter = first + (j0 // 4).to(tl.int64) * K + offset
    one, two, three, four = normals(key, counter)  # [G, BK] each
    if BJ >= 4:
        # join stacks along a new last axis: [G, BK, 2, 2], lane 2 a + b at [..., a, b]
        lanes = tl.join(tl.join(one, three), tl.join(two, four))
        tile = lanes.permute(0, 2, 3, 1).reshape(BJ, BK)
    else:
        lane = (place[2] % 4)[:, None]
        tile = tl.where(lane < 2, tl.where(lane == 0, one, two), tl.where(lane == 2, three, four))
    return tile
