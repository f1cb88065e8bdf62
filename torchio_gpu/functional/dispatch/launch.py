"""Copies of small parameter arrays from the host to the device of the voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate
from operator import mul

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, send

#: Alignment of each array in a packed copy, in bytes: that of the widest load of a GPU.
_ALIGNED = 16
#: Dtypes of torch by those of numpy, for which torch has no public function.
_DTYPES = {
    np.dtype(name): getattr(torch, name)
    for name in ("float64", "float32", "int64", "int32", "int16", "uint8", "int8", "bool")
}


def to_device(device: torch.device, *arrays: Array) -> list[Tensor]:
    """Copy small floating arrays to ``device`` as float64 tensors, numpy arrays in a single copy.

    Arrays are packed into one pinned buffer and copied asynchronously; tensors, which are on a
    device or have a gradient, are moved by torch.
    """
    plain = [a.astype(np.float64, copy=False) for a in arrays if isinstance(a, np.ndarray)]
    parts = iter(packed(device, plain))
    return [
        next(parts) if isinstance(a, np.ndarray) else send(a, device, torch.float64) for a in arrays
    ]


def packed(device: torch.device, arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """Copy arrays of any dtype to ``device``, in a single asynchronous copy.

    On the CPU, tensors share the memory of the arrays.
    """
    copies = _active.get()
    if device.type == "cpu" and copies is None:
        return [torch.from_numpy(a if a.flags.writeable else a.copy()) for a in arrays]
    starts, end = [], 0
    for a in arrays:
        starts.append(end)
        end += -(-a.nbytes // _ALIGNED) * _ALIGNED
    if not end:
        return [torch.empty(a.shape, dtype=_DTYPES[a.dtype], device=device) for a in arrays]
    given = None if copies is None else copies.given(arrays, starts, end, device)
    if given is not None:  # no host memory can be pinned while a graph is captured
        moved = given
    else:
        buffer = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        content = buffer.numpy()
        content.fill(0)  # numpy starts no threads for so few bytes, torch does
        for a, start in zip(arrays, starts, strict=True):
            content[start : start + a.nbytes] = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
        moved = send(buffer, device) if copies is None else copies.move(buffer, device)
    typed = {dtype: moved.view(_DTYPES[dtype]) for dtype in {a.dtype for a in arrays}}
    offset = moved.storage_offset()  # in bytes; not 0 if several buffers were copied as one
    return [  # one operator for each, which costs a third of slicing, casting and shaping
        typed[a.dtype].as_strided(a.shape, _strides(a.shape), (offset + start) // a.itemsize)
        for a, start in zip(arrays, starts, strict=True)
    ]


@lru_cache(maxsize=256)
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor, in elements."""
    sizes = accumulate(reversed(shape[1:]), mul, initial=1)
    return tuple(sizes)[::-1] if shape else ()


class PackedCopies:
    """Packed copies that a call makes to a device: recorded, or replaced by given ones.

    Args:
        replayed: Buffers on the device that replace the copies, in order; by default, copies are
            made, and recorded in ``buffers``.
    """

    def __init__(self, replayed: Sequence[Tensor] | None = None) -> None:
        self.buffers: list[Tensor] = []
        self._replayed = None if replayed is None else iter(replayed)

    def given(
        self, arrays: Sequence[np.ndarray], starts: Sequence[int], size: int, device: torch.device
    ) -> Tensor | None:
        """Return the buffer that replaces the next packed copy, or None when recording.

        Args:
            arrays: Arrays to copy.
            starts: Position of each in the buffer, in bytes.
            size: Number of bytes.
            device: Device to copy to.

        Raises:
            RuntimeError: The buffer does not have ``size`` bytes, or none is left.
        """
        if self._replayed is None:
            return None
        buffer = next(self._replayed, None)
        if buffer is None or len(buffer) != size:
            given = "none are left" if buffer is None else f"there are {len(buffer)}"
            raise RuntimeError(f"a call brings {size} bytes to the device where {given}")
        return buffer

    def move(self, buffer: Tensor, device: torch.device) -> Tensor:
        """Record a packed copy, and return its bytes on the device."""
        self.buffers.append(buffer)
        if device.type == "meta":
            return torch.empty(buffer.shape, dtype=torch.uint8, device=device)
        return send(buffer, device)

    @contextmanager
    def running(self) -> Iterator[PackedCopies]:
        """Record or replace all packed copies within the block."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)


_active: ContextVar[PackedCopies | None] = ContextVar("packed_copies", default=None)


def indices(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy whole numbers to ``device`` as int64."""
    return packed(device, [array.astype(np.int64)])[0]
