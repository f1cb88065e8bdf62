"""Crops and pads: remove or add voxels at the ends of axes, without interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F
from ... import geometry
from ...data import ImagesBatch
from ...data.keys import LABEL
from ...functional.pad import PADDINGS, check_padding
from ...geometry import Space
from ...shapes import Volume
from ..base import Context
from ..parameters.masks import check_bounds
from ..pipeline.maps import Interpolation, SpatialTraits
from .base import GridParams, GridTransform, new_grid
from .spaces import check_size


class _CropsAndPads(GridTransform):
    """Base of transforms that remove and add whole voxels at the ends of axes."""

    padding_mode: str | float = 0

    @property
    def _constant(self) -> bool:
        return self.padding_mode == "constant" or not isinstance(self.padding_mode, str)

    @property
    def role(self) -> str:  # type: ignore[override]
        """'volume' if added voxels depend on those of the image, else 'spatial'."""
        return "spatial" if self._constant or not self.traits.pads else "volume"

    def interpolation(self) -> Interpolation:
        value = self.padding_mode
        return Interpolation(None, None, 0 if isinstance(value, str) else value, 0)

    def voxels(self, images: Mapping[str, ImagesBatch], name: str, params: GridParams) -> Volume:
        source, after = self.on_recorded_grid(images[name], params), new_grid(params)
        first = (source.space.to_voxel @ after.affine)[:, :3, 3]
        mode = self.padding_mode
        moved = mode in ("edge", "wrap", "symmetric", "reflect")
        if source.kind == LABEL and not moved:
            mode = 0  # a mean of labels, for example, is no label
        return F.window(source.data, first, after.shape, mode)


class Crop(_CropsAndPads):
    """Cut voxels off the ends of each axis.

    Args:
        cropping: Voxels to cut off: one number for all ends; three, for both ends of I, J, K; or
            six, for the first and the last of I, of J, of K.
        kwargs: See :class:`Transform`.

    Undone, it pads with zeros what was cut off.

    Raises:
        ValueError: A number is negative or not whole; or, when called, nothing would be left.

    >>> Crop((1, 0, 0, 2, 0, 0))(torch.rand(1, 4, 5, 6)).shape
    torch.Size([1, 3, 3, 6])
    """

    traits = SpatialTraits(parallel=True, regrids=True, cuts=True)
    needs_context = False

    def __init__(self, cropping: int | Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = cropping
        self._bounds = check_bounds(cropping, "cropping")

    def grid_for(self, space: Space, context: Context) -> Space:
        shape = np.array(space.shape) - self._bounds.sum(1)
        if (shape < 1).any():
            raise ValueError(
                f"cropping must leave at least one voxel along each axis of {space.shape}, "
                f"got {self.cropping!r}"
            )
        return _cropped_or_padded(space, self._bounds[:, 0], shape)

    def inverse(self) -> Pad:
        return Pad(self.cropping, **self._common())


class Pad(_CropsAndPads):
    """Add voxels to the ends of each axis.

    Args:
        padding: Voxels to add; see ``cropping`` of :class:`Crop`.
        padding_mode: Value of added voxels: a number; 'edge', 'reflect', 'symmetric', 'wrap' or
            'linear_ramp' as in ``numpy.pad``; 'minimum', 'maximum', 'mean' or 'median' of the
            image; 'constant' and 'empty' are 0. Label maps get 0 where others get a number.
        kwargs: See :class:`Transform`.

    A number lets the transform share the sampling of its neighbours; other modes need the voxels.

    Raises:
        ValueError: A number is negative or not whole, or the mode unknown.

    >>> Pad(1, padding_mode=7)(torch.zeros(1, 1, 1, 1)).sum()
    tensor(182.)
    """

    traits = SpatialTraits(parallel=True, regrids=True, pads=True)
    needs_context = False
    #: Names of padding modes.
    PADDING_MODES = PADDINGS

    def __init__(
        self, padding: int | Sequence[int], padding_mode: str | float = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.padding = padding
        self._bounds = check_bounds(padding, "padding")
        self.padding_mode = check_padding(padding_mode)

    def grid_for(self, space: Space, context: Context) -> Space:
        shape = np.array(space.shape) + self._bounds.sum(1)
        return check_size(
            _cropped_or_padded(space, -self._bounds[:, 0], shape), "padding", self.padding
        )

    def inverse(self) -> Crop:
        return Crop(self.padding, **self._common())


def _cropped_or_padded(space: Space, first: np.ndarray, shape: Any) -> Space:
    i, j, k = (int(n) for n in shape)
    if (i, j, k) == space.shape and not np.any(first):
        return space
    return geometry.windowed(space, first, (i, j, k))
