"""Artefacts of CT images (B, C, I, J, K) that arise in the line integrals of their planes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, host
from ...shapes import Volume, with_voxel_axes
from ..dispatch.arguments import check_spacing
from ..operations import Noise
from ..pointwise import pointwise
from .attenuation import hounsfield, hounsfield_change
from .beams import ParallelBeam, by_beams
from .projection import check_views


def change_scan(
    x: Volume,
    change: Callable[..., Tensor],
    axis: int | Sequence[int] | Array,
    spacing: float | Array,
    views: int,
    *arrays: Array,
) -> Volume:
    """Add the reconstruction of a change of line integrals to a volume.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        change: Called with samples in float32 or float64, their :class:`ParallelBeam` and their
            ``arrays``; it returns the change of their line integrals, (B, C, A, D, S).
        axis: Axis across the planes: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels in mm: a number, (3,) or (B, 3), on the host.
        views: Number A of views.
        arrays: Parameters, one entry per sample or one for all.

    Returns:
        Volume in float32 or float64.
    """
    y = hounsfield(x)
    sides = host(check_spacing(spacing, x))

    def run(part: Volume, beam: ParallelBeam, *some: Array) -> Volume:
        integrals = change(part, beam, *some)
        return part + hounsfield_change(beam.reconstruct(integrals))

    return by_beams(y, axis, sides, check_views(views), run, *arrays)


def keep(neutral: Tensor, x: Volume, out: Volume) -> Volume:
    """Return ``out``, but ``x`` to the bit in the samples that are left, [1 or B] bool."""
    return torch.where(with_voxel_axes(neutral), x.to(out.dtype), out)


def normals(projections: Tensor, seeds: Array) -> Tensor:
    """Return a normal number for each ray, shaped as projections (B, C, A, D, S)."""
    zeros = projections.new_zeros(projections.shape)
    return pointwise(zeros, [Noise(np.zeros(1), np.ones(1), seeds)])


__all__ = ["change_scan", "keep", "normals"]
