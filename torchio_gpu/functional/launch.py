"""Getting the few numbers of a launch to where the voxels are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array


def to_device(device: torch.device, *arrays: Array | None) -> list[Tensor | None]:
    """Bring small floating arrays to ``device`` as float64 tensors, host ones in a single copy.

    Arrays are packed into one pinned buffer and copied without waiting; tensors, which live on a
    device or carry a gradient, are moved by torch itself. ``None`` stays ``None``.
    """
    if device.type == "cpu":
        return [_as_tensor(a) for a in arrays]
    flat = [np.ravel(a) for a in arrays if isinstance(a, np.ndarray)]
    parts: list[Tensor] = []
    if flat:
        buffer = torch.from_numpy(np.concatenate(flat).astype(np.float64, copy=False))
        if device.type == "cuda":
            buffer = buffer.pin_memory()
        sizes = [len(f) for f in flat]
        parts = list(torch.split(buffer.to(device, non_blocking=True), sizes))
    out: list[Tensor | None] = []
    for a in arrays:
        if isinstance(a, np.ndarray):
            out.append(parts.pop(0).view(a.shape))
        else:
            out.append(a if a is None else a.to(device, torch.float64))
    return out


def _as_tensor(array: Array | None) -> Tensor | None:
    """A host array as a tensor that shares its memory."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array.astype(np.float64, copy=False))
    return array if array is None else array.to(torch.float64)
