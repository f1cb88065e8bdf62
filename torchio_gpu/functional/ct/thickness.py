"""Thickness of the slices of CT images (B, C, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, common, host, on_host
from ...shapes import Volume, check_volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, at_least, by_parts, check_spacing, per_item, real
from ..dispatch.launch import to_device
from ..eager.filters import along_axis
from ..samples import by_axis


@traceable
def slice_thickness(
    x: Volume,
    thickness: float | Array,
    axis: int | Sequence[int] | Array = 2,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Average slices over a thickness, on the same grid.

    Each slice becomes the mean of the image over an interval about its centre (a rectangular slice
    sensitivity profile), where voxels are constant over their extent and the outer ones go on
    beyond the ends: thick slices that overlap, as they are reconstructed from a helical scan. An
    interval within a voxel has its value: a thickness up to the distance of slices changes nothing.

    Args:
        x: Volume, (B, C, I, J, K).
        thickness: Length of the interval in mm, >= 0: a number or one per sample (B).
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3).

    Thickness is added to the one that slices have. See :func:`anisotropy` for slices that do not
    overlap, interpolated at the voxels there were.

    Returns:
        Volume; integers become float32. Gradients reach voxels and thickness. A voxel that is not
        finite affects the slices that it is part of, and no others.

    Raises:
        ValueError: A parameter is not as above.

    >>> x = torch.tensor([0.0, 0, 8, 0, 4]).view(1, 1, 1, 1, 5)
    >>> slice_thickness(x, 4.0, spacing=2.0).flatten()
    tensor([0., 2., 4., 3., 3.])
    """
    check_volume(x)
    if x.is_complex():
        return by_parts(lambda parts: slice_thickness(parts, thickness, axis, spacing=spacing), x)
    y = real(x)
    width = at_least(per_item(thickness, x, "thickness"), 0, "thickness")
    size = check_spacing(spacing, x)

    def average(part: Volume, across: int, width: Array, size: Array) -> Volume:
        _, width, side = common(width, size[:, across])
        out = along_axis(part, box(part.shape[2 + across], width / side, x.device), across)
        thin = width <= side
        if on_host(thin) and not host(thin).any():
            return out
        (thin,) = to_device(x.device, thin)  # sums with 0 lose the sign of -0
        return torch.where(with_voxel_axes(thin) != 0, part, out)

    return as_given(by_axis(y, axis, average, width, size), x)


def box(size: int, width: Array, device: torch.device) -> Tensor:
    """Return the weights of means over intervals about each voxel, [B, size, size].

    Args:
        size: Voxels along the axis; the outer ones go on beyond the ends.
        width: Length of the interval in voxels, [B]; one within a voxel is as one of 1.
        device: Device of the weights.

    >>> box(4, np.array([2.0]), torch.device("cpu"))[0, :2]
    tensor([[0.7500, 0.2500, 0.0000, 0.0000],
            [0.2500, 0.5000, 0.2500, 0.0000]], dtype=torch.float64)
    """
    edges = np.arange(size + 1) - 0.5
    edges[[0, -1]] = -np.inf, np.inf
    _, half, place = common(width.clip(1)[:, None] / 2, np.arange(float(size)))
    first, last, length, low, high = to_device(
        device, place - half, place + half, 2 * half[..., None], edges[:-1], edges[1:]
    )
    overlap = torch.minimum(last[..., None], high) - torch.maximum(first[..., None], low)
    return overlap.clamp(min=0) / length


__all__ = ["box", "slice_thickness"]
