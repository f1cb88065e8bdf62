"""Elastic augmentation: deform the content smoothly, alone or together with an affine motion.

The elastic map is a cubic B-spline of control points, as in ITK; lattices are laid over the first
image of a subject, and all its images follow.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import geometry
from ...arrays import Array, Numbers, as_array, host, on_host
from ...data import SpatialMap
from ...functional.eager.spatial import spline_at, voxel_grid
from ...geometry import BSplineField, Space
from ...shapes import Triple, TripleLike, check_triple
from ...tracing import instruction, known
from ..base import Context
from ..kinds import RandomTransform
from ..parameters.params import Params
from ..parameters.types import PointsLike
from ..pipeline.maps import SpatialTraits
from .affine import Resampling

#: Displacements below this share of the control-point spacing cannot fold a cubic B-spline
#: (Choi & Lee 2000, doi:10.1016/S0097-8493(00)00047-8: 0.4 for three dimensions).
FOLDING_BOUND = 0.4
#: Random control points, at most: each sample draws three numbers for each.
_MOST_POINTS = 10**6


@dataclass(frozen=True)
class ElasticParams(Params):
    """Displacement of the pull-back: an output point p shows what lies at p + d(p)."""

    neutral: ClassVar[dict[str, float]] = {"control_points": 0.0}
    control_points: Annotated[Array, "B N0 N1 N2 3"]  # mm along RAS+
    lattice: Annotated[np.ndarray, "B 4 4"]  # world to control-point coordinates
    inverse: bool = False

    def elastic(self) -> BSplineField:
        points, first = self.control_points, (0, 4, 1, 2, 3)
        moved = points.permute(first) if isinstance(points, Tensor) else points.transpose(first)
        return BSplineField(moved, self.lattice, self.inverse)


class _Elastic(Resampling):
    """Cubic B-spline deformation of the content."""

    traits = SpatialTraits(bends=True)

    def maps(self, params: ElasticParams, context: Context) -> tuple[SpatialMap, ...]:
        return (SpatialMap(elastic=params.elastic()),)

    def invert(self, params: ElasticParams) -> ElasticParams:
        return ElasticParams(**{**vars(params), "inverse": not params.inverse})


class ElasticDeformation(_Elastic):
    """Bend the content smoothly by given control points.

    An output point p shows what lies at p + d(p), where d is the cubic B-spline of the control
    points, laid over the first image along its voxel axes as ITK's BSplineTransform is. Its
    inverse is the inverse of that map.

    Args:
        control_points: Displacements in mm along RAS+, (N0, N1, N2, 3), or (B, N0, N1, N2, 3)
            for one set per sample; at least 4 along each axis. Tensors may require a gradient.
        max_displacement: Largest displacement, for the warning about folding; taken from the
            control points by default.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The control points have another shape.

    >>> transform = ElasticDeformation(torch.zeros(5, 5, 5, 3))
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        control_points: PointsLike,
        max_displacement: Numbers | None = None,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.control_points, self.max_displacement = control_points, max_displacement
        points = as_array(control_points, "control_points")
        points = points[None] if points.ndim == 4 else points
        if points.ndim != 5 or points.shape[-1] != 3 or min(points.shape[1:4]) < 4:
            raise ValueError(
                "control_points must have shape (N0, N1, N2, 3) or (B, N0, N1, N2, 3) with at "
                f"least 4 points along each axis, got {tuple(as_array(control_points).shape)}"
            )
        self._points = points
        self._largest: float | None = None
        if max_displacement is not None:
            self._largest = float(_triple(max_displacement, "max_displacement").max())
        elif on_host(points):
            self._largest = float(np.abs(host(points)).max())
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, context: Context, u: np.ndarray) -> ElasticParams:
        params = _elastic_params(self._points, context.space, self._largest)
        return params.expand(context.batch)


def _elastic_params(points: Array, space: Space, largest: float | None) -> ElasticParams:
    """Return parameters with a lattice laid over a space; warn if the map may fold."""
    a, b, c = points.shape[1:4]
    lattice = geometry.control_lattice(space, (a, b, c))
    if largest is not None:
        _warn_of_folding(space.shape, (a, b, c), known(space.affine).tobytes(), largest)
    return ElasticParams(points, lattice)


@lru_cache(maxsize=1024)
def _warn_of_folding(shape: Triple, counts: Triple, affine: bytes, largest: float) -> None:
    """Warn, once for each geometry, of displacements so large that the map may fold.

    Args:
        shape: Voxels that the lattice covers.
        counts: Control points along each voxel axis.
        affine: Affines of the samples, as bytes, which can be cached.
        largest: Largest displacement in mm.
    """
    space = Space(shape, np.frombuffer(affine).reshape(-1, 4, 4))
    thick = [axis for axis, n in enumerate(shape) if n > 1] or [0, 1, 2]
    bound = FOLDING_BOUND * float(geometry.control_spacing(space, counts)[:, thick].min())
    if largest > bound:
        warnings.warn(
            f"max_displacement should stay below {bound:.1f} mm, 0.4 of the control-point "
            f"spacing, to rule out folding; got {largest:.1f} mm",
            RuntimeWarning,
            stacklevel=2,
        )


