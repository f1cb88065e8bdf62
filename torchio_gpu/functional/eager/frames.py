"""Fields of view: boxes of the volume that is read, and values for all that lies outside them.

A point is within a box up to half a voxel beyond the outermost voxel centres, as in ITK; there its
coordinates are clamped to these. Everything else is fill, which is selected and never blended, so
that neither a fill nor a voxel that is NaN spreads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...shapes import Grid, Volume

#: A coordinate c along an axis of n voxels is within for -0.5 <= c + TIE < n - 0.5, in voxels: one
#: that lies on an end, however it is rounded, belongs to the voxel that begins there, as one
#: halfway between two voxels does when the nearest is taken.
TIE = 1e-4


#: A frame in the coordinates of a grid: its middle, [B or 1, 1, 3, 1, 1], half its length, for each
#: axis or for all, [B or 1, 1, 3 or 1, 1, 1], and the value.
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

    @staticmethod
    def whole(size: Sequence[int], batch: int, fill: float | Tensor) -> Frame:
        """Return the frame that is all of a volume of a size."""
        low = np.full((batch, 3), -0.5)
        return Frame(low, low + np.array(size), fill)

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
            inside = (at + TIE >= low) & (at + TIE < high)
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
        out: What was read, [B, C, I, J, K]; it may be written over.
        grid: Where, [B, I, 3, J, K]; it may be written over too.
        frames: As made by :func:`on_grid`.
    """
    for number, (middle, half, fill) in enumerate(frames, 1):
        # a backward pass and further frames look at the grid again
        spare = number == len(frames) and not (out.requires_grad or grid.requires_grad)
        distance = (grid.sub_(middle) if spare else grid - middle).abs_()
        if half.shape[2] == 1:
            inside = distance.amax(2) < half[:, :, 0]
        else:  # comparisons are slow: one for all axes
            inside = distance.sub_(half).amax(2) < 0
        inside = inside[:, None]  # NaN is not
        if isinstance(fill, Tensor):
            out = _fill(out, inside, fill)
        else:
            out = out.masked_fill_(~inside, fill)  # which is nobody else's
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
        ends = (np.asarray(end, np.float64).tobytes() for end in (low, high))
        parts, same = _middle_and_half(*ends, tuple(source), mode == "linear")
        tensor = torch.from_numpy(parts).to(like, non_blocking=True)
        middle, half = tensor[:, :, None, :, None, None]  # [B or 1, 1, 3, 1, 1]
        out.append((middle, half[:, :, :1] if same else half, fill))
    return out


@lru_cache(maxsize=64)
def _middle_and_half(
    low: bytes, high: bytes, source: Sequence[int], normalised: bool
) -> tuple[np.ndarray, bool]:
    """Return :data:`OnGrid` on the host, [2, B or 1, 3], and whether halves are equal.

    Args:
        low, high: Ends in voxels, the bytes of [B, 3] float64.
        source: Voxels of the volume that is read.
        normalised: Whether coordinates are those of ``F.grid_sample``.
    """
    ends = np.stack([np.frombuffer(end).reshape(-1, 3) for end in (low, high)])
    parts = np.stack((ends.sum(0), ends[1] - ends[0])) / 2
    parts[0] -= TIE
    if normalised:
        parts = (2 * parts / source)[..., ::-1].copy()
        parts[0] += 1 / np.array(source[::-1]) - 1
    if (parts == parts[:, :1]).all():
        parts = parts[:, :1]
    return parts, bool((parts[1] == parts[1, :, :1]).all())


def _fill(out: Volume, inside: Tensor, fill: float | Tensor) -> Volume:
    if isinstance(fill, Tensor):
        return torch.where(inside, out, fill.to(out)[:, :, None, None, None])
    return out.masked_fill(~inside, fill)
