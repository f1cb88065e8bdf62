"""Correction of affines; voxels keep their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ... import geometry
from ...data import Image
from ...geometry import Space
from ...shapes import brief
from ..base import Context
from ..parameters.types import GridLike
from .base import GridParams, GridTransform
from .spaces import given_space


class _ReplacesAffine(GridTransform):
    """Base of transforms that replace affines, and with them the place of the content."""

    def draw(self, context: Context, u: np.ndarray) -> GridParams:
        after = [self.grid_for(space, context) for space in context.spaces]
        pairs = zip(context.spaces, after, strict=True)
        header = [old.affine @ new.to_voxel for old, new in pairs]
        return GridParams.of(context.spaces, after, np.stack(header, 1))


class CopyAffine(_ReplacesAffine):
    """Give all images the affine of one of them.

    For images that share a grid but for rounding, such as a segmentation saved by another program.
    It moves images in the world: use it only where they are known to belong together.

    Args:
        target: Name of the image whose affine is copied.
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: ``target`` is not a name.
        KeyError: There is no image of that name.

    >>> subject = Subject(
    ...     t1=ScalarImage(torch.rand(1, 4, 4, 4), affine=np.diag([2.0, 2, 2, 1])),
    ...     seg=LabelMap(torch.ones(1, 4, 4, 4)),
    ... )
    >>> CopyAffine("t1")(subject).seg.spacing
    (2.0, 2.0, 2.0)
    """

    def __init__(self, target: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target

    def grid_for(self, space: Space, context: Context) -> Space:
        if self.target not in context.images:
            raise KeyError(
                f"target must name an image of the subject, {self.target!r} is none of "
                f"{list(context.images)}"
            )
        return Space(space.shape, context.images.space(self.target).affine)


class ToReferenceSpace(_ReplacesAffine):
    """Place images over the field of view of another, whatever their numbers of voxels.

    For what a network makes of an image, such as an embedding, whose place in the world is lost.

    Args:
        reference: The image, or its grid as a pair (spatial shape, affine).
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: The reference is not as above.

    >>> image = ScalarImage(torch.rand(1, 8, 8, 8))
    >>> ToReferenceSpace(image)(ScalarImage(torch.rand(16, 2, 2, 4))).spacing
    (4.0, 4.0, 2.0)
    """

    def __init__(self, reference: GridLike, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        space = given_space(reference, "reference")
        if space is None:
            raise TypeError(
                f"reference must be an Image or a pair (shape, affine), got {brief(reference)}"
            )
        self._space = space
        self.reference = (space.shape, space.affine[0])  # histories hold no volumes

    def grid_for(self, space: Space, context: Context) -> Space:
        affine = geometry.resized(self._space, space.shape).affine
        return Space(space.shape, affine.repeat(context.batch, 0))

    @staticmethod
    def from_tensor(tensor: Tensor, reference: Image) -> Image:
        """Return an image of the reference's type and field of view with voxels (C, I, J, K)."""
        image = type(reference)(tensor=tensor)
        placed: Image = ToReferenceSpace(reference)(image)
        return placed


__all__ = ["CopyAffine", "ToReferenceSpace"]