def smallest_jacobian(params: ElasticParams, space: Space) -> np.ndarray:
    """Smallest Jacobian determinant of the elastic map over a grid, [B]; below 0 it folds.

    Args:
        params: Parameters as drawn by :class:`RandomElasticDeformation`.
        space: Grid of the finite differences between neighbouring voxels.

    >>> batch = SubjectsBatch({"t1": ImagesBatch(torch.zeros(1, 1, 16, 16, 16))})
    >>> params = RandomElasticDeformation(max_displacement=0).sample_params(batch)
    >>> smallest_jacobian(params, batch.t1.space)
    array([1.])
    """
    elastic = params.elastic()
    linear = space.to_voxel[:, :3, :3]
    points = torch.as_tensor(geometry.displace(host(elastic.control_points), linear))
    lattice = torch.as_tensor(params.lattice @ space.affine)
    voxels = voxel_grid(space.shape, points.device)
    moved = voxels + spline_at(points, geometry.apply_affine(lattice, voxels))
    moved = moved.view(-1, *space.shape, 3)
    i, j, k = (n - 1 for n in space.shape)
    columns = [moved.diff(dim=1 + axis)[:, :i, :j, :k] for axis in range(3)]
    smallest: np.ndarray = torch.linalg.det(torch.stack(columns, -1)).flatten(1).amin(1).numpy()
    return smallest


def _triple(value: Any, name: str) -> np.ndarray:
    triple = host(as_array(value, name))
    usable = triple.dtype.kind in "fiu" and triple.shape in ((), (3,))
    if not usable or not ((triple >= 0) & np.isfinite(triple)).all():
        raise ValueError(f"{name} must be a number or three numbers >= 0, got {value!r}")
    return np.broadcast_to(triple, (3,))


class _RandomLattice:
    """Generator of random control points: counts, largest displacement and locked borders."""

    def __init__(
        self, num_control_points: TripleLike, max_displacement: Numbers, locked_borders: int
    ) -> None:
        self.counts = check_triple(num_control_points, "num_control_points", 4)
        if max(self.counts) > 1000 or math.prod(self.counts) > _MOST_POINTS:
            raise ValueError(
                f"num_control_points must be <= 1000 along an axis and <= {_MOST_POINTS} in all, "
                f"got {num_control_points!r}"
            )
        self.amplitude = _triple(max_displacement, "max_displacement")
        self.largest = float(self.amplitude.max())
        if locked_borders not in (0, 1, 2):
            raise ValueError(f"locked_borders must be 0, 1 or 2, got {locked_borders!r}")
        if locked_borders == 2 and 4 in self.counts:
            raise ValueError(
                "locked_borders must be 0 or 1 with 4 control points along an axis: locking 2 "
                "rings would lock them all"
            )
        # Locked rings are not displaced: numbers are drawn for the inner control points only.
        a, b, c = (n - 2 * locked_borders for n in self.counts)
        self.inner_counts: Triple = (a, b, c)
        self.inside = slice(locked_borders, -locked_borders or None)

    @property
    def draws(self) -> int:
        a, b, c = self.inner_counts
        return 3 * a * b * c

    def control_points(self, u: np.ndarray) -> np.ndarray:
        """Return displacements [B, N0, N1, N2, 3] in mm, uniform inside and zero in locked rings.

        Args:
            u: Uniform numbers in (0, 1), [B, draws].
        """
        return _spread(u, self.counts, self.inside, self.amplitude)


@instruction
def _spread(u: np.ndarray, counts: Triple, inside: slice, amplitude: np.ndarray) -> np.ndarray:
    """Return control points [B, N0, N1, N2, 3] from uniform numbers of the inner ones, [B, N]."""
    drawn = 2 * u
    drawn -= 1
    # Components come first in memory, the layout in which splines are evaluated.
    points = np.zeros((len(u), 3, *counts)).transpose(0, 2, 3, 4, 1)
    inner = points[:, inside, inside, inside]
    np.multiply(drawn.reshape(inner.shape), amplitude, out=inner)
    return points


class RandomElasticDeformation(RandomTransform, _Elastic):
    """Bend the content smoothly and at random.

    Each control point is displaced uniformly within the largest displacement; see
    :class:`ElasticDeformation` for the map. No voxel moves further than that, and the mean
    displacement is 0.

    Args:
        num_control_points: Control points along each voxel axis, at least 4: a number or three.
        max_displacement: Largest displacement along each axis of the world, mm: a number or
            three.
        locked_borders: Number of outer rings of control points that stay in place: 0, 1 or 2. With
            2, the border of the image moves by a sixth of the largest displacement at most.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Warns:
        RuntimeWarning: Displacements exceed 0.4 of the control-point spacing, the bound below
            which the map cannot fold (Choi & Lee 2000, doi:10.1016/S0097-8493(00)00047-8).

    >>> transform = RandomElasticDeformation(num_control_points=5, max_displacement=1)
    >>> transform(torch.rand(1, 16, 16, 16)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(
        self,
        num_control_points: TripleLike = 7,
        max_displacement: Numbers = 7.5,
        locked_borders: int = 2,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_control_points = num_control_points
        self.max_displacement = max_displacement
        self.locked_borders = locked_borders
        self._lattice = _RandomLattice(num_control_points, max_displacement, locked_borders)
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return self._lattice.draws

    def draw(self, context: Context, u: np.ndarray) -> ElasticParams:
        lattice = self._lattice
        return _elastic_params(lattice.control_points(u), context.space, lattice.largest)
