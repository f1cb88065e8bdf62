"""Spatial augmentation: affine, elastic, both at once, and mirrors.

Parameters speak of the content and of millimetres along RAS+; :mod:`torchio_gpu.geometry` says
how they become matrices. All images of a subject follow one motion in the world, so images of
different spacing or field of view stay aligned. Lattices and centres are those of the first image.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import geometry
from ..functional.spatial import check_mode
from ..functional.statistics import FILLS
from ..geometry import Space
from ..shapes import Affine as Matrix
from ..shapes import ControlPoints, Triple
from .base import Scene, Transform, per_sample
from .params import Params
from .plan import Elastic, Move, Sampling
from .ranges import Range

#: Displacements below this share of the control-point spacing cannot fold a cubic B-spline
#: (Choi & Lee 2000, doi:10.1016/S0097-8493(00)00047-8: 0.4 for three dimensions).
FOLDING_BOUND = 0.4


@dataclass(frozen=True)
class AffineParams(Params):
    """Motion of the content: see :func:`torchio_gpu.geometry.affine_motion`."""

    neutral: ClassVar[dict[str, float]] = {"scales": 1.0, "degrees": 0.0, "translation": 0.0}
    scales: Tensor  # [B, 3]
    degrees: Tensor  # [B, 3]
    translation: Tensor  # [B, 3], mm
    centre: Tensor  # [B, 3], mm
    inverse: bool = False

    def pull_back(self, space: Space) -> Matrix:
        """Output world to input world, [B, 4, 4]."""
        scales, degrees, translation = self.scales, self.degrees, self.translation
        plane = geometry.slice_axis(space)
        if plane is not None:
            inside, about = (mask.to(scales.device) for mask in plane)
            scales, translation = 1 + (scales - 1) * inside, translation * inside
            degrees = degrees * about
        centre = self.centre.to(scales.device)
        motion = geometry.affine_motion(scales, degrees, translation, centre)
        return motion if self.inverse else geometry.pull_back(motion)


@dataclass(frozen=True)
class ElasticParams(Params):
    """Displacement of the pull-back: an output point p shows what lies at p + d(p)."""

    neutral: ClassVar[dict[str, float]] = {"control_points": 0.0}
    control_points: Tensor  # [B, N0, N1, N2, 3], mm along RAS+
    lattice: Tensor  # [B, 4, 4], world to control-point coordinates
    inverse: bool = False

    def elastic(self) -> Elastic:
        return Elastic(self.control_points.movedim(-1, 1), self.lattice, self.inverse)


@dataclass(frozen=True)
class AffineElasticParams(Params):
    """Both motions."""

    affine: AffineParams
    bend: ElasticParams

    def change(self, function: Any) -> AffineElasticParams:
        return AffineElasticParams(self.affine.change(function), self.bend.change(function))

    def gate(self, active: Tensor) -> AffineElasticParams:
        return AffineElasticParams(self.affine.gate(active), self.bend.gate(active))

    def to_dict(self) -> dict[str, Any]:
        return {"affine": self.affine.to_dict(), "bend": self.bend.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AffineElasticParams:
        return cls(
            AffineParams.from_dict(values["affine"]), ElasticParams.from_dict(values["bend"])
        )


@dataclass(frozen=True)
class FlipParams(Params):
    """Which voxel axes are mirrored."""

    neutral: ClassVar[dict[str, float]] = {"axes": 0}
    axes: Tensor  # [B, 3] bool

    def gate(self, active: Tensor) -> FlipParams:
        return FlipParams(self.axes & active[:, None])


def _affine_params(
    scales: Tensor, degrees: Tensor, translation: Tensor, center: str, space: Space
) -> AffineParams:
    centre = space.centre if center == "image" else torch.zeros_like(space.centre)
    return AffineParams(scales, degrees, translation, centre)


class _Motion(Transform):
    """Arguments that affine and elastic transforms share. Not for use by itself."""

    role = "spatial"

    def _set_sampling(
        self,
        image_interpolation: str,
        label_interpolation: str,
        default_pad_value: str | float,
        default_pad_label: float,
    ) -> None:
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        self.label_interpolation = check_mode(label_interpolation, "label_interpolation")
        number = isinstance(default_pad_value, (int, float))
        if not number and default_pad_value not in FILLS:
            raise ValueError(
                f"default_pad_value must be a number or one of {', '.join(FILLS)}, "
                f"got {default_pad_value!r}"
            )
        if not isinstance(default_pad_label, (int, float)):
            raise ValueError(f"default_pad_label must be a number, got {default_pad_label!r}")
        self.default_pad_value = default_pad_value
        self.default_pad_label = default_pad_label

    def sampling(self) -> Sampling:
        return Sampling(
            self.image_interpolation,
            self.label_interpolation,
            self.default_pad_value,
            self.default_pad_label,
        )


def _check_center(center: str) -> str:
    if center not in ("image", "origin"):
        raise ValueError(f"center must be 'image' or 'origin', got {center!r}")
    return center


class Affine(_Motion):
    """Scale, rotate and move the content by given amounts.

    The content is rotated about the centre, moved, then scaled about the centre, as in TorchIO
    1.x; unlike there, all images of a subject share the centre of the first. Single-slice images
    move within their plane only.

    Args:
        scales: Size of the result relative to the original along x, y, z of the world.
        degrees: Angles about x, y, z of the world, right-handed; about y first, then x, then z.
        translation: Millimetres along x, y, z of the world (right, anterior, superior).
        center: 'image' for the centre of the first image, 'origin' for that of the world.
        default_pad_value: Value outside scalar images: 'minimum', 'mean' (of the border), 'otsu'
            (mean of the border under its Otsu threshold), or a number.
        default_pad_label: Value outside label maps.
        image_interpolation, label_interpolation: 'linear' or 'nearest'.
        check_shape: Refuse images that share an affine but not a shape.
        kwargs: See :class:`Transform`.

    Each amount is a triple (a number stands for three), or one per sample, (B, 3); tensors may
    require a gradient and live on any device.

    Raises:
        ValueError: A shape, name or interpolation is not as above, or a scale is not positive.

    >>> x = torch.zeros(1, 9, 9, 9)
    >>> x[0, 4, 4, 4] = 1
    >>> Affine(scales=1, degrees=0, translation=(2, 0, 0))(x).nonzero()
    tensor([[0, 6, 4, 4]])
    """

    def __init__(
        self,
        scales: Any = 1.0,
        degrees: Any = 0.0,
        translation: Any = 0.0,
        center: str = "image",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        check_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scales, self.degrees, self.translation = scales, degrees, translation
        values = {"scales": scales, "degrees": degrees, "translation": translation}
        self._values = {name: per_sample(v, (3,), name) for name, v in values.items()}
        host = self._values["scales"].detach()
        if host.device.type == "cpu" and not bool((host > 0).all()):
            raise ValueError(f"scales must be > 0, got {scales!r}")
        self.center = _check_center(center)
        self.check_shape = check_shape
        self._set_sampling(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, scene: Scene, u: Tensor) -> AffineParams:
        params = _affine_params(**self._values, center=self.center, space=scene.space)
        return params.expand(scene.batch)

    def moves(self, params: AffineParams, scene: Scene) -> tuple[Move, ...]:
        return (Move(params.pull_back(scene.space)),)

    def invert(self, params: AffineParams) -> AffineParams:
        return AffineParams(**{**vars(params), "inverse": not params.inverse})


class RandomAffine(_Motion):
    """Scale, rotate and move the content by random amounts.

    Args:
        scales: Range of the scale along each axis of the world; d means (1 - d, 1 + d).
        degrees: Range of the angle about each axis.
        translation: Range of the motion along each axis, mm.
        isotropic: Use one scale for the three axes.
        center, default_pad_value, default_pad_label, image_interpolation, label_interpolation,
            check_shape: See :class:`Affine`.
        kwargs: See :class:`Transform`.

    Ranges are a number, a pair, three numbers, six numbers (three pairs), a distribution or a
    :class:`Choice`; see :mod:`torchio_gpu.transforms.ranges`.

    Raises:
        ValueError: A range is empty or reaches a scale of 0, or an argument is not as above.

    >>> transform = RandomAffine(scales=(0.9, 1.2), degrees=15)
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        scales: Any = 0.1,
        degrees: Any = 10,
        translation: Any = 0,
        isotropic: bool = False,
        center: str = "image",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        check_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scales, self.degrees, self.translation = scales, degrees, translation
        self.isotropic = isotropic
        if isotropic and isinstance(scales, Sequence) and len(scales) in (3, 6):
            raise ValueError(
                f"scales must be a number or a pair when isotropic is True, got {scales!r}"
            )
        self._scales = Range(scales, "scales", axes=3, around=1, minimum=0, exclusive=True)
        self._degrees = Range(degrees, "degrees", axes=3)
        self._translation = Range(translation, "translation", axes=3)
        self.center = _check_center(center)
        self.check_shape = check_shape
        self._set_sampling(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return 9

    def draw(self, scene: Scene, u: Tensor) -> AffineParams:
        first = u[:, :1].expand(-1, 3) if self.isotropic else u[:, :3]
        return _affine_params(
            self._scales(first),
            self._degrees(u[:, 3:6]),
            self._translation(u[:, 6:9]),
            self.center,
            scene.space,
        )

    moves = Affine.moves
    invert = Affine.invert


class ElasticDeformation(_Motion):
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

    bends = True

    def __init__(
        self,
        control_points: Any,
        max_displacement: Any = None,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.control_points, self.max_displacement = control_points, max_displacement
        points = torch.as_tensor(control_points)
        points = points[None] if points.ndim == 4 else points
        if points.ndim != 5 or points.shape[-1] != 3 or min(points.shape[1:4]) < 4:
            raise ValueError(
                "control_points must have shape (N0, N1, N2, 3) or (B, N0, N1, N2, 3) with at "
                f"least 4 points along each axis, got {tuple(torch.as_tensor(control_points).shape)}"
            )
        self._points = points.to(torch.float64)
        if max_displacement is None:
            size = points.detach().abs().amax((0, 1, 2, 3)) if points.device.type == "cpu" else None
            self._largest = size
        else:
            self._largest = _triple(max_displacement, "max_displacement")
        self._set_sampling(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    def draw(self, scene: Scene, u: Tensor) -> ElasticParams:
        params = _elastic_params(self._points, scene.space, self._largest)
        return params.expand(scene.batch)

    def moves(self, params: ElasticParams, scene: Scene) -> tuple[Move, ...]:
        return (Move(elastic=params.elastic()),)

    def invert(self, params: ElasticParams) -> ElasticParams:
        return ElasticParams(**{**vars(params), "inverse": not params.inverse})


def _elastic_params(points: Tensor, space: Space, largest: Tensor | None) -> ElasticParams:
    """Lay control points over a space; warn when they may fold it."""
    a, b, c = points.shape[1:4]
    lattice = geometry.control_lattice(space, (a, b, c))
    if largest is not None:
        warn_of_folding(space, (a, b, c), largest)
    return ElasticParams(points, lattice)


def warn_of_folding(space: Space, counts: Triple, largest: Tensor) -> None:
    """Warn when displacements of control points are so large that the map may fold.

    Args:
        space: What the lattice covers.
        counts: Control points along each voxel axis.
        largest: Largest displacement along each axis of the world, [3] in mm.
    """
    bound = FOLDING_BOUND * float(geometry.control_spacing(space, counts).min())
    if float(largest.max()) > bound:
        warnings.warn(
            f"max_displacement should stay below {bound:.1f} mm, 0.4 of the control-point "
            f"spacing, to rule out folding; got {float(largest.max()):.1f} mm",
            RuntimeWarning,
            stacklevel=2,
        )


def smallest_jacobian(params: ElasticParams, space: Space) -> Tensor:
    """Smallest Jacobian determinant of the elastic map over a grid, [B]; below 0 it folds.

    Args:
        params: As drawn by :class:`RandomElasticDeformation`.
        space: Grid on which to look, by finite differences between neighbouring voxels.

    >>> batch = SubjectsBatch({"t1": ImagesBatch(torch.zeros(1, 1, 16, 16, 16))})
    >>> params = RandomElasticDeformation(max_displacement=0).sample(batch)
    >>> smallest_jacobian(params, batch.t1.space)
    tensor([1.], dtype=torch.float64)
    """
    from ..functional.reference.spatial import spline_at, voxel_grid

    points = geometry.apply_affine(space.affine, voxel_grid(space.shape, space.affine.device))
    at = geometry.apply_affine(params.lattice, points)
    moved = points + spline_at(params.control_points.movedim(-1, 1).double(), at)
    moved = moved.view(-1, *space.shape, 3)
    steps = [moved.diff(dim=1 + axis) for axis in range(3)]  # forward differences
    i, j, k = (n - 1 for n in space.shape)
    columns = [step[:, :i, :j, :k] for step in steps]
    jacobian = torch.stack(columns, -1) @ geometry.invert(space.affine)[:, None, None, None, :3, :3]
    return torch.linalg.det(jacobian).flatten(1).amin(1)


def _triple(value: Any, name: str) -> Tensor:
    triple = torch.as_tensor(value, dtype=torch.float64)
    if triple.shape not in ((), (3,)) or not bool((triple >= 0).all()):
        raise ValueError(f"{name} must be a number or three numbers >= 0, got {value!r}")
    return triple.expand(3)


class _Lattice:
    """Random control points: counts, range and locked borders."""

    def __init__(self, num_control_points: Any, max_displacement: Any, locked_borders: int) -> None:
        counts = (
            (num_control_points,) * 3
            if isinstance(num_control_points, int)
            else tuple(num_control_points)
        )
        if len(counts) != 3 or any(not isinstance(n, int) or n < 4 for n in counts):
            raise ValueError(
                f"num_control_points must be an integer >= 4 or three of them, "
                f"got {num_control_points!r}"
            )
        self.counts: Triple = (counts[0], counts[1], counts[2])
        self.largest = _triple(max_displacement, "max_displacement")
        if locked_borders not in (0, 1, 2):
            raise ValueError(f"locked_borders must be 0, 1 or 2, got {locked_borders!r}")
        if locked_borders == 2 and 4 in self.counts:
            raise ValueError(
                "locked_borders must be 0 or 1 with 4 control points along an axis: locking 2 "
                "rings would lock them all"
            )
        # The displacement of the outer rings is zero: numbers are drawn for the inside only.
        free = torch.zeros(*self.counts, dtype=torch.bool)
        inside = slice(locked_borders, -locked_borders or None)
        free[inside, inside, inside] = True
        self.inside = inside
        self.free: Triple = tuple(free[inside, inside, inside].shape)  # type: ignore[assignment]

    @property
    def draws(self) -> int:
        a, b, c = self.free
        return 3 * a * b * c

    def control_points(self, u: Tensor) -> ControlPoints:
        """Uniform in (-largest, largest), zero in the locked rings; [B, N0, N1, N2, 3] in mm."""
        points = u.new_zeros(len(u), *self.counts, 3)
        drawn = (u.view(-1, *self.free, 3) * 2).sub_(1).mul_(self.largest)
        points[:, self.inside, self.inside, self.inside] = drawn
        return points


class RandomElasticDeformation(_Motion):
    """Bend the content smoothly and at random.

    Each control point is displaced uniformly within the largest displacement; see
    :class:`ElasticDeformation` for the map. No voxel moves further than that, and the mean
    displacement is 0.

    Args:
        num_control_points: Control points along each voxel axis, at least 4: a number or three.
        max_displacement: Largest displacement along each axis of the world, mm: a number or
            three.
        locked_borders: How many outer rings of control points stay in place: 0, 1 or 2. With 2,
            the border of the image moves by a sixth of the largest displacement at most.
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

    bends = True

    def __init__(
        self,
        num_control_points: Any = 7,
        max_displacement: Any = 7.5,
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
        self._lattice = _Lattice(num_control_points, max_displacement, locked_borders)
        self._set_sampling(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return self._lattice.draws

    def draw(self, scene: Scene, u: Tensor) -> ElasticParams:
        lattice = self._lattice
        return _elastic_params(lattice.control_points(u), scene.space, lattice.largest)

    moves = ElasticDeformation.moves
    invert = ElasticDeformation.invert


class AffineElasticDeformation(_Motion):
    """An affine and an elastic motion by given amounts, in one sampling.

    Args:
        affine_first: Whether the content first follows the affine motion, which is also the
            quicker order: the elastic map is then evaluated axis by axis.
        affine_params: Arguments of :class:`Affine`.
        elastic_params: Arguments of :class:`ElasticDeformation`. Interpolation and padding are
            those of ``affine_params``.
        kwargs: See :class:`Transform`.

    >>> transform = AffineElasticDeformation(
    ...     affine_params={"degrees": (0, 0, 10)},
    ...     elastic_params={"control_points": torch.zeros(5, 5, 5, 3)},
    ... )
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    bends = True

    def __init__(
        self,
        affine_first: bool = True,
        affine_params: dict[str, Any] | None = None,
        elastic_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.affine_first = affine_first
        self.affine_params, self.elastic_params = affine_params, elastic_params
        self.affine = Affine(**(affine_params or {}))
        self.elastic = ElasticDeformation(**(elastic_params or {}))

    def sampling(self) -> Sampling:
        return self.affine.sampling()

    @property
    def check_shape(self) -> bool:
        """Whether images that share an affine but not a shape are refused."""
        return self.affine.check_shape

    def draw(self, scene: Scene, u: Tensor) -> AffineElasticParams:
        return AffineElasticParams(self.affine.draw(scene, u), self.elastic.draw(scene, u))

    def moves(self, params: AffineElasticParams, scene: Scene) -> tuple[Move, ...]:
        matrix, elastic = params.affine.pull_back(scene.space), params.bend.elastic()
        # Undoing goes through the two motions in the opposite order.
        if self.affine_first != params.affine.inverse:
            return (Move(matrix, elastic),)
        return Move(elastic=elastic), Move(matrix)

    def invert(self, params: AffineElasticParams) -> AffineElasticParams:
        return AffineElasticParams(
            self.affine.invert(params.affine), self.elastic.invert(params.bend)
        )


class RandomAffineElasticDeformation(_Motion):
    """A random affine and a random elastic motion in one sampling.

    Args:
        affine_first: See :class:`AffineElasticDeformation`.
        affine_kwargs: Arguments of :class:`RandomAffine`.
        elastic_kwargs: Arguments of :class:`RandomElasticDeformation`. Interpolation and padding
            are those of ``affine_kwargs``.
        kwargs: See :class:`Transform`.

    >>> transform = RandomAffineElasticDeformation(elastic_kwargs={"max_displacement": 0.5})
    >>> transform(torch.rand(1, 16, 16, 16)).shape
    torch.Size([1, 16, 16, 16])
    """

    bends = True

    def __init__(
        self,
        affine_first: bool = True,
        affine_kwargs: dict[str, Any] | None = None,
        elastic_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.affine_first = affine_first
        self.affine_kwargs, self.elastic_kwargs = affine_kwargs, elastic_kwargs
        self.affine = RandomAffine(**(affine_kwargs or {}))
        self.elastic = RandomElasticDeformation(**(elastic_kwargs or {}))

    sampling = AffineElasticDeformation.sampling
    check_shape = AffineElasticDeformation.check_shape
    moves = AffineElasticDeformation.moves
    invert = AffineElasticDeformation.invert

    @property
    def draws(self) -> int:
        return self.affine.draws + self.elastic.draws

    def draw(self, scene: Scene, u: Tensor) -> AffineElasticParams:
        affine, bend = u.split([self.affine.draws, self.elastic.draws], -1)
        return AffineElasticParams(self.affine.draw(scene, affine), self.elastic.draw(scene, bend))


def _check_axes(axes: Any) -> tuple[int | str, ...]:
    axes = (axes,) if isinstance(axes, (int, str)) else tuple(axes)
    for axis in axes:
        if isinstance(axis, str):
            geometry.check_axis_name(axis)
        else:
            geometry.check_axis(axis)
    return axes


def _axis_mask(axes: tuple[int | str, ...], space: Space) -> Tensor:
    """Which voxel axes are meant, for each sample: [B, 3] bool."""
    if all(isinstance(axis, int) for axis in axes):
        mask = torch.zeros(1, 3, dtype=torch.bool)
        mask[:, list(axes)] = True
        return mask.expand(len(space.affine), 3)
    mask = torch.zeros(len(space.affine), 3, dtype=torch.bool)
    for sample, affine in enumerate(space.affine):
        mask[sample, [geometry.axis_index(axis, affine) for axis in axes]] = True
    return mask


class Flip(Transform):
    """Mirror images in their middle: an exact permutation of voxels.

    Args:
        axes: Voxel axes 0, 1, 2, or anatomical names ('LR', 'Anterior', 'S') that are resolved
            through each sample's orientation; one or several.
        kwargs: See :class:`Transform`.

    Images of other spacing or field of view are mirrored in the same plane of the world, the
    middle of the first image.

    Raises:
        ValueError: An axis is neither 0, 1, 2 nor an anatomical name.

    >>> Flip("LR")(torch.tensor([1., 2.]).view(1, 2, 1, 1)).flatten()
    tensor([2., 1.])
    """

    role = "spatial"
    parallel = True

    def __init__(self, axes: Any = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = _check_axes(axes)

    def draw(self, scene: Scene, u: Tensor) -> FlipParams:
        return FlipParams(_axis_mask(self.axes, scene.space))

    def moves(self, params: FlipParams, scene: Scene) -> tuple[Move, ...]:
        return (Move(geometry.reflection(scene.space, params.axes)),)

    def invert(self, params: FlipParams) -> FlipParams:
        return params


class RandomFlip(Transform):
    """Mirror images along axes chosen at random: an exact permutation of voxels.

    Args:
        axes: Axes that may be mirrored; see :class:`Flip`.
        flip_probability: Probability of each of them.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: An axis is not as for :class:`Flip`, or the probability is not in [0, 1].

    >>> RandomFlip(axes=("LR", "AP"))(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    role = "spatial"
    parallel = True

    def __init__(self, axes: Any = 0, flip_probability: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = _check_axes(axes)
        if not 0 <= flip_probability <= 1:
            raise ValueError(f"flip_probability must be in [0, 1], got {flip_probability!r}")
        self.flip_probability = flip_probability

    @property
    def draws(self) -> int:
        return 3

    def draw(self, scene: Scene, u: Tensor) -> FlipParams:
        chosen = u < self.flip_probability
        return FlipParams(chosen & _axis_mask(self.axes, scene.space))

    moves = Flip.moves
    invert = Flip.invert
