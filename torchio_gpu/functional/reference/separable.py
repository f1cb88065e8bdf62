"""Fields that are sums of products of one function per axis, evaluated on a whole voxel grid.

Affine coordinates, B-spline displacements and polynomial bias fields are all of this form. The
three axes are contracted one after another by small matrix products, so the only array of the
grid's size is the result.
"""

from __future__ import annotations

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
    along_i, along_j, along_k = bases
    rows, columns, slices = along_i.shape[1], along_j.shape[1], along_k.shape[1]
    c = coefficients.permute(0, 2, 3, 4, 1)  # [B, N0, N1, N2, D]
    c = along_i @ c.reshape(batch, n0, n1 * n2 * depth)
    c = along_j[:, None] @ c.view(batch, rows, n1, n2 * depth)  # [B, I, J, N2 D]
    # One block of along_k for each of the D components: [B, N2 D, K D], block diagonal.
    blocks = along_k.mT[:, :, None, :, None] * torch.eye(depth).to(along_k)[:, None]
    last = blocks.reshape(-1, n2 * depth, slices * depth).to(dtype)
    out = c.view(batch, rows * columns, n2 * depth).to(dtype) @ last
    return out.view(batch, rows, columns, slices, depth)


def ramp(size: int, device: torch.device) -> Tensor:
    """Voxel indices 0 .. size - 1 in float64."""
    return torch.arange(size, dtype=torch.float64, device=device)


def cubic_bspline(distance: Tensor) -> Tensor:
    """The cubic B-spline B3 at signed distances from its centre; zero beyond 2."""
    d = distance.abs()
    outer = (2 - d).clamp_min_(0)
    inner = (1 - d).clamp_min_(0)
    return (outer**3).sub_(inner**3, alpha=4).div_(6)
