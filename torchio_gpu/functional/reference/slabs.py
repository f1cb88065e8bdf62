"""Working through a volume slab by slab, where that keeps intermediate results in a cache.

On a CPU, memory is the bottleneck: several passes over a slab of some rows along I cost little more
than one over the whole volume. A GPU wants the whole volume at once, and so does ``meta``.
"""

from __future__ import annotations

import torch

#: Voxels of a slab: a few MB in float32.
VOXELS = 524288


def slab_rows(rows: int, voxels_per_row: int, device: torch.device) -> int:
    """How many of ``rows`` rows to take at a time."""
    return max(1, VOXELS // voxels_per_row) if device.type == "cpu" else rows
