"""Crops and pads to a given shape, or to multiples of a number of voxels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ... import geometry
from ...data.keys import INTENSITY
from ...functional.pad import check_padding
from ...geometry import Space
from ...shapes import LONGEST, check_triple
from ..base import Context
from ..parameters.masks import check_labels, mask_of
from ..parameters.types import ShapeLike
from ..pipeline.maps import SpatialTraits
from .base import GridParams
from .crop import _cropped_or_padded, _CropsAndPads
from .spaces import check_size

_MM = {"mm": 1.0, "cm": 10.0}


class CropOrPad(_CropsAndPads):
    """Cut off or add voxels until images have a given shape, about their centre or that of a mask.

    Args:
        target_shape: Voxels along I, J, K: one number or three, of which None keeps an axis. None
            with a mask takes the shape of its bounding box.
        padding_mode: See :class:`Pad`.
        mask_name: A label map of the subject, about the bounding box of which images are
            cropped. Looking at it waits for the device. Where it is empty, a warning is given and
            the centre of the image taken.
        labels: The labels of the mask that are meant; all but 0 by default.
        only_crop, only_pad: Do only the one where both would be needed.
        location: 'center', or 'random' for a window anywhere within the image along axes that are
            cropped.
        units: Units of the target shape: 'voxels', 'mm' or 'cm'.
        kwargs: See :class:`Transform`.

    An odd voxel is cut off at the beginning of an axis and added there, as in TorchIO 1.x.

    Raises:
        ValueError: A number is not positive, or options exclude each other.
        KeyError: When called: there is no such mask.

    >>> CropOrPad((4, 8, None))(torch.rand(1, 6, 6, 6)).shape
    torch.Size([1, 4, 8, 6])
    """

    def __init__(
        self,
        target_shape: ShapeLike | None = None,
        padding_mode: str | float = 0,
        mask_name: str | None = None,
        labels: Sequence[int] | None = None,
        only_crop: bool = False,
        only_pad: bool = False,
        location: str = "center",
        units: str = "voxels",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if target_shape is None and mask_name is None:
            raise ValueError("target_shape must be given where mask_name is not")
        if labels is not None and mask_name is None:
            raise ValueError(f"labels must be None where mask_name is, got {labels!r}")
        if only_crop and only_pad:
            raise ValueError("only_crop and only_pad must not both be True")
        if location not in ("center", "random"):
            raise ValueError(f"location must be 'center' or 'random', got {location!r}")
        if location == "random" and mask_name is not None:
            raise ValueError("location must be 'center' where there is a mask, got 'random'")
        if units not in ("voxels", *_MM):
            raise ValueError(f"units must be 'voxels', 'mm' or 'cm', got {units!r}")
        self.target_shape, self.mask_name = target_shape, mask_name
        self.labels = check_labels(labels)
        self.padding_mode = check_padding(padding_mode)
        self.only_crop, self.only_pad = only_crop, only_pad
        self.location, self.units = location, units
        self._target = None if target_shape is None else _check_target(target_shape, units)

    @property
    def traits(self) -> SpatialTraits:  # type: ignore[override]
        return SpatialTraits(
            parallel=True, regrids=True, pads=not self.only_crop, cuts=not self.only_pad
        )

    @property
    def needs_context(self) -> bool:
        return self.mask_name is not None or self.location == "random"

    def grid_for(self, space: Space, context: Context) -> Space:
        return self._target_grid(space, None, np.empty((context.batch, 0)))

    @property
    def draws(self) -> int:
        return 3 if self.location == "random" else 0

    def draw(self, context: Context, u: np.ndarray) -> GridParams:
        box = None if self.mask_name is None else self._bounding_box(context)
        after = [self._target_grid(space, box, u) for space in context.spaces]
        return GridParams.of(context.spaces, after)

    def _target_grid(self, space: Space, box: BoundingBox | None, u: np.ndarray) -> Space:
        shape = np.array(space.shape)
        size = self._target_size(space, box)
        first = _centred(shape, size)
        if box is not None:
            middle = geometry.apply_affine(space.to_voxel, box.centre[:, None])[:, 0] + 0.5
            first = np.floor(middle - size / 2 + 1e-6)
        elif self.location == "random":
            start = np.floor(u[:, :3] * ((shape - size).clip(0) + 1))
            first = np.where(shape > size, start, first)
        last = first + size
        if self.only_crop:
            first, last = first.clip(0), np.minimum(last, shape)
        if self.only_pad:
            first, last = np.minimum(first, 0), np.maximum(last, shape)
        first, last = np.broadcast_arrays(np.atleast_2d(first), np.atleast_2d(last))
        grid = _cropped_or_padded(space, first, geometry.one_shape(last - first))
        return check_size(grid, "target_shape", self.target_shape)

    def _target_size(self, space: Space, box: BoundingBox | None) -> np.ndarray:
        """Return the target shape in voxels, [3]."""
        if self._target is None:
            assert box is not None
            if not box.space.is_same(space):
                raise ValueError(
                    f"target_shape must be given where images are on other grids than the mask "
                    f"{self.mask_name!r}"
                )
            return np.array(geometry.one_shape(box.shape))
        if self.units == "voxels":
            pairs = zip(self._target, space.shape, strict=True)
            return np.array([old if n is None else n for n, old in pairs])
        scale = _MM[self.units] / geometry.spacing(space.affine)  # [B, 3]
        wish = np.array([np.nan if n is None else n for n in self._target])
        counts = np.where(np.isnan(wish), np.array(space.shape), np.rint(wish * scale))
        size = np.array(geometry.one_shape(counts))
        if (size < 1).any():
            raise ValueError(
                f"target_shape must be at least one voxel along each axis, {self.target_shape} "
                f"{self.units} is {size.tolist()}"
            )
        return size

    def _bounding_box(self, context: Context) -> BoundingBox:
        name = str(self.mask_name)
        if name not in context.images or context.images.kind(name) == INTENSITY:
            raise KeyError(f"mask_name must name a label map of the subject, {name!r} is none")
        images = {name: context.images[name]}
        mask = mask_of(name, images, name, self.labels)
        assert mask is not None
        return BoundingBox.of(mask, images[name].space, name)


class BoundingBox:
    """Bounding box of a mask in each sample.

    Args:
        space: Grid of the mask.
        centre: Centre of the box in the world, [B, 3] mm.
        shape: Shape of the box in voxels, [B, 3].
    """

    def __init__(self, space: Space, centre: np.ndarray, shape: np.ndarray) -> None:
        self.space, self.centre, self.shape = space, centre, shape

    @classmethod
    def of(cls, mask: torch.Tensor, space: Space, name: str) -> BoundingBox:
        """Compute the bounding boxes of a mask [B, 1, I, J, K]; of an empty one, its whole grid."""
        ends = []
        others = ((3, 4), (2, 4), (2, 3))
        profiles = torch.cat([mask.amax((1, *axes)) for axes in others], 1).cpu().numpy()
        for profile in np.split(profiles, np.cumsum(space.shape)[:2], axis=1):  # [B, N]
            empty = ~profile.any(1)
            n = profile.shape[1]
            low = np.where(empty, 0, profile.argmax(1))
            ends.append((low, np.where(empty, n, n - profile[:, ::-1].argmax(1))))
        for sample in empty.nonzero()[0].tolist():
            warnings.warn(
                f"mask {name!r} is empty in sample {sample}: the image's centre is taken instead",
                RuntimeWarning,
                stacklevel=2,
            )
        low, high = (np.stack(end, 1) for end in zip(*ends, strict=True))  # [B, 3]
        centre = geometry.apply_affine(space.affine, ((low + high - 1) / 2)[:, None])[:, 0]
        return cls(space, centre, high - low)


class EnsureShapeMultiple(_CropsAndPads):
    """Cut off or add voxels, as few as possible, until numbers of voxels are multiples.

    For networks that halve their input several times: with a multiple of 2 ** n they can.

    Args:
        target_multiple: Number of which the shape becomes a multiple along I, J, K; one number
            stands for three.
        method: 'pad' with zeros, or 'crop'.
        kwargs: See :class:`Transform`.

    An axis that is too short to be cropped keeps one voxel, as in TorchIO 1.x.

    Raises:
        ValueError: A number is not positive, or the method unknown.

    >>> EnsureShapeMultiple(8)(torch.rand(1, 181, 217, 3)).shape
    torch.Size([1, 184, 224, 8])
    """

    def __init__(
        self, target_multiple: int | Sequence[int], *, method: str = "pad", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.target_multiple, self.method = target_multiple, method
        self._multiple = np.array(check_triple(target_multiple, "target_multiple"))
        if method not in ("crop", "pad"):
            raise ValueError(f"method must be 'crop' or 'pad', got {method!r}")

    @property
    def traits(self) -> SpatialTraits:  # type: ignore[override]
        return SpatialTraits(
            parallel=True, regrids=True, pads=self.method == "pad", cuts=self.method == "crop"
        )

    needs_context = False

    def grid_for(self, space: Space, context: Context) -> Space:
        shape = np.array(space.shape)
        parts = shape / self._multiple
        count = np.floor(parts) if self.method == "crop" else np.ceil(parts)
        size = (count * self._multiple).clip(1)
        grid = _cropped_or_padded(space, _centred(shape, size), size)
        return check_size(grid, "target_multiple", self.target_multiple)


def _centred(shape: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the first voxel of a centred grid; an odd voxel is removed, or added, before it."""
    excess = shape - size
    return np.where(excess > 0, np.ceil(excess / 2), -np.ceil(-excess / 2))


def _check_target(value: Any, units: str) -> list[float | None]:
    """Return a target shape as three numbers, or None to keep an axis."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic, torch.Tensor)) else value
    single = isinstance(value, (int, float))
    values = [value] * 3 if single else list(value) if isinstance(value, Sequence) else []
    for n in values:
        number = isinstance(n, (int, float, np.integer)) and not isinstance(n, bool)
        usable = number and 0 < n <= LONGEST and (units != "voxels" or n == int(n))
        if n is not None and not usable:
            values = []
            break
    if len(values) != 3:
        kind = "whole numbers > 0" if units == "voxels" else "numbers > 0"
        raise ValueError(
            f"target_shape must be one or three {kind} of {units}, or None, got {value!r}"
        )
    return [None if n is None else int(n) if units == "voxels" else float(n) for n in values]
