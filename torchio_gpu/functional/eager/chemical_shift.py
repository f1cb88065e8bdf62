"""Chemical shift of fat, slab by slab with the readout axis last."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import irfft, rfft

from ...shapes import Volume
from .phase_encode import select_samples
from .slabs import AxisOrders, join, reorder, slab_planes


def fat_signal(x: Volume, fat: Tensor) -> Volume:
    """Return the signal of fat; where there is none, it is 0 even of voxels that are not finite.

    Args:
        x: Volume in float32 or float64.
        fat: Shares, [B, 1 or C, I, J, K].
    """
    return (x * fat.to(x.dtype)).masked_fill((fat == 0) & ~x.isfinite(), 0)


def move_fat(x: Volume, fat: Tensor, weights: Tensor, orders: AxisOrders) -> Volume:
    """Add to a volume what the signal of fat changes when it is moved.

    Args:
        x: Volume.
        fat: Shares, [B, 1 or C, I, J, K].
        weights: From :func:`.chemical_shift.line_weights`, on the device.
        orders: Axis orders of the samples, with the readout axis last; samples may differ if their
            reordered volumes have one shape.
    """
    pairs = [(at, reorder(x, order), reorder(fat, order)) for at, order in orders]
    planes, _, lines = pairs[0][1].shape[2:]
    change = torch.view_as_complex(weights.to(x.dtype).contiguous())[:, None, None, None]
    still = torch.zeros_like(weights[:, 0, 0], dtype=torch.bool)
    if not weights.requires_grad:  # a difference of 0 would spread NaN
        still = (weights == 0).all(-1).all(-1)
    still = still[:, None, None, None, None]
    slab = slab_planes(planes, x.numel() // planes, x.device)

    def part(first: int) -> Volume:
        some, shares = (
            select_samples([(each[0], each[n][:, :, first : first + slab]) for each in pairs])
            for n in (1, 2)
        )
        some = some.contiguous()
        moved = irfft(rfft(fat_signal(some, shares)) * change, n=lines)
        return some + moved.masked_fill(still, 0)

    return join((part(first) for first in range(0, planes, slab)), planes, orders)
