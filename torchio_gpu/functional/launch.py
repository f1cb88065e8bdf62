"""Getting the few numbers of a launch to where the voxels are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array


def to_device(device: torch.device, *arrays: Array) -> list[Tensor]:
    """Bring small floating arrays to ``device`` as float64 tensors, host ones in a single copy.

    Arrays are packed into one pinned buffer and copied without waiting; tensors, which live on a
    device or carry a gradient, are moved by torch itself.
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
    out = []
    for a in arrays:
        if isinstance(a, np.ndarray):
            out.append(parts.pop(0).view(a.shape))
        else:
            out.append(a.to(device, torch.float64))
    return out


def _as_tensor(array: Array) -> Tensor:
    """A host array as a tensor that shares its memory."""
    if isinstance(array, np.ndarray):
        array = array.astype(np.float64, copy=False)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    return array.to(torch.float64)


def indices(array: np.ndarray, device: torch.device) -> Tensor:
    """Bring whole numbers to ``device`` as int64."""
    tensor = torch.from_numpy(array.astype(np.int64))
    if device.type == "cuda":  # from pinned memory, the copy is not waited for
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
