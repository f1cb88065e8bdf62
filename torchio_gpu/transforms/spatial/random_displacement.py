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
_SPLINE_WIDTH = 1 / math.sqrt(3)
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
        if not is_number(smoothness) or not 0 < smoothness < math.inf:
            raise ValueError(f"smoothness must be a number > 0, in mm, got {smoothness!r}")
        self.smoothness = float(smoothness)

    def params(self, space: Space, u: np.ndarray) -> FieldParams:
        """Return a field of each sample, over a grid.

        Args:
            space: The grid.
            u: Uniform numbers in (0, 1), [B, 3].
        """
        sides = spacing(space.affine)  # [B, 3]
        thick = [axis for axis, n in enumerate(space.shape) if n > 1] or [0, 1, 2]
        least = _MIN_VOXELS * sides[:, thick].max()
        if self.smoothness < least:
            raise ValueError(
                f"smoothness must be at least half a voxel of the first image, {least:.3g} mm, "
                f"got {self.smoothness:.3g} mm"
            )
        cells = (np.array(space.shape) - 1) * sides * _SPLINE_WIDTH / self.smoothness
        counts = np.ceil(cells).astype(int) + 4  # [B, 3]
        to_lattice = np.eye(4)[None].repeat(len(u), 0)
        for axis in range(3):
            to_lattice[:, axis, axis] = sides[:, axis] * _SPLINE_WIDTH / self.smoothness
        to_lattice[:, :3, 3] = (counts - 1 - cells) / 2  # centred
        amplitude = self.amplitude(u[:, :1])[:, 0] / _SPLINE_STD
        seeds = random.to_seeds(u[:, 1:])
        vectors = np.zeros((len(u), 3, *counts.max(0)))
        for n, (i, j, k) in enumerate(counts.tolist()):  # lattices of samples differ in size
            drawn = random.normals(seeds[n : n + 1], 3 * i * j * k).numpy()
            vectors[n, :, :i, :j, :k] = amplitude[n] * drawn.reshape(3, i, j, k)
        return FieldParams(vectors, space.affine @ invert(to_lattice), spline=True)


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
        per_mm = _SPLINE_WIDTH / self._smooth.smoothness
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
        along = vectors
        for each in range(3):
            weights = _half_steps(vectors.shape[1 + each], derivative=each == axis)
            along = np.moveaxis(np.tensordot(weights, along, (1, 1 + each)), 0, 1 + each)
        norm = norm + (along * along).sum(0)
    return float(np.sqrt(norm.max()))


def _half_steps(count: int, derivative: bool) -> np.ndarray:
    """Return the share of each coefficient every half a control point, or its derivative."""
    at = np.arange(2 * count - 1)[:, None] / 2 - np.arange(count)
    if not derivative:
        return cubic_bspline(at)  # type: ignore[no-any-return]
    low, high = at + 0.5, at - 0.5  # of quadratic B-splines
    return _quadratic(low) - _quadratic(high)


def _quadratic(distance: np.ndarray) -> np.ndarray:
    """Return the quadratic B-spline at signed distances from its centre."""
    d = abs(distance)
    return np.where(d < 0.5, 0.75 - d * d, np.where(d < 1.5, (1.5 - d) ** 2 / 2, 0.0))
