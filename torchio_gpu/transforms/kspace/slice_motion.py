"""Motion of the content between the slices of a multi-slice acquisition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from ... import functional as F
from ... import random
from ...arrays import Array, as_array, per_sample
from ...functional.maps import check_mode
from ...geometry import cubic_bspline
from ...shapes import Volume, check_count
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.axes import check_axes
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import (
    AxesLike,
    AxisLike,
    ByImage,
    PerSample,
    RangeLike,
    RangesLike,
    SlicesLike,
)
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class SliceMotionParams(Params):
    """Pose and gain of each slice, and the axis of slices, for each sample and image."""

    degrees: Annotated[Array, "B M N 3"]
    translation: Annotated[Array, "B M N 3"]  # mm
    gain: Annotated[Array, "B M N"]
    axis: Annotated[np.ndarray, "B M", int]


class _SliceMotion(VolumeTransform):
    """Motion of the content between slices."""

    image_interpolation: str

    def voxels(self, images: Images, name: str, params: SliceMotionParams) -> Volume:
        return F.slice_motion(
            images[name].data,
            params.degrees,
            params.translation,
            params.axis,
            gain=params.gain,
            affine=images[name].affine,
            mode=self.image_interpolation,
        )


class SliceMotion(_SliceMotion):
    """Take each slice from the content in a rigid pose of its own, as given.

    The content of a multi-slice scan moves between the slices, as slice-to-volume registration
    assumes: Kainz et al. 2015 (doi:10.1109/TMI.2015.2415453); see
    :func:`torchio_gpu.functional.slice_motion`. Label maps and points stay, as under
    :class:`Motion`: they are those of the content in its pose at rest.

    Args:
        degrees: Angles about x, y, z of the world for each slice, (N, 3), in the order of the slice
            axis; about the centre of the image.
        translation: Millimetres along x, y, z of the world for each slice, (N, 3).
        axis: Axis that the slices are stacked along: 0, 1, 2 or an anatomical name.
        gain: Factor of each slice, (N,); a number stands for all.
        image_interpolation: Interpolation of the poses: 'linear' or 'nearest'.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, with a leading B, or as a dict with one entry per
    image name. Angles, translations and gains may be tensors that require a gradient. Poses beyond
    the number of slices have no effect.

    Raises:
        ValueError: A shape, axis or name is not as above, or there are fewer poses than slices.

    >>> poses = np.zeros((8, 3))
    >>> poses[3] = (0, 0, 10)
    >>> SliceMotion(poses, translation=0.0 * poses)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        degrees: ByImage[SlicesLike],
        translation: ByImage[SlicesLike],
        axis: ByImage[AxisLike] = 2,
        gain: ByImage[PerSample] = 1.0,
        image_interpolation: str = "linear",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.translation, self.gain = degrees, translation, gain
        self.axis = check_phase_encoding(axis)
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        self._poses = _number_of_poses(values_of(degrees))
        for values, shape, name in (
            (degrees, (self._poses, 3), "degrees"), (translation, (self._poses, 3), "translation"),
            (gain, (self._poses,), "gain"),
        ):  # fmt: skip
            for value in values_of(values):
                per_sample(value, shape, name)

    def draw(self, context: Context, u: np.ndarray) -> SliceMotionParams:
        names, poses = context.names, self._poses
        return SliceMotionParams(
            per_image(self.degrees, (poses, 3), "degrees", names),
            per_image(self.translation, (poses, 3), "translation", names),
            per_image(self.gain, (poses,), "gain", names),
            axes_of(self.axis, context),
        ).expand(context.batch)


def _number_of_poses(degrees: list[Any]) -> int:
    """Return the number of poses of the first image, or raise."""
    if not degrees:
        raise ValueError("degrees must have an entry for each image, got {}")
    shape = tuple(as_array(degrees[0], "degrees").shape)
    if len(shape) not in (2, 3) or shape[-1] != 3:
        raise ValueError(f"degrees must have shape (N, 3) or (B, N, 3), got {shape}")
    return int(shape[-2])


