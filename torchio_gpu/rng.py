"""Random numbers: one 64-bit seed per sample decides everything that happens to the sample.

Numbers come from Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405), a counter-based
generator: a pure function from (key, counter) to 128 random bits. The key is the sample's seed.
The counter names the purpose: which number, of which image, of which transform in the pipeline.
A sample is therefore augmented alike in any batch, in any order, on any worker or device.

The generator is written once, in integer arithmetic that numpy arrays and torch tensors share: for
the few host-side parameters of a pipeline, and for the noise voxels on a device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .arrays import Array

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
MASK = 0xFFFFFFFF

Words = tuple[Any, Any, Any, Any]


def philox(counter: Words, seeds: Array) -> Words:
    """Philox4x32-10: four random 32-bit words for each counter and seed.

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
    """Philox as two stacks of words: [first and third], [second and fourth]."""
    xp: Any = np if isinstance(seeds, np.ndarray) else torch
    shift = np.right_shift if xp is np else torch.bitwise_right_shift
    words = (*counter, seeds)
    if xp is np:  # which is several times as quick
        shape = np.broadcast(*words).shape
    else:
        shape = np.broadcast_shapes(*(word.shape for word in words))
    where = {} if xp is np else {"device": seeds.device}
    # Three buffers, written over and over: the words that are multiplied, those that are not, and
    # the products, which become the latter.
    odd, even, product = xp.empty((3, 2, *shape), dtype=xp.int64, **where)
    odd[0], even[0], odd[1], even[1] = counter
    key = xp.stack((seeds & MASK, (seeds >> 32) & MASK))
    for each in _round_keys(key):
        # 64-bit products; only their two halves matter, so wrapping into the sign bit is
        # harmless, and the junk above bit 31 of products and keys is masked off. Each product
        # goes to the other word.
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
    """The two key words [2, ...] of each round."""
    if isinstance(key, np.ndarray):  # all at once: a call costs as much as the numbers
        rounds = np.arange(_ROUNDS).reshape(-1, *(1,) * key.ndim)
        yield from key + rounds * _stacked(_WEYL, key.ndim)
        return
    for _ in range(_ROUNDS):
        yield key
        key[0] += _WEYL[0]
        key[1] += _WEYL[1]


@lru_cache(maxsize=16)
def _stacked(pair: tuple[int, int], ndim: int) -> np.ndarray:
    """Two constants, one for each of two stacked words."""
    return np.array(pair).reshape(2, *(1,) * (ndim - 1))


