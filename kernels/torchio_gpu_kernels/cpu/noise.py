"""Standard normal numbers, four per counter: Philox4x32-10 and the method of Box and Muller (1958).

The generator is that of Salmon et al. 2011, doi:10.1145/2063384.2063405. The four numbers of a
counter are those of four neighbouring rows; ``torchio_gpu.random.gaussian`` gives the numbering.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import inlined
from .mathematics import cos_sin, log2

_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


@inlined
def philox(counter, key):
    """Return the four words of a counter under a key, uint32."""
    a, b, c, d = counter & _LOW, counter >> _WORD, np.uint64(0), np.uint64(0)
    k0, k1 = key & _LOW, key >> _WORD
    for _ in range(10):
        one, two = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b = (two >> _WORD) ^ b ^ k0, two & _LOW
        c, d = (one >> _WORD) ^ d ^ k1, one & _LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return np.uint32(a), np.uint32(b), np.uint32(c), np.uint32(d)


@inlined
def box_muller(radial, angular):
    """Return two normal numbers from two words."""
    # (word + 1/2) / 2**32 lies in (0, 1]: the logarithm stays finite
    u = (np.float32(radial) + np.float32(0.5)) * np.float32(2.0**-32)
    radius = math.sqrt(log2(u) * np.float32(-1.3862943611198906))  # -2 ln u
    cos, sin = cos_sin(angular)
    return radius * cos, radius * sin


@inlined
def fill_normals(out, words, K, key, counter):
    """Fill four rows with the normal numbers of the counters from ``counter``.

    Args:
        out: float32 [4 K].
        words: Scratch memory, uint32 [4, K].
    """
    for k in range(K):
        a, b, c, d = philox(counter + np.uint64(k), key)
        words[0, k] = a
        words[1, k] = b
        words[2, k] = c
        words[3, k] = d
    for pair in range(2):
        first = 2 * pair
        for k in range(K):
            one, two = box_muller(words[first, k], words[first + 1, k])
            out[first * K + k] = one
            out[first * K + K + k] = two
