"""Pointwise operations as data: the parameters of each sample, for eager code and kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from ..arrays import Array
from ..shapes import Triple


class View(NamedTuple):
    """Position of a volume inside the larger volume that it was cut from.

    Operations that depend on voxel coordinates use those in the larger volume.
    """

    whole: Triple | np.ndarray  # voxels of the larger volume along I, J, K, or of each, [B, 3]
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


def _places(whole: Triple | np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """Return :func:`_ends` for a patch that begins at voxel ``first`` [B, 3] of it, [B, 6]."""
    if not isinstance(whole, tuple):
        ends = np.concatenate([_ends((i, j, k)) for i, j, k in whole.tolist()])
    else:
        ends = _ends(whole)
    if first is None:
        return ends
    places = np.broadcast_to(ends, (len(first), 6)).copy()
    places[:, 1::2] += ends[:, ::2] * first
    return places


class ByChannel:
    """Base of operations whose parameters are [B], or [B, C] for one per channel."""

    #: Names of these parameters.
    names: ClassVar[tuple[str, ...]]

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        """Return variant and parameters, [1 or B, n] each, of the operation for a kernel."""
        return self.by_channel[0].shape[1], self.by_channel

    @property
    def by_channel(self) -> list[Array]:
        """Parameters, [1 or B, 1 or C] each; all have C columns if one of them has."""
        values = [getattr(self, name) for name in self.names]
        values = [_column(value) for value in values]
        columns = max(value.shape[1] for value in values)
        return [value if value.shape[1] == columns else _repeat(value, columns) for value in values]


@dataclass(frozen=True)
class Gamma(ByChannel):
    """Raise to a power; see :func:`torchio_gpu.functional.gamma`."""

    log_gamma: Array  # [B] or [B, C]
    code: ClassVar[str] = "GAMMA"
    names: ClassVar[tuple[str, ...]] = ("log_gamma",)
    seeds: ClassVar[None] = None


@dataclass(frozen=True)
class Linear(ByChannel):
    """Map linearly: ``(x - centre) * scale + shift``.

    Neutral, to the bit, is a scale of 1 with a shift and a centre of 0.
    """

    scale: Array  # [B] or [B, C]
    shift: Array  # [B] or [B, C]
    centre: Array  # [B] or [B, C]
    code: ClassVar[str] = "LINEAR"
    names: ClassVar[tuple[str, ...]] = ("scale", "shift", "centre")
    seeds: ClassVar[None] = None


@dataclass(frozen=True)
class Noise(ByChannel):
    """Add noise; see :func:`torchio_gpu.functional.noise`."""

    mean: Array  # [B] or [B, C]
    std: Array  # [B] or [B, C]
    seeds: Array  # [B] int64
    rician: bool = False
    active: Array | None = None  # [B] or [B, C], volumes to change; all if None
    names: ClassVar[tuple[str, ...]] = ("mean", "std")

    def of_parts(self) -> Noise:
        """Return the noise of real and imaginary parts of complex voxels, as twice the channels."""
        mean, std = (
            value if value.shape[1] == 1 else _repeat(value, 2) for value in self.by_channel
        )
        active = None if self.active is None else _column(self.active)
        if active is not None and active.shape[1] > 1:
            active = _repeat(active, 2)
        return replace(self, mean=mean, std=std, active=active)

    @property
    def code(self) -> str:
        return "RICIAN" if self.rician else "NOISE"

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        """Return variant and parameters, [1 or B, n] each, of the operation for a kernel."""
        active = np.ones((1, 1)) if self.active is None else _column(self.active)
        if isinstance(active, np.ndarray):
            active = active.astype(np.float64)
        columns = [*self.by_channel, active]
        kind = max(column.shape[1] for column in columns)
        return kind, [c if c.shape[1] == kind else _repeat(c, kind) for c in columns]


@dataclass(frozen=True)
class Clamp(ByChannel):
    """Keep values within a range; see :func:`torchio_gpu.functional.clamp`."""

    low: Array  # [B] or [B, C], -inf for no bound
    high: Array  # [B] or [B, C], inf for no bound
    code: ClassVar[str] = "CLAMP"
    names: ClassVar[tuple[str, ...]] = ("low", "high")
    seeds: ClassVar[None] = None


Operation = BiasField | Gamma | Linear | Noise | Clamp


def _column(values: Array) -> Array:
    """Return values [B] or [B, C] as [B, 1] or [B, C]."""
    return values[:, None] if values.ndim == 1 else values


def _repeat(columns: Array, times: int) -> Array:
    """Repeat columns [B, N]."""
    if isinstance(columns, Tensor):
        return columns.repeat(1, times)
    return np.tile(columns, (1, times))
