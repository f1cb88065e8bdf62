"""Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405), a counter-based generator.

A pure function from (key, counter) to 128 random bits, in integer arithmetic for numpy arrays and
torch tensors: for the parameters of a pipeline on the host, and for noise on a device.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..arrays import Array

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
MASK = 0xFFFFFFFF

Words = tuple[Any, Any, Any, Any]


def philox(counter: Words, seeds: Array) -> Words:
    """Compute Philox4x32-10: four random 32-bit words for each counter and seed.

    Args:
        counter: Four int64 arrays or tensors of 32-bit words, which broadcast with each other and
            with ``seeds``.
        seeds: int64 keys; low and high halves are the two key words.

    Returns:
        Four int64 arrays or tensors with values in [0, 2**32).

    >>> zero = np.zeros(1, dtype=np.int64)
    >>> [hex(word.item()) for word in philox((zero, zero, zero, zero), zero)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    first, second = philox_pairs(counter, seeds)
    return first[0], second[0], first[1], second[1]


def philox_pairs(counter: Words, seeds: Array) -> tuple[Any, Any]:
    """Compute :func:`philox` as two stacks of words: [first and third], [second and fourth]."""
    xp: Any = np if isinstance(seeds, np.ndarray) else torch
    shift = np.right_shift if xp is np else torch.bitwise_right_shift
    words = (*counter, seeds)
    if xp is np:  # several times as fast as broadcast_shapes
        shape = np.broadcast(*words).shape
    else:
        shape = np.broadcast_shapes(*(word.shape for word in words))
    where = {} if xp is np else {"device": seeds.device}
    # Three buffers, reused in each round: the words to multiply, the others, and the products.
    odd, even, product = xp.empty((3, 2, *shape), dtype=xp.int64, **where)
    odd[0], even[0], odd[1], even[1] = counter
    key = xp.stack((seeds & MASK, (seeds >> 32) & MASK))
    for each in _round_keys(key):
        # Only the two halves of the 64-bit products are used, so that an overflow into the sign bit
        # is harmless; bits above 31 are masked. Each product is used for the other word.
        if xp is np:
            np.multiply(odd, _stacked(_MULTIPLIERS, odd.ndim), out=product[::-1])
        else:
            torch.mul(odd[0], _MULTIPLIERS[0], out=product[1])
            torch.mul(odd[1], _MULTIPLIERS[1], out=product[0])
        shift(product, 32, out=odd)
        odd ^= even
        odd ^= each
        odd &= MASK
        even, product = product, even
    even &= MASK
    return odd, even


def _round_keys(key: Any) -> Iterator[Any]:
    """Yield the two key words [2, ...] of each round."""
    if isinstance(key, np.ndarray):  # all at once: the overhead of a call dominates
        rounds = np.arange(_ROUNDS).reshape(-1, *(1,) * key.ndim)
        yield from key + rounds * _stacked(_WEYL, key.ndim)
        return
    for _ in range(_ROUNDS):
        yield key
        key[0] += _WEYL[0]
        key[1] += _WEYL[1]


@lru_cache(maxsize=16)
def _stacked(pair: tuple[int, int], ndim: int) -> np.ndarray:
    """Return two constants shaped to broadcast with two stacked words."""
    return np.array(pair).reshape(2, *(1,) * (ndim - 1))
