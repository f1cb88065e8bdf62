"""Getting the few numbers of a launch to where the voxels are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, send

#: Each array of a packed copy begins at a multiple of so many bytes, as wide loads want it.
_ALIGNED = 16
#: torch has no public way from numpy's dtypes to its own.
_DTYPES = {
    np.dtype(name): getattr(torch, name)
    for name in ("float64", "float32", "int64", "int32", "int16", "uint8", "int8", "bool")
}


def to_device(device: torch.device, *arrays: Array) -> list[Tensor]:
    """Bring small floating arrays to ``device`` as float64 tensors, host ones in a single copy.

    Arrays are packed into one pinned buffer and copied without waiting; tensors, which live on a
    device or carry a gradient, are moved by torch itself.
    """
    plain = [a.astype(np.float64, copy=False) for a in arrays if isinstance(a, np.ndarray)]
    parts = iter(packed(device, plain))
    return [
        next(parts) if isinstance(a, np.ndarray) else send(a, device, torch.float64) for a in arrays
    ]


def packed(device: torch.device, arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """Bring arrays of any dtype to ``device``, in a single copy that is not waited for.

    On the CPU, tensors share the memory of the arrays.
    """
    tape = _tape.get()
    if device.type == "cpu" and tape is None:
        return [torch.from_numpy(a if a.flags.writeable else a.copy()) for a in arrays]
    starts, end = [], 0
    for a in arrays:
        starts.append(end)
        end += -(-a.nbytes // _ALIGNED) * _ALIGNED
    if not end:
        return [torch.empty(a.shape, dtype=_DTYPES[a.dtype], device=device) for a in arrays]
    served = None if tape is None else tape.next(end)
    if served is not None:  # while a graph is captured, no host memory can be pinned
        moved = served
    else:
        buffer = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        view = buffer.numpy()
        view.fill(0)  # by numpy, which wakes no threads for so few bytes
        for a, start in zip(arrays, starts, strict=True):
            view[start : start + a.nbytes] = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
        moved = send(buffer, device) if tape is None else tape.move(buffer, device)
    return [
        moved[start : start + a.nbytes].view(_DTYPES[a.dtype]).view(a.shape)
        for a, start in zip(arrays, starts, strict=True)
    ]


class Tape:
    """The numbers that a call brings to a device: written down, or replaced by others.

    Args:
        served: What to hand out in place of them, buffer by buffer; by default, they are copied as
            ever, and kept in ``buffers``.
    """

    def __init__(self, served: Sequence[Tensor] | None = None) -> None:
        self.buffers: list[Tensor] = []
        self._served = None if served is None else iter(served)

    def next(self, size: int) -> Tensor | None:
        """Return the bytes that are handed out in place of the next packed copy, if any are.

        Raises:
            RuntimeError: They are not as many as this copy has.
        """
        if self._served is None:
            return None
        served = next(self._served, None)
        if served is None or len(served) != size:
            given = "none are left" if served is None else f"there are {len(served)}"
            raise RuntimeError(f"a call brings {size} bytes to the device where {given}")
        return served

    def move(self, buffer: Tensor, device: torch.device) -> Tensor:
        """Write a packed copy down, and return its bytes on the device."""
        self.buffers.append(buffer)
        if device.type == "meta":
            return torch.empty(buffer.shape, dtype=torch.uint8, device=device)
        return send(buffer, device)

    @contextmanager
    def running(self) -> Iterator[Tape]:
        """Let all packed copies within go by this tape."""
        token = _tape.set(self)
        try:
            yield self
        finally:
            _tape.reset(token)


_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)


def indices(array: np.ndarray, device: torch.device) -> Tensor:
    """Bring whole numbers to ``device`` as int64."""
    return packed(device, [array.astype(np.int64)])[0]
