"""Statistics of volumes, per sample, computed on the device of the voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, host
from ..shapes import Triple, Volume, check_volume
from .compiled import traceable
from .dispatch.arguments import check_real
from .dispatch.launch import to_device
from .eager import statistics as eager
from .eager.statistics import Moments

__all__ = [
    "FILLS",
    "Moments",
    "border_values",
    "check_mask",
    "fill_value",
    "fill_value_of_parts",
    "moments",
    "otsu_threshold",
    "percentile",
]

FILLS = ("minimum", "mean", "otsu")
_OTSU_BINS = 128


@traceable
def fill_value(x: Volume, rule: str | float) -> float | Tensor:
    """Compute the fill value outside the field of view of each sample.

    Args:
        x: Volume, (B, C, I, J, K).
        rule: 'minimum' of the channel (0 if that is not finite); 'mean' of its border voxels;
            'otsu', the mean of those border voxels that lie under their Otsu threshold (Otsu 1979,
            doi:10.1109/TSMC.1979.4310076); or a number, returned as it is.

    Returns:
        (B, C) in a floating dtype, or the number.

    >>> fill_value(torch.arange(8.).view(1, 1, 2, 2, 2), "mean")
    tensor([[3.5000]])
    """
    if not isinstance(rule, str):
        if torch.finfo(torch.float32).max < abs(rule) < math.inf:
            raise ValueError(f"fill must be a value that float32 can hold, got {rule!r}")
        return rule
    check_volume(x)
    if x.is_complex():  # complex numbers have no order, and so no minimum
        return 0.0
    if rule == "minimum":
        return _finite(x.amin((2, 3, 4)))
    return _fill_of_border(border_values(x), rule)


def fill_value_of_parts(
    part: Callable[[Triple, Triple], Volume], size: Triple, rule: str, box: Triple
) -> float | Tensor:
    """Compute :func:`fill_value` of a volume that may be larger than memory, by parts of it.

    Args:
        part: Function of the first voxel and the size of a box, which returns its voxels.
        size: Size of the volume along I, J, K.
        rule: 'minimum', for which all voxels are looked at, 'mean' or 'otsu', which need the faces.
        box: Size of the boxes to look at for a minimum.
    """
    if part((0, 0, 0), (1, 1, 1)).is_complex():
        return 0.0
    if rule == "minimum":
        i, j, k = (range(0, n, step) for n, step in zip(size, box, strict=True))
        least = part((0, 0, 0), (1, 1, 1)).amin((2, 3, 4))
        for start in itertools.product(i, j, k):
            # in place: small results that stay between large boxes would scatter memory
            torch.minimum(least, part(start, _until(start, size, box)).amin((2, 3, 4)), out=least)
        return _finite(least)
    faces = []
    for axis in range(3):
        one = _with(size, axis, 1)
        faces += [part(_with((0, 0, 0), axis, at), one).flatten(2) for at in (0, size[axis] - 1)]
    return _fill_of_border(_floats(torch.cat(faces, -1)), rule)


def _until(start: Triple, end: Triple, most: Triple) -> Triple:
    i, j, k = (min(b - a, n) for a, b, n in zip(start, end, most, strict=True))
    return i, j, k


def _with(values: Triple, axis: int, value: int) -> Triple:
    i, j, k = (value if n == axis else other for n, other in enumerate(values))
    return i, j, k


def _finite(least: Tensor) -> Tensor:
    return least.nan_to_num(0.0, 0.0, 0.0) if least.is_floating_point() else least


def _fill_of_border(border: Tensor, rule: str) -> Tensor:
    """Return the fill that 'mean' or 'otsu' give for the border voxels of volumes, [B, C, N]."""
    if rule == "mean":
        return border.mean(-1)
    if rule == "otsu":
        under = border < otsu_threshold(border)[..., None]
        # All may lie above the threshold, as those of a constant border do: take all of them then.
        under |= ~under.any(-1, keepdim=True)
        return border.where(under, 0).sum(-1) / under.sum(-1)
    raise ValueError(f"fill must be a number or one of {', '.join(FILLS)}, got {rule!r}")


def border_values(x: Volume) -> Tensor:
    """Return the voxels of the six faces, [B, C, N] in a floating dtype; edges once per face."""
    faces = [x.select(axis, end).flatten(2) for axis in (2, 3, 4) for end in (0, -1)]
    return _floats(torch.cat(faces, -1))


def _floats(border: Tensor) -> Tensor:
    return border if border.dtype == torch.float64 else border.float()


def otsu_threshold(values: Tensor) -> Tensor:
    """Return the threshold of values [..., N] with the largest between-class variance.

    Computed on a histogram of 128 bins from the minimum to the maximum; the threshold is the upper
    edge of a bin. Constant values give that value.
    """
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    width = (high - low).clamp_min(torch.finfo(values.dtype).tiny) / _OTSU_BINS
    bins = ((values - low) / width).long().clamp_(0, _OTSU_BINS - 1)
    shape = (*values.shape[:-1], _OTSU_BINS)
    counts = torch.zeros(shape, dtype=torch.float64, device=values.device)
    counts.scatter_add_(-1, bins, torch.ones_like(values, dtype=torch.float64))
    centres = torch.arange(_OTSU_BINS, dtype=torch.float64, device=values.device) + 0.5
    below = counts.cumsum(-1)
    mass = (counts * centres).cumsum(-1)
    total, moment = below[..., -1:], mass[..., -1:]
    # Variance between the classes "bins up to here" and the rest; empty classes have none.
    between = (moment * below - mass * total) ** 2 / (below * (total - below)).clamp_min(1e-12)
    best = between[..., :-1].argmax(-1, keepdim=True)
    return (low + width * (best + 1))[..., 0]


@traceable
def percentile(x: Volume, q: float | Sequence[float] | Array, mask: Tensor | None = None) -> Tensor:
    """Compute percentiles of the voxels of each sample, all channels together.

    Exact for any number of voxels, interpolated linearly between neighbours as by
    ``numpy.percentile``. Large volumes are not sorted: voxels are counted by their bits.

    Args:
        x: Volume, (B, C, I, J, K).
        q: Percentiles from 0 to 100: a number, or (Q,) on the host.
        mask: Voxels that count, (B, 1 or C, I, J, K) bool.

    Returns:
        (B, Q) float64, or (B) for a number; NaN where no voxel counts or one is NaN. The gradient
        goes to the voxels between which a percentile lies.

    Raises:
        ValueError: ``q`` is not between 0 and 100, the mask is of another shape, or the volume
            complex.

    >>> percentile(torch.arange(5.).view(1, 1, 1, 1, 5), (0, 50, 90)).tolist()
    [[0.0, 2.0, 3.6]]
    """
    check_mask(mask, x)
    wanted = host(as_array(q, "q")).astype(np.float64)
    if wanted.ndim > 1 or not ((wanted >= 0) & (wanted <= 100)).all():
        raise ValueError(f"q must be one or several numbers from 0 to 100, got {q!r}")
    (share,) = to_device(x.device, wanted.reshape(-1) / 100)
    values = eager.percentile(x, share, mask)
    return values if wanted.ndim else values[:, 0]


@traceable
def moments(x: Volume, mask: Tensor | None = None) -> Moments:
    """Compute number, mean and standard deviation of the voxels of each sample, channels together.

    Args:
        x: Volume, (B, C, I, J, K).
        mask: Voxels that count, (B, 1 or C, I, J, K) bool.

    Returns:
        ``number``, ``mean`` and ``std``, (B) float64 each. The standard deviation divides by n - 1;
        it is exactly 0 where all voxels are equal, as for a single one. Mean and standard
        deviation of an empty mask are NaN.

    Raises:
        ValueError: The mask is of another shape, or the volume complex.

    >>> moments(torch.tensor([1., 2, 3]).view(1, 1, 1, 1, 3)).std
    tensor([1.], dtype=torch.float64)
    """
    check_mask(mask, x)
    return eager.moments(x, mask)


def check_mask(mask: Tensor | None, x: Volume) -> Tensor | None:
    """Return ``mask`` if it is None or a valid mask of the real volume ``x``; raise otherwise.

    Raises:
        TypeError: The mask is not a bool tensor.
        ValueError: It has another shape or is on another device, or the volume is complex.
    """
    check_real(x)
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a tensor of bool, got {kind}")
    batch, channels, *size = x.shape
    if tuple(mask.shape) not in ((batch, 1, *size), tuple(x.shape)) or mask.device != x.device:
        raise ValueError(
            f"mask must have shape ({batch}, 1 or {channels}, {', '.join(map(str, size))}) on "
            f"{x.device}, got {tuple(mask.shape)} on {mask.device}"
        )
    return mask
