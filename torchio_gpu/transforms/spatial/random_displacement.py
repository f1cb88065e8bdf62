"""Random deformation of the content: smooth displacements, and flows of smooth velocities."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ... import random
from ...geometry import Space, cubic_bspline, invert, spacing
from ...signature import is_number
from ..base import Context
from ..kinds import RandomTransform
from ..parameters.ranges import Range
from ..parameters.types import RangeLike
from .displacement import Displacing, FieldParams, Flowing

#: Standard deviation of the cubic B-spline as a filter, in control points.
SPLINE_WIDTH = 1 / math.sqrt(3)
#: Standard deviation of a cubic B-spline with standard normal coefficients, on average over
#: positions: the integral of the square of the basis function is 151/315 along each axis.
_SPLINE_STD = (151 / 315) ** 1.5
#: Smallest smoothness, in voxels.
_MIN_VOXELS = 0.5
#: Amplitude, as a share of the smoothness, above which displacements may fold: about where the
#: largest of their derivatives in a volume reaches 1.
_FOLDING_SHARE = 0.25
#: Largest derivative of a velocity (Frobenius norm). The determinant of its flow is then at least
#: exp(-2 sqrt(3)) = 0.03, and changes slowly enough for the voxels that sample it.
_STEEPEST = 2.0


class _Smooth:
    """Generator of smooth random fields.

    Components are independent: white noise through a filter that is a cubic B-spline along each
    voxel axis, of the standard deviation ``smoothness``.

    Args:
        amplitude: Range of the standard deviation of each component, mm.
        smoothness: Standard deviation of the filter, mm.
    """

    def __init__(self, amplitude: RangeLike, smoothness: float) -> None:
        self.amplitude = Range(amplitude, "amplitude", around=None, minimum=0)
        self.smoothness = check_smoothness(smoothness)

    def params(self, space: Space, u: np.ndarray) -> FieldParams:
        """Return a field of each sample, over a grid.

        Args:
            space: The grid.
            u: Uniform numbers in (0, 1), [B, 3].
        """
        amplitude = self.amplitude(u[:, :1])[:, 0] / _SPLINE_STD
        vectors, to_world, _ = white_noise(space, self.smoothness, random.to_seeds(u[:, 1:]), 3)
        return FieldParams(amplitude[:, None, None, None, None] * vectors, to_world, spline=True)


def check_smoothness(smoothness: float) -> float:
    """Return a smoothness in mm, or raise."""
    if not is_number(smoothness) or not 0 < smoothness < math.inf:
        raise ValueError(f"smoothness must be a number > 0, in mm, got {smoothness!r}")
    return float(smoothness)


def white_noise(
    space: Space, smoothness: float, seeds: np.ndarray, components: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return standard normal coefficients of cubic B-splines over a grid, along its axes.

    Args:
        space: The grid.
        smoothness: Standard deviation of the B-spline as a filter, mm.
        seeds: Seeds of the samples, [B].
        components: Number of splines of each sample.

    Returns:
        Coefficients, [B, components, N0, N1, N2], 0 beyond the lattice of a sample; index to world,
        [B, 4, 4]; and the ends of the grid in control points, two of [B, 3].
    """
    sides = spacing(space.affine)  # [B, 3]
    thick = [axis for axis, n in enumerate(space.shape) if n > 1] or [0, 1, 2]
    least = _MIN_VOXELS * sides[:, thick].max()
    if smoothness < least:
        raise ValueError(
            f"smoothness must be at least half a voxel of the first image, {least:.3g} mm, "
            f"got {smoothness:.3g} mm"
        )
    cells = (np.array(space.shape) - 1) * sides * SPLINE_WIDTH / smoothness
    counts = np.ceil(cells).astype(int) + 4  # [B, 3]
    to_lattice = np.eye(4)[None].repeat(len(seeds), 0)
    for axis in range(3):
        to_lattice[:, axis, axis] = sides[:, axis] * SPLINE_WIDTH / smoothness
    low = to_lattice[:, :3, 3] = (counts - 1 - cells) / 2  # centred
    vectors = np.zeros((len(seeds), components, *counts.max(0)))
    for n, (i, j, k) in enumerate(counts.tolist()):  # lattices of samples differ in size
        drawn = random.normals(seeds[n : n + 1], components * i * j * k).numpy()
        vectors[n, :, :i, :j, :k] = drawn.reshape(components, i, j, k)
    return vectors, space.affine @ invert(to_lattice), (low, low + cells)


