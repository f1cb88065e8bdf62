"""Motion between slices on volumes (B, C, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..arrays import Array, as_array, host, on_host
from ..shapes import Volume, spatial_shape
from .compiled import traceable
from .dispatch.arguments import as_given, by_parts, check_volume, per_item
from .dispatch.launch import to_device
from .eager.slices import sample_slices
from .eager.spatial import Source
from .fields_of_view import FieldOfView
from .maps import check_mode, parts_of
from .poses import pose_matrices
from .samples import by_axis, samples_by_axis
from .statistics import fill_value

__all__ = ["slice_motion"]


@traceable
def slice_motion(
    x: Volume,
    degrees: float | Array,
    translation: float | Array,
    axis: int | Sequence[int] | Array = 2,
    *,
    gain: float | Array = 1.0,
    affine: Array | None = None,
    mode: str = "linear",
    fill: str | float = "minimum",
) -> Volume:
    """Take each slice along an axis from the content in a rigid pose of its own.

    The content of a multi-slice scan moves between the slices, as slice-to-volume registration
    assumes: Jiang et al. 2007 (doi:10.1109/TMI.2007.895456), Kainz et al. 2015
    (doi:10.1109/TMI.2015.2415453). The gain of a slice is that of its signal, as for spins that
    moved and were excited too early or too late.

    Args:
        x: Volume, (B, C, I, J, K).
        degrees: Angles of the pose of each slice about x, y, z of the world, about the centre of
            the volume, (N, 3) or (B, N, 3); a number or triple stands for all slices. There may be
            more poses than slices, as for samples whose axes differ: the last have no effect.
        translation: Translations of the poses, mm along x, y, z, with shapes as for ``degrees``.
        axis: Axis that the slices are stacked along: 0, 1, 2, or one per sample (B) on the host.
        gain: Factor of each slice: a number, (N,), or (B, N).
        affine: Voxel to world, (4, 4) or (B, 4, 4); by default voxels are 1 mm along x, y, z.
        mode: Interpolation: 'linear' or 'nearest'.
        fill: Value outside the volume: a number or a rule of
            :func:`torchio_gpu.functional.fill_value`.

    A volume of a single slice moves within its plane. Slices whose angles and translations are 0
    are not interpolated, unless these require a gradient.

    Returns:
        Volume; integers become float32. Gradients reach voxels and gains, and in 'linear' mode
        angles and translations.

    Raises:
        ValueError: A shape, axis or name is not as above, or there are fewer poses than slices.

    >>> x = torch.arange(8.).view(1, 1, 4, 1, 2)
    >>> shift = torch.tensor([[0., 0, 0], [1, 0, 0]])  # of the second slice along the last axis
    >>> slice_motion(x, 0, shift)[0, 0, :, 0]
    tensor([[0., 0.],
            [2., 1.],
            [4., 3.],
            [6., 5.]])
    """
    check_volume(x)
    check_mode(mode)
    slices = max(x.shape[2 + each] for each in samples_by_axis(axis, len(x)))
    poses = _count(degrees, translation, gain, slices)
    angles = per_item(degrees, x, "degrees", (poses, 3))
    shifts = per_item(translation, x, "translation", (poses, 3))
    factors = per_item(gain, x, "gain", (poses,))
    affines = host(per_item(np.eye(4) if affine is None else affine, x, "affine", (4, 4)))
    for each in affines:
        geometry.check_affine(each)
    affines = np.broadcast_to(affines, (len(x), 4, 4))
    matrix = pose_matrices(spatial_shape(x), affines, angles, shifts)
    y = x if x.dtype in (torch.float64, torch.complex64, torch.complex128) else x.float()
    edge = fill_value(y, fill)
    if y.is_complex():
        edge = parts_of(edge, y)
    trained = any(isinstance(a, Tensor) and a.requires_grad for a in (angles, shifts))
    changes = not on_host(factors) or bool((host(factors) != 1).any())
    angles, shifts, factors = to_device(x.device, angles, shifts, factors)
    still = (angles == 0).all(-1) & (shifts == 0).all(-1)  # [1 or B, N]

    def run(
        part: Volume, each: int, matrix: Array, still: Tensor, factors: Tensor, edge: Array
    ) -> Volume:
        n, value = part.shape[2 + each], edge if isinstance(edge, Tensor) else float(edge[0])
        whole = FieldOfView.whole(part.shape[2:], len(part), value)
        out = sample_slices(Source(part, mode, [whole]), matrix[:, :n], each)
        shape = [-1, 1, 1, 1, 1]
        shape[2 + each] = n
        if not trained:
            out = torch.where(still[:, :n].view(shape), part, out)
        return out * factors[:, :n].view(shape).to(out.dtype) if changes else out

    outside = edge if isinstance(edge, Tensor) and edge.ndim else np.full(1, float(edge))

    def move(parts: Volume) -> Volume:
        return by_axis(parts, axis, run, matrix, still, factors, outside)

    return as_given(by_parts(move, y) if y.is_complex() else move(y), x)


def _count(
    degrees: float | Array, translation: float | Array, gain: float | Array, slices: int
) -> int:
    """Return the number of poses that the arguments have, at least that of slices, or raise."""
    counts = {}
    for name, value, own in (
        ("degrees", degrees, 2), ("translation", translation, 2), ("gain", gain, 1),
    ):  # fmt: skip
        shape = tuple(as_array(value, name).shape)
        if len(shape) >= own:
            counts[name] = shape[-own]
    found = set(counts.values())
    if len(found) > 1:
        raise ValueError(f"poses must be as many as gains and as each other, got {counts}")
    count = found.pop() if found else slices
    if count < slices:
        raise ValueError(f"{min(counts)} must have a pose for each of {slices} slices, got {count}")
    return count
