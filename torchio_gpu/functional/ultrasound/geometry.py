"""Beams of ultrasound probes through the planes of volumes (B, C, I, J, K)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array, Number, host
from ...shapes import Volume, brief
from ...signature import is_number
from ..dispatch.arguments import check_spacing, rounded
from ..eager.sums import centred, chunks_of, weighted_sums
from ..samples import by_group

#: Kinds of probes.
PROBES = ("linear", "convex", "phased")
#: Tolerance of borders, for what lies on them: a share of the fan, of a point, or of a voxel.
_BORDER = 1e-6
#: Points on the beams of a plane, at most: a fan of so many is far larger than any image.
_MOST_POINTS = 2**26
#: Beams, and points on each, at most: pulses are matrices of their squares.
_LONGEST = 2**14
#: Spacing in mm, below.
_LARGEST = 1e18


class BeamGeometry(NamedTuple):
    """Geometry of the beams of an ultrasound probe, in the plane of an image.

    The surface of the probe touches the image at ``center``, from where the depth of the middle
    beam grows along the axial axis. Of a linear probe beams are parallel; of a convex one they are
    normal to an arc; of a phased one they come from one point, the apex, at ``center``.

    Args:
        probe: 'linear', 'convex' or 'phased'.
        width: Distance of the first beam from the last one, in mm, of a linear probe; None for
            the width of the image.
        angle: Angle between the first and the last beam in degrees, > 0 and < 180, of the others.
        radius: Radius of the surface of a convex probe, in mm: its apex lies behind it.
        depth: Length of the beams, in mm; None to the last row of the image.
        center: Where the middle beam enters, in mm along the lateral and the axial axis, from the
            middle of the edge of the image where the axial axis begins.

    >>> BeamGeometry("phased", angle=75, depth=160).probe
    'phased'
    """

    probe: str = "convex"
    width: float | None = None
    angle: float = 70.0
    radius: float = 50.0
    depth: float | None = None
    center: tuple[float, float] = (0.0, 0.0)


_Value: TypeAlias = str | float | Sequence[float] | None
#: Geometry, or its arguments by name or in order.
GeometryLike: TypeAlias = BeamGeometry | Mapping[str, _Value] | Sequence[_Value]
#: Geometry of all samples, or a list of one for each.
GeometriesLike: TypeAlias = GeometryLike | list[GeometryLike]


#: Types of one geometry, beside the name of a probe.
_ONE = (tuple, Mapping, list)


def check_geometry(geometry: Any) -> BeamGeometry:
    """Return a geometry, given as one or by its arguments; raise if it is invalid."""
    try:
        if isinstance(geometry, Mapping):
            made = BeamGeometry(**geometry)
        else:
            made = BeamGeometry(*([geometry] if isinstance(geometry, str) else geometry))
    except TypeError:
        raise TypeError(
            f"geometry must be a BeamGeometry or its arguments {BeamGeometry._fields}, "
            f"got {brief(geometry)}"
        ) from None
    if not isinstance(made.probe, str) or made.probe not in PROBES:
        raise ValueError(f"probe of the geometry must be one of {PROBES}, got {made.probe!r}")
    for name, high, missing in (
        ("width", math.inf, True), ("angle", 180, False), ("radius", math.inf, False),
        ("depth", math.inf, True),
    ):  # fmt: skip
        value = getattr(made, name)
        if value is None and missing:
            continue
        if not is_number(value) or not 0 < value < high:
            end = "" if high == math.inf else f" and < {high}"
            raise ValueError(f"{name} of the geometry must be a number > 0{end}, got {value!r}")
    center: Any = made.center
    if isinstance(center, (np.ndarray, Tensor)):
        center = center.tolist()
    center = tuple(center) if isinstance(center, (tuple, list)) else ()
    if len(center) != 2 or not all(is_number(c) and math.isfinite(c) for c in center):
        raise ValueError(f"center of the geometry must be two numbers in mm, got {made.center!r}")
    return made._replace(center=center)


def check_geometries(geometry: Any, batch: int) -> list[BeamGeometry]:
    """Return the geometry of each sample, from one for all or a list of one for each."""
    # a list of arguments begins with a probe and a number or None
    first, second, *_ = [*geometry, None, None] if isinstance(geometry, list) else (None, None)
    if isinstance(first, _ONE) or isinstance(second, (str, *_ONE)):
        if len(geometry) not in (1, batch):
            raise ValueError(f"geometry must be one per sample ({batch}), got {len(geometry)}")
        each = [check_geometry(one) for one in geometry]
        return each * (batch // len(each))
    return [check_geometry(geometry)] * batch


@dataclass(frozen=True)
class Fan:
    """Beams of a probe through the planes of a volume of some shape.

    Args:
        geometry: Checked geometry.
        shape: Voxels along I, J, K.
        axes: Lateral and axial voxel axis.
        spacing: Distance of voxels along these, in mm.
    """

    geometry: BeamGeometry
    shape: tuple[int, int, int]
    axes: tuple[int, int]
    spacing: tuple[float, float]
    #: Places that were computed, by device: of a fan, which lives as long as a call.
    _places: dict[torch.device, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def size(self) -> tuple[int, int]:
        """Voxels P along the lateral and Q along the axial axis."""
        return self.shape[self.axes[0]], self.shape[self.axes[1]]

    @property
    def plane_axis(self) -> int:
        """Axis that planes are stacked along."""
        return 3 - sum(self.axes)

    @property
    def radius(self) -> float:
        """Distance of the surface from the apex, in mm; 0 of linear probes, which have none."""
        return self.geometry.radius if self.geometry.probe == "convex" else 0.0

    @property
    def depth(self) -> float:
        """Length of the beams, in mm."""
        given = self.geometry.depth
        rest = (self.size[1] - 0.5) * self.spacing[1] - self.geometry.center[1]
        return max(rest, self.step) if given is None else given

    @property
    def span(self) -> float:
        """Width between the outer beams: in mm of linear probes, in radians of others."""
        if self.geometry.probe != "linear":
            return math.radians(self.geometry.angle)
        given = self.geometry.width
        return self.size[0] * self.spacing[0] if given is None else given

    @property
    def step(self) -> float:
        """Distance of points on a beam, in mm: the smaller spacing of the plane."""
        return min(self.spacing)

    @property
    def reach(self) -> float:
        """Depth up to which beams meet voxels, in mm."""
        (p, q), (across, down) = self.size, self.spacing
        lateral = p / 2 * across + abs(self.geometry.center[0])
        axial = abs(q * down - self.geometry.center[1]) + self.radius
        linear = self.geometry.probe == "linear"
        far = axial if linear else math.hypot(lateral, axial) - self.radius
        return max(min(self.depth, far), self.step)

    @property
    def points(self) -> int:
        """Number R of points on a beam, from the surface on."""
        return math.ceil(self.reach / self.step - 1e-3) + 1

    @property
    def beams(self) -> int:
        """Number N of beams, >= 2, at most a voxel apart at the largest depth."""
        linear = self.geometry.probe == "linear"
        widest = self.span * (1 if linear else self.radius + self.reach)
        return max(math.ceil(widest / self.step - 1e-3), 1) + 1

    def places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return where the voxels of a plane lie, [P, Q] each in float64.

        Returns:
            Beam, from 0 to N - 1 within the fan, and depth in mm.
        """
        if device not in self._places:
            self._places[device] = self._compute_places(device)
        return self._places[device]

    def _compute_places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        lateral, axial = (
            centred(n, step, device) for n, step in zip(self.size, self.spacing, strict=True)
        )
        lateral = (lateral - self.geometry.center[0])[:, None]
        axial = axial + self.size[1] * self.spacing[1] / 2 - self.geometry.center[1]
        if self.geometry.probe == "linear":
            across, depth = torch.broadcast_tensors(lateral, axial)  # type: ignore[no-untyped-call]
        else:
            across = torch.atan2(lateral, axial + self.radius)
            depth = torch.hypot(lateral, axial + self.radius) - self.radius
        return (across / self.span + 0.5) * (self.beams - 1), depth

    def inside(self, device: torch.device) -> Tensor:
        """Return a mask of the voxels that beams reach, [I, J, K], of length 1 across planes."""
        beam, depth = self.places(device)
        last, margin = self.beams - 1, _BORDER * (self.beams - 1)
        across = (beam >= -margin) & (beam <= last + margin)
        margin = _BORDER * self.step
        return self.over_volume(across & (depth >= -margin) & (depth <= self.depth + margin))

    def over_volume(self, plane: Tensor) -> Tensor:
        """Return values of a plane, [..., P, Q], as [..., I, J, K], of length 1 across planes."""
        return (plane if self.axes[0] < self.axes[1] else plane.mT).unsqueeze(self.plane_axis - 3)

    def to_beams(self, x: Volume) -> Tensor:
        """Return voxels interpolated on beams, (B, C, N, R, S): beams, points on each, planes.

        Points outside of the image are 0.

        Args:
            x: Volume, in float32 or float64.
        """
        lateral, axial = self._points_in_voxels(x.device)
        planes = x.movedim([2 + axis for axis in (*self.axes, self.plane_axis)], [2, 3, 4])
        return _interpolated(planes, lateral, axial) * self.in_image(x.device)

    def in_image(self, device: torch.device) -> Tensor:
        """Return a mask of the points on beams that lie in the image, [N, R, 1]."""
        lateral, axial = (
            (place >= -0.5 - _BORDER) & (place <= count - 0.5 + _BORDER)
            for place, count in zip(self._points_in_voxels(device), self.size, strict=True)
        )
        return (lateral & axial)[..., None]

    def nearest_on_beams(self, x: Tensor, outside: int) -> Tensor:
        """Return the nearest voxels to the points on beams, (B, C, N, R, S), of any dtype.

        Points half-way between voxels get the one further along the axis, rounding errors or not.

        Args:
            x: Volume.
            outside: Value of points outside of the image.
        """
        planes = x.movedim([2 + axis for axis in (*self.axes, self.plane_axis)], [2, 3, 4])
        first, second = (
            (place + 0.5 + _BORDER).floor().clamp(0, count - 1).long()
            for place, count in zip(self._points_in_voxels(x.device), self.size, strict=True)
        )
        return torch.where(self.in_image(x.device), planes[:, :, first, second], outside)

    def _points_in_voxels(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return places of points on beams along the lateral and axial axis, in voxels, [N, R]."""
        depth = torch.arange(self.points, dtype=torch.float64, device=device) * self.step
        across = centred(self.beams, self.span / (self.beams - 1), device)[:, None]
        if self.geometry.probe == "linear":
            lateral, axial = torch.broadcast_tensors(across, depth)  # type: ignore[no-untyped-call]
        else:
            lateral = across.sin() * (self.radius + depth)
            axial = across.cos() * (self.radius + depth) - self.radius
        lateral = (lateral + self.geometry.center[0]) / self.spacing[0] + (self.size[0] - 1) / 2
        axial = (axial + self.geometry.center[1]) / self.spacing[1] - 0.5
        return lateral, axial

    def from_beams(self, x: Tensor) -> Volume:
        """Return points on beams, (B, C, N, R, S), interpolated at voxels, (B, C, I, J, K).

        Voxels that no beam reaches have the value of a point at the border of the fan.
        """
        beam, depth = self.places(x.device)
        planes = _interpolated(x, beam, depth / self.step)
        return planes.movedim([2, 3, 4], [2 + axis for axis in (*self.axes, self.plane_axis)])


def _interpolated(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Interpolate linearly along two axes, alike in all planes, (B, C, N, M, S).

    Args:
        x: (B, C, P, Q, S) in float32 or float64.
        first, second: Places along P and Q, [N, M]; outside, they are those of the edge.
    """
    rows = x.permute(2, 3, 0, 1, 4)  # (P, Q, B, C, S)
    table = rows.contiguous().view(x.shape[2] * x.shape[3], -1)

    def taps(some: slice) -> tuple[Tensor, Tensor]:
        low, high, share = [], [], []
        for place, count in ((first, x.shape[2]), (second, x.shape[3])):
            at = place[some].flatten().clamp(0, count - 1)
            low.append(at.floor().clamp(max=max(count - 2, 0)))
            high.append((low[-1] + 1).clamp(max=count - 1))
            share.append(at - low[-1])
        index = [p * x.shape[3] + q for p in (low[0], high[0]) for q in (low[1], high[1])]
        weights = [p * q for p in (1 - share[0], share[0]) for q in (1 - share[1], share[1])]
        return torch.stack(index, 1).int(), torch.stack(weights, 1).to(table.dtype)

    chunks = chunks_of(len(first), 4 * first.shape[1], x.device)
    out = torch.cat([weighted_sums(table, partial(taps, some)) for some in chunks])
    return out.view(*first.shape, *rows.shape[2:]).permute(2, 3, 0, 1, 4)


def by_fans(
    x: Volume,
    geometry: GeometriesLike,
    spacing: Number | Array,
    axes: Sequence[int],
    function: Callable[..., Tensor],
    *arrays: Array,
) -> Tensor:
    """Call a function for the samples of each fan; what lies outside of the fan stays.

    Args:
        x: Volume, (B, C, I, J, K), in float32 or float64.
        geometry: Geometry of all samples, or a list of one for each.
        spacing: Distance of voxels along I, J, K in mm, (3,) or (B, 3) on the host.
        axes: Lateral and axial voxel axis.
        function: Called with samples, their :class:`Fan` and their ``arrays``; it returns a volume
            of the same shape.
        arrays: Parameters, one entry per sample or one for all.
    """

    def run(part: Volume, fan: Fan, *some: Array) -> Volume:
        return torch.where(fan.inside(x.device), function(part, fan, *some), part)

    return by_group(x, fans_of(x, geometry, spacing, axes), run, *arrays)


def fans_of(
    x: Volume,
    geometry: GeometriesLike,
    spacing: Number | Array,
    axes: Sequence[int],
) -> dict[Fan, list[int]]:
    """Return the samples of each fan; arguments are those of :func:`by_fans`."""
    shape = (x.shape[2], x.shape[3], x.shape[4])
    plane = check_plane_axes(axes)
    size = host(check_spacing(spacing, x))
    if not (size < _LARGEST).all():
        raise ValueError(f"spacing must be < {_LARGEST:g} mm, got {size.tolist()}")
    sides = rounded(size, len(x))
    samples_of: dict[Fan, list[int]] = {}
    for sample, each in enumerate(check_geometries(geometry, len(x))):
        lateral, axial = sides[sample, list(plane)].tolist()
        fan = Fan(each, shape, plane, (lateral, axial))
        if fan.beams * fan.points > _MOST_POINTS or max(fan.beams, fan.points) > _LONGEST:
            raise ValueError(
                f"geometry must be of about the size of the image: {each} needs {fan.beams} beams "
                f"of {fan.points} points, {fan.step:g} mm apart, for {fan.size} voxels"
            )
        samples_of.setdefault(fan, []).append(sample)
    return samples_of


def _is_axis(value: Any) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and 0 <= value <= 2


def check_plane_axes(axes: Any) -> tuple[int, int]:
    """Return the lateral and the axial voxel axis; raise unless they are two of 0, 1, 2."""
    found = tuple(axes) if isinstance(axes, Sequence) and not isinstance(axes, str) else ()
    if len(found) != 2 or found[0] == found[1] or not all(map(_is_axis, found)):
        raise ValueError(
            f"axes must be two of 0, 1, 2, the lateral and the axial voxel axis, got {axes!r}"
        )
    return int(found[0]), int(found[1])


__all__ = [
    "BeamGeometry",
    "Fan",
    "GeometriesLike",
    "GeometryLike",
    "by_fans",
    "check_geometries",
    "check_geometry",
    "check_plane_axes",
    "fans_of",
]
