"""Contraction of control points along I and K by matrix products."""

from __future__ import annotations

import torch
from torch import Tensor


def columns(points: Tensor, along_i: Tensor, lowest: Tensor, along_k: Tensor) -> Tensor:
    """Contract control points; arguments as for :func:`torchio_gpu_kernels.columns.columns`."""
    B, _, N0, N1, N2 = points.shape
    planes = points.transpose(1, 2).reshape(B, N0, 3 * N1 * N2)
    planes = torch.matmul(along_i, planes).view(B, -1, 3 * N1, N2)
    K = along_k.shape[2]
    return torch.matmul(planes, along_k[:, None]).view(B, -1, 3, N1, K)
