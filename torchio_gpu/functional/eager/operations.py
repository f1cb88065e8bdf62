"""Pointwise operations in plain torch: parameters on the host, and their application to a slab."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...arrays import Array, host, on_host
from ...shapes import Triple, Volume
from ..operations import BiasField, ByChannel, Clamp, Gamma, Linear, Noise, View
from . import intensity


class Slab(NamedTuple):
    """Position of a slab of planes along I in its volume."""

    first: int
    planes: int  # number of planes of the whole volume


@singledispatch
def parameters(operation: Any, size: Triple, view: View | None) -> tuple[Array, ...]:
    """Return the arrays that :func:`apply` takes, on the host or on the device they were given on.

    Args:
        operation: Operation on a volume.
        size: Voxels of the volume along I, J, K.
        view: Its position in a larger volume, if it is cut from one.
    """
    raise TypeError(f"operations must be pointwise operations, got {operation!r}")


@singledispatch
def apply(operation: Any, x: Volume, slab: Slab, owns: bool, *values: Tensor) -> Volume:
    """Apply an operation to a slab.

    Args:
        operation: The operation.
        x: The slab, in float32 or float64.
        slab: Its position in the volume.
        owns: True if ``x`` may be overwritten.
        values: Result of :func:`parameters`, on the device.
    """
    raise TypeError(f"operations must be pointwise operations, got {operation!r}")


@parameters.register
def _(operation: BiasField, size: Triple, view: View | None) -> tuple[Array, ...]:
    whole, first = (size, None) if view is None else view
    coefficients, order = operation.coefficients, operation.order
    return intensity.bias_factors(size, coefficients, order, whole, first)


@apply.register
def _(operation: BiasField, x: Volume, slab: Slab, owns: bool, *values: Tensor) -> Volume:
    return intensity.bias_field(x, values, slab.first, owns)


@parameters.register
def _(operation: ByChannel, size: Triple, view: View | None) -> tuple[Array, ...]:
    return tuple(operation.by_channel)


@apply.register
def _(operation: Gamma, x: Volume, slab: Slab, owns: bool, *values: Tensor) -> Volume:
    return intensity.gamma(x, *values)


@parameters.register
def _(operation: Linear, size: Triple, view: View | None) -> tuple[Array, ...]:
    scale, shift, centre = operation.by_channel
    if not _is_zero(centre):
        return scale, shift, centre
    return (scale,) if _is_zero(shift) else (scale, shift)


@apply.register
def _(operation: Linear, x: Volume, slab: Slab, owns: bool, *values: Tensor) -> Volume:
    return intensity.linear(x, *values, owns=owns)


def _is_zero(values: Array) -> bool:
    return on_host(values) and not host(values).any()


@parameters.register
def _(operation: Noise, size: Triple, view: View | None) -> tuple[Array, ...]:
    mean, std = operation.by_channel
    return (std,) if _is_zero(mean) else (std, mean)


@apply.register
def _(operation: Noise, x: Volume, slab: Slab, owns: bool, *values: Tensor) -> Volume:
    active = None
    if operation.active is not None:
        active = torch.as_tensor(operation.active).to(x.device, non_blocking=True)
    how = operation.seeds, operation.rician, active, slab.first, slab.planes, owns
    return intensity.noise(x, values[0], values[1] if len(values) > 1 else None, *how)


@apply.register
def _(operation: Clamp, x: Volume, slab: Slab, owns: bool, *values: Tensor) -> Volume:
    low, high = values
    return intensity.clamp(x, low, high, owns)
