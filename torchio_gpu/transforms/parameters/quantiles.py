"""Distributions as functions of uniform numbers, whatever torch knows of them.

A sample's numbers are uniform and its own, so a distribution must be inverted: where torch has no
inverse of its cumulative distribution, that is inverted by bisection, and where there is none of
it, by the quantiles of many draws. Nothing of this draws from torch's global generator later.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, Poisson

#: Halvings of an interval: as many as float64 has bits.
_HALVINGS = 64
#: Draws that quantiles are taken of, where nothing else is known: their error is some 0.2 %.
_DRAWS = 2**16


class Quantile:
    """Values of a scalar distribution for uniform numbers in (0, 1).

    Raises:
        ValueError: Parameters of the distribution are not scalar.
    """

    def __init__(self, distribution: Distribution) -> None:
        if distribution.batch_shape or distribution.event_shape:
            raise ValueError(
                f"a distribution of a range must have scalar parameters, got {distribution}"
            )
        self.distribution = distribution
        half = torch.tensor([0.5], dtype=torch.float64)
        self._table: np.ndarray | None = None
        self._how = "icdf" if _has(distribution.icdf, half) else "cdf"
        outside = torch.tensor([-1, 0.5, 1], dtype=torch.float64)  # of some supports
        if self._how == "cdf" and not _has(self._cumulative, outside):
            self._how = "draws"
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                self._table = np.sort(distribution.sample(torch.Size([_DRAWS])).double().numpy())

    def __call__(self, u: np.ndarray) -> np.ndarray:
        if self._table is not None:
            return self._table[(u * _DRAWS).astype(np.int64)]
        wanted = torch.from_numpy(np.ascontiguousarray(u, dtype=np.float64))
        if self._how == "icdf":
            return self.distribution.icdf(wanted).double().numpy()
        return self._inverted(wanted).numpy()

    def _cumulative(self, x: Tensor) -> Tensor:
        """P(X <= x)."""
        known: Any = self.distribution
        if isinstance(known, Poisson):  # which torch lacks
            total = torch.special.gammaincc(x.floor().clamp(min=0) + 1, known.rate.double())
            return torch.where(x < 0, 0, total)
        if isinstance(known, Gamma):
            return torch.special.gammainc(
                known.concentration.double(), known.rate.double() * x.clamp(min=0)
            )
        return known.cdf(x)  # type: ignore[no-any-return]

    def _inverted(self, u: Tensor) -> Tensor:
        """The least x with P(X <= x) >= u, to the last bits of float64."""
        low, high = -torch.ones_like(u), torch.ones_like(u)
        for _ in range(_HALVINGS):
            short = self._cumulative(high) < u
            far = self._cumulative(low) >= u
            if not (short.any() or far.any()):
                break
            high, low = torch.where(short, high * 2, high), torch.where(far, low * 2, low)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = self._cumulative(middle) < u
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        support: Any = getattr(self.distribution, "support", None)
        return high.round() if getattr(support, "is_discrete", False) else high

    def __repr__(self) -> str:
        return repr(self.distribution)


def _has(function: Any, x: Tensor) -> bool:
    try:
        return bool(torch.isfinite(function(x)).all())
    except (NotImplementedError, RuntimeError, ValueError, TypeError):
        return False


__all__ = ["Quantile"]
