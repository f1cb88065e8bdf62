"""Types of arguments, as they may be given; whoever takes one checks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from ...arrays import Array, Number, Numbers
from ...data import Image
from ...shapes import AffineLike
from .ranges import Choice

T = TypeVar("T")

#: Range: a number, a pair, three numbers or six; see :mod:`.ranges`.
RangeLike: TypeAlias = Numbers | Choice | Distribution
#: Range for all three axes, or one for each.
RangesLike: TypeAlias = RangeLike | Sequence[RangeLike]
#: Numbers for all samples, or for each: [B, ...].
PerSample: TypeAlias = Numbers | Sequence[Numbers] | Sequence[Sequence[Numbers]]
#: Numbers of each slice, (N, ...), for all samples, or for each.
SlicesLike: TypeAlias = PerSample | Sequence[Sequence[Sequence[Numbers]]]
#: Points (..., 3) for all samples, or for each.
PointsLike: TypeAlias = Array | Sequence[PerSample] | Sequence[Sequence[PerSample]]
#: Vectors on a grid, (3, I, J, K), for all samples, or for each; or an image of 3 channels.
VectorsLike: TypeAlias = Image | PointsLike
#: Whole number for all samples, or one for each.
WholePerSample: TypeAlias = int | np.integer | Sequence[int] | Array
#: Voxel axis or anatomical name for all samples, or a voxel axis for each.
AxisLike: TypeAlias = str | WholePerSample
#: Voxel axes or anatomical names, one or several.
AxesLike: TypeAlias = int | np.integer | str | Iterable[int | str] | Array
#: Value for all images, or one for each by its name.
ByImage: TypeAlias = T | Mapping[str, T]
#: Numbers of voxels, or lengths, one or three, of which None keeps an axis.
ShapeLike: TypeAlias = Number | Sequence[Number | None] | Array
#: Grid: that of an image, of a MetaTensor, or a pair (spatial shape, affine).
GridLike: TypeAlias = Image | Tensor | tuple[Sequence[int] | Array, AffineLike]

__all__ = [
    "AxesLike",
    "AxisLike",
    "ByImage",
    "GridLike",
    "PerSample",
    "PointsLike",
    "RangeLike",
    "RangesLike",
    "ShapeLike",
    "SlicesLike",
    "VectorsLike",
    "WholePerSample",
]
