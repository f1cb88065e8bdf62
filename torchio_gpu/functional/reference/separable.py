"""Fields that are sums of products of one function per axis, evaluated on a whole voxel grid.

Affine coordinates, B-spline displacements and polynomial bias fields are all of this form. The
three axes are contracted one after another by small matrix products, so the only array of the
grid's size is the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array


class Factors(NamedTuple):
    """What a separable field is made of, in float64: the products keep its precision.

    ``field[b,i,j,k,d] = sum_lmn c[b,l,m,n,d] i[b,i,l] j[b,j,m] k[b,k,n]``
    """

    coefficients: Array  # [B, N0, N1, N2, D]
    along_i: Array  # [B or 1, I, N0]
    along_j: Array  # [B or 1, J, N1]
    along_k: Array  # [B or 1, N2 D, K D], made by :func:`blocks`


def blocks(basis: np.ndarray, depth: int) -> np.ndarray:
    """A basis [B, K, N] for each of D components: block diagonal, [B, N D, K D]."""
    batch, size, count = basis.shape
    out = np.zeros((batch, count, depth, size, depth))
    for d in range(depth):
        out[:, :, d, :, d] = basis.swapaxes(1, 2)
    return out.reshape(batch, count * depth, size * depth)


def expand(factors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The field of some :class:`Factors` at every voxel, [B, I, J, K, D].

    Args:
        factors: The four tensors, on the device.
        dtype: Of the result.
    """
    with full_precision(factors[0].device):
        return _expand(factors, dtype)


def _expand(factors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    c, along_i, along_j, along_k = factors
    batch, n0, n1, _, depth = c.shape
    rows, columns = along_i.shape[1], along_j.shape[1]
    if along_i.shape[0] != batch:
        along_i, along_k = (f.expand(batch, -1, -1) for f in (along_i, along_k))
    # J is the last to be contracted: its basis has no zeros between components as that along K
    # has, and in this order nothing needs to be transposed.
    c = torch.bmm(c.reshape(batch, n0 * n1, -1), along_k)
    c = torch.bmm(along_i, c.view(batch, n0, -1)).view(batch * rows, n1, -1)
    work = product_dtype(c.device, dtype)
    along_j = along_j.to(work)[:, None].expand(batch, rows, -1, -1).reshape(-1, columns, n1)
    return torch.bmm(along_j, c.to(work)).view(batch, rows, columns, -1, depth).to(dtype)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A region in which matrix products keep their dtype, inside autocast too."""
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def product_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """In which dtype to multiply matrices of ``dtype``, so that none of its bits is lost.

    A GPU that is allowed to multiplies float32 matrices in TF32, which keeps 10 of 23 bits.
    """
    exact = device.type == "cpu" or torch.get_float32_matmul_precision() == "highest"
    return dtype if exact else torch.float64


def ramp(size: int, device: torch.device) -> Tensor:
    """Voxel indices 0 .. size - 1 in float64."""
    return torch.arange(size, dtype=torch.float64, device=device)


def cubic_bspline(distance: Any) -> Any:
    """The cubic B-spline B3 at signed distances from its centre; zero beyond 2."""
    d = abs(distance)
    outer, inner = 2 - d, 1 - d
    outer, inner = outer * (outer > 0), inner * (inner > 0)
    return (outer * outer * outer - 4 * inner * inner * inner) / 6
