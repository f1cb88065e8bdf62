"""Tiles, tables and offsets that the extraction and the aggregation of patches share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import OPTIONS, Strides, is_wide

#: Largest number of voxels of a tile along K, along I, and in total: a larger tile touches more
#: patches that cover little of it.
LARGEST_BK, _LARGEST_BI, _VOXELS = 32, 4, 1024
#: Voxels of a thread, which reads the table of a patch once for all of them.
_PER_THREAD = 16


@triton.jit
def tile_voxels(KB, BJ: tl.constexpr, BK: tl.constexpr):
    """Return the rows and the columns of the tile of a block, [BJ] and [BK]."""
    tile = tl.program_id(0)
    return tile // KB * BJ + tl.arange(0, BJ), tile % KB * BK + tl.arange(0, BK)


@triton.jit
def within_plane(j, k, sj, sk, WIDE: tl.constexpr):
    """Return offsets [BJ, BK] within a plane.

    Neighbouring threads take neighbouring voxels, one at a time: patches begin at any voxel, so
    that loads of several voxels would rarely be aligned.
    """
    if WIDE:
        j, k = j.to(tl.int64), k.to(tl.int64)
    return tl.max_contiguous((j * sj)[:, None] + (k * sk)[None, :], [1, 1])


@triton.jit
def in_range(ends, x, AXIS: tl.constexpr):
    """Return True for voxels from ``ends[AXIS]``, inclusive, to ``ends[3 + AXIS]``, exclusive."""
    low, high = tl.load(ends + AXIS).to(tl.int32), tl.load(ends + 3 + AXIS).to(tl.int32)
    return (x >= low) & (x < high)


def addresses_and_strides(batch: Tensor) -> np.ndarray:
    """Return the address of each volume and its strides along C, I, J and K, int64 [B, 5]."""
    steps = Strides.of(batch)
    entries = np.empty((len(batch), 5), dtype=np.int64)
    entries[:, 0] = batch.data_ptr() + np.arange(len(batch)) * (steps.b * batch.element_size())
    entries[:, 1:] = steps.c, *steps.spatial
    return entries


def send(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Copy int64 arrays to a device, in one asynchronous copy."""
    buffer = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        buffer = buffer.pin_memory()
    sizes = [array.size for array in arrays]
    return list(buffer.to(device, non_blocking=True).split(sizes))


class PatchTiles(NamedTuple):
    """Tiles of a volume or of a patch; in a plane they are numbered along K first."""

    BI: int
    BJ: int
    BK: int
    JB: int  # tiles along J
    KB: int  # tiles along K

    @staticmethod
    @lru_cache(maxsize=256)
    def of(I: int, J: int, K: int) -> PatchTiles:
        """Return tiles for I x J x K voxels."""
        BK = min(triton.next_power_of_2(K), LARGEST_BK)
        BI = min(triton.next_power_of_2(I), _LARGEST_BI)
        BJ = min(triton.next_power_of_2(J), _VOXELS // (BI * BK))
        return PatchTiles(BI, BJ, BK, -(-J // BJ), -(-K // BK))

    def grid(self, planes: int, volumes: int) -> tuple[int, int, int]:
        """Return the grid of a launch; ``planes`` are groups of BI of them."""
        return self.JB * self.KB, planes, volumes

    def arguments(self, per_thread: int = _PER_THREAD) -> dict[str, Any]:
        """Return arguments of a kernel and launch options, by name.

        Args:
            per_thread: Voxels of a thread.
        """
        warps = max(1, self.BI * self.BJ * self.BK // (32 * per_thread))
        return {"KB": self.KB, "BJ": self.BJ, "BK": self.BK, "num_warps": warps, **OPTIONS}


class Places(NamedTuple):
    """Columns of a table of patches; see :data:`.patches.gather_patches`."""

    volume: np.ndarray  # number of the volume, int64 [N]
    first: np.ndarray  # voxel of the volume at which the patch begins, int64 [N, 3]
    low: np.ndarray  # first voxel that counts, int64 [N, 3]
    high: np.ndarray  # one after the last voxel that counts, int64 [N, 3]

    @staticmethod
    def of(table: Tensor) -> Places:
        """Return the columns of a table, int64 [N, 10] on the host."""
        entries = table.numpy()
        return Places(entries[:, 0], entries[:, 1:4], entries[:, 4:7], entries[:, 7:10])


def weight_arguments(weights: Sequence[Tensor], unused: Tensor) -> dict[str, Any]:
    """Return the weights along each axis by the names of a kernel's arguments.

    Args:
        weights: Weights along I, J, K, or none.
        unused: Tensor that replaces them if there are none; the kernel does not read it.
    """
    along_i, along_j, along_k = weights or (unused, unused, unused)
    return {"wi": along_i, "wj": along_j, "wk": along_k, "WEIGHTED": bool(weights)}


def accumulator(dtype: torch.dtype) -> Any:
    """Return the dtype of sums and products."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def any_wide(*tensors: Tensor) -> bool:
    """Return True if offsets within a plane may need more than 32 bits."""
    return any(is_wide(t.shape[3:], t.stride()[3:]) for t in tensors)
