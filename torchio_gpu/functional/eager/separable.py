"""Fields that are sums of products of one function per axis, evaluated on a whole voxel grid.

Affine coordinates, B-spline displacements and polynomial bias fields are all of this form. The
three axes are contracted one after another by matrix products, I last, so that a slab of planes
along I costs one product. Each component of a vector is contiguous along J and K.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...arrays import Array


class Factors(NamedTuple):
    """Coefficients and basis functions of a separable field, in float64.

    ``field[b,i,d,j,k] = sum_lmn c[b,l,d,m,n] i[b,i,l] j[b,j,m] k[b,k,n]``
    """

    coefficients: Array  # [B, N0, D, N1, N2]
    along_i: Array  # [B or 1, I, N0]
    along_j: Array  # [B or 1, J, N1]
    along_k: Array  # [B or 1, K, N2]


class Expansion:
    """Field of :class:`Factors`, contracted along J and K.

    Args:
        factors: The four tensors, on the device.
        dtype: Dtype of the field.
    """

    def __init__(self, factors: Sequence[Tensor], dtype: torch.dtype) -> None:
        c, along_i, along_j, along_k = factors
        batch, n0, depth, n1, _ = c.shape
        along_i, along_k = (
            f if len(f) == batch else f.expand(batch, -1, -1) for f in (along_i, along_k)
        )
        columns, lines = along_j.shape[1], along_k.shape[1]
        work = product_dtype(c.device, dtype)
        with full_precision(c.device):
            c = torch.bmm(c.reshape(batch, n0 * depth * n1, -1), along_k.mT)
            c = c.view(-1, n1, lines)
            along_j = along_j[:, None].expand(-1, len(c) // len(along_j), -1, -1)
            c = torch.bmm(along_j.reshape(len(c), columns, n1), c)
        self._coefficients = c.to(work).view(batch, n0, -1)
        self._along_i = along_i.to(work)
        self._size, self._dtype = (depth, columns, lines), dtype

    def planes(self, first: int, last: int) -> Tensor:
        """Return the field on planes ``first`` to ``last`` along I, [B, planes, D, J, K]."""
        along_i = self._along_i[:, first:last]
        with full_precision(along_i.device):
            field = torch.bmm(along_i, self._coefficients)
        return field.view(*along_i.shape[:2], *self._size).to(self._dtype)


def expand(factors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return the field of :class:`Factors` at every voxel, [B, I, D, J, K]."""
    return Expansion(factors, dtype).planes(0, factors[1].shape[1])


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which matrix products keep their dtype, even within autocast."""
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def product_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which products of matrices of ``dtype`` lose no precision.

    Where torch allows it, GPUs multiply float32 matrices in TF32, which keeps 10 of 23 bits.
    """
    exact = device.type == "cpu" or torch.get_float32_matmul_precision() == "highest"
    return dtype if exact else torch.float64


def ramp(size: int, device: torch.device) -> Tensor:
    """Return voxel indices 0 .. size - 1 in float64."""
    return torch.arange(size, dtype=torch.float64, device=device)
