"""Parallel beams through the planes of volumes (B, C, I, J, K): projection and reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ...arrays import Array
from ...shapes import Volume
from ..dispatch.arguments import rounded
from ..dispatch.launch import indices, to_device
from ..eager.separable import full_precision
from ..eager.sums import centred, chunks_of, weighted_sums
from ..samples import by_group, samples_by_axis

#: Axes that span the planes across each axis.
IN_PLANE = ((1, 2), (0, 2), (0, 1))
#: Most detectors that may be simulated.
MOST_DETECTORS = 16384
#: Rows of zeros on either side of a plane, between which rays beside it are interpolated.
_MARGIN = 2


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel beams through the planes of a volume, about their centre.

    The first axis P of a plane is the first of I, J, K that is not ``axis``, the second one Q is
    the other. At angle 0 rays run along Q, and detectors are placed along P; at 90 degrees rays
    run against P, and detectors are placed along Q.

    Args:
        shape: Voxels along I, J, K.
        axis: Axis that planes are stacked along: 0, 1 or 2.
        spacing: Distance of voxels along P and Q, in mm.
        angles: Angles A of the views, in degrees.
    """

    shape: tuple[int, int, int]
    axis: int
    spacing: tuple[float, float]
    angles: tuple[float, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Voxels along P and Q."""
        p, q = IN_PLANE[self.axis]
        return self.shape[p], self.shape[q]

    @property
    def pitch(self) -> float:
        """Distance of detectors, in mm: the smaller spacing of the plane."""
        return min(self.spacing)

    @cached_property
    def detectors(self) -> int:
        """Number D of detectors: as many as see the diagonal of the plane."""
        sides = (n * step for n, step in zip(self.size, self.spacing, strict=True))
        # spacings of files are rounded numbers
        count = math.hypot(*sides) / self.pitch - 1e-3
        if count > MOST_DETECTORS - 1:
            raise ValueError(
                f"spacing within the planes across axis {self.axis} must let {MOST_DETECTORS} "
                f"detectors at a distance of the smaller one see a plane, got {self.spacing} mm "
                f"of {self.size} voxels"
            )
        return math.ceil(count) + 1

    def positions(self, device: torch.device) -> Tensor:
        """Return the distance of detectors from the centre of the plane, [D] in mm, float64."""
        return centred(self.detectors, self.pitch, device)

    def project(self, x: Volume) -> Tensor:
        """Return line integrals, (B, C, A, D, S), S planes; see :func:`project`.

        Args:
            x: Volume, in float32 or float64.
        """
        planes = x.movedim(2 + self.axis, 4).permute(2, 3, 0, 1, 4)  # (P, Q, B, C, S)
        angles = np.radians(self.angles)
        # rays are followed across the axis that they cross more steeply, one voxel a step
        p, q = self.spacing
        steep = np.abs(np.cos(angles)) * p >= np.abs(np.sin(angles)) * q
        parts, order = [], []
        for along_q in (True, False):
            views = np.flatnonzero(steep == along_q)
            order.append(views)
            cosine, sine = to_device(x.device, np.cos(angles[views]), np.sin(angles[views]))
            taps = self.detectors * 2 * self.size[along_q]
            margin = (0, 0) * 3 + ((0, 0, _MARGIN, _MARGIN) if along_q else (_MARGIN, _MARGIN))
            padded = pad(planes, margin)
            table = padded.contiguous().view(padded.shape[0] * padded.shape[1], -1)
            for some in chunks_of(len(views), taps, x.device):
                part = (cosine[some], sine[some]) if along_q else (sine[some], cosine[some])
                rays = partial(self._rays, *part, along_q, table.dtype)
                parts.append(weighted_sums(table, rays))
        views = np.concatenate(order)
        out = torch.cat(parts).view(len(views), self.detectors, *planes.shape[2:])
        if not np.array_equal(views, np.arange(len(views))):
            out = out.index_select(0, indices(np.argsort(views), x.device))
        return out.permute(2, 3, 0, 1, 4)

    def _rays(
        self, main: Tensor, other: Tensor, along_q: bool, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return voxels and their weights for each ray, [A D, taps]: linear between two voxels.

        Joseph 1982, An improved algorithm for reprojecting rays through pixel images,
        IEEE Trans Med Imaging 1:192.

        Args:
            main: Cosine of the angle between the detectors and the axis that is interpolated, [A].
            other: Cosine of that between the detectors and the axis of the steps, [A].
            along_q: True if steps are along Q, False if along P.
            dtype: Of the weights.
        """
        steps, between = self.size[along_q], self.size[1 - along_q]
        step, side = self.spacing[along_q], self.spacing[1 - along_q]
        device = main.device
        slope = centred(steps, step, device) * (other / main / side)[:, None]  # [A, steps]
        start = self.positions(device) / (main * side)[:, None] + (between - 1) / 2  # [A, D]
        place = start.to(dtype)[:, :, None] - slope.to(dtype)[:, None]
        low = place.floor()
        length = (step / main.abs()).to(dtype)[:, None, None]
        second = (place - low).mul_(length)
        weights = torch.stack([length - second, second], 2)
        low = low.add_(_MARGIN).clamp_(0, between + _MARGIN).int()
        count = torch.arange(steps, dtype=torch.int32, device=device)
        voxel = low * steps + count if along_q else low + count * (between + 2 * _MARGIN)
        voxels = torch.stack([voxel, voxel + (steps if along_q else 1)], 2)
        return voxels.flatten(0, 1).flatten(1), weights.flatten(0, 1).flatten(1)

    def back_project(self, projections: Tensor) -> Volume:
        """Return a volume with the sum over views of what its voxels project to, interpolated.

        Args:
            projections: (B, C, A, D, S), in float32 or float64.
        """
        planes = projections.permute(2, 3, 0, 1, 4)  # (A, D, B, C, S)
        table = planes.contiguous().view(len(self.angles) * self.detectors, -1)
        angles = np.radians(self.angles)
        cosine, sine = to_device(table.device, np.cos(angles), np.sin(angles))
        p, q = (
            centred(n, step / self.pitch, table.device)
            for n, step in zip(self.size, self.spacing, strict=True)
        )
        along_p = (p[:, None] * cosine).to(table.dtype)
        along_q = (q[:, None] * sine + (self.detectors - 1) / 2).to(table.dtype)

        first = torch.arange(len(angles), dtype=torch.int32, device=table.device) * self.detectors

        def taps(some: slice) -> tuple[Tensor, Tensor]:
            place = (along_p[some, None] + along_q).flatten(0, 1)  # [voxels, A]
            low = place.floor()  # at least 0, and at most D - 2
            share = place.sub_(low)
            low = low.int().add_(first)
            weights = torch.stack([1 - share, share], 1)
            return torch.stack([low, low + 1], 1).flatten(1), weights.flatten(1)

        chunks = chunks_of(self.size[0], self.size[1] * len(self.angles) * 2, table.device)
        parts = [weighted_sums(table, partial(taps, some)) for some in chunks]
        out = torch.cat(parts).view(*self.size, *planes.shape[2:]).permute(2, 3, 0, 1, 4)
        return out.movedim(4, 2 + self.axis)

    def filter(self, projections: Tensor) -> Tensor:
        """Convolve projections with the ramp, along the detectors; the shape stays."""
        with full_precision(projections.device):
            return self.ramp(projections.device).to(projections.dtype) @ projections

    def ramp(self, device: torch.device) -> Tensor:
        """Return weights of detectors in filtered ones, [D, D] float64.

        The band-limited ramp, sampled in space: Kak and Slaney 1988, Principles of Computerized
        Tomographic Imaging, equation 61 of chapter 3.
        """
        place = torch.arange(self.detectors, device=device)
        distance = (place[:, None] - place).abs()
        values = -1 / (math.pi * distance.clamp(min=1).double()) ** 2
        return values.where(distance % 2 == 1, 0).where(distance > 0, 0.25) / self.pitch

    def reconstruct(self, projections: Tensor) -> Volume:
        """Return the volume of line integrals, (B, C, A, D, S), whose views cover 180 degrees."""
        return self.back_project(self.filter(projections)) * (math.pi / len(self.angles))


def by_beams(
    x: Volume,
    axis: int | Sequence[int] | Array,
    spacing: np.ndarray,
    views: int,
    function: Callable[..., Tensor],
    *arrays: Array,
) -> Tensor:
    """Call a function for the samples of each geometry of planes.

    Args:
        x: Volume, (B, C, I, J, K).
        axis: Axis that the planes are stacked along, of all samples or of each, (B).
        spacing: Distance of voxels along I, J, K in mm, [1 or B, 3].
        views: Number of views.
        function: Called with samples, their :class:`ParallelBeam` and their ``arrays``; it returns
            a volume of the same shape.
        arrays: Parameters, one entry per sample or one for all.
    """
    return by_group(x, beams_of(x, axis, spacing, equal_angles(views)), function, *arrays)


def beams_of(
    x: Volume,
    axis: int | Sequence[int] | Array,
    spacing: np.ndarray,
    angles: tuple[float, ...],
) -> dict[ParallelBeam, list[int]]:
    """Return the samples of each geometry of planes.

    Args:
        x: Volume, (B, C, I, J, K).
        axis: Axis that the planes are stacked along, of all samples or of each, (B).
        spacing: Distance of voxels along I, J, K in mm, [1 or B, 3].
        angles: Angles of the views, in degrees.
    """
    shape = (x.shape[2], x.shape[3], x.shape[4])
    sides = rounded(spacing, len(x))
    samples_of: dict[ParallelBeam, list[int]] = {}
    for each, samples in samples_by_axis(axis, len(x)).items():
        for sample in samples:
            p, q = sides[sample, list(IN_PLANE[each])].tolist()
            samples_of.setdefault(ParallelBeam(shape, each, (p, q), angles), []).append(sample)
    return samples_of


def equal_angles(views: int) -> tuple[float, ...]:
    """Return angles of views equally spaced over 180 degrees, from 0.

    >>> equal_angles(4)
    (0.0, 45.0, 90.0, 135.0)
    """
    return tuple((180 * np.arange(views) / views).tolist())


__all__ = ["IN_PLANE", "ParallelBeam", "beams_of", "by_beams", "equal_angles"]
