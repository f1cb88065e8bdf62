"""MRI artifacts of k-space on volumes (B, C, I, J, K): motion, ghosting, spikes.

k-space is computed in float32, or float64 where the volume is. Integers become float32; complex
volumes are refused. A gradient flows to the volume and to every continuous parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .. import geometry
from ..arrays import Array, as_array, common, host, on_host
from ..geometry import Space
from ..shapes import Triple, Volume, spatial_shape
from .arguments import as_given, at_least, per_item, real, within
from .launch import to_device
from .reference import phase_encode as _reference
from .reference.slabs import last
from .reference.spatial import separable
from .rows import by_axis
from .spatial import check_mode
from .statistics import fill_value

OUTPUTS = ("real", "magnitude")

__all__ = ["OUTPUTS", "check_output", "check_times", "ghosting", "motion", "motion_owner", "spike"]


def ghosting(
    x: Volume,
    num_ghosts: float | Array = 4,
    intensity: float | Array = 1.0,
    restore: float | Array | None = None,
    axis: int | Sequence[int] | Array = 1,
) -> Volume:
    """Weaken every n-th plane of k-space: n copies of the content, shifted along an axis.

    Periodic motion, such as breathing and pulsating vessels, does so along the phase-encode axis.
    Planes are counted from the central one, so the image stays real, and its mean is kept.

    Args:
        x: Volume, (B, C, I, J, K).
        num_ghosts: Number n of copies, the content included; a whole number >= 2, or one per
            sample (B). They stand N / n voxels apart.
        intensity: How much is missing of each n-th plane: 0 for nothing, 1 for all of it; above 1
            the planes change their sign. A number or one per sample (B).
        restore: Share of k-space, about its centre, that is kept, from 0 to 1: the larger, the
            more of the ghosts' smooth parts vanish. None, as 0, keeps the central plane alone.
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.zeros(1, 1, 1, 8, 1)
    >>> x[0, 0, 0, 1, 0] = 8
    >>> ghosting(x, num_ghosts=2).round().flatten().tolist()
    [1.0, 5.0, 1.0, 1.0, 1.0, -3.0, 1.0, 1.0]
    """
    y = real(x)
    ghosts = at_least(per_item(num_ghosts, x, "num_ghosts"), 2, "num_ghosts")
    if on_host(ghosts) and (host(ghosts) % 1).any():
        raise ValueError(f"num_ghosts must be whole numbers, got {num_ghosts!r}")
    strength = at_least(per_item(intensity, x, "intensity"), 0, "intensity")
    kept = per_item(0.0 if restore is None else restore, x, "restore")
    within(kept, 0, 1, "restore")

    def run(part: Volume, axis: int, *parameters: Array) -> Volume:
        planes = _reference.Planes(*to_device(x.device, *parameters))
        return _reference.ghosting(part, planes, axis)

    return as_given(by_axis(y, axis, run, ghosts, strength, kept), x)


def spike(x: Volume, positions: Array, intensity: float | Array = 1.0) -> Volume:
    """Add bright points to k-space: stripes across the image.

    Each is a plane wave in the image, whose real part is taken; also known as herringbone or
    corduroy artifact.

    Args:
        x: Volume, (B, C, I, J, K).
        positions: Where the points are in centred k-space, relative to its size: from 0 to below
            1, frequency 0 at 1/2; (P, 3) for all samples or (B, P, 3).
        intensity: Of the points, relative to the largest magnitude in the k-space of the channel:
            a number, (P,), or (B, P).

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A shape or position is not as above, or the volume is complex.

    >>> x = torch.ones(1, 1, 1, 1, 4)
    >>> spike(x, torch.tensor([[0.5, 0.5, 0.75]]), intensity=0.5).round(decimals=4).flatten()
    tensor([1.5000, 1.0000, 0.5000, 1.0000])
    """
    y = real(x)
    array = as_array(positions, "positions")
    if array.ndim not in (2, 3) or array.shape[-1] != 3:
        raise ValueError(f"positions must have shape (P, 3) or (B, P, 3), got {array.shape}")
    count = array.shape[-2]
    places = within(per_item(array, x, "positions", (count, 3)), 0, 1, "positions")
    strength = per_item(intensity, x, "intensity", (count,))
    if count == 0:
        return as_given(y.clone(), x)
    moved = to_device(x.device, places, strength)
    return as_given(_reference.spike(y, *(m.expand(len(x), *m.shape[1:]) for m in moved)), x)


def motion(
    x: Volume,
    degrees: float | Array,
    translation: float | Array,
    times: Array,
    axis: int | Sequence[int] | Array = 1,
    *,
    affine: Array | None = None,
    output: str = "real",
    mode: str = "linear",
    fill: str | float = "minimum",
) -> Volume:
    """Let the content move while k-space is filled: Shaw et al. 2019.

    k-space is acquired line by line along the phase-encode axis. At each of the times the content
    takes another rigid pose and keeps it until the next. The pose in which the central line is
    acquired is that of ``x``, so the image does not drift; the others are given, in order of
    time. See http://proceedings.mlr.press/v102/shaw19a.html and :func:`motion_owner`.

    Args:
        x: Volume, (B, C, I, J, K).
        degrees: Angles of the poses about x, y, z of the world, (P, 3) or (B, P, 3), about the
            centre of the volume; a number or triple stands for all poses.
        translation: Of the poses, mm along x, y, z, with shapes as for ``degrees``.
        times: When the content moves, as shares of the acquisition, strictly between 0 and 1 and
            increasing: (P,) or (B, P).
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.
        affine: Voxel to world, (4, 4) or (B, 4, 4); by default voxels are 1 mm along x, y, z.
        output: 'real' for the real part of the image, which keeps negative values as TorchIO 1.x
            does, or 'magnitude' as a scanner shows it.
        mode: 'linear' or 'nearest': how the poses are read.
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
    moments = as_array(times, "times")
    if moments.ndim not in (1, 2) or moments.shape[-1] < 1:
        raise ValueError(f"times must have shape (P,) or (B, P), got {tuple(moments.shape)}")
    poses = moments.shape[-1]
    moments = check_times(per_item(moments, x, "times", (poses,)))
    angles = per_item(degrees, x, "degrees", (poses, 3))
    shifts = per_item(translation, x, "translation", (poses, 3))
    identity = np.eye(4)[None] if affine is None else affine
    affines = host(per_item(identity, x, "affine", (4, 4)))
    outside = fill_value(y, fill)

    def run(part: Volume, axis: int, *parameters: Array) -> Volume:
        *motions, moments, affines, filled = parameters
        matrix = _poses(spatial_shape(part), len(part), host(affines), *motions)
        order = last(axis)
        matrix = matrix @ _reorder(order, matrix)
        size = tuple(part.shape[2 + a] for a in order)
        factors = separable(part.shape[2:], matrix, None, None, size, mode)  # type: ignore[arg-type]
        assert factors is not None
        *moved, at = to_device(x.device, *factors, moments)
        owner = motion_owner(at, part.shape[2 + axis]).expand(len(part), -1)  # type: ignore[arg-type]
        value = filled if isinstance(outside, Tensor) else outside
        return _reference.motion(part, moved, owner, axis, magnitude, mode, value)  # type: ignore[arg-type]

    filling = outside if isinstance(outside, Tensor) else np.zeros(1)
    return as_given(by_axis(y, axis, run, angles, shifts, moments, affines, filling), x)


