"""MRI artifacts of k-space on volumes (B, C, I, J, K): motion and spikes.

k-space is computed in float32, or float64 where the volume is. Integers become float32; complex
volumes are refused. A gradient flows to the volume, and to intensities, angles and translations;
the choice of k-space lines is piecewise constant, and has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..arrays import Array, as_array, host
from ..shapes import Volume, spatial_shape
from . import lines_by_products
from .compiled import traceable
from .dispatch import limits
from .dispatch.arguments import as_given, per_item, real, within
from .dispatch.launch import to_device
from .eager import phase_encode as eager
from .eager.slabs import AxisOrders, last
from .eager.spatial import Source, reader, separable
from .fields_of_view import FieldOfView
from .maps import Reading, VoxelMap, check_mode
from .poses import pose_matrices
from .samples import samples_by_axis, with_axis_last
from .statistics import fill_value
from .warping import warp_volumes

OUTPUTS = ("real", "magnitude")

__all__ = [
    "OUTPUTS",
    "check_output",
    "check_positions",
    "check_times",
    "motion",
    "motion_owner",
    "spike",
]


@traceable
def spike(x: Volume, positions: Array, intensity: float | Array = 1.0) -> Volume:
    """Add bright points to k-space: stripes across the image.

    Each is a plane wave in the image, whose real part is taken; also known as herringbone or
    corduroy artifact.

    Args:
        x: Volume, (B, C, I, J, K).
        positions: Positions of the points in centred k-space, relative to its size: from 0 to 1,
            frequency 0 at 1/2; (P, 3) for all samples or (B, P, 3), on the host.
        intensity: Magnitude of the points, relative to the largest magnitude in the k-space of the
            channel: a number, (P,), or (B, P).

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A shape or position is not as above, or the volume is complex.

    >>> x = torch.ones(1, 1, 1, 1, 4)
    >>> spike(x, torch.tensor([[0.5, 0.5, 0.75]]), intensity=0.5).round(decimals=4).flatten()
    tensor([1.5000, 1.0000, 0.5000, 1.0000])
    """
    y = real(x)
    array = check_positions(positions, "positions")
    count = array.shape[-2]
    places = per_item(array, x, "positions", (count, 3))
    strength = per_item(intensity, x, "intensity", (count,))
    if count == 0:
        return as_given(y.clone(), x)
    waves = eager.plane_waves(spatial_shape(x), host(places))
    *moved, height = to_device(x.device, *waves, strength)
    return as_given(eager.spike(y, moved, height), x)


@traceable
def motion(
    x: Volume,
    degrees: float | Array,
    translation: float | Array,
    times: Array,
    axis: int | Sequence[int] | Array = 2,
    *,
    affine: Array | None = None,
    output: str = "real",
    mode: str = "linear",
    fill: str | float = "minimum",
) -> Volume:
    """Simulate motion of the content while k-space is acquired: Shaw et al. 2019.

    k-space is acquired line by line along the phase-encode axis. At each of the times the content
    takes another rigid pose and keeps it until the next. The pose in which the central line is
    acquired is that of ``x``, so the image does not drift; the others are given, in order of
    time. See http://proceedings.mlr.press/v102/shaw19a.html and :func:`motion_owner`.

    Args:
        x: Volume, (B, C, I, J, K).
        degrees: Angles of the poses about x, y, z of the world, (P, 3) or (B, P, 3), about the
            centre of the volume; a number or triple stands for all poses.
        translation: Translations of the poses, mm along x, y, z, with shapes as for ``degrees``.
        times: When the content moves, as shares of the acquisition, strictly between 0 and 1 and
            increasing: (P,) or (B, P), on the host.
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.
        affine: Voxel to world, (4, 4) or (B, 4, 4); by default voxels are 1 mm along x, y, z.
        output: 'real' for the real part of the image, which keeps negative values as TorchIO 1.x
            does, or 'magnitude' as a scanner shows it.
        mode: Interpolation of the poses: 'linear' or 'nearest'.
        fill: Value outside the volume: a number or a rule of
            :func:`torchio_gpu.functional.fill_value`.

    A single slice moves within its plane, and has no lines across it.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A shape, time, axis or name is not as above, or the volume is complex.

    >>> x = torch.rand(2, 1, 8, 8, 8)
    >>> y = motion(x, degrees=5, translation=(2, 0, 0), times=torch.tensor([0.3, 0.7]))
    >>> y.shape, bool(torch.isclose(y.mean(), x.mean()))
    (torch.Size([2, 1, 8, 8, 8]), True)
    """
    y = real(x)
    check_mode(mode)
    magnitude = check_output(output) == "magnitude"
    moments = check_times(times)
    poses = moments.shape[-1]
    moments = host(per_item(moments, x, "times", (poses,)))
    angles = per_item(degrees, x, "degrees", (poses, 3))
    shifts = per_item(translation, x, "translation", (poses, 3))
    affines = host(per_item(np.eye(4) if affine is None else affine, x, "affine", (4, 4)))
    for each in affines:
        geometry.check_affine(each)
    affines = np.broadcast_to(affines, (len(x), 4, 4))
    matrix = pose_matrices(spatial_shape(x), affines, angles, shifts)  # [B, P, 4, 4]
    outside = fill_value(y, fill)
    size = spatial_shape(y)
    limit = y, size, mode, [outside], None, False, "triton", [matrix]
    if lines_by_products.take_products(y) and limits.why_no_warp(*limit) is None:
        reading = Reading(y, mode, outside)
        maps = [VoxelMap(matrix[:, p], None, None, size) for p in range(poses)]
        moved = [warp_volumes([reading], each)[0] for each in maps]
        out = lines_by_products.combine(y, axis, motion_owner, moments, moved, magnitude)
        return as_given(out, x)
    alone = not isinstance(outside, Tensor) or outside.ndim == 0
    edge: Any = np.full(1, float(outside)) if alone else outside

    def run(
        part: Volume, orders: AxisOrders, matrix: Array, times: np.ndarray, edge: Array
    ) -> Volume:
        order = orders[0][1]
        size = (part.shape[2 + order[0]], part.shape[2 + order[1]], part.shape[2 + order[2]])
        factors = separable(part.shape[2:], matrix.reshape(-1, 4, 4), None, None, size, mode)
        assert factors is not None  # an affine map is always separable
        halves = eager.halves(motion_owner(times, size[2]), poses)
        *moved, even, odd = to_device(x.device, *factors, *halves)
        value = edge if isinstance(edge, Tensor) else float(edge[0])
        whole = FieldOfView.whole(part.shape[2:], len(part), value)
        read = reader([Source(part, mode, [whole])])
        return eager.motion(part, moved, even, odd if magnitude else None, orders, read)

    matrix = _for_axis_orders(matrix, samples_by_axis(axis, len(x)))
    return as_given(with_axis_last(y, axis, run, matrix, moments, edge), x)


def _for_axis_orders(matrix: Array, samples_of: dict[int, list[int]]) -> Array:
    """Return matrices [B, P, 4, 4] for output voxels whose phase-encode axis comes last."""
    columns = {n: [*last(axis), 3] for axis, samples in samples_of.items() for n in samples}
    if len(samples_of) == 1:
        return matrix[..., columns[0]]
    each = [matrix[n][..., columns[n]] for n in range(len(matrix))]
    return torch.stack(each) if isinstance(matrix, Tensor) else np.stack(each)  # type: ignore[arg-type]


def motion_owner(times: np.ndarray, lines: int) -> np.ndarray:
    """Return the pose in which each line of centred k-space is acquired, [B, lines].

    Args:
        times: When the content moves, (B, P) on the host; see :func:`motion`.
        lines: Number of lines along the phase-encode axis; line ``lines // 2`` is the central one.

    Returns:
        0 for lines of the reference pose, p for those of the p-th of the other poses.

    >>> motion_owner(np.array([[0.25, 0.75]]), 8)
    array([[1, 1, 0, 0, 0, 0, 2, 2]])
    """
    begins = np.floor(times * lines)[..., None]  # [B, P, 1]
    segment = (np.arange(lines) >= begins).sum(-2)  # [B, lines]
    reference = segment[..., lines // 2, None]
    return np.where(segment == reference, 0, segment + (segment < reference))


def check_output(output: str) -> str:
    """Return ``output`` if it is the name of an output; raise otherwise."""
    if output not in OUTPUTS:
        raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
    return output


def check_times(times: Any) -> np.ndarray:
    """Return times (P,) or (B, P) if they increase and lie between 0 and 1; raise otherwise."""
    known = host(as_array(times, "times"))
    if known.ndim not in (1, 2) or known.shape[-1] < 1:
        raise ValueError(f"times must have shape (P,) or (B, P), got {known.shape}")
    if not (np.diff(known) > 0).all() or not ((known > 0) & (known < 1)).all():
        raise ValueError(
            f"times must increase and lie strictly between 0 and 1, got {known.tolist()}"
        )
    return known


def check_positions(positions: Any, name: str) -> Array:
    """Return k-space positions (P, 3) or (B, P, 3) if they lie in [0, 1]; raise otherwise."""
    array = as_array(positions, name)
    if array.ndim not in (2, 3) or array.shape[-1] != 3:
        raise ValueError(f"{name} must have shape (P, 3) or (B, P, 3), got {tuple(array.shape)}")
    return within(array, 0, 1, name)
