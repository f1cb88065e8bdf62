"""How a volume is cut into tiles [BJ, BK] of planes of constant i: one for each program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

#: A program works through at most so many rows, however its tiles are cut.
ROWS = 32
#: Rows of a tile: one thread holds them all, and what they share of a column. As many independent
#: loads hide their latency, and everything stays in registers.
BJ = 8
#: Neighbouring control points that any place depends on: splines are cubic.
TAPS = 4
#: The longest piece of a row in a tile.
_BK = 128
#: Threads of a warp.
_LANES = 32
#: Launch options. Multiplications and additions are fused, as on every GPU by default.
OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}


#: Registers that a kernel may take of each thread: of more, too few warps fit on a multiprocessor.
REGISTERS = 128


def capped(large: bool, registers: int = REGISTERS) -> dict[str, int]:
    """Return the launch option that keeps a kernel within :data:`REGISTERS`.

    A cap also lets the compiler take all that it allows, so it is only for what would take more.
    """
    return {"maxnreg": registers} if large else {}


def before_hopper() -> bool:
    """Return whether kernels are for a GPU before Hopper, where they take more registers."""
    if triton.knobs.runtime.interpret:
        return False
    return bool(triton.runtime.driver.active.get_current_target().arch < 90)


class Tiles(NamedTuple):
    """Tiles of a plane; they count along K first."""

    BJ: int
    BK: int
    steps: int  # neighbours along J that one program works through
    JB: int  # programs along J
    KB: int  # programs along K

    @property
    def warps(self) -> int:
        """Warps of a program: a thread for each column of a tile."""
        return max(1, self.BK // _LANES)

    @staticmethod
    def of(J: int, K: int, rows: int = ROWS, most: int = BJ) -> Tiles:
        """Tiles for planes of J x K voxels.

        Args:
            J, K: Voxels of a plane.
            rows: How many rows a program may work through: at least those of a tile.
            most: How many rows a tile may have.
        """
        whole = max(4, triton.next_power_of_2(K))
        # shorter pieces waste fewer lanes at the end of a row; of equals, the longest
        pieces = [n for n in (_BK, _BK // 2, _BK // 4) if n <= whole] or [whole]
        BK = min(pieces, key=lambda n: (-(-K // n) * n, -n))
        height = min(most, triton.next_power_of_2(J))
        steps = min(-(-rows // height), -(-J // height))
        return Tiles(height, BK, steps, -(-J // (height * steps)), -(-K // BK))


def reach(step: float) -> int:
    """How many neighbouring control points the rows of a tile can depend on.

    Args:
        step: Control points from one row to the next.
    """
    return TAPS + math.ceil((BJ - 1) * step)


def strides(x: Tensor) -> list[int]:
    """Strides of a volume; 0 along axes of one voxel, where a neighbour would be outside."""
    return [0 if n == 1 else s for n, s in zip(x.shape, x.stride(), strict=True)]


def is_wide(shape: Sequence[int], steps: Sequence[int]) -> bool:
    """Whether offsets along some axes may not fit 32 bits."""
    return sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) >= 2**31


def readable(x: Tensor) -> Tensor:
    """A tensor in a dtype that kernels know: flags as bytes."""
    return x.view(torch.uint8) if x.dtype == torch.bool else x


@triton.jit
def locate(KB, steps, BJ: tl.constexpr, BK: tl.constexpr):
    """Where a program begins: first row, and first voxel along K."""
    tile = tl.program_id(0)
    return (tile // KB) * (BJ * steps), (tile % KB) * BK


@triton.jit
def within(j, k, sj, sk, WIDE: tl.constexpr):
    """Offsets of a tile in its plane, [BJ, BK]: int64 where they may not fit 32 bits."""
    if WIDE:
        j, k = j.to(tl.int64), k.to(tl.int64)
    return j[:, None] * sj + k[None, :] * sk
