"""One module per contender, this library among them.

A module has ``NAME`` and ``VERSION``, and ``OPS``: for each operation of
:mod:`benchmarks.workloads` that the peer offers, a function from a batch (B, C, I, J, K) to a new
one. It raises ImportError where its library is not installed. It imports torch, numpy and its own
library only, since it may run in another interpreter than the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Op = Callable[[Tensor], Tensor]


def per_sample(transform: Callable[[Any], Any]) -> Op:
    """For libraries that know single samples (C, I, J, K): a loop, and a batch of the results."""
    return lambda x: torch.stack([transform(sample) for sample in x])
