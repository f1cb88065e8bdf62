"""Seeds of samples, and uniform numbers drawn from them.

One 64-bit seed per sample determines all random numbers of the sample. The counter of the generator
identifies a number: its index, the image, and the position of the transform in the pipeline. The
augmentation of a sample is therefore the same in any batch, in any order, on any worker or device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import torch

from .philox import MASK, philox, philox_grid


@dataclass(frozen=True)
class Layout:
    """Positions of the numbers of a pipeline in the counter space, computed once per structure.

    Each request is a (position, stream, count) triple: ``count`` numbers of the transform at
    ``position``, for the image whose name has the number ``stream``.
    """

    requests: tuple[tuple[int, int, int], ...]
    words: np.ndarray = field(init=False, repr=False, compare=False)
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
        words = np.array((number, stream, position), dtype=np.uint64)
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "columns", tuple(columns))


def uniforms(seeds: np.ndarray, layout: Layout, position: np.ndarray | int = 0) -> np.ndarray:
    """Draw numbers in (0, 1) for each sample, [B, N] float64, for a whole pipeline at once.

    Args:
        seeds: int64 seeds, [B].
        layout: Layout of the columns.
        position: Pipeline position of the layout's position 0: one for all, or one per sample [B].
    """
    words = philox_grid(layout.words, np.reshape(position, -1), seeds)
    u = words + 0.5
    u *= 2.0**-32
    return u.reshape(len(seeds), -1)


_ZERO = np.zeros(1, dtype=np.int64)


def to_seeds(draws: np.ndarray) -> np.ndarray:
    """Convert pairs of uniform numbers [..., 2] to 64-bit seeds [...] of independent streams."""
    words = (draws * 2.0**32).astype(np.int64)
    return words[..., 0] | words[..., 1] << 32


class Streams:
    """Seeds of the samples of a batch, and the number of pipeline positions used.

    Transforms applied one after another draw from successive pipeline positions, so
    ``Compose([a, b])(batch)`` and ``b(a(batch))`` draw the same numbers, and applying one
    transform twice to a batch gives two different results.
    """

    def __init__(self, seeds: np.ndarray, used: np.ndarray | None = None) -> None:
        self.seeds = seeds  # [B] int64
        self.used = np.zeros(len(seeds), np.int64) if used is None else used  # [B] positions

    def take(self, positions: int) -> np.ndarray:
        """Reserve ``positions`` pipeline positions; return the first of them for each sample."""
        first = self.used
        self.used = first + positions
        return first

    def offspring(self, count: int) -> np.ndarray:
        """Return seeds of ``count`` patches of each sample, [B, count]; different in each call."""
        return offspring(self.seeds, self.take(1), count)

    def __repr__(self) -> str:
        return f"Streams(seeds={self.seeds.tolist()}, used={self.used.tolist()})"


def fresh_seeds(batch: int, generator: torch.Generator | None = None) -> np.ndarray:
    """Draw seeds [B] from torch's CPU generator, so that ``torch.manual_seed`` reproduces a run."""
    seeds = np.empty(batch, dtype=np.int64)
    torch.from_numpy(seeds).random_(generator=generator)
    return seeds


def offspring(seeds: np.ndarray, position: np.ndarray, count: int) -> np.ndarray:
    """Return seeds of the patches that are cut out of samples, [B, count].

    Args:
        seeds: Seeds of the samples, [B].
        position: Pipeline positions at which they are cut, [B].
        count: Number of patches of each sample.
    """
    number = np.arange(count, dtype=np.int64)[None]
    words = (number, np.asarray(position)[:, None], _ZERO, _ZERO + 1)
    a, b, _, _ = philox(words, seeds[:, None])
    return a | b << 32  # type: ignore[no-any-return]


_current: ContextVar[Streams | None] = ContextVar("streams", default=None)


@contextmanager
def use_seed(seed: int) -> Iterator[Streams]:
    """Let samples without seeds draw from this one, within the block.

    Yields:
        The stream, which counts the positions used.
    """
    streams = Streams(np.array([seed], dtype=np.int64))
    token = _current.set(streams)
    try:
        yield streams
    finally:
        _current.reset(token)


def streams_for(batch: int) -> Streams:
    """Return seeds for samples without any: those of :func:`use_seed`, or fresh ones."""
    streams = _current.get()
    if streams is None or len(streams.seeds) != batch:
        return Streams(fresh_seeds(batch))
    return streams


def visits(order: Iterable[int], times: Counter[int]) -> list[int]:
    """Number visits of samples: by index, plus 2**32 for each previous visit of the same sample.

    Args:
        order: Indices of samples, in order.
        times: Number of previous visits of each; it is updated.

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
    """Return seeds of samples, [B], from the base seed, the epoch and the index of each sample.

    For samples that occur several times in an epoch, ``indices`` are those of :func:`visits`.
    """
    index = np.array(indices, dtype=np.int64)
    epochs = np.full_like(index, epoch)
    words = (index & MASK, index >> 32 & MASK, epochs & MASK, epochs >> 32)
    a, b, _, _ = philox(words, np.array([base], dtype=np.int64))
    return a | b << 32
