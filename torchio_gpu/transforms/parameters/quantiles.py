"""Quantile functions of distributions, which map uniform numbers to values.

Each sample has uniform numbers of its own, so distributions are sampled by inversion: by torch's
inverse of the cumulative distribution if there is one, else by bisection of the cumulative
distribution, else by the quantiles of many draws. Values never depend on torch's global generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, Poisson

#: Bisection steps: as many as float64 has bits.
_HALVINGS = 64
#: Draws for empirical quantiles, whose error is then some 0.2 %.
_DRAWS = 2**16


class Quantile:
    """Quantile function of a scalar distribution: values for uniform numbers in (0, 1).

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
        self._method = "icdf" if _is_implemented(distribution.icdf, half) else "cdf"
        outside = torch.tensor(
            [-1, 0.5, 1], dtype=torch.float64
        )  # outside of some supports, where torch may raise
        if self._method == "cdf" and not _is_implemented(self._cumulative, outside):
            self._method = "draws"
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                self._table = np.sort(distribution.sample(torch.Size([_DRAWS])).double().numpy())

    def __call__(self, u: np.ndarray) -> np.ndarray:
        if self._table is not None:
            return self._table[(u * _DRAWS).astype(np.int64)]
        wanted = torch.from_numpy(np.array(u, dtype=np.float64))  # u may be read-only
        if self._method == "icdf":
            return self.distribution.icdf(wanted).double().numpy()
        return self._inverted(wanted).numpy()

    def _cumulative(self, x: Tensor) -> Tensor:
        """Return P(X <= x)."""
        distribution: Any = self.distribution
        if isinstance(distribution, Poisson):  # torch has no cdf of it
            total = torch.special.gammaincc(x.floor().clamp(min=0) + 1, distribution.rate.double())
            return torch.where(x < 0, 0, total)
        if isinstance(distribution, Gamma):
            return torch.special.gammainc(
                distribution.concentration.double(), distribution.rate.double() * x.clamp(min=0)
            )
        return distribution.cdf(x)  # type: ignore[no-any-return]

    def _inverted(self, u: Tensor) -> Tensor:
        """Return the least x with P(X <= x) >= u, to the last bits of float64."""
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


def _is_implemented(function: Any, x: Tensor) -> bool:
    try:
        return bool(torch.isfinite(function(x)).all())
    except (NotImplementedError, RuntimeError, ValueError, TypeError):
        return False


__all__ = ["Quantile"]
