"""Flips: mirror images along axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import geometry
from ...data import SpatialMap
from ...geometry import Space
from ...signature import is_number
from ..base import Context
from ..kinds import RandomTransform, SpatialTransform
from ..parameters.axes import axis_mask, check_axes
from ..parameters.params import Params
from ..parameters.types import AxesLike
from ..pipeline.maps import SpatialTraits


@dataclass(frozen=True)
class FlipParams(Params):
    """Voxel axes to mirror, and the reflection in the world."""

    neutral: ClassVar[dict[str, float]] = {"axes": 0}
    axes: Annotated[np.ndarray, "B 3", bool]
    mirror: Annotated[np.ndarray, "B 4 4"]  # world to world

    def gate(self, active: np.ndarray) -> FlipParams:
        mirror = np.where(active[:, None, None], self.mirror, np.eye(4))
        return FlipParams(self.axes & active[:, None], mirror)


def _flip_params(axes: np.ndarray, space: Space) -> FlipParams:
    return FlipParams(axes, geometry.reflection(space, axes))


class _Flip(SpatialTransform):
    """Mirror images: an exact permutation of voxels."""

    traits = SpatialTraits(parallel=True)

    def interpolation(self) -> None:
        return None  # whole voxels move

    def maps(self, params: FlipParams, context: Context) -> tuple[SpatialMap, ...]:
        return (SpatialMap(params.mirror, inverse_matrix=params.mirror),)

    def invert(self, params: FlipParams) -> FlipParams:
        return params


class Flip(_Flip):
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

    def __init__(self, axes: AxesLike = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = check_axes(axes)

    def draw(self, context: Context, u: np.ndarray) -> FlipParams:
        return _flip_params(axis_mask(self.axes, context.space), context.space)


class RandomFlip(RandomTransform, _Flip):
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

    def __init__(self, axes: AxesLike = 0, flip_probability: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = check_axes(axes)
        if not is_number(flip_probability) or not 0 <= flip_probability <= 1:
            raise ValueError(f"flip_probability must be in [0, 1], got {flip_probability!r}")
        self.flip_probability = flip_probability

    @property
    def draws(self) -> int:
        return 3

    def draw(self, context: Context, u: np.ndarray) -> FlipParams:
        chosen = u < self.flip_probability
        return _flip_params(chosen & axis_mask(self.axes, context.space), context.space)
