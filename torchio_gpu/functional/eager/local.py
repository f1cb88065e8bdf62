"""Matrix products along an axis in which a voxel that is not finite stays local.

Zero times NaN is NaN: in a dense product, or a block of a banded one, a NaN voxel spreads to voxels
to which it contributes with weight 0. Products with such voxels are therefore corrected: they
affect only the voxels to which they contribute with a nonzero weight.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Product of a tensor with matrices [B, M, N].
Product = Callable[[Tensor, Tensor], Tensor]


def local_product(product: Product, x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Multiply the voxels along an axis by a matrix of each sample; weights of 0 ignore NaN.

    As in the sum over nonzero weights, infinities of one sign give an infinity, and other values
    that are not finite give NaN.

    Args:
        product: Linear in its first argument; called with ``x`` and ``matrix``.
        x: Voxels, [B or a multiple, ...], with one to three more axes besides ``dim``.
        matrix: [B, M, N], or [1, M, N] for all samples.
        dim: Axis of N voxels; of M voxels in the result.
    """
    if x.device.type == "cpu":
        # a sum costs a fifth of isfinite(); if it overflows, the slower path is correct, too
        return product(x, matrix) if _is_finite(x) else _by_masks(product, x, matrix)
    return _by_masks(product, x, matrix)


def _is_finite(x: Tensor) -> bool:
    """Return True if all voxels are known to be finite; False if unknown, as under vmap."""
    if torch.compiler.is_compiling():
        return False
    try:
        return bool(x.detach().sum().isfinite())
    except RuntimeError:
        return False


def _by_masks(product: Product, x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply finite voxels, and find the results that other voxels affect by masks."""
    finite = x.isfinite()
    out = product(torch.where(finite, x, 0), matrix)
    with torch.no_grad():
        size = product(torch.where(finite, 0, 1).to(x.dtype), (matrix != 0).to(matrix.dtype))
        signed = product(torch.where(x.isinf(), x.sign(), 0).to(x.dtype), matrix.sign())
        one_sign = signed.abs() > size - 0.5  # both count voxels
        special = torch.where(one_sign, signed.sign() * torch.inf, torch.nan)
    return torch.where(size > 0.5, special, out)
