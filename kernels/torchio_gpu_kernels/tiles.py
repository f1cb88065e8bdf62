"""Tiles of rows of planes of constant i, and the layout of volumes in memory.

A *block* is one instance of a kernel, with its own ``tl.program_id``; a *program* is a sequence of
pointwise operations, see :mod:`.program`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiling import BJ, ROWS

#: Largest number of voxels of a tile along K.
_BK = 128
#: Threads of a warp.
_LANES = 32
#: Launch options of every kernel: multiplications and additions are fused, the default of GPUs.
OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
#: Largest number of registers per thread: with more, too few warps fit on a multiprocessor.
REGISTERS = 128


def capped(large: bool, registers: int = REGISTERS) -> dict[str, int]:
    """Return the launch option that keeps a kernel within :data:`REGISTERS`.

    With a cap, the compiler takes all registers that it allows: only kernels that would exceed it
    are capped.
    """
    return {"maxnreg": registers} if large else {}


def before_hopper() -> bool:
    """Return True if kernels are for a GPU before Hopper, where they take more registers."""
    if triton.knobs.runtime.interpret:
        return False
    return bool(triton.runtime.driver.active.get_current_target().arch < 90)


class Tiles(NamedTuple):
    """Tiles of :data:`.tiling.BJ` rows of a plane, numbered along K first."""

    BK: int
    steps: int  # neighbouring tiles along J that one block processes
    JB: int  # blocks along J
    KB: int  # blocks along K
    warps: int  # of a block

    def grid(self, planes: int, volumes: int) -> tuple[int, int, int]:
        """Return the grid of a launch over all planes of all volumes."""
        return self.JB * self.KB, planes, volumes

    def arguments(self) -> dict[str, int]:
        """Return arguments of a kernel and launch options, by name."""
        return {"KB": self.KB, "BK": self.BK, "num_warps": self.warps}

    @staticmethod
    @lru_cache(maxsize=256)
    def of(J: int, K: int, rows: int = ROWS, per_thread: int = 1) -> Tiles:
        """Return tiles for planes of J x K voxels.

        Args:
            J, K: Voxels of a plane.
            rows: Largest number of rows of a block, a multiple of :data:`.tiling.BJ`.
            per_thread: Neighbouring voxels of a row that a thread processes.
        """
        whole = max(4, triton.next_power_of_2(K))
        # narrow tiles waste fewer lanes at the end of a row; among equals, take the widest
        most = max(_BK, _LANES * per_thread)
        pieces = [n for n in (most, most // 2, most // 4) if n <= whole] or [whole]
        BK = min(pieces, key=lambda n: (-(-K // n) * n, -n))
        steps = min(rows, J + BJ - 1) // BJ
        warps = max(1, BK // (_LANES * per_thread))
        return Tiles(BK, steps, -(-J // (BJ * steps)), -(-K // BK), warps)


class Strides(NamedTuple):
    """Strides of a volume [B, C, I, J, K], in elements.

    They are 0 along axes of one voxel, so that the neighbour of a voxel lies within the volume.
    """

    b: int
    c: int
    i: int
    j: int
    k: int

    @staticmethod
    def of(x: Tensor) -> Strides:
        """Return the strides of a volume."""
        return Strides(*[0 if n == 1 else s for n, s in zip(x.shape, x.stride(), strict=True)])

    @property
    def spatial(self) -> tuple[int, int, int]:
        """Strides along I, J and K."""
        return self.i, self.j, self.k

    @property
    def plane(self) -> tuple[int, int]:
        """Strides along J and K."""
        return self.j, self.k

    def arguments(self, b: str, c: str, i: str, j: str, k: str) -> dict[str, int]:
        """Return the strides by the given names of a kernel's arguments."""
        return {b: self.b, c: self.c, i: self.i, j: self.j, k: self.k}


def is_wide(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return True if offsets along some axes may need more than 32 bits."""
    return sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= 2**31


def readable(x: Tensor) -> Tensor:
    """Return a tensor in a dtype that kernels read: bool as uint8, in the same memory."""
    return x.view(torch.uint8) if x.dtype == torch.bool else x


@triton.jit
def voxels_along_k(KB, BK: tl.constexpr):
    """Return the voxels along K of a block, [BK]."""
    return (tl.program_id(0) % KB) * BK + tl.arange(0, BK)


@triton.jit
def row_offsets(j, k, sj, sk, WIDE: tl.constexpr):
    """Return offsets of a row in its plane, [BK]: int64 if they may need more than 32 bits."""
    if WIDE:
        at = j.to(tl.int64) * sj + k.to(tl.int64) * sk
    else:
        at = (j * sj + k * sk).to(tl.uint32)
    return at
