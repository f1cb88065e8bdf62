"""Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405), a counter-based generator.

A pure function from (key, counter) to 128 random bits, in integer arithmetic for numpy arrays and
torch tensors: for the parameters of a pipeline on the host, and for noise.
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
#: Constants of :func:`philox_run`. They are arrays, as numpy converts other numbers at each use.
_FACTORS = np.array(_MULTIPLIERS, dtype=np.uint64).reshape(2, 1, 1)
_LOW, _BITS = np.array(MASK, dtype=np.uint64), np.array(32, dtype=np.uint64)
_KEY_STEPS = np.arange(_ROUNDS).reshape(-1, 1, 1) * np.array(_WEYL).reshape(2, 1)

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


def keys_of_rounds(seeds: np.ndarray) -> np.ndarray:
    """Return the two key words of each round, uint64 [10, 2, B, 1], given int64 seeds, [B]."""
    halves = np.array((seeds, seeds >> 32))
    return ((halves + _KEY_STEPS) & MASK).view(np.uint64)[..., None]


def philox_run(
    first: int, keys: np.ndarray, work: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute :func:`philox_pairs` for N neighbouring 64-bit counters, without taking memory.

    Args:
        first: The first counter; the upper two words of all are 0.
        keys: From :func:`keys_of_rounds`.
        work: Memory for the results, uint64 [3, 2, B, N].

    Returns:
        Two parts of ``work`` with the two stacks of words, [2, B, N] each, in which bits above 31
        have no meaning, and its third part.

    >>> work = np.empty((3, 2, 1, 1), dtype=np.uint64)
    >>> one, two, _ = philox_run(0, keys_of_rounds(np.zeros(1, dtype=np.int64)), work)
    >>> [hex(word.item() & MASK) for word in (one[0], two[0], one[1], two[1])]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    odd, even, product = work
    # In the first two rounds, less is to be multiplied than in the others: two of the words are 0,
    # and another one, the upper half of a counter, is the same for all as a rule.
    n = product[0, 0]
    n[:] = np.arange(first, first + len(n), dtype=np.uint64)
    same = first >> 32 == (first + len(n) - 1) >> 32
    high = ((n[:1] if same else n) >> _BITS ^ keys[0, 0]) * _FACTORS[0]  # [B, 1 or N]
    n &= _LOW
    n *= _FACTORS[0, 0]
    np.bitwise_xor(n >> _BITS, keys[0, 1], out=odd[0])
    np.multiply(odd[0], _FACTORS[1], out=even[0])
    np.right_shift(even[0], _BITS, out=odd[0])
    odd[0] ^= keys[1, 0]
    n &= _LOW
    np.bitwise_xor(n, high >> _BITS ^ keys[1, 1], out=odd[1])
    even[1] = high
    for number, key in enumerate(keys[2:]):
        if number > 0:
            odd &= _LOW
        np.multiply(odd, _FACTORS, out=product[::-1])  # each product is used for the other word
        np.right_shift(product, _BITS, out=odd)
        odd ^= even
        odd ^= key
        even, product = product, even
    return odd, even, product


def philox_grid(first: np.ndarray, base: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Compute :func:`philox` for N counters of each of B seeds, in numpy.

    Args:
        first: First three words of the counters, uint64 [3, N]; the last one is 0.
        base: Number to add to the third word, [B] or [1].
        seeds: int64 keys, [B].

    Returns:
        uint64 [B * N, 4].

    >>> words = philox_grid(np.zeros((3, 1), np.uint64), np.zeros(1), np.zeros(1, np.int64))
    >>> [hex(word) for word in words[0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    shape = len(seeds), first.shape[1]
    work = np.empty((3, 2, *shape), dtype=np.uint64)
    work[0, 0], work[0, 1], work[1, 0], work[1, 1] = first[0], first[2], first[1], 0
    work[0, 1] += base.astype(np.uint64)[:, None]
    odd, even, product = work.reshape(3, 2, -1)  # in one row, which numpy computes fastest
    keys = np.empty((_ROUNDS, 2, *shape), dtype=np.uint64)
    keys[...] = keys_of_rounds(seeds)
    factors = _FACTORS[..., 0]
    for key in keys.reshape(_ROUNDS, 2, -1):
        np.multiply(odd, factors, out=product[::-1])  # each product is used for the other word
        np.right_shift(product, _BITS, out=odd)
        np.bitwise_xor(odd, even, out=odd)
        np.bitwise_xor(odd, key, out=odd)
        np.bitwise_and(odd, _LOW, out=odd)
        even, product = product, even
    np.bitwise_and(even, _LOW, out=even)
    out = np.empty((odd.shape[1], 4), dtype=np.uint64)
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = odd[0], even[0], odd[1], even[1]
    return out


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
