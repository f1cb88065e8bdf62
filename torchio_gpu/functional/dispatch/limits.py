"""Limits of the kernels: reasons why arguments need plain torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

# private, but the same in all versions since torch 2.6, which has no public one
from torch.utils._python_dispatch import _get_current_dispatch_mode

from ...arrays import Array, host
from ...geometry import is_diagonal
from ...shapes import Triple, Volume, spatial_shape
from ..maps import WINDOWED
from .backend import choose_kernels

#: Dtypes that kernels read; they compute in float32.
DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.bool,
)
#: Largest number of volumes, and of planes of a volume, in a launch: a CUDA grid has 65535 blocks
#: along y and z.
GRID_LIMIT = 65535


def why_no_kernel(
    x: Volume, size: Triple, backend: str, parameters: Iterable[object] = ()
) -> str | None:
    """Return why kernels cannot map ``x`` to a volume of shape ``size``, or None if they can.

    Args:
        parameters: Values that a gradient may be wanted of, beside ``x``.
    """
    if x.dtype not in DTYPES:
        return f"voxels must be float32, a shorter float or an integer, got {x.dtype}"
    if backend == "numba":
        return _why_not_numbers(x, *parameters)
    if x.shape[0] * x.shape[1] > GRID_LIMIT or size[0] > GRID_LIMIT:
        return f"there must be at most {GRID_LIMIT} volumes and planes, got {[*x.shape[:2], *size]}"
    return None


def kernels_of_voxels(x: Volume) -> str | None:
    """Return the backend whose kernels compute with each voxel of ``x``, or None for plain torch.

    Unlike :func:`.choose_kernels`, it accepts what has no kernel, whichever backend is named.
    """
    name = choose_kernels(x, x.numel() // len(x), lambda _: None)
    fits = name is not None and why_no_kernel(x, spatial_shape(x), name) is None
    return name if fits and not wants_gradient(x) else None


def why_no_warp(
    x: Volume,
    size: Triple,
    mode: str,
    fills: Sequence[float | Tensor],
    lattice: Array | None,
    inverse: bool,
    backend: str,
    parameters: Iterable[object] = (),
) -> str | None:
    """Return why the kernel cannot read a volume through a map, or None if it can."""
    if mode == "bspline" or mode in WINDOWED:
        return f"mode {mode!r} has no kernel"
    if lattice is not None and (isinstance(lattice, Tensor) or not is_diagonal(lattice)):
        return "lattice must be diagonal and on the host, without gradient"
    if backend == "triton" and lattice is not None and not _suits_float32(host(lattice)):
        return "control points along J must be 1 / 1024 to 1024 voxels apart"
    if lattice is not None and inverse:
        return "the inverse of an elastic map has no kernel"
    if any(isinstance(f, Tensor) and f.requires_grad for f in fills):
        return "fill must have no gradient"
    if mode == "label" and backend == "numba":
        return "mode 'label' has no kernel in numba"
    if mode == "label" and x.requires_grad:
        return "mode 'label' has no gradient"
    return why_no_kernel(x, size, backend, [*fills, *parameters])


def _suits_float32(lattice: np.ndarray) -> bool:
    """Return True if the place of a row between control points, in float32, tells its coordinates
    to 1e-4 voxels.
    """
    step = np.abs(lattice[:, 1, 1])
    return bool(((step >= 2.0**-10) & (step <= 2.0**10)).all())


def wants_gradient(*values: object) -> bool:
    """Return True if a gradient is recorded and one of some values requires it."""
    return torch.is_grad_enabled() and any(
        isinstance(value, Tensor) and value.requires_grad for value in values
    )


def _why_not_numbers(*values: object) -> str | None:
    """Return why kernels that see numbers alone do not do for some values, or None if they do."""
    if wants_gradient(*values):
        return "its kernels have no gradient, and one is wanted"
    tracing: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call]
    if tracing or _get_current_dispatch_mode() is not None:
        return "its kernels cannot be traced"
    for value in values:
        if not isinstance(value, Tensor):
            continue
        if type(value) not in (Tensor, nn.Parameter):
            return (
                f"tensors must be of no subclass, which would be lost, got {type(value).__name__}"
            )
        if forward_ad.unpack_dual(value).tangent is not None:  # type: ignore[no-untyped-call]
            return "its kernels have no forward-mode derivative, and a tangent is given"
        try:
            value.data_ptr()
        except RuntimeError:  # of a transform of torch.func
            return f"tensors must be in memory, got a {type(value).__name__} without storage"
    return None
