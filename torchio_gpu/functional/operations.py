"""Pointwise operations as data: the parameters of each sample, for eager code and kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from ..arrays import Array
from ..shapes import Triple


class View(NamedTuple):
    """Position of a volume inside the larger volume that it was cut from.

    Operations that depend on voxel coordinates use those in the larger volume.
    """

    whole: Triple  # voxels of the larger volume along I, J, K
    first: np.ndarray  # voxel of the larger volume that is voxel (0, 0, 0) here, [B, 3]


@lru_cache(maxsize=16)
def monomials(order: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the exponents of X, Y and Z of the monomials up to a total order, Z fastest."""
    terms = [
        (i, j, k)
        for i in range(order + 1)
        for j in range(order + 1 - i)
        for k in range(order + 1 - i - j)
    ]
    i, j, k = zip(*terms, strict=True)
    return i, j, k


@dataclass(frozen=True)
class BiasField:
    """Multiply by a smooth field; see :func:`torchio_gpu.functional.bias_field`."""

    coefficients: Array  # [B, M]
    order: int
    code: ClassVar[str] = "BIAS"
    seeds: ClassVar[None] = None

    def __post_init__(self) -> None:
        expected = len(monomials(self.order)[0])
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != expected:
            raise ValueError(
                f"coefficients must have shape (B, {expected}) for order {self.order}, "
                f"got {tuple(self.coefficients.shape)}"
            )

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        """Return variant and parameters, [1 or B, n] each, of the operation for a kernel."""
        places = _places(size) if view is None else _places(view.whole, view.first)
        return self.order, [places, self.coefficients]


@lru_cache(maxsize=64)
def _ends(whole: Triple) -> np.ndarray:
    """Return scale and offset from voxel to [-1, 1] along each axis, [1, 6]; 0 for one voxel."""
    last = np.array(whole) - 1
    ends = np.stack((np.full(3, 2.0), -last), -1) / np.maximum(last, 1)[:, None]
    return ends.reshape(1, 6)


def _places(whole: Triple, first: np.ndarray | None = None) -> np.ndarray:
    """Return :func:`_ends` for a patch that begins at voxel ``first`` [B, 3] of it, [B, 6]."""
    ends = _ends(whole)
    if first is None:
        return ends
    places = ends.repeat(len(first), 0)
    places[:, 1::2] += ends[:, ::2] * first
    return places


@dataclass(frozen=True)
class Gamma:
    """Raise to a power; see :func:`torchio_gpu.functional.gamma`."""

    log_gamma: Array  # [B] or [B, C]
    code: ClassVar[str] = "GAMMA"
    seeds: ClassVar[None] = None

    @property
    def by_channel(self) -> Array:
        """Logarithms of the exponents, [B, 1 or C]."""
        return self.log_gamma[:, None] if self.log_gamma.ndim == 1 else self.log_gamma

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        """Return variant and parameters, [1 or B, n] each, of the operation for a kernel."""
        return self.by_channel.shape[1], [self.by_channel]


@dataclass(frozen=True)
class Noise:
    """Add noise; see :func:`torchio_gpu.functional.noise`."""

    mean: Array  # [B]
    std: Array  # [B]
    seeds: Array  # [B] int64
    rician: bool = False
    active: np.ndarray | None = None

    @property
    def code(self) -> str:
        return "RICIAN" if self.rician else "NOISE"

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        """Return variant and parameters, [1 or B, n] each, of the operation for a kernel."""
        active = np.ones(1) if self.active is None else self.active.astype(np.float64)
        return 0, [self.mean[:, None], self.std[:, None], active[:, None]]


@dataclass(frozen=True)
class Clamp:
    """Keep values within a range; see :func:`torchio_gpu.functional.clamp`."""

    low: Array  # [B], -inf for no bound
    high: Array  # [B], inf for no bound
    code: ClassVar[str] = "CLAMP"
    seeds: ClassVar[None] = None

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        """Return variant and parameters, [1 or B, n] each, of the operation for a kernel."""
        return 0, [self.low[:, None], self.high[:, None]]


Operation = BiasField | Gamma | Noise | Clamp
