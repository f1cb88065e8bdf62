"""Allocation of memory for whole volumes.

The first access to a page of new memory costs more than writing it. Linux can provide pages of 2 MB
on request, which numpy makes and torch does not: with them, filling a new volume takes a quarter of
the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

#: Size in bytes from which numpy requests large pages.
_LARGE = 2**22


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialized contiguous tensor.

    >>> empty((2, 3), torch.bfloat16, torch.device("cpu")).shape
    torch.Size([2, 3])
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _LARGE:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(_large(size)).view(dtype).view(shape)


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a contiguous tensor of zeros.

    >>> zeros((3, 1024, 1024), torch.float32, torch.device("cpu")).any()
    tensor(False)
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _LARGE:
        return torch.zeros(shape, dtype=dtype, device=device)
    # new pages are zeros already: numpy does not write them once more, as zero_() would
    return torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).view(shape)


def _large(size: int) -> np.ndarray:
    return np.empty(size, np.uint8)
