"""Kernels in numba for CPUs, with the arguments and results of those of Triton.

Each group of four neighbouring rows along K goes through all steps, one line of voxels after the
other, in memory that stays in the cache: loops over a line are vectorized, groups are shared out
among threads. They have no gradients.
"""

from .columns import columns
from .moments import moments
from .pointwise import pointwise
from .warp import warp, warp_pair

__all__ = ["columns", "moments", "pointwise", "warp", "warp_pair"]
