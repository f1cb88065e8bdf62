"""Chemical shift of fat on volumes (B, C, I, J, K): its signal is moved along the readout axis.

The shift is computed in float32, or float64 where the volume is. Integers become float32. A
gradient flows to the volume, to the shares of fat and to the shift.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, common
from ..shapes import Volume, check_volume
from . import lines_by_products
from .compiled import traceable
from .dispatch.arguments import as_given, per_item, real
from .dispatch.launch import to_device
from .eager import chemical_shift as eager
from .eager import products
from .eager.slabs import AxisOrders
from .kspace_lines import Axis
from .samples import with_axes, with_axis_last

#: Difference of the resonance frequencies of water and of the CH2 groups of fat, ppm.
FAT_WATER_PPM = 3.4
#: Gyromagnetic ratio of the proton over 2 pi, MHz per tesla.
PROTON_MHZ_PER_TESLA = 42.577


@traceable
def chemical_shift(x: Volume, fat: Tensor, shift: float | Array = 1.0, axis: Axis = 2) -> Volume:
    """Move the signal of fat along the readout axis, by a number of voxels: ``x + (S - 1) f x``.

    Fat resonates at a lower frequency than water, so that the readout places it elsewhere: Babcock
    et al. 1985, Edge artifacts in MR images: chemical shift effect, J Comput Assist Tomogr 9:252.
    S moves content circularly by the Fourier shift theorem, f are the shares of fat.

    Args:
        x: Volume, (B, C, I, J, K). Complex voxels are moved as they are.
        fat: Share of the signal of each voxel that comes from fat, from 0 to 1: bool or floats,
            (1 or B, 1 or C, I, J, K), on the device of the volume.
        shift: Voxels by which it moves, towards larger indices if positive: the difference of the
            frequencies in Hz over the bandwidth in Hz per voxel. A number or one per sample (B). A
            fraction of a voxel is interpolated by the waves of k-space, of which the one of the
            highest frequency keeps its real part where the number of voxels is even.
        axis: The readout axis: 0, 1, 2, or one per sample (B) on the host.

    Lines without fat, and samples whose shift is 0, are left as they are, bit for bit.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A shape is not as above, or ``fat`` is not between 0 and 1 (on the CPU).

    >>> x = torch.tensor([1.0, 1, 4, 1, 1, 1]).view(1, 1, 1, 1, 6)
    >>> chemical_shift(x, x > 2, shift=2).round(decimals=4).flatten().tolist()
    [1.0, 1.0, 0.0, 1.0, 5.0, 1.0]
    """
    shares = check_fat(fat, check_volume(x))
    voxels = per_item(shift, x, "shift")
    if x.is_complex():
        parts = torch.cat([x.real, x.imag], 1)
        shares = shares if shares.shape[1] == 1 else torch.cat([shares, shares], 1)
        a, b = _shifted(parts, shares, voxels, axis).chunk(2, 1)
        return torch.complex(a.contiguous(), b.contiguous())
    return as_given(_shifted(real(x), shares, voxels, axis), x)


def check_fat(fat: Any, x: Volume) -> Tensor:
    """Return shares of fat of a volume, [B, 1 or C, I, J, K], or raise."""
    if not isinstance(fat, Tensor) or fat.is_complex():
        kind = fat.dtype if isinstance(fat, Tensor) else type(fat).__name__
        raise TypeError(f"fat must be a tensor of bool or floats, got {kind}")
    batch, channels, *size = x.shape
    fits = fat.ndim == 5 and len(fat) in (1, batch) and fat.shape[1] in (1, channels)
    if not fits or list(fat.shape[2:]) != size or fat.device != x.device:
        raise ValueError(
            f"fat must have shape (1 or {batch}, 1 or {channels}, {', '.join(map(str, size))}) on "
            f"{x.device}, got {tuple(fat.shape)} on {fat.device}"
        )
    if fat.device.type == "cpu" and fat.dtype != torch.bool:  # a device is not waited for
        low, high = (end.item() for end in fat.detach().aminmax())
        if not 0 <= low <= high <= 1:
            raise ValueError(f"fat must be between 0 and 1, got values from {low:g} to {high:g}")
    return fat.expand(batch, -1, -1, -1, -1)


def line_weights(shift: Array, lines: int) -> Array:
    """Return ``exp(-2 pi i f s / n) - 1`` for frequencies f from 0 up, parts last: [B, F, 2].

    Args:
        shift: Voxels s, [B].
        lines: Number n of lines; if it is even, the last one keeps its real part.
    """
    frequency = np.arange(lines // 2 + 1.0)
    # irfft ignores what else there is on a CPU; other devices do not promise to
    paired = np.where(2 * frequency == lines, 0.0, 1.0)
    xp, shift, frequency, paired = common(shift, frequency, paired)
    angle = -2 * math.pi / lines * shift[:, None] * frequency
    return xp.stack((xp.cos(angle) - 1, xp.sin(angle) * paired), -1)  # type: ignore[no-any-return]


def _shifted(x: Volume, fat: Tensor, shift: Array, axis: Axis) -> Volume:
    def slabs(part: Volume, orders: AxisOrders, voxels: Array, shares: Tensor) -> Volume:
        weights = line_weights(voxels, part.shape[2 + orders[0][1][2]])
        (moved,) = to_device(x.device, weights)
        return eager.move_fat(part, shares, moved, orders)

    def by_products(
        part: Volume, dims: list[int], axes: np.ndarray | None, voxels: Array, shares: Tensor
    ) -> Volume:
        lines = part.shape[2 + dims[0]]
        xp, weights = common(line_weights(voxels, lines))
        kernel = xp.fft.irfft(weights[..., 0] + 1j * weights[..., 1], n=lines)
        moved = to_device(x.device, kernel, *([] if axes is None else [axes]))
        matrix = products.circulant(moved[0].to(x.dtype))
        place = products.axis_of(dims, *moved[1:])
        return products.along(eager.fat_signal(part, shares), matrix, place, base=part)

    if lines_by_products.take_products(x):
        return with_axes(x, axis, by_products, shift, fat)
    return with_axis_last(x, axis, slabs, shift, fat)


__all__ = ["FAT_WATER_PPM", "PROTON_MHZ_PER_TESLA", "chemical_shift"]
