"""Cropping and padding of volumes (B, C, I, J, K)."""

from __future__ import annotations

import numpy as np
import torch

from ..arrays import as_array, host
from ..geometry import affine_from
from ..shapes import Triple, Volume, check_volume, spatial_shape
from ..signature import is_number
from .compiled import traceable
from .dispatch.arguments import check_real
from .dispatch.launch import indices
from .eager import resample as eager
from .maps import check_size
from .statistics import percentile
from .warping import warp_volume

__all__ = ["PADDINGS", "check_padding", "window"]

#: Map from positions along an axis of n voxels, which may lie outside, to voxels, for each mode.
_CONTINUED = {
    "edge": lambda at, n: at.clip(0, n - 1),
    "wrap": lambda at, n: at % n,
    "symmetric": lambda at, n: (
        (2 * n - 1 - at % (2 * n)).clip(0, n - 1) * (at % (2 * n) >= n)
        + (at % (2 * n)) * (at % (2 * n) < n)
    ),
    "reflect": lambda at, n: at * 0 if n == 1 else n - 1 - abs(at % (2 * n - 2) - (n - 1)),
}
_STATISTICS = ("minimum", "maximum", "mean", "median")
PADDINGS = ("constant", *_CONTINUED, "linear_ramp", *_STATISTICS, "empty")


def check_padding(mode: str | float, name: str = "padding_mode") -> str | float:
    """Return ``mode`` if it is a number or a mode of ``numpy.pad``; raise otherwise."""
    if not is_number(mode) and not (isinstance(mode, str) and mode in PADDINGS):
        raise ValueError(f"{name} must be a number or one of {', '.join(PADDINGS)}, got {mode!r}")
    return mode


@traceable
def window(
    x: Volume, first: np.ndarray, size: Triple, mode: str | float = 0, *, channels: bool = True
) -> Volume:
    """Crop and pad a volume at once, to a box of voxels that may reach beyond it.

    Args:
        x: Volume, (B, C, I, J, K).
        first: Voxel of ``x`` that becomes voxel (0, 0, 0), (3,) or (B, 3), whole numbers on the
            host; it may lie outside.
        size: Voxels of the output along I, J, K.
        mode: Value outside the volume: a number; or as in ``numpy.pad`` 'edge',
            'wrap', 'symmetric', 'reflect', 'linear_ramp' (down to 0 at the new ends); 'minimum',
            'maximum', 'mean' or 'median' of the sample, channels together; 'constant' and
            'empty' are 0.

    Returns:
        Volume (B, C, \\*size) of the same dtype. Means that an integer type cannot hold lose their
        fraction.

    Raises:
        ValueError: A shape or the mode is not as above.

    >>> window(torch.tensor([1, 2, 3]).view(1, 1, 3, 1, 1), (-2, 0, 0), (6, 1, 1), "wrap").flatten()
    tensor([2, 3, 1, 2, 3, 1])
    """
    check_volume(x)
    check_padding(mode, "mode")
    size = check_size(size)
    corner = host(as_array(first, "first"))
    if corner.shape not in ((3,), (1, 3), (len(x), 3)) or not np.isfinite(corner).all():
        raise ValueError(f"first must be whole numbers, (3,) or ({len(x)}, 3), got {first!r}")
    corner = np.broadcast_to(np.rint(corner), (len(x), 3))
    if mode in _CONTINUED:
        places = []
        for axis, n in enumerate(spatial_shape(x)):
            at = corner[:, axis, None] + np.arange(size[axis])
            at = at[:1] if np.ptp(corner[:, axis]) == 0 else at
            known = _CONTINUED[str(mode)](at.astype(np.int64), n)
            same = np.array_equal(known, np.arange(n)[None])
            places.append(None if same else indices(known, x.device))
        return eager.by_index(x, places)
    shift = affine_from(np.eye(3)[None].repeat(len(x), 0), corner)
    if mode == "linear_ramp":
        edges = window(x, first, size, "edge")
        return _ramp(edges, corner, spatial_shape(x))
    value: float | torch.Tensor = 0.0
    if mode in _STATISTICS:
        value = _statistic(x, str(mode))[:, None].expand(len(x), x.shape[1])
    elif not isinstance(mode, str):
        value = mode
    return warp_volume(x, shift, size=size, mode="nearest", fill=value)


def _statistic(x: Volume, mode: str) -> torch.Tensor:
    """Return the minimum, maximum, mean or median of each sample, [B]."""
    if mode == "median":
        return percentile(x, 50.0)
    flat = x.flatten(1)
    if mode == "mean":
        return flat.mean(1) if x.is_floating_point() or x.is_complex() else flat.double().mean(1)
    check_real(x)
    return flat.amin(1) if mode == "minimum" else flat.amax(1)


def _ramp(edges: Volume, corner: np.ndarray, source: Triple) -> Volume:
    """Scale an edge-padded volume so that it falls linearly to 0 at the new ends of each axis."""
    out = edges
    for axis, n in enumerate(source):
        at = corner[:, axis, None] + np.arange(edges.shape[2 + axis])  # [B, N]
        before, after = -corner[:, axis, None], at[:, -1:] - (n - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(at < 0, (at + before) / before, 1.0)
            high = np.where(at > n - 1, (at[:, -1:] - at) / after, 1.0)
        shape = [len(at), 1, 1, 1, 1]
        shape[2 + axis] = at.shape[1]
        share = torch.from_numpy(low * high).to(edges.device, non_blocking=True).view(shape)
        whole = not (out.is_floating_point() or out.is_complex())
        ramped = out * share.to(torch.float64 if whole else out.dtype)
        out = ramped.floor().to(edges.dtype) if whole else ramped
    return out
