"""Distortion along lines: displacements along one axis, which keep the sum of intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, common, host, on_host
from ..geometry import is_diagonal, spline_weights
from ..shapes import Volume, check_volume, spatial_shape
from .compiled import traceable
from .dispatch.arguments import per_item
from .dispatch.launch import to_device
from .eager import displacement as eager
from .eager.separable import expand
from .eager.spatial import displaced_grid
from .maps import Reading, VoxelMap, check_matrix, check_mode
from .samples import by_axis, samples_by_axis
from .statistics import fill_value
from .warping import warp_volumes

__all__ = ["b0_distortion"]


@traceable
def b0_distortion(
    x: Volume,
    displacement: Tensor,
    axis: int | Sequence[int] | Array = 1,
    *,
    spacing: float | Array = 1.0,
    mode: str = "linear",
    fill: str | float = "minimum",
) -> Volume:
    """Distort a volume as echo-planar imaging does: ``y(r) = x(r - d(r) e) (1 - dd/dr)``.

    The main field B0 is not homogeneous, so that content appears elsewhere along the phase-encode
    axis e; where it is squeezed its signal adds up. See Jezzard and Balaban 1995
    (doi:10.1002/mrm.1910340111), and Andersson, Skare and Ashburner 2003
    (doi:10.1016/S1053-8119(03)00336-7). The derivative is the difference between the two faces of
    a voxel, whose displacements are means of two voxels: the sum over a line is kept but for the
    error of interpolation. Where d changes by more than a voxel from one to the next, the map
    folds, and intensities change their sign.

    Args:
        x: Volume, (B, C, I, J, K).
        displacement: Displacement d of what is seen at each voxel, in mm towards increasing
            indices: (I, J, K), or (B, I, J, K).
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels along the axis, in mm: a number, or (B).
        mode: Interpolation: 'linear' or 'nearest'.
        fill: Value outside the volume: a number or a rule of
            :func:`torchio_gpu.functional.fill_value`.

    Returns:
        Volume; integers become float32. Gradients reach the voxels, and in 'linear' mode the
        displacement.

    Raises:
        ValueError: A shape, dtype, axis or name is not as above, or a distance is not positive.

    >>> x = torch.tensor([0., 0, 4, 4, 0, 0]).view(1, 1, 1, 6, 1)
    >>> b0_distortion(x, torch.ones(1, 6, 1)).flatten().round(decimals=4)
    tensor([0., 0., 0., 4., 4., 0.])
    >>> squeezed = torch.tensor([0.5, 0.5, 0.5, -0.5, -0.5, -0.5]).view(1, 6, 1)
    >>> b0_distortion(x, squeezed).flatten().round(decimals=4)
    tensor([0., 0., 3., 3., 0., 0.])
    """
    check_volume(x)
    check_mode(mode)
    shift = _check_shift(displacement, x)
    side = per_item(spacing, x, "spacing")
    if on_host(side) and not (host(side) > 0).all():
        raise ValueError(f"spacing must be greater than 0, in mm, got {host(side).tolist()}")
    axes = np.empty(len(x), dtype=np.int64)
    for each, samples in samples_by_axis(axis, len(x)).items():
        axes[samples] = each
    (side,) = to_device(x.device, side)
    back = -shift / side.to(shift.dtype).view(-1, 1, 1, 1)  # in voxels, [B, I, J, K]
    matrix = check_matrix(None, len(x), "matrix")
    y = x if x.is_floating_point() or x.is_complex() else x.float()
    (along,) = to_device(x.device, np.eye(3)[axes])
    moved = back[:, None] * along.to(back.dtype)[:, :, None, None, None]
    voxel_map = VoxelMap(matrix, None, None, spatial_shape(x), displacement=moved)
    (out,) = warp_volumes([Reading(y, mode, fill_value(y, fill))], voxel_map)
    change = by_axis(back[:, None], axes, eager.along_line)
    still = (shift == 0).flatten(1).all(1).view(-1, 1, 1, 1, 1)  # bit for bit, on any device
    out = modulate(out, 1 + change)
    return out if shift.requires_grad else torch.where(still, y, out)


def modulate(x: Volume, factor: Tensor) -> Volume:
    """Multiply a volume by a factor of each voxel, [B, 1, I, J, K]; keep its dtype."""
    factor = factor.to(modulation_dtype(x))
    if x.is_complex():  # by parts: a product of complex numbers spreads NaN
        return torch.view_as_complex(torch.view_as_real(x) * factor[..., None])
    return (x * factor).to(x.dtype)


def modulation_dtype(x: Volume) -> torch.dtype:
    """Return the dtype of a factor of each voxel of a volume."""
    double = x.dtype in (torch.float64, torch.complex128)
    return torch.float64 if double else torch.float32


def modulation(voxel_map: VoxelMap, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the Jacobian determinant of displacements in one direction, [B, 1, I, J, K].

    It is one plus their divergence, since the derivatives of the displacement are a matrix of rank
    one. The divergence is taken from the differences between the faces of voxels.

    Args:
        voxel_map: The map, whose displacements u have one direction in each sample; the matrix is
            of no effect.
        device, dtype: Those of the result.
    """
    points, lattice, size = voxel_map[1:4]
    if points is None:
        assert voxel_map.displacement is not None
        return 1 + eager.divergence(voxel_map.displacement.to(device, dtype))
    assert lattice is not None
    if voxel_map.inverse or isinstance(lattice, Tensor) or not is_diagonal(lattice):
        identity = np.eye(4)[None].repeat(len(voxel_map.matrix), 0)
        matrix, values, to_lattice = to_device(device, identity, points, lattice)
        # in voxels, as the mode 'label' reads them
        moved = displaced_grid(size, matrix, values, to_lattice, size, "label", voxel_map.inverse)
        still = displaced_grid(size, matrix, 0 * values, to_lattice, size, "label", False)
        return (1 + eager.divergence((moved - still).movedim(2, 1))).to(dtype)
    along = []
    for axis, n in enumerate(size):
        scale, offset = lattice[:, axis, axis, None], lattice[:, axis, 3, None]
        at, count = scale * np.arange(n) + offset, points.shape[2 + axis]
        low, high = (spline_weights(at + half * scale, count) for half in (-0.5, 0.5))
        along.append(np.concatenate([spline_weights(at, count), high - low], -1))
    factors = to_device(device, _in_blocks(points), *along)
    return 1 + expand(factors, dtype).movedim(2, 1)