def motion_owner(times: Array, lines: int) -> Any:
    """Which pose each line of centred k-space is acquired in, [B, lines].

    Args:
        times: When the content moves, (B, P); see :func:`motion`.
        lines: Number of lines along the phase-encode axis; line ``lines // 2`` is the central one.

    Returns:
        0 for lines of the reference pose, p for those of the p-th of the other poses.

    >>> motion_owner(np.array([[0.25, 0.75]]), 8)
    array([[1, 1, 0, 0, 0, 0, 2, 2]])
    """
    xp, times = common(times)
    where = {} if xp is np else {"device": times.device}
    line = xp.arange(lines, **where)
    begins = xp.floor(times * lines)  # [B, P]
    segment = (line >= begins[..., None]).sum(-2)  # [B, lines]
    reference = segment[..., lines // 2, None]
    return xp.where(segment == reference, 0, segment + (segment < reference))


def check_output(output: str) -> str:
    """Return the name of an output, or raise listing the known ones."""
    if output not in OUTPUTS:
        raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
    return output


def check_times(times: Array) -> Array:
    """Return times (B, P) that increase and lie between 0 and 1, where the host knows them."""
    if on_host(times):
        known = host(times)
        rising = (np.diff(known, axis=-1) > 0).all()
        if not rising or not ((known > 0) & (known < 1)).all():
            raise ValueError(
                f"times must increase and lie strictly between 0 and 1, got {known.tolist()}"
            )
    return times


def _poses(
    size: Triple, batch: int, affine: np.ndarray, degrees: Array, translation: Array
) -> Array:
    """Output voxel to input voxel of each pose of each sample, [B P, 4, 4]."""
    poses = degrees.shape[1]
    affines = np.broadcast_to(affine, (batch, 4, 4)).repeat(poses, 0)
    space = Space(size, affines)
    _, angles, shifts = common(degrees, translation)
    angles, shifts = (_each(a, batch, poses) for a in (angles, shifts))
    moved = geometry.motion_in(space, np.ones(3), angles, shifts, space.centre)
    _, to_voxel, back, affines = common(space.to_voxel, geometry.pull_back(moved), affines)
    matrix = to_voxel @ back @ affines
    return geometry.within_slice(matrix, size, size) if 1 in size else matrix  # type: ignore[no-any-return]


def _each(array: Array, batch: int, poses: int) -> Array:
    """[1 or B, P, 3] as [B P, 3]."""
    if len(array) != batch:
        many = array.expand(batch, -1, -1) if isinstance(array, Tensor) else array.repeat(batch, 0)
        array = many
    return array.reshape(batch * poses, 3)


def _reorder(order: Sequence[int], like: Array) -> Array:
    """From voxels whose axes are ordered otherwise to those of the volume, [4, 4]."""
    matrix = np.zeros((4, 4))
    matrix[list(order), range(3)] = 1
    matrix[3, 3] = 1
    _, matrix, _ = common(matrix, like)
    return matrix