class RandomSliceMotion(RandomTransform, _SliceMotion):
    """Let the content move at random between the slices of a multi-slice acquisition.

    Slices are acquired in packets: of two, every other slice from the first, then the others.
    Angles and translations are smooth random functions of the time of acquisition, whose values
    come from the ranges; the content leaves its pose at rest for a share of the time. Label maps
    and points stay. See :class:`SliceMotion`.

    Args:
        degrees: Range of the angles; d means (-d, d).
        translation: Range of the translations in mm; d means (-d, d).
        share: Range of the share of slices that are not in the pose at rest; d means (0, d).
        interleaves: Range of the number of packets, a whole number; d means (1, d).
        num_transforms: Number of independent poses in the time of acquisition, between which the
            content moves smoothly.
        gain: Range of the factor of each slice that is not in the pose at rest, drawn for each; d
            means (0, d).
        axes: Axes of slices to choose from: voxel axes or anatomical names.
        image_interpolation: Interpolation of the poses: 'linear' or 'nearest'.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, ``num_transforms`` is no positive
            integer, or a name unknown.

    >>> RandomSliceMotion(degrees=5, interleaves=(2, 4))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        degrees: RangesLike = 4,
        translation: RangesLike = 3,
        share: RangeLike = (0.1, 0.5),
        interleaves: RangeLike = (2, 4),
        num_transforms: int = 8,
        gain: RangeLike = (0.75, 1.0),
        axes: AxesLike = ("IS",),
        image_interpolation: str = "linear",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.translation, self.share = degrees, translation, share
        self.interleaves, self.gain, self.axes = interleaves, gain, check_axes(axes)
        self.num_transforms = check_count(num_transforms, "num_transforms", 1, 10**4)
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        self._degrees = Range(degrees, "degrees", axes=3)
        self._translation = Range(translation, "translation", axes=3)
        self._share = Range(share, "share", around=None, minimum=0, maximum=1)
        self._interleaves = Range(interleaves, "interleaves", around=None, minimum=1, whole=True)
        self._gain = Range(gain, "gain", around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 5

    def draw(self, context: Context, u: np.ndarray) -> SliceMotionParams:
        axis = draw_axes(self.axes, u[..., 0], context)
        share = self._share(u[..., 1:2])[..., 0]
        packets = self._interleaves(u[..., 2:3])[..., 0]
        counts = np.array([space.shape for space in context.spaces])  # [M, 3]
        slices = np.take_along_axis(counts, axis.T, 1).T  # [B, M]
        shape = (*axis.shape, int(counts.max()))
        degrees, translation, gain = np.zeros((*shape, 3)), np.zeros((*shape, 3)), np.ones(shape)
        for b, m in np.ndindex(axis.shape):
            n = int(slices[b, m])
            seeds = random.to_seeds(u[b : b + 1, m, 3:])
            shares, single, hit = self._course(seeds, n, share[b, m], int(packets[b, m]))
            degrees[b, m, :n][hit] = self._degrees(shares[hit, :3])
            translation[b, m, :n][hit] = self._translation(shares[hit, 3:])
            gain[b, m, :n][hit] = self._gain(single[hit, None])[:, 0]
        return SliceMotionParams(degrees, translation, gain, axis)

    def _course(
        self, seeds: np.ndarray, slices: int, share: float, packets: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what happens to each slice of one image.

        Args:
            seeds: Its seed, [1].
            slices: Number N of slices.
            share: Share of those that are not in the pose at rest.
            packets: Number of packets.

        Returns:
            Uniform numbers that change smoothly in time, [N, 6], independent ones, [N], and a mask
            of the slices that are not in the pose at rest, [N].
        """
        knots = self.num_transforms + 3
        drawn = random.normals(seeds, 7 * knots + slices).double()[0]
        time = (acquisition_order(slices, packets) + 0.5) / slices
        distance = 1 + time[:, None] * self.num_transforms - np.arange(knots)
        weights = torch.from_numpy(cubic_bspline(distance))
        # of variance 1 at any time
        course = weights @ drawn[: 7 * knots].view(knots, 7) / weights.norm(dim=1, keepdim=True)
        moved = int(np.ceil(share * slices - 1e-9))
        hit = np.zeros(slices, dtype=bool)
        hit[np.argsort(course[:, 6].numpy())[slices - moved :]] = True
        single = torch.special.ndtr(drawn[7 * knots :])
        return torch.special.ndtr(course[:, :6]).numpy(), single.numpy(), hit


def acquisition_order(slices: int, packets: int) -> np.ndarray:
    """Return the place of each slice in the order of acquisition, [N].

    >>> acquisition_order(5, 2)
    array([0, 3, 1, 4, 2])
    """
    order = [n for first in range(min(packets, slices)) for n in range(first, slices, packets)]
    return np.argsort(order)
