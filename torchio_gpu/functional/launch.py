"""Getting the few numbers of a launch to where the voxels are."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(device: torch.device, *tensors: Tensor | None) -> list[Tensor | None]:
    """Bring small floating tensors to ``device`` as float64, host ones in a single copy.

    Host tensors without gradient are packed into one pinned buffer and copied without waiting;
    tensors that already live on a device, or carry a gradient, are moved by autograd's own copy.
    ``None`` stays ``None``.
    """
    if device.type == "cpu":
        return [None if t is None else t.to(device, torch.float64) for t in tensors]
    packed = [t is not None and t.device.type == "cpu" and not t.requires_grad for t in tensors]
    flat = [
        t.reshape(-1).double()
        for t, pack in zip(tensors, packed, strict=True)
        if pack and t is not None
    ]
    parts: list[Tensor] = []
    if flat:
        buffer = torch.cat(flat)
        if device.type == "cuda":
            buffer = buffer.pin_memory()
        buffer = buffer.to(device, non_blocking=True)
        parts = list(buffer.split([len(f) for f in flat]))
    out: list[Tensor | None] = []
    for t, pack in zip(tensors, packed, strict=True):
        if t is None:
            out.append(None)
        elif pack:
            out.append(parts.pop(0).view(t.shape))
        else:
            out.append(t.to(device, torch.float64))
    return out
