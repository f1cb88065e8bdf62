"""What is in view: boxes of the volume that is read, and values for what lies outside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...shapes import Grid, Volume

#: An edge is moved outwards by so many voxels: positions on it are in view, however rounded.
EDGE = 1e-4


#: A frame in the coordinates of a grid: its ends, [B, 1, 1, 1, 3] each, and the value.
OnGrid = tuple[Tensor, Tensor, float | Tensor]


class Frame(NamedTuple):
    """A box in a volume; what is read from outside it is a value.

    Args:
        low, high: Its ends along I, J, K in voxels, [B, 3] on the host. A volume of n voxels
            reaches from -0.5 to n - 0.5.
        fill: The value: a number, or [B, C].
    """

    low: np.ndarray
    high: np.ndarray
    fill: float | Tensor

    def rows(self, rows: Sequence[int]) -> Frame:
        """The frame of some samples."""
        fill = self.fill[list(rows)] if isinstance(self.fill, Tensor) else self.fill
        return Frame(self.low[list(rows)], self.high[list(rows)], fill)


def fill_along_axes(out: Volume, matrix: np.ndarray, frames: Sequence[Frame]) -> Volume:
    """Fill what was read from outside, where the map keeps axes parallel.

    Args:
        out: What was read, [B, C, I, J, K].
        matrix: From its voxels to those of the source, [B, 4, 4].
        frames: The boxes, oldest first.
    """
    linear, offset = matrix[:, :3, :3], matrix[:, :3, 3]
    for frame in frames:
        known, everything = torch.ones(1, dtype=torch.bool, device=out.device), True
        for axis, n in enumerate(out.shape[2:]):
            row = abs(linear[:, :, axis]).argmax(1)[:, None]  # [B, 1], the source's axis
            scale = np.take_along_axis(linear[:, :, axis], row, 1)
            start, low, high = (
                np.take_along_axis(each, row, 1) for each in (offset, frame.low, frame.high)
            )
            at = scale * np.arange(n) + start  # [B, N]
            inside = (at >= low - EDGE) & (at <= high + EDGE)
            if not inside.all():
                shape = [len(inside), 1, 1, 1, 1]
                shape[2 + axis] = n
                here = torch.from_numpy(inside).to(out.device, non_blocking=True)
                known, everything = known & here.view(shape), False
        if not everything:
            out = _fill(out, known, frame.fill)
    return out


def fill_at(out: Volume, grid: Grid, frames: Sequence[OnGrid]) -> Volume:
    """Fill what was read from outside, point by point.

    Args:
        out: What was read, [B, C, I, J, K].
        grid: Where, [B, I, J, K, 3].
        frames: As made by :func:`on_grid`.
    """
    for low, high, fill in frames:
        inside = ((grid >= low) & (grid <= high)).all(-1)[:, None]
        out = _fill(out, inside, fill)
    return out


def on_grid(
    frames: Sequence[Frame], source: Sequence[int], mode: str, like: Tensor
) -> list[OnGrid]:
    """Frames as :func:`fill_at` wants them.

    Args:
        frames: The boxes.
        source: Voxels of the volume that is read.
        mode: 'linear' for the coordinates of ``F.grid_sample``, others for voxels.
        like: A tensor of the device and dtype of the grid.
    """
    out: list[OnGrid] = []
    for low, high, fill in frames:
        ends = np.stack((low - EDGE, high + EDGE), 1)  # [B, 2, 3]
        if mode == "linear":
            ends = ((2 * ends + 1) / np.array(source) - 1)[..., ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(ends)).to(like, non_blocking=True)
        first, last = tensor[:, :, None, None, None].unbind(1)
        out.append((first, last, fill))
    return out


def _fill(out: Volume, inside: Tensor, fill: float | Tensor) -> Volume:
    if isinstance(fill, Tensor):
        return torch.where(inside, out, fill.to(out)[:, :, None, None, None])
    return out.masked_fill(~inside, fill)
