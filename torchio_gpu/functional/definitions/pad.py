"""Formula of volumes continued beyond their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...shapes import Triple, Volume

#: Numbers that describe all channels of a sample together.
STATISTICS: dict[str | float, Callable[[Any], Any]] = {
    "minimum": np.min,
    "maximum": np.max,
    "mean": np.mean,
    "median": np.median,
    "empty": lambda x: 0,
    "constant": lambda x: 0,
}


def window(x: Volume, first: Sequence[Triple], size: Triple, mode: str | float = 0) -> Volume:
    """Crop what ``numpy.pad`` pads: output voxel v is voxel ``first + v``.

    Args:
        x: [B, C, I, J, K].
        first: First voxel of each sample, (B, 3); it may lie outside.
        size: Voxels of the output.
        mode: A number, or a mode of numpy.pad; 'minimum', 'maximum', 'mean' and 'median' are those
            of the whole sample, 'constant' and 'empty' are 0.
    """
    out = []
    for volume, corner in zip(x.numpy(), first, strict=True):
        ends = [c + m - n for c, m, n in zip(corner, size, volume.shape[1:], strict=True)]
        widths = [(max(-c, 0), max(end, 0)) for c, end in zip(corner, ends, strict=True)]
        how: dict[str, Any] = {"mode": mode}
        if mode in STATISTICS or not isinstance(mode, str):
            value = STATISTICS[mode](volume) if isinstance(mode, str) else mode
            how = {"mode": "constant", "constant_values": value}
        padded = np.pad(volume, [(0, 0), *widths], **how)
        i, j, k = (slice(max(c, 0), max(c, 0) + m) for c, m in zip(corner, size, strict=True))
        out.append(padded[:, i, j, k])
    return torch.from_numpy(np.stack(out))