class RandomDisplacement(RandomTransform, Displacing):
    """Move the content by smooth random displacements.

    Each component of the displacement is white noise through a smooth filter, a cubic B-spline
    along each voxel axis of the first image; see :class:`Displacement` for the map.

    Args:
        amplitude: Range of the standard deviation of each component, mm; d means (0, d).
        smoothness: Standard deviation of the filter, mm: at least half a voxel of the first image.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The amplitude is negative, or the smoothness too small.

    Warns:
        RuntimeWarning: The amplitude exceeds a quarter of the smoothness, so that the map may fold;
            that of :class:`RandomDiffeomorphism` never does.

    >>> RandomDisplacement(amplitude=1, smoothness=4)(torch.rand(1, 16, 16, 16)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(
        self,
        amplitude: RangeLike = 2.0,
        smoothness: float = 10.0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.amplitude, self.smoothness = amplitude, smoothness
        self._smooth = _Smooth(amplitude, smoothness)
        bound, greatest = _FOLDING_SHARE * self._smooth.smoothness, self._smooth.amplitude.greatest
        if bound < greatest < math.inf:
            warnings.warn(
                f"amplitude should stay below {bound:.3g} mm, a quarter of the smoothness, to make "
                f"folding unlikely; got {greatest:.3g} mm: RandomDiffeomorphism never folds",
                RuntimeWarning,
                stacklevel=2,
            )
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> FieldParams:
        return self._smooth.params(context.space, u)


class RandomDiffeomorphism(RandomTransform, Flowing):
    """Move the content by the flow of a smooth random velocity: the map never folds.

    Each component of the velocity is drawn as the displacement of :class:`RandomDisplacement`; see
    :class:`Diffeomorphism` for the map. A velocity whose derivatives exceed 2 mm per mm (Frobenius
    norm) is scaled down to that, so that the Jacobian determinant stays positive on the voxels.

    Args:
        amplitude: Range of the standard deviation of each component of the velocity, mm in unit
            time; d means (0, d).
        smoothness: Standard deviation of the filter, mm: at least half a voxel of the first image.
        image_interpolation, label_interpolation, default_pad_value, default_pad_label: See
            :class:`Affine`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The amplitude is negative, or the smoothness too small.

    >>> RandomDiffeomorphism(amplitude=2, smoothness=4)(torch.rand(1, 16, 16, 16)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(
        self,
        amplitude: RangeLike = 4.0,
        smoothness: float = 10.0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.amplitude, self.smoothness = amplitude, smoothness
        self._smooth = _Smooth(amplitude, smoothness)
        self._set_interpolation(
            image_interpolation, label_interpolation, default_pad_value, default_pad_label
        )

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> FieldParams:
        params = self._smooth.params(context.space, u)
        per_mm = SPLINE_WIDTH / self._smooth.smoothness
        steepest = np.stack([_steepest(each) for each in params.vectors]) * per_mm
        scale = _STEEPEST / steepest.clip(_STEEPEST)
        vectors = params.vectors * scale[:, None, None, None, None]
        return FieldParams(vectors, params.affine, spline=True)


def _steepest(vectors: np.ndarray) -> float:
    """Return the largest derivative of a B-spline (Frobenius norm), halfway between its knots too.

    Args:
        vectors: Coefficients, [3, N0, N1, N2].

    Returns:
        The norm, per control point.
    """
    norm: Any = 0.0
    for axis in range(3):
        along = at_half_steps(vectors, axis)
        norm = norm + (along * along).sum(0)
    return float(np.sqrt(norm.max()))


def at_half_steps(
    vectors: np.ndarray,
    derivative: int | None = None,
    ends: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return values of B-splines every half a control point or more often, [D, M0, M1, M2].

    Args:
        vectors: Coefficients, [D, N0, N1, N2].
        derivative: Axis along which to take the derivative instead, per control point.
        ends: Control-point coordinates to begin and end at, two of [3]; by default the outermost
            control points.
    """
    for axis in range(3):
        count = vectors.shape[1 + axis]
        low, high = (0, count - 1) if ends is None else (ends[0][axis], ends[1][axis])
        at = np.linspace(low, high, int(np.ceil(2 * (high - low))) + 1)
        weights = _shares(at, count, derivative=axis == derivative)
        vectors = np.moveaxis(np.tensordot(weights, vectors, (1, 1 + axis)), 0, 1 + axis)
    return vectors


def _shares(at: np.ndarray, count: int, derivative: bool) -> np.ndarray:
    """Return the share of each coefficient at coordinates [M], or its derivative, [M, count]."""
    distance = at[:, None] - np.arange(count)
    if not derivative:
        return cubic_bspline(distance)  # type: ignore[no-any-return]
    low, high = distance + 0.5, distance - 0.5  # of quadratic B-splines
    return _quadratic(low) - _quadratic(high)


def _quadratic(distance: np.ndarray) -> np.ndarray:
    """Return the quadratic B-spline at signed distances from its centre."""
    d = abs(distance)
    return np.where(d < 0.5, 0.75 - d * d, np.where(d < 1.5, (1.5 - d) ** 2 / 2, 0.0))
