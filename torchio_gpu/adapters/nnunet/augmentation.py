"""Default augmentation of nnU-Net v2 as one pipeline, and the distributions that it draws from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...signature import checked, is_number
from ...transforms import (
    Compose,
    CropOrPad,
    RandomAffine,
    RandomBlur,
    RandomBrightness,
    RandomContrast,
    RandomFlip,
    RandomGamma,
    RandomLowResolution,
    RandomNoise,
)


class _ByQuantiles(Distribution):
    """Distribution on an interval, given by its quantile function.

    Args:
        low, high: Ends of an interval of positive numbers.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, low: float, high: float) -> None:
        self._check(low, high)
        self.low, self.high = float(low), float(high)
        super().__init__(validate_args=False)

    def _check(self, low: float, high: float) -> None:
        if not (is_number(low) and is_number(high) and 0 < low <= high < float("inf")):
            raise ValueError(f"low and high must be 0 < low <= high, got {low!r} and {high!r}")

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        return self.icdf(torch.rand(tuple(sample_shape)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.low:g}, {self.high:g})"


class AroundOne(_ByQuantiles):
    """Uniform below 1 with probability 1/2, uniform above 1 otherwise; or the logarithm of that.

    nnU-Net draws factors of brightness and contrast, and exponents, from it.

    Args:
        low, high: Ends of the interval, which contains 1.
        log: Draw the logarithm.

    Raises:
        ValueError: 1 is not between ``low`` and ``high``.

    >>> AroundOne(0.75, 1.5).icdf(torch.tensor([0.25, 0.5, 0.75]))
    tensor([0.8750, 1.0000, 1.2500])
    """

    def __init__(self, low: float, high: float, log: bool = False) -> None:
        super().__init__(low, high)
        self.log = log

    def _check(self, low: float, high: float) -> None:
        super()._check(low, high)
        if not low <= 1 <= high:
            raise ValueError(f"low and high must have 1 between them, got {low!r} and {high!r}")

    def icdf(self, value: Tensor) -> Tensor:
        below = self.low + (1 - self.low) * 2 * value
        above = 1 + (self.high - 1) * (2 * value - 1)
        drawn = torch.where(value < 0.5, below, above)
        return drawn.log() if self.log else drawn

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, log=True)" if self.log else super().__repr__()


class Reciprocal(_ByQuantiles):
    """Reciprocal of a number that is uniform between two others.

    nnU-Net draws the distance between voxels that are sampled, this library the size of the result.

    Args:
        low, high: Ends of the interval of that number.

    Raises:
        ValueError: They are not positive, or in the wrong order.

    >>> Reciprocal(0.5, 1).icdf(torch.tensor([0, 0.5, 1]))
    tensor([1.0000, 1.3333, 2.0000])
    """

    def icdf(self, value: Tensor) -> Tensor:
        return 1 / (self.high + (self.low - self.high) * value)


@checked
def default_augmentation(
    patch_size: Sequence[int],
    degrees: float | Sequence[float] = 30,
    in_plane: bool = False,
    mirror_axes: Sequence[int] | None = None,
) -> Compose:
    """Return the augmentation that nnU-Net v2.8.1 trains with by default.

    Images are in voxel units, with the identity as their affine, as nnU-Net's arrays are. Patches
    come in larger, so that turned ones are whole, or as large; they are cut to ``patch_size`` when
    they are sampled, and never padded.

    Args:
        patch_size: Voxels along the axes of the result: three numbers, or two for planes, which
            this library has as volumes with one slice, (B, C, 1, J, K).
        degrees: Range of the angle about each axis; d means (-d, d). nnU-Net takes 30, or 180 in
            planes (15 for long ones).
        in_plane: Rotate about the first axis alone, and keep the resolution along it: nnU-Net's
            dummy 2D augmentation, for thick slices. Planes always do.
        mirror_axes: Axes of the patch to mirror along, with probability 1/2 each; by default all,
            ``()`` for none.

    Mirroring, last in nnU-Net, comes first, so that each image is sampled once; what is between has
    no preferred direction. Angles are about axes 1, 0, 2 in turn, nnU-Net's about 2, 1, 0. nnU-Net
    calls the standard deviation of noise its variance.

    Raises:
        ValueError: ``patch_size`` has not two or three entries, or an axis is none of its axes.

    >>> augment = default_augmentation((64, 64, 64))
    >>> augment(torch.rand(2, 1, 100, 100, 100)).shape
    torch.Size([2, 1, 64, 64, 64])
    """
    size = tuple(patch_size)
    if len(size) not in (2, 3):
        raise ValueError(f"patch_size must have 2 or 3 entries, got {patch_size!r}")
    mirrored = tuple(range(len(size)) if mirror_axes is None else mirror_axes)
    if not all(axis in range(len(size)) for axis in mirrored):
        raise ValueError(f"mirror_axes must be among {[*range(len(size))]}, got {mirror_axes!r}")
    if len(size) == 2:
        size, mirrored, in_plane = (1, *size), tuple(axis + 1 for axis in mirrored), True
    scale, still = Reciprocal(0.7, 1.4), (1, 1)
    angles = (degrees, 0, 0) if in_plane else (degrees,) * 3
    scales = (still, scale, scale) if in_plane else scale
    outside: dict[str, Any] = {
        "default_pad_value": 0,
        "default_pad_label": -1,
        "label_interpolation": "label",
    }
    factor, log_gamma = AroundOne(0.75, 1.25), AroundOne(0.7, 1.5, log=True)
    power: dict[str, Any] = {"rescale": True, "retain_stats": True, "by_channel": True}
    axes = (1, 2) if in_plane else (0, 1, 2)
    return Compose(
        [
            *([RandomFlip(axes=mirrored)] if mirrored else []),
            RandomAffine(scales=0, degrees=angles, p=0.2, **outside),
            RandomAffine(scales=scales, degrees=0, isotropic=True, p=0.2, **outside),
            CropOrPad(size, only_crop=True),
            RandomNoise(std=(0, 0.1), p=0.1),
            RandomBlur(std=(0.5, 1), by_channel=True, channel_p=0.5, p=0.2),
            RandomBrightness(factor, by_channel=True, p=0.15),
            RandomContrast(factor, by_channel=True, p=0.15),
            RandomLowResolution((0.5, 1), axes, by_channel=True, channel_p=0.5, p=0.25),
            RandomGamma(log_gamma, invert_image=True, p=0.1, **power),
            RandomGamma(log_gamma, p=0.3, **power),
        ]
    )
