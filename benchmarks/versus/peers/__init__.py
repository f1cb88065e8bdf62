"""One module per contender, this library among them.

A module has ``NAME`` and ``VERSION``, and ``OPS``: for each operation of
:data:`benchmarks.versus.workloads.WORK` that the peer offers, a function from what that table
says, most often a batch (B, C, I, J, K), to a new tensor. It raises ImportError where its library
is not installed. It imports torch, numpy and its own library only, since it may run in another
interpreter than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..workloads import AT_ONCE

Op = Callable[..., Tensor]


def per_sample(transform: Callable[[Any], Any]) -> Op:
    """For libraries that know single samples (C, I, J, K): a loop, and a batch of the results."""
    return lambda x: torch.stack([transform(sample) for sample in x])


def by_size(make: Callable[[Sequence[int]], Op]) -> Op:
    """For parameters that depend on the size (I, J, K) of the batch; made once for each size."""
    made = cache(make)
    return lambda x: made(tuple(x.shape[2:]))(x)


def four_by_four(patches: Tensor, locations: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches in which a network hands out patches, and where these lie."""
    return zip(patches.split(AT_ONCE), locations.split(AT_ONCE), strict=True)
