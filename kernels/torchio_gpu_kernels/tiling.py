"""Sizes of tiles of a GPU that those who prepare arguments of its kernels must know."""

from __future__ import annotations

import math

#: Largest number of rows that a block of a GPU processes, tile after tile.
ROWS = 32
#: Rows of a tile. One thread holds one column of them: so many independent loads hide their
#: latency, and all values stay in registers.
BJ = 8
#: Neighbouring control points that a coordinate depends on along an axis: splines are cubic.
TAPS = 4


def tap_count(step: float) -> int:
    """Return the largest number of neighbouring control points that the rows of a tile depend on.

    Args:
        step: Distance between neighbouring rows, in control points.
    """
    return TAPS + math.ceil((BJ - 1) * step)