def _in_blocks(points: Array) -> Array:
    """Return coefficients of a sum of three splines, of which each has a basis of its own once.

    Args:
        points: Control points of the splines, [B, 3, N0, N1, N2].

    Returns:
        [B, 2 N0, 1, 2 N1, 2 N2]: along its own axis, a spline takes the second half.
    """
    xp, points = common(points)
    i, j, k = points[:, 0], points[:, 1], points[:, 2]
    none = 0 * i
    first = xp.concatenate((xp.concatenate((none, k), -1), xp.concatenate((j, none), -1)), -2)
    second = xp.concatenate((xp.concatenate((i, none), -1), xp.concatenate((none, none), -1)), -2)
    return xp.concatenate((first, second), 1)[:, :, None]  # type: ignore[no-any-return]


def _check_shift(displacement: Tensor, x: Volume) -> Tensor:
    """Return displacements along one axis, [B, I, J, K], or raise."""
    shape = spatial_shape(x)
    if not isinstance(displacement, Tensor) or not displacement.is_floating_point():
        got = getattr(displacement, "dtype", type(displacement).__name__)
        raise ValueError(f"displacement must be a tensor of a floating dtype, got {got}")
    if tuple(displacement.shape) not in (shape, (len(x), *shape), (1, *shape)):
        raise ValueError(
            f"displacement must have shape {shape} or {(len(x), *shape)}, as x, got "
            f"{tuple(displacement.shape)}"
        )
    if displacement.device != x.device:
        raise ValueError(
            f"displacement must be on the device of x, {x.device}, got {displacement.device}"
        )
    return displacement.expand(len(x), *shape)
