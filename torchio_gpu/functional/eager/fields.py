"""Fill of voxels that were read outside a field of view; see :mod:`..fields_of_view`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...shapes import Grid, Volume, with_voxel_axes
from ..dispatch.launch import packed
from ..fields_of_view import TIE, FieldOfView

#: Ends of a field of view, as the bytes of two [B, 3] float64 arrays, which can be dictionary keys.
Ends = tuple[bytes, bytes]
#: Box in the coordinates of a grid: its centre, [B or 1, 1, 3, 1, 1], and half its length, per axis
#: or for all axes, [B or 1, 1, 3 or 1, 1, 1].
Box = tuple[Tensor, Tensor]


def fill_along_axes(out: Volume, matrix: np.ndarray, fields: Sequence[FieldOfView]) -> Volume:
    """Fill voxels that were read outside fields of view, for a map that keeps axes parallel.

    Args:
        out: Voxels that were read, [B, C, I, J, K].
        matrix: Map from its voxels to those of the source, [B, 4, 4].
        fields: Fields of view, oldest first.
    """
    linear, offset = matrix[:, :3, :3], matrix[:, :3, 3]
    for field in fields:
        known, everything = torch.ones(1, dtype=torch.bool, device=out.device), True
        for axis, n in enumerate(out.shape[2:]):
            source = abs(linear[:, :, axis]).argmax(1)[:, None]  # [B, 1], axis of the source
            scale = np.take_along_axis(linear[:, :, axis], source, 1)
            start, low, high = (
                np.take_along_axis(each, source, 1) for each in (offset, field.low, field.high)
            )
            at = scale * np.arange(n) + start  # [B, N]
            inside = (at + TIE >= low) & (at + TIE < high)
            if not inside.all():
                shape = [len(inside), 1, 1, 1, 1]
                shape[2 + axis] = n
                here = torch.from_numpy(inside).to(out.device, non_blocking=True)
                known, everything = known & here.view(shape), False
        if not everything:
            out = _fill(out, known, field.fill)
    return out


def ends_of(field: FieldOfView) -> Ends:
    """Return the ends of a field of view as bytes, by which equal ones are identified."""
    low, high = (np.asarray(end, np.float64).tobytes() for end in field[:2])
    return low, high


def boxes_on_grid(
    fields: Sequence[FieldOfView], source: Sequence[int], normalised: bool, like: Tensor
) -> dict[Ends, Box]:
    """Return the distinct boxes of fields of view, in the coordinates of a grid.

    Args:
        fields: Fields of view.
        source: Voxels of the volume that is read.
        normalised: True for the coordinates of ``F.grid_sample``, False for voxels.
        like: A tensor of the device and dtype of the grid.
    """
    boxes: dict[Ends, Box] = {}
    for field in fields:
        ends = ends_of(field)
        if ends not in boxes:
            parts, same = _middle_and_half(*ends, tuple(source), normalised)
            double = like.dtype == torch.float64
            parts = parts.astype(np.float64 if double else np.float32)
            middle, half = packed(like.device, [parts])[0].unbind()
            boxes[ends] = middle, half[:, :, :1] if same else half
    return boxes


def inside_boxes(grid: Grid, boxes: dict[Ends, Box], spare: bool) -> dict[Ends, Tensor]:
    """Return a mask of the points inside each box, [B, 1, I, J, K] bool.

    Args:
        grid: Coordinates, [B, I, 3, J, K].
        boxes: From :func:`boxes_on_grid`.
        spare: True if the grid may be overwritten.
    """
    inside: dict[Ends, Tensor] = {}
    for number, (ends, (middle, half)) in enumerate(boxes.items(), 1):
        over = spare and number == len(boxes)  # the other boxes still need the grid
        distance = (grid.sub_(middle) if over else grid - middle).abs_()
        if half.shape[2] == 1:
            within = distance.amax(2) < half[:, :, 0]
        else:  # comparisons are slow: one for all axes instead of three
            within = distance.sub_(half).amax(2) < 0
        inside[ends] = within[:, None]  # NaN coordinates compare as outside
    return inside


def fill_outside(out: Volume, fields: Sequence[FieldOfView], inside: dict[Ends, Tensor]) -> Volume:
    """Fill voxels that were read outside fields of view, for any map.

    Args:
        out: Voxels that were read, [B, C, I, J, K]; it may be overwritten.
        fields: Fields of view, oldest first.
        inside: From :func:`inside_boxes`.
    """
    for field in fields:
        within = inside[ends_of(field)]
        if isinstance(field.fill, Tensor):
            out = _fill(out, within, field.fill)
        elif out.requires_grad:
            out = out.masked_fill_(~within, field.fill)
        else:  # a third of the time of masked_fill_
            fill = torch.full((), field.fill, dtype=out.dtype, device=out.device)
            torch.where(within, out, fill, out=out)
    return out


@lru_cache(maxsize=64)
def _middle_and_half(
    low: bytes, high: bytes, source: Sequence[int], normalised: bool
) -> tuple[np.ndarray, bool]:
    """Return a :data:`Box` on the host, [2, B or 1, 1, 3, 1, 1], and True for a cube."""
    ends = np.stack([np.frombuffer(end).reshape(-1, 3) for end in (low, high)])
    parts = np.stack((ends.sum(0), ends[1] - ends[0])) / 2
    parts[0] -= TIE
    if normalised:
        parts = (2 * parts / source)[..., ::-1].copy()
        parts[0] += 1 / np.array(source[::-1]) - 1
    if (parts == parts[:, :1]).all():
        parts = parts[:, :1]
    same = bool((parts[1] == parts[1, :, :1]).all())
    return parts[:, :, None, :, None, None].copy(), same


def _fill(out: Volume, inside: Tensor, fill: float | Tensor) -> Volume:
    if isinstance(fill, Tensor):
        return torch.where(inside, out, with_voxel_axes(fill.to(out)))
    return out.masked_fill(~inside, fill)
