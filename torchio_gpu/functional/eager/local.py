"""Products along an axis in which a voxel that is not finite stays local.

Zero times NaN is NaN: in a dense product, or a block of a banded one, one voxel spoils all that it
does not even contribute to. Products that may meet such a voxel are therefore mended: it reaches as
far as weights that are not 0, and no farther.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchio_gpu_kernels import load

from ..dispatch.backend import use_kernel

#: A product: from what is multiplied, and matrices [B, M, N], to the result.
Product = Callable[[Tensor, Tensor], Tensor]


def local_product(product: Product, x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Multiply the voxels along an axis by a matrix of each sample, and keep what is local local.

    Infinities of one sign give an infinity, all else that is not finite gives NaN, as in the sum
    over the weights that are not 0.

    Args:
        product: Linear in its first argument; called with ``x`` and ``matrix``.
        x: Samples first, [B or a multiple, ...], with one to three more axes beside ``dim``.
        matrix: [B, M, N], or [1, M, N] for all samples.
        dim: The axis of N voxels, in the result that of M.
    """
    if x.device.type == "cpu":
        # a sum is a fifth of what a comparison of all voxels costs; one that overflows costs time
        return product(x, matrix) if _is_finite(x) else _by_masks(product, x, matrix)
    if not use_kernel(x.device):
        return _by_masks(product, x, matrix)
    out = product(x, matrix)
    with torch.no_grad():  # the gradient is that of the product
        doubt = ~x.detach().sum().isfinite()
        parts = (_spread(out.detach(), dim), _spread(x.detach(), dim))
        load().mend_bands_(*parts, matrix.detach().contiguous(), doubt)
    return out


def _is_finite(x: Tensor) -> bool:
    """Return whether all voxels are surely finite; where nobody can say, as under vmap, not."""
    if torch.compiler.is_compiling():
        return False
    try:
        return bool(x.detach().sum().isfinite())
    except RuntimeError:
        return False


def _spread(x: Tensor, dim: int) -> Tensor:
    """View with the samples first and an axis last, [G, A1, A2, N]."""
    x = x.movedim(dim, -1)
    if x.ndim == 5:
        x = x.flatten(0, 1)  # samples and channels, which lie one behind the other
    while x.ndim < 4:
        x = x.unsqueeze(1)
    return x


def _by_masks(product: Product, x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply what is finite, and apart from it, what is not."""
    finite = x.isfinite()
    out = product(torch.where(finite, x, 0), matrix)
    with torch.no_grad():
        size = product(torch.where(finite, 0, 1).to(x.dtype), (matrix != 0).to(matrix.dtype))
        signed = product(torch.where(x.isinf(), x.sign(), 0).to(x.dtype), matrix.sign())
        alike = signed.abs() > size - 0.5  # both count voxels
        special = torch.where(alike, signed.sign() * torch.inf, torch.nan)
    return torch.where(size > 0.5, special, out)
