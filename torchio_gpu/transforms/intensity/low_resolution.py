"""Low resolution: fewer voxels along all axes, interpolated back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, host, on_host
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, VolumeTransform
from ..parameters.axes import Axes, axis_mask, check_axes
from ..parameters.params import Params, values_of
from ..parameters.ranges import Range
from ..parameters.types import AxesLike, ByImage, PerSample, RangeLike
from .anisotropy import check_interpolation
from .channels import ByChannel, of_images, value_by_channel


@dataclass(frozen=True)
class LowResolutionParams(Params):
    """Resolution along I, J, K for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"zoom": 1.0}
    channel_arrays: ClassVar[tuple[str, ...]] = ("zoom",)
    zoom: Annotated[Array, "B M K 3"]


class _LowResolution(VolumeTransform):
    """Acquisition with fewer voxels."""

    def _set_interpolation(self, mode: str, antialias: bool) -> None:
        self.image_interpolation = check_interpolation(mode, antialias)
        self.antialias = antialias

    @property
    def computes(self) -> bool:
        return self.image_interpolation != "nearest"

    def voxels(self, images: Images, name: str, params: LowResolutionParams) -> Volume:
        return F.low_resolution(
            images[name].data,
            params.zoom,
            mode=self.image_interpolation,
            antialias=self.antialias,
        )


class LowResolution(_LowResolution):
    """Acquire fewer voxels, as a low field or a short scan gives, and interpolate back.

    Args:
        zoom: Resolution relative to that of the image, > 0 and <= 1, along I, J, K: a number, (3,),
            (B, 3) for one set per sample or (B, C, 3) for one per channel; or a dict with one entry
            per image name. On the host: shapes depend on it.
        image_interpolation: Interpolation back to the voxels there were: 'linear' or 'nearest'.
        antialias: Let an acquired voxel be a Gaussian mean over its extent (Cardoso et al. 2015,
            doi:10.1007/978-3-319-24571-3_81), as partial volumes are, rather than the voxel nearest
            to its middle, as in nnU-Net.
        kwargs: See :class:`Transform`.

    An axis of n voxels keeps ``round(zoom n)``. The grid of the image does not change.

    Raises:
        ValueError: ``zoom`` is out of range, or the name of the interpolation unknown.

    >>> LowResolution(zoom=0.5)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        zoom: ByImage[PerSample],
        image_interpolation: str = "linear",
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.zoom = zoom
        for value in values_of(zoom):
            array = value_by_channel(value, (3,), "zoom")
            if not on_host(array) or not ((host(array) > 0) & (host(array) <= 1)).all():
                raise ValueError(f"zoom must be > 0 and <= 1, and on the host, got {value!r}")
        self._set_interpolation(image_interpolation, antialias)

    def draw(self, context: Context, u: np.ndarray) -> LowResolutionParams:
        return LowResolutionParams(of_images(self.zoom, (3,), "zoom", context)).expand(
            context.batch
        )


class RandomLowResolution(ByChannel, _LowResolution):
    """Acquire fewer voxels at random, and interpolate back: see :class:`LowResolution`.

    Args:
        zoom: Range of the resolution relative to that of the image, > 0 and <= 1, the same along
            all ``axes``; d means (d, 1).
        axes: Axes that lose resolution: voxel axes or anatomical names.
        image_interpolation, antialias: See :class:`LowResolution`.
        by_channel: Draw for each channel, rather than for the image.
        channel_p: Probability that a channel of an image is changed.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or not within 0 and 1, or an axis or name is unknown.

    >>> RandomLowResolution(zoom=(0.5, 1))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    _numbers = 1

    def __init__(
        self,
        zoom: RangeLike = (0.5, 1.0),
        axes: AxesLike = (0, 1, 2),
        image_interpolation: str = "linear",
        antialias: bool = False,
        by_channel: bool = False,
        channel_p: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.zoom = zoom
        self.axes: Axes = check_axes(axes)
        pair = (zoom, 1.0) if isinstance(zoom, (int, float)) else zoom
        self._zoom = Range(pair, "zoom", minimum=0, exclusive=True, maximum=1)
        self._set_interpolation(image_interpolation, antialias)
        self._set_channels(by_channel, channel_p)

    def draw(self, context: Context, u: np.ndarray) -> LowResolutionParams:
        numbers, changes = self._draw_channels(context, u)
        lost = np.stack([axis_mask(self.axes, space) for space in context.spaces], 1)  # [B, M, 3]
        lost = lost[:, :, None]
        if changes is not None:
            lost = lost & changes[..., None]
        return LowResolutionParams(np.where(lost, self._zoom(numbers), 1.0))
