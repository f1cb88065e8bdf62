"""Sizes of tiles of a GPU that those who prepare arguments of its kernels must know."""

from __future__ import annotations

#: Largest number of rows that a block of a GPU processes, tile after tile.
ROWS = 32
#: Rows of a tile. A thread holds one column of them: their loads are independent, which hides their
#: latency, all values stay in registers, and a counter of noise has as many numbers.
BJ = 4
#: Neighbouring control points that a coordinate depends on along an axis: splines are cubic.
TAPS = 4
