"""Curves of intensity on volumes (B, C, I, J, K), between the minimum and maximum of a channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..arrays import Array, as_array, host, on_host
from ..shapes import Volume, with_voxel_axes
from .compiled import traceable
from .dispatch.arguments import as_given, at_least, real, within
from .dispatch.launch import to_device
from .eager import curves as eager
from .intensity import channel_ends, per_channel
from .operations import Clamp, Linear, Operation
from .pointwise import pointwise

__all__ = ["check_shift", "histogram_shift", "sigmoid_contrast"]


@traceable
def histogram_shift(x: Volume, shift: Array) -> Volume:
    """Move control points of the histogram: an increasing, piecewise linear curve of intensity.

    Control points k = 0 .. K + 1 divide the range of each channel evenly, from minimum to maximum;
    the curve takes the k-th to the value of ``k + shift[k]``, and the ends to themselves, after the
    histogram warping of Tustison et al. 2021, doi:10.1038/s41598-021-87564-6.

    Args:
        x: Volume, (B, C, I, J, K).
        shift: Shift of K control points between the two ends, in distances between neighbours: (K),
            (B, K), or (B, C, K) for one set per channel. 0 for all changes nothing.

    Returns:
        Volume; integers become float32. Minimum and maximum of each channel are kept, and the order
        of intensities, up to rounding. One voxel that is not finite makes its channel NaN, unless
        nothing is shifted.

    Raises:
        ValueError: The shape is another one, a control point passes its neighbour, or the volume is
            complex.

    >>> histogram_shift(torch.tensor([0., 2, 4, 6, 8]).view(1, 1, 1, 1, 5), [0.5]).flatten()
    tensor([0., 3., 6., 7., 8.])
    """
    y = real(x)
    batch, channels = x.shape[:2]
    given = check_shift(shift)
    if len(given) not in (1, batch) or given.shape[1] not in (1, channels):
        raise ValueError(
            f"shift must be (K), ({batch}, K) or ({batch}, {channels}, K), got {tuple(given.shape)}"
        )
    (moved,) = to_device(x.device, given)
    return _unless(given, as_given(eager.histogram_shift(y, moved, *channel_ends(y)), x), x)


@traceable
def sigmoid_contrast(x: Volume, gain: float | Array, cutoff: float | Array = 0.5) -> Volume:
    """Change the contrast by a sigmoid ``s(t) = 1 / (1 + exp(gain (cutoff - t)))``.

    ``t`` is the intensity scaled to [0, 1] by the minimum and maximum of the channel, and the
    result, ``(s(t) - s(0)) / (s(1) - s(0))``, is scaled back: contrast rises about the cutoff, and
    falls at both ends of the range. Braun & Fairchild 1999, J Electron Imaging
    8:380.

    Args:
        x: Volume, (B, C, I, J, K).
        gain: Steepness, >= 0: a number, one per sample (B), or per channel (B, C). 0, the limit of
            small gains, changes nothing.
        cutoff: Place of the steepest slope, as a share of the range, from 0 to 1; shaped likewise.

    Returns:
        Volume; integers become float32. Minimum and maximum of each channel are kept, and the order
        of intensities. One voxel that is not finite makes its channel NaN, unless the gain is 0.

    Raises:
        ValueError: The gain is negative, the cutoff not in [0, 1], or the volume complex.

    >>> x = torch.tensor([0., 1, 2, 3, 4]).view(1, 1, 1, 1, 5)
    >>> sigmoid_contrast(x, 10).flatten()
    tensor([0.0000, 0.2804, 2.0000, 3.7196, 4.0000])
    """
    y = real(x)
    steep = at_least(per_channel(gain, x, "gain"), 0, "gain")
    middle = within(per_channel(cutoff, x, "cutoff"), 0, 1, "cutoff")
    columns = [each[:, None] if each.ndim == 1 else each for each in (steep, middle)]
    g, c = to_device(x.device, *columns)
    g = g.clamp(min=1e-6) / 2  # the limit of gain 0, whose derivative is 0 as well
    low, high = channel_ends(y)
    span = high - low
    none = torch.zeros_like(span)
    # s(t) = (1 + tanh(g (t - c))) / 2: tanh is exact to its last digits at small gains
    scaled = pointwise(y, [Linear(g / span.where(span != 0, 1), -g * c, low)])
    start = torch.tanh(g * c)
    height = span / (torch.tanh(g * (1 - c)) + start)
    back: list[Operation] = [Linear(height, low + height * start, none), Clamp(low, high)]
    out = pointwise(torch.tanh(scaled), back)
    return _unless(columns[0][..., None], as_given(out, x), x)


def _unless(parameters: Array, out: Volume, x: Volume) -> Volume:
    """Return ``x`` in channels whose parameters on the host, [1 or B, 1 or C, N], are all 0."""
    if not on_host(parameters):
        return out
    same = (host(parameters) == 0).all(-1)
    if not same.any():
        return out
    (left,) = to_device(x.device, same.astype(np.float64))
    return torch.where(with_voxel_axes(left > 0), x, out)


def check_shift(shift: Any) -> Array:
    """Return shifts as [1 or B, 1 or C, K]; raise if they are invalid, unless on a device."""
    array = as_array(shift, "shift")
    if not 1 <= array.ndim <= 3 or 0 in array.shape:
        raise ValueError(f"shift must be (K), (B, K) or (B, C, K), got {tuple(array.shape)}")
    array = array[None] if array.ndim == 1 else array
    array = array[:, None] if array.ndim == 2 else array
    if on_host(array):
        ends = ((0, 0), (0, 0), (1, 1))
        steps = 1 + np.diff(np.pad(host(array).astype(np.float64), ends))
        if not (steps >= 0).all():  # NaN neither
            raise ValueError(f"shift must leave control points in their order, got {shift!r}")
    return array
