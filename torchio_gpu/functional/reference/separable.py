"""Fields that are sums of products of one function per axis, evaluated on a whole voxel grid.

Affine coordinates, B-spline displacements and polynomial bias fields are all of this form. The
three axes are contracted one after another by small matrix products, so the only array of the
grid's size is the result.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Bases = tuple[Tensor, Tensor, Tensor]  # [B, I, N0], [B, J, N1], [B, K, N2]


def expand(coefficients: Tensor, bases: Bases, dtype: torch.dtype) -> Tensor:
    """Sum of coefficients times basis functions at every voxel.

    ``out[b,i,j,k,d] = sum_lmn coefficients[b,d,l,m,n] bases0[b,i,l] bases1[b,j,m] bases2[b,k,n]``

    Args:
        coefficients: [B, D, N0, N1, N2] in float64: the small products keep its precision.
        bases: Values of the basis functions along each axis, float64; B may be 1.
        dtype: Of the result, and of the last, large product.

    Returns:
        [B, I, J, K, D].
    """
    batch, depth, n0, n1, n2 = coefficients.shape
    along_i, along_j, along_k = (basis.expand(batch, -1, -1) for basis in bases)
    rows, columns, slices = along_i.shape[1], along_j.shape[1], along_k.shape[1]
    c = coefficients.permute(0, 3, 2, 4, 1).reshape(batch, n1, n0 * n2 * depth)
    c = torch.bmm(along_j, c).view(batch, columns, n0, n2 * depth).transpose(1, 2)
    c = torch.bmm(along_i, c.reshape(batch, n0, columns * n2 * depth))
    # One block of along_k for each of the D components: [B, N2 D, K D], block diagonal.
    last = along_k.mT
    if depth > 1:
        last = last[:, :, None, :, None] * _identity(depth, last.device)[:, None]
        last = last.reshape(batch, n2 * depth, slices * depth)
    out = torch.bmm(c.view(batch, rows * columns, n2 * depth).to(dtype), last.to(dtype))
    return out.view(batch, rows, columns, slices, depth)


@lru_cache(maxsize=16)
def _identity(size: int, device: torch.device) -> Tensor:
    return torch.eye(size, dtype=torch.float64, device=device)


def ramp(size: int, device: torch.device) -> Tensor:
    """Voxel indices 0 .. size - 1 in float64."""
    return torch.arange(size, dtype=torch.float64, device=device)


def cubic_bspline(distance: Any) -> Any:
    """The cubic B-spline B3 at signed distances from its centre; zero beyond 2."""
    d = abs(distance)
    outer, inner = (2 - d).clip(0), (1 - d).clip(0)
    return (outer * outer * outer - 4 * inner * inner * inner) / 6