@dataclass(frozen=True)
class Layout:
    """Where the numbers of a pipeline stand in the counter space, laid out once per structure.

    Each request is a (position, stream, count) triple: ``count`` numbers of the transform at
    ``position``, for the image whose name has the number ``stream``.
    """

    requests: tuple[tuple[int, int, int], ...]
    counter: tuple[np.ndarray, ...] = field(init=False, repr=False, compare=False)
    columns: tuple[slice, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number: list[int] = []
        stream: list[int] = []
        position: list[int] = []
        columns, start = [], 0
        for where, which, count in self.requests:
            blocks = -(-count // 4)
            number += range(blocks)
            stream += [which] * blocks
            position += [where] * blocks
            columns.append(slice(start, start + count))
            start += 4 * blocks
        words = [np.array(w, dtype=np.int64) for w in (number, stream, position)]
        object.__setattr__(self, "counter", tuple(words))
        object.__setattr__(self, "columns", tuple(columns))


def uniforms(seeds: np.ndarray, layout: Layout, position: np.ndarray | int = 0) -> np.ndarray:
    """Numbers in (0, 1) for each sample, [B, N] float64: the draws of a whole pipeline at once.

    Args:
        seeds: int64 seeds, [B].
        layout: The columns wanted.
        position: Pipeline position of the layout's position 0: one for all, or one per sample [B].
    """
    number, stream, where = layout.counter
    positions = where + np.reshape(position, (-1, 1))  # [B or 1, N]
    words = philox((number, stream, positions, _ZERO), seeds[:, None])
    u = np.empty((len(seeds), len(number), 4))
    for lane, word in enumerate(words):
        u[..., lane] = word
    u += 0.5
    u *= 2.0**-32
    return u.reshape(len(u), -1)


_ZERO = np.zeros(1, dtype=np.int64)


def to_seeds(draws: np.ndarray) -> np.ndarray:
    """64-bit seeds [...] from pairs of uniform draws [..., 2]: a stream of its own for each."""
    words = (draws * 2.0**32).astype(np.int64)
    return words[..., 0] | words[..., 1] << 32


class Streams:
    """The randomness that the samples of a batch carry: their seeds, and how much is used up.

    Transforms applied one after another draw from successive pipeline positions, so
    ``Compose([a, b])(batch)`` and ``b(a(batch))`` draw the same numbers, and applying one
    transform twice to a batch gives two different results.
    """

    def __init__(self, seeds: np.ndarray, used: np.ndarray | None = None) -> None:
        self.seeds = seeds  # [B] int64
        self.used = np.zeros(len(seeds), np.int64) if used is None else used  # [B] positions

    def take(self, positions: int) -> np.ndarray:
        """Use up ``positions`` pipeline positions; returns the first of them for each sample."""
        first = self.used
        self.used = first + positions
        return first

    def offspring(self, count: int) -> np.ndarray:
        """Seeds of ``count`` patches of each sample, [B, count]; other ones at each call."""
        return offspring(self.seeds, self.take(1), count)

    def __repr__(self) -> str:
        return f"Streams(seeds={self.seeds.tolist()}, used={self.used.tolist()})"


def fresh_seeds(batch: int, generator: torch.Generator | None = None) -> np.ndarray:
    """Seeds [B] from torch's CPU generator, so that ``torch.manual_seed`` reproduces a run."""
    seeds = np.empty(batch, dtype=np.int64)
    torch.from_numpy(seeds).random_(generator=generator)
    return seeds


def offspring(seeds: np.ndarray, position: np.ndarray, count: int) -> np.ndarray:
    """Seeds of the patches that are cut out of samples, [B, count].

    Args:
        seeds: Of the samples, [B].
        position: Pipeline positions at which they are cut, [B].
        count: How many of each sample.
    """
    number = np.arange(count, dtype=np.int64)[None]
    words = (number, np.asarray(position)[:, None], _ZERO, _ZERO + 1)
    a, b, _, _ = philox(words, seeds[:, None])
    return a | b << 32  # type: ignore[no-any-return]


_current: ContextVar[Streams | None] = ContextVar("streams", default=None)


@contextmanager
def use_seed(seed: int) -> Iterator[Streams]:
    """Let everything within that has no seeds of its own draw from this one.

    Yields:
        The stream, which knows afterwards how much was drawn.
    """
    streams = Streams(np.array([seed], dtype=np.int64))
    token = _current.set(streams)
    try:
        yield streams
    finally:
        _current.reset(token)


def streams_for(batch: int) -> Streams:
    """Seeds for samples that carry none: those of :func:`use_seed`, or fresh ones."""
    streams = _current.get()
    if streams is None or len(streams.seeds) != batch:
        return Streams(fresh_seeds(batch))
    return streams


def visits(order: Iterable[int], times: Counter[int]) -> list[int]:
    """Number each visit of a sample: by its index, and by another number each time it comes again.

    Args:
        order: Indices of samples, in the order in which they come.
        times: How often each came before; it is counted on.

    >>> from collections import Counter
    >>> visits([3, 1, 3], Counter()) == [3, 1, 3 + 2**32]
    True
    """
    numbers = []
    for index in order:
        numbers.append(index + (times[index] << 32))
        times[index] += 1
    return numbers


def sample_seeds(base: int, epoch: int, indices: list[int]) -> np.ndarray:
    """Seeds of samples, [B], from the run's base seed, the epoch and each sample's index.

    Of samples that come several times in an epoch, ``indices`` are those of :func:`visits`.
    """
    index = np.array(indices, dtype=np.int64)
    epochs = np.full_like(index, epoch)
    words = (index & MASK, index >> 32 & MASK, epochs & MASK, epochs >> 32)
    a, b, _, _ = philox(words, np.array([base], dtype=np.int64))
    return a | b << 32
