"""Cutout: boxes that are filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ... import geometry
from ...arrays import Array, per_sample
from ...data.keys import INTENSITY, KINDS, LABEL
from ...functional.cutout import check_boxes, check_fill
from ...shapes import Volume
from ...signature import is_number
from ..base import Context
from ..kinds import Images, RandomTransform, WholeVolume
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, PointsLike, RangeLike, RangesLike


@dataclass(frozen=True)
class CutoutParams(Params):
    """First voxel and size of N boxes, and the value in them if it is no rule."""

    neutral: ClassVar[dict[str, float]] = {"size": 0}

    first: Annotated[np.ndarray, "B M N 3", int]
    size: Annotated[np.ndarray, "B M N 3", int]
    fill: Annotated[Array, "B M"]


class _Cutout(WholeVolume):
    """Boxes that are filled, in the same places of all images."""

    fill: Any
    scalars_only: bool

    @property
    def shares(self) -> bool:
        return True

    @property
    def kinds(self) -> tuple[str, ...]:
        return (INTENSITY,) if self.scalars_only else KINDS

    @property
    def computes(self) -> bool:
        return False

    def voxels(self, images: Images, name: str, params: CutoutParams) -> Volume:
        image = images[name]
        rule = self.fill if isinstance(self.fill, str) else params.fill
        fill = 0.0 if image.kind == LABEL else rule
        return F.cutout(image.data, params.first, params.size, fill)

    def _check_grids(self, context: Context) -> None:
        grids = dict(zip(context.names, context.spaces, strict=True))
        for name, space in grids.items():
            if not space.is_same(context.space):
                raise ValueError(
                    f"images must share a grid under {self.name}, whose boxes are those of "
                    f"{context.names[0]!r}: the grid of {name!r} differs; resample, or exclude it"
                )


class Cutout(_Cutout):
    """Fill given boxes of an image.

    DeVries & Taylor 2017, Improved Regularization of Convolutional Neural Networks with Cutout,
    https://arxiv.org/abs/1708.04552. All images of a subject have the same boxes, and must share a
    grid.

    Args:
        first: First voxel of each box along I, J, K, (N, 3), or (B, N, 3) for one set per sample;
            it may lie outside the image.
        size: Voxels of each box, shaped likewise. What is outside the image is cut off.
        fill: Value in the boxes, in the image's own units: a number, or (B,) for one per sample, or
            a dict with one entry per image name, rounded in images of integers; or 'minimum',
            'maximum' or 'mean' of the voxels of each channel.
        scalars_only: Leave label maps alone; otherwise they become 0 in the boxes.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A shape is not as above, or, when called, images differ in their grid.

    >>> Cutout([(1, 0, 0)], [(2, 1, 1)], fill=9)(torch.zeros(1, 4, 1, 1)).flatten()
    tensor([0., 9., 9., 0.])
    """

    def __init__(
        self,
        first: PointsLike,
        size: PointsLike,
        fill: str | ByImage[PerSample] = 0.0,
        scalars_only: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.first, self.size, self.fill, self.scalars_only = first, size, fill, scalars_only
        check_boxes(first, size)
        check_fill(fill)
        for value in [] if isinstance(fill, str) else values_of(fill):
            per_sample(value, (), "fill")

    def draw(self, context: Context, u: np.ndarray) -> CutoutParams:
        self._check_grids(context)
        names = context.names
        first, size = (
            array.astype(np.int64)[:, None].repeat(len(names), 1)
            for array in check_boxes(self.first, self.size)
        )
        fill = per_image(0.0 if isinstance(self.fill, str) else self.fill, (), "fill", names)
        return CutoutParams(first, size, fill).expand(context.batch)


class RandomCutout(RandomTransform, _Cutout):
    """Fill boxes at random places: see :class:`Cutout`.

    The centre of a box is anywhere in the image, and what is outside the image is cut off. All
    images of a subject have the same boxes, and must share a grid.

    Args:
        num_boxes: Range of their number, ends included; d means (0, d).
        size: Range of the side lengths of each box along I, J, K, in mm; d means (0, d). Each side
            is drawn by itself.
        fill: Value in the boxes, in the image's own units: a number, or a range (a, b) from which
            one value is drawn for all boxes of a sample, rounded in images of integers; or
            'minimum', 'maximum' or 'mean' of the voxels of each channel.
        scalars_only: See :class:`Cutout`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty, or ``num_boxes`` is negative or has no upper end; or, when
            called, images differ in their grid.

    >>> RandomCutout(num_boxes=2, size=(2, 4), fill="mean")(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        num_boxes: RangeLike = (1, 4),
        size: RangesLike = (10, 50),
        fill: str | RangeLike = 0.0,
        scalars_only: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_boxes, self.size = num_boxes, size
        self.fill, self.scalars_only = fill, scalars_only
        self._num_boxes = Range(num_boxes, "num_boxes", around=None, minimum=0, whole=True)
        if not self._num_boxes.greatest <= 1000:
            raise ValueError(
                f"num_boxes must have an upper end of at most 1000: a number, a pair or a Choice, "
                f"got {num_boxes!r}"
            )
        self._size = Range(size, "size", axes=3, around=None, minimum=0)
        check_fill(fill)
        drawn = 0.0 if isinstance(fill, str) else fill
        self._fill = Range((drawn, drawn) if is_number(drawn) else drawn, "fill")

    @property
    def _most(self) -> int:
        return int(self._num_boxes.greatest)

    @property
    def draws(self) -> int:
        return 2 + 6 * self._most

    def draw(self, context: Context, u: np.ndarray) -> CutoutParams:
        self._check_grids(context)
        space = context.space
        shape = np.array(space.shape)
        boxes = u[:, 2:].reshape(len(u), self._most, 6)
        side = self._size(boxes[..., :3]) / geometry.spacing(space.affine)[:, None]  # [B, N, 3]
        centre = boxes[..., 3:] * shape
        first = np.clip(np.rint(centre - side / 2), 0, shape).astype(np.int64)
        end = np.clip(np.rint(centre + side / 2), 0, shape).astype(np.int64)
        present = np.arange(self._most) < self._num_boxes(u[:, :1])  # [B, N]
        size = (end - first) * present[..., None]
        images, fill = len(context.names), self._fill(u[:, 1:2])
        first, size = (each[:, None].repeat(images, 1) for each in (first, size))
        return CutoutParams(first, size, fill.repeat(images, 1))
