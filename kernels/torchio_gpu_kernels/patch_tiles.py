"""What cutting patches out and adding them up share: tiles, tables, and places within a plane."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import OPTIONS, is_wide, strides

#: Voxels of a tile along K, along I, and in all: the larger a tile, the more patches does it touch
#: that hold little of it.
PIECE, _PLANES, _VOXELS = 32, 4, 1024
#: Voxels of a thread: what it has to find out of a patch, it finds out once for all of them.
_PER_THREAD = 16


@triton.jit
def tile_at(KB, BJ: tl.constexpr, BK: tl.constexpr):
    """Rows and columns of a program's tile, [BJ] and [BK]."""
    tile = tl.program_id(0)
    return tile // KB * BJ + tl.arange(0, BJ), tile % KB * BK + tl.arange(0, BK)


@triton.jit
def within_plane(j, k, sj, sk, WIDE: tl.constexpr):
    """Offsets [BJ, BK] within a plane.

    Neighbouring threads take neighbouring voxels, one at a time: patches begin anywhere, and so
    reading several voxels at once would hardly ever do.
    """
    if WIDE:
        j, k = j.to(tl.int64), k.to(tl.int64)
    return tl.max_contiguous((j * sj)[:, None] + (k * sk)[None, :], [1, 1])


@triton.jit
def counts_along(row, x, AXIS: tl.constexpr):
    """Whether voxels count along an axis: those between two numbers of three and three."""
    low, high = tl.load(row + AXIS).to(tl.int32), tl.load(row + 3 + AXIS).to(tl.int32)
    return (x >= low) & (x < high)


def items(batch: Tensor) -> np.ndarray:
    """Addresses and strides of what lies along the first axis, int64 [B, 5]."""
    first, *others = strides(batch)
    rows = np.empty((len(batch), 5), dtype=np.int64)
    rows[:, 0] = batch.data_ptr() + np.arange(len(batch)) * (first * batch.element_size())
    rows[:, 1:] = others
    return rows


def send(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Bring int64 arrays to a device in one copy, which is not waited for."""
    buffer = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        buffer = buffer.pin_memory()
    sizes = [array.size for array in arrays]
    return list(buffer.to(device, non_blocking=True).split(sizes))


class PatchTiles(NamedTuple):
    """Tiles of a volume or of a patch; in a plane they count along K first."""

    BI: int
    BJ: int
    BK: int
    JB: int  # tiles along J
    KB: int  # tiles along K

    @staticmethod
    def of(I: int, J: int, K: int) -> PatchTiles:
        BK = min(triton.next_power_of_2(K), PIECE)
        BI = min(triton.next_power_of_2(I), _PLANES)
        BJ = min(triton.next_power_of_2(J), _VOXELS // (BI * BK))
        return PatchTiles(BI, BJ, BK, -(-J // BJ), -(-K // BK))

    def options(self, work: Any, per_thread: int = _PER_THREAD) -> dict[str, Any]:
        """How to launch."""
        warps = max(1, self.BI * self.BJ * self.BK // (32 * per_thread))
        return {"BJ": self.BJ, "BK": self.BK, "WORK": work, "num_warps": warps, **OPTIONS}


def work(dtype: torch.dtype) -> Any:
    """What to compute with."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def wide(*tensors: Tensor) -> bool:
    """Whether offsets within a plane may not fit 32 bits."""
    return any(is_wide(t.shape[3:], t.stride()[3:]) for t in tensors)
