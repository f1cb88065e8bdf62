"""Programs of pointwise operations: each voxel is read once, changed by all, written once.

An operation is a value, a small dataclass that holds one set of parameters per sample.
:func:`pointwise` runs a list of them. The functions of :mod:`torchio_gpu.functional.intensity` are
programs of one operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..shapes import Triple, Volume, check_volume, spatial_shape
from ..signature import checked
from . import kernels
from .arguments import by_parts, check_real
from .backend import use_kernel
from .launch import to_device
from .reference import intensity as _reference
from .reference.slabs import join, slab_rows


class View(NamedTuple):
    """Of a volume that is a window of a larger one: which voxels of that it holds.

    Operations that depend on the place of a voxel see its place in the larger volume.
    """

    whole: Triple  # voxels of the larger volume along I, J, K
    first: np.ndarray  # the voxel of it that is the first here, [B, 3]


class Slab(NamedTuple):
    """Which part of a volume an operation is given: some rows along I."""

    first: int
    rows: int  # of the whole volume


@dataclass(frozen=True)
class BiasField:
    """Multiply by a smooth field; see :func:`torchio_gpu.functional.bias_field`."""

    coefficients: Array  # [B, M]
    order: int
    code: ClassVar[str] = "BIAS"
    seeds: ClassVar[None] = None

    def __post_init__(self) -> None:
        expected = len(_reference.monomials(self.order)[0])
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != expected:
            raise ValueError(
                f"coefficients must have shape (B, {expected}) for order {self.order}, "
                f"got {tuple(self.coefficients.shape)}"
            )

    def parameters(self, size: Triple, view: View | None) -> tuple[Array, ...]:
        whole, first = (size, None) if view is None else view
        return _reference.bias_factors(size, self.coefficients, self.order, whole, first)

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        places = _places(size) if view is None else _places(view.whole, view.first)
        return self.order, [places, self.coefficients]

    def apply(self, x: Volume, slab: Slab, owns: bool, *factors: Tensor) -> Volume:
        return _reference.bias_field(x, factors, slab.first, owns)


@lru_cache(maxsize=64)
def _ends(whole: Triple) -> np.ndarray:
    """Scale and offset from voxel to [-1, 1] along each axis, [1, 6]; a lone voxel is at 0."""
    last = np.array(whole) - 1
    ends = np.stack((np.full(3, 2.0), -last), -1) / np.maximum(last, 1)[:, None]
    return ends.reshape(1, 6)


def _places(whole: Triple, first: np.ndarray | None = None) -> np.ndarray:
    """The same for a window that begins with a voxel [B, 3] of the volume, [B, 6]."""
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

    def parameters(self, size: Triple, view: View | None) -> tuple[Array, ...]:
        return (self.log_gamma[:, None] if self.log_gamma.ndim == 1 else self.log_gamma,)

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        (log_gamma,) = self.parameters(size, view)
        return log_gamma.shape[1], [log_gamma]

    def apply(self, x: Volume, slab: Slab, owns: bool, log_gamma: Tensor) -> Volume:
        return _reference.gamma(x, log_gamma)


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

    def parameters(self, size: Triple, view: View | None) -> tuple[Array, ...]:
        return (self.mean, self.std)

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        active = np.ones(1) if self.active is None else self.active.astype(np.float64)
        return 0, [self.mean[:, None], self.std[:, None], active[:, None]]

    def apply(self, x: Volume, slab: Slab, owns: bool, mean: Tensor, std: Tensor) -> Volume:
        active = None
        if self.active is not None:
            active = torch.from_numpy(self.active).to(x.device, non_blocking=True)
        where = slab.first, slab.rows
        return _reference.noise(x, mean, std, self.seeds, self.rician, active, *where, owns)


@dataclass(frozen=True)
class Clamp:
    """Keep values within a range; see :func:`torchio_gpu.functional.clamp`."""

    low: Array  # [B], -inf for no bound
    high: Array  # [B], inf for no bound
    code: ClassVar[str] = "CLAMP"
    seeds: ClassVar[None] = None

    def parameters(self, size: Triple, view: View | None) -> tuple[Array, ...]:
        return (self.low, self.high)

    def packed(self, size: Triple, view: View | None) -> tuple[int, list[Array]]:
        return 0, [self.low[:, None], self.high[:, None]]

    def apply(self, x: Volume, slab: Slab, owns: bool, low: Tensor, high: Tensor) -> Volume:
        return _reference.clamp(x, low, high, owns)


Operation = BiasField | Gamma | Noise | Clamp


@checked
def pointwise(x: Volume, operations: Sequence[Operation], view: View | None = None) -> Volume:
    """Apply pointwise operations one after another.

    Args:
        x: Volume, (B, C, I, J, K). Floats keep their dtype and are computed with in float32 or
            better; integers become float32.
        operations: What to do, in order; their tensors hold one entry per sample.
        view: Where in a larger volume ``x`` lies, if it is a window of one. Noise is that of a
            volume of the size of the window.

    Returns:
        A new volume; ``x`` is left as it is. Gradients flow to ``x`` and to the parameters.

    >>> from torchio_gpu.functional.program import BiasField, Gamma
    >>> x = torch.ones(2, 1, 4, 4, 4)
    >>> program = [Gamma(torch.zeros(2)), BiasField(torch.zeros(2, 4), order=1)]
    >>> bool((pointwise(x, program) == x).all())
    True
    """
    check_volume(x)
    check_operations(x, operations)
    if x.is_complex():
        return by_parts(lambda parts: pointwise(parts, operations, view), x)
    size = spatial_shape(x)
    if use_kernel(x.device, kernels.obstacle(x, size)):
        return kernels.pointwise(x, operations, view)
    program = Program(operations, x, size, view)
    y = x if x.dtype in (torch.float32, torch.float64) else x.float()
    rows = y.shape[2]
    slab = slab_rows(rows, x.numel() // rows, x.device)
    starts = range(0, rows, slab)
    out = join((program(y[:, :, n : n + slab], n, owns=False) for n in starts), rows)
    return out.to(x.dtype) if x.is_floating_point() else out


def check_operations(x: Volume, operations: Sequence[Operation]) -> None:
    """Raise if voxels are complex where that has no meaning, or a parameter fits no sample."""
    batch, channels = x.shape[:2]
    for operation in operations:
        apart = isinstance(operation, BiasField)
        apart |= isinstance(operation, Noise) and not operation.rician
        if not apart:  # real and imaginary parts go through by themselves
            check_real(x)
        for parameter in vars(operation).values():
            if isinstance(parameter, (np.ndarray, Tensor)) and len(parameter) not in (1, batch):
                raise ValueError(
                    f"parameters must hold one entry per sample: expected {batch}, "
                    f"got {len(parameter)}"
                )
        if isinstance(operation, Gamma) and operation.log_gamma.ndim == 2:
            given = list(operation.log_gamma.shape)
            if given[1] not in (1, channels):
                raise ValueError(
                    f"log_gamma must hold one value per sample [{batch}] or per channel "
                    f"[{batch}, {channels}], got {given}"
                )


class Program:
    """Operations made ready for a volume: with their parameters on its device.

    Args:
        operations: What to do, in order.
        x: The volume, or one of its batch, channels, dtype and device.
        size: Voxels along I, J, K of what the operations are applied to.
        view: As for :func:`pointwise`.
    """

    def __init__(
        self, operations: Sequence[Operation], x: Volume, size: Triple, view: View | None = None
    ) -> None:
        parameters = [operation.parameters(size, view) for operation in operations]
        flat = [parameter for group in parameters for parameter in group]
        self.differentiable = torch.is_grad_enabled() and any(
            isinstance(t, Tensor) and t.requires_grad for t in (x, *flat)
        )
        moved = iter(to_device(x.device, *flat))
        self.rows = size[0]
        self.steps = [
            (operation, [next(moved) for _ in group])
            for operation, group in zip(operations, parameters, strict=True)
        ]

    def __call__(self, x: Volume, first: int, owns: bool) -> Volume:
        """Apply the operations to a slab that begins with row ``first``.

        Args:
            x: Slab in float32 or float64.
            first: Its first row along I, in the whole volume.
            owns: Whether it may be overwritten.
        """
        slab = Slab(first, self.rows)
        for operation, values in self.steps:
            mine = owns and not (self.differentiable or x.requires_grad)
            x = operation.apply(x, slab, mine, *values)  # type: ignore[arg-type]
            owns = True
        return x
