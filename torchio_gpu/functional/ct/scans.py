"""Artifacts of CT images (B, C, I, J, K) that arise in the line integrals of their planes."""

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
from .attenuation import clipped, hounsfield, hounsfield_change
from .beams import ParallelBeam, by_beams
from .projection import check_views


def scanned(
    x: Volume,
    function: Callable[..., Tensor],
    axis: int | Sequence[int] | Array,
    spacing: float | Array,
    views: int,
    *arrays: Array,
) -> Volume:
    """Call a function for the samples of each geometry of planes; clip to Hounsfield units.

    What it returns can be given to it again: the results of the smallest voxels, too.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        function: Called with samples in float32 or float64, their :class:`ParallelBeam` and their
            ``arrays``; it returns a volume of the same shape.
        axis, spacing, views, arrays: See :func:`change_scan`.

    Returns:
        Volume in float32 or float64.
    """
    y = hounsfield(x)
    sides = host(check_spacing(spacing, x))
    return clipped(by_beams(y, axis, sides, check_views(views), function, *arrays))


def change_scan(
    x: Volume,
    change: Callable[..., Tensor],
    axis: int | Sequence[int] | Array,
    spacing: float | Array,
    views: int,
    *arrays: Array,
) -> Volume:
    """Add the reconstruction of a change of line integrals to a volume, clipped to HU.

    Args:
        x: Volume in HU, (B, C, I, J, K).
        change: Called with samples in float32 or float64, their :class:`ParallelBeam` and their
            ``arrays``; it returns the change of their line integrals, (B, C, A, D, S).
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels in mm: a number, (3,) or (B, 3), on the host.
        views: Number A of views.
        arrays: Parameters, one entry per sample or one for all.

    Returns:
        Volume in float32 or float64.
    """

    def run(part: Volume, beam: ParallelBeam, *some: Array) -> Volume:
        return changed(part, beam.reconstruct(change(part, beam, *some)))

    return scanned(x, run, axis, spacing, views, *arrays)


def changed(x: Volume, attenuation: Tensor) -> Volume:
    """Return a volume in HU plus a change of its attenuation; where that is 0, to the bit.

    >>> changed(torch.tensor([-0.0, 0.0]), torch.zeros(2))
    tensor([-0., 0.])
    """
    return x - (0 - hounsfield_change(attenuation))  # -0 + 0 is 0, but -0 - 0 is -0


def keep(neutral: Tensor, x: Volume, out: Volume) -> Volume:
    """Return ``out``, but ``x`` to the bit in the samples that are left, [1 or B] bool."""
    return torch.where(with_voxel_axes(neutral), x.to(out.dtype), out)


def normals(projections: Tensor, seeds: Array) -> Tensor:
    """Return a normal number for each ray, shaped as projections (B, C, A, D, S)."""
    zeros = projections.new_zeros(projections.shape)
    return pointwise(zeros, [Noise(np.zeros(1), np.ones(1), seeds)])


__all__ = ["change_scan", "changed", "keep", "normals", "scanned"]
