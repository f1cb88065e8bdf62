"""Seeds of samples, given as arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ...arrays import host
from ...shapes import rectangular
from .params import value_per_image


def check_seeds(seed: Any, batch: int) -> np.ndarray:
    """Return seeds [B] int64, from one for all samples or one for each."""
    seeds = host(seed) if isinstance(seed, Tensor) else rectangular(seed, "seed")
    if not np.issubdtype(seeds.dtype, np.integer) or seeds.shape not in ((), (1,), (batch,)):
        raise ValueError(f"seed must be an integer, or one per sample ({batch}), got {seed!r}")
    return np.array(np.broadcast_to(seeds.astype(np.int64), (batch,)))


def seeds_per_image(seed: Any, names: tuple[str, ...], batch: int) -> np.ndarray:
    """Return the seed of each sample and image, [B, M], from an argument."""
    return np.stack(
        [check_seeds(value, batch) for value in value_per_image(seed, "seed", names)], 1
    )


__all__ = ["check_seeds", "seeds_per_image"]
