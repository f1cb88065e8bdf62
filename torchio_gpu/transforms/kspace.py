"""MRI artifacts of k-space: motion, ghosting, spikes. Label maps are left alone.

Each image of a subject is acquired by itself and gets parameters of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..arrays import Array, as_array, per_sample
from ..data import ImagesBatch
from ..functional.arguments import at_least, within
from ..functional.kspace import check_ghosts, check_output, check_positions, check_times
from ..functional.spatial import check_mode
from ..shapes import Volume, check_count
from .axes import check_axes, check_axis, draw_axis, voxel_axis
from .base import Scene, Transform
from .params import Params, by_name, per_image, side_by_side, values_of
from .ranges import Range

Images = Mapping[str, ImagesBatch]


@dataclass(frozen=True)
class MotionParams(Params):
    """Poses of the content, when it takes them, and the phase-encode axis."""

    degrees: Array  # [B, M, P, 3]
    translation: Array  # [B, M, P, 3], mm
    times: Array  # [B, M, P]
    axis: np.ndarray  # [B, M]
    output: str


@dataclass(frozen=True)
class GhostingParams(Params):
    """Ghosts for each sample and image."""

    num_ghosts: Array  # [B, M]
    axis: np.ndarray  # [B, M]
    intensity: Array  # [B, M]
    restore: Array  # [B, M]


@dataclass(frozen=True)
class SpikeParams(Params):
    """Spikes for each sample and image; those of intensity 0 are none."""

    positions: Array  # [B, M, P, 3]
    intensity: Array  # [B, M, P]


def _axes_of(axis: Any, scene: Scene) -> np.ndarray:
    """The phase-encode axis that was given, for each sample and image: [B, M]."""
    pairs = zip(by_name(axis, "axis", scene.names), scene.spaces, strict=True)
    return np.stack([voxel_axis(value, space) for value, space in pairs], 1)


def _check_axis(axis: Any) -> Any:
    for value in values_of(axis):
        check_axis(value)
    return axis


def _drawn_axes(axes: tuple[int | str, ...], u: np.ndarray, scene: Scene) -> np.ndarray:
    """One of some axes for each sample and image, [B, M], from uniform numbers [B, M]."""
    columns = zip(u.T, scene.spaces, strict=True)
    return np.stack([draw_axis(axes, column, space) for column, space in columns], 1)


class Motion(Transform):
    """Let the content move during the acquisition, as given: Shaw et al. 2019.

    k-space is filled line by line along the phase-encode axis; at each of the times the content
    takes another rigid pose. The pose in which the central line is acquired is that of the input,
    so the image does not drift; the others are given in order of time. Unlike TorchIO 1.x, poses
    turn about the centre of the image, and lines are of any axis.

    Args:
        degrees: Angles about x, y, z of the world for each pose, (P, 3).
        translation: Millimetres along x, y, z of the world for each pose, (P, 3).
        times: When the content moves, increasing and between 0 and 1, (P,).
        image_interpolation: How the poses are read: 'linear' or 'nearest'.
        axis: The phase-encode axis: 0, 1, 2 or an anatomical name.
        output: 'real' for the real part of the image, as TorchIO 1.x, or 'magnitude'.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, with a leading B, or as a dict with one entry per
    image name. Angles and translations may be tensors that require a gradient.

    Raises:
        ValueError: A shape, time, axis or name is not as above.

    >>> motion = Motion(degrees=[(5, 0, 0)], translation=[(0, 3, 0)], times=[0.3])
    >>> motion(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(
        self,
        degrees: Any,
        translation: Any,
        times: Any,
        image_interpolation: str = "linear",
        axis: Any = 2,
        output: str = "real",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.translation, self.times = degrees, translation, times
        self.axis, self.output = _check_axis(axis), check_output(output)
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        for value in values_of(times):
            moments = check_times(value)
            for other, name in ((degrees, "degrees"), (translation, "translation")):
                for poses in values_of(other):
                    per_sample(poses, (moments.shape[-1], 3), name)

    def draw(self, scene: Scene, u: np.ndarray) -> MotionParams:
        names = scene.names
        first = as_array(by_name(self.times, "times", names)[0], "times")
        poses = first.shape[-1]
        return MotionParams(
            per_image(self.degrees, (poses, 3), "degrees", names),
            per_image(self.translation, (poses, 3), "translation", names),
            per_image(self.times, (poses,), "times", names),
            _axes_of(self.axis, scene),
            self.output,
        ).expand(scene.batch)

    def voxels(self, images: Images, name: str, params: MotionParams) -> Volume:
        return F.motion(
            images[name].data,
            params.degrees,
            params.translation,
            params.times,
            params.axis,
            affine=images[name].affine,
            output=params.output,
            mode=self.image_interpolation,
        )


class RandomMotion(Transform):
    """Let the content move at random during the acquisition: see :class:`Motion`.

    Args:
        degrees: Range of the angles; d means (-d, d).
        translation: Range of the translations in mm; d means (-d, d).
        num_transforms: How often the content moves.
        image_interpolation: How the poses are read: 'linear' or 'nearest'.
        axes: Phase-encode axes to choose from; TorchIO 1.x knows the last one only.
        output: 'real' or 'magnitude'; see :class:`Motion`.
        kwargs: See :class:`Transform`.

    Times are about equally far apart: each is moved by up to 30 % of their distance.

    Raises:
        ValueError: A range is empty, ``num_transforms`` is no positive integer, or a name unknown.

    >>> RandomMotion(degrees=5, num_transforms=3)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(
        self,
        degrees: Any = 10,
        translation: Any = 10,
        num_transforms: int = 2,
        image_interpolation: str = "linear",
        axes: Any = (0, 1, 2),
        output: str = "real",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.degrees, self.translation = degrees, translation
        self.num_transforms = check_count(num_transforms, "num_transforms", 1, 10**4)
        self._degrees = Range(degrees, "degrees", axes=3)
        self._translation = Range(translation, "translation", axes=3)
        self.image_interpolation = check_mode(image_interpolation, "image_interpolation")
        self.axes, self.output = check_axes(axes), check_output(output)

    @property
    def draws(self) -> int:
        return 1 + 7 * self.num_transforms

    def draw(self, scene: Scene, u: np.ndarray) -> MotionParams:
        poses = self.num_transforms
        triples = u[..., 1 + poses :].reshape(*u.shape[:2], 2, poses, 3)
        moved = np.arange(1, poses + 1) + 0.3 * (2 * u[..., 1 : 1 + poses] - 1)
        return MotionParams(
            self._degrees(triples[:, :, 0]),
            self._translation(triples[:, :, 1]),
            moved / (poses + 1),
            _drawn_axes(self.axes, u[..., 0], scene),
            self.output,
        )

    voxels = Motion.voxels


class Ghosting(Transform):
    """Weaken every n-th plane of k-space, as given: n copies of the content along an axis.

    Args:
        num_ghosts: Number n of copies, the content included; a whole number >= 2.
        axis: Axis along which they stand: 0, 1, 2 or an anatomical name.
        intensity: How much is missing of each n-th plane: 0 for nothing, 1 for all of it; above 1
            the planes change their sign.
        restore: Share of k-space, about its centre, that is kept, from 0 to 1; None, as 0, keeps
            the central plane alone.
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, (B,), or as a dict with one entry per image name.
    Planes are counted from the central one, so the image's mean is kept; TorchIO 1.x counts from
    the edge and restores half of what is asked for.

    Raises:
        ValueError: A value is not as above.

    >>> ghosting = Ghosting(num_ghosts=4, axis=1, intensity=0.5, restore=0.02)
    >>> ghosting(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(
        self,
        num_ghosts: Any,
        axis: Any,
        intensity: Any,
        restore: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_ghosts, self.intensity, self.restore = num_ghosts, intensity, restore
        self.axis = _check_axis(axis)
        for value in values_of(num_ghosts):
            check_ghosts(value)
        for value in values_of(intensity):
            at_least(as_array(value, "intensity"), 0, "intensity")
        for value in values_of(restore):
            within(as_array(0.0 if value is None else value, "restore"), 0, 1, "restore")

    def draw(self, scene: Scene, u: np.ndarray) -> GhostingParams:
        names = scene.names
        given = by_name(self.restore, "restore", names)
        restore = [0.0 if value is None else value for value in given]
        return GhostingParams(
            per_image(self.num_ghosts, (), "num_ghosts", names),
            _axes_of(self.axis, scene),
            per_image(self.intensity, (), "intensity", names),
            side_by_side([per_sample(value, (), "restore") for value in restore]),
        ).expand(scene.batch)

    def voxels(self, images: Images, name: str, params: GhostingParams) -> Volume:
        data = images[name].data
        return F.ghosting(data, params.num_ghosts, params.intensity, params.restore, params.axis)


class RandomGhosting(Transform):
    """Weaken every n-th plane of k-space at random: see :class:`Ghosting`.

    Args:
        num_ghosts: Range of the number of copies, ends included; d means (2, d).
        axes: Axes to choose from: voxel axes or anatomical names.
        intensity: Range of what is missing of each n-th plane; d means (0, d).
        restore: Range of the share of k-space that is kept; d means (0, d). None keeps the
            central plane alone.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, or an axis is unknown.

    >>> RandomGhosting(num_ghosts=(4, 10), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(
        self,
        num_ghosts: Any = (4, 10),
        axes: Any = (0, 1, 2),
        intensity: Any = (0.5, 1),
        restore: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_ghosts, self.intensity, self.restore = num_ghosts, intensity, restore
        self.axes = check_axes(axes)
        self._num_ghosts = Range(num_ghosts, "num_ghosts", around=None, minimum=2, whole=True)
        self._intensity = Range(intensity, "intensity", around=None, minimum=0)
        kept = (0, 0) if restore is None else restore
        self._restore = Range(kept, "restore", around=None, minimum=0, maximum=1)

    @property
    def draws(self) -> int:
        return 4

    def draw(self, scene: Scene, u: np.ndarray) -> GhostingParams:
        return GhostingParams(
            self._num_ghosts(u[..., :1])[..., 0],
            _drawn_axes(self.axes, u[..., 1], scene),
            self._intensity(u[..., 2:3])[..., 0],
            self._restore(u[..., 3:])[..., 0],
        )

    voxels = Ghosting.voxels


class Spike(Transform):
    """Add given bright points to k-space: stripes across the image.

    Args:
        spikes_positions: Where they are in centred k-space, relative to its size: from 0 to 1,
            frequency 0 at 1/2; (P, 3).
        intensity: Of the spikes, relative to the largest magnitude in k-space: a number or (P,).
        kwargs: See :class:`Transform`.

    Each may also be given for every sample, with a leading B, or as a dict with one entry per
    image name. Tensors may require a gradient.

    Raises:
        ValueError: A shape or position is not as above.

    >>> spike = Spike(spikes_positions=[(0.5, 0.6, 0.7)], intensity=0.5)
    >>> spike(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(self, spikes_positions: Any, intensity: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spikes_positions, self.intensity = spikes_positions, intensity
        for value in values_of(spikes_positions):
            count = check_positions(value, "spikes_positions").shape[-2]
            for heights in values_of(intensity):
                per_sample(heights, (count,), "intensity")

    def draw(self, scene: Scene, u: np.ndarray) -> SpikeParams:
        names = scene.names
        first = as_array(by_name(self.spikes_positions, "spikes_positions", names)[0])
        count = first.shape[-2]
        return SpikeParams(
            per_image(self.spikes_positions, (count, 3), "spikes_positions", names),
            per_image(self.intensity, (count,), "intensity", names),
        ).expand(scene.batch)

    def voxels(self, images: Images, name: str, params: SpikeParams) -> Volume:
        return F.spike(images[name].data, params.positions, params.intensity)


class RandomSpike(Transform):
    """Add bright points to k-space at random: see :class:`Spike`.

    Args:
        num_spikes: Range of their number, ends included; d means (0, d).
        intensity: Range of their intensity, relative to the largest magnitude in k-space; d
            means (-d, d). All spikes of an image share it.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty, or ``num_spikes`` is negative or has no upper end.

    >>> RandomSpike(num_spikes=(1, 3), intensity=(0.5, 1))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    role = "volume"

    def __init__(self, num_spikes: Any = (1, 1), intensity: Any = (1, 3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_spikes, self.intensity = num_spikes, intensity
        self._num_spikes = Range(num_spikes, "num_spikes", around=None, minimum=0, whole=True)
        self._intensity = Range(intensity, "intensity")
        if not self._num_spikes.greatest <= 10**4:
            raise ValueError(
                f"num_spikes must have an upper end: a number, a pair or a Choice, "
                f"got {num_spikes!r}"
            )

    @property
    def _most(self) -> int:
        return int(self._num_spikes.greatest)

    @property
    def draws(self) -> int:
        return 2 + 3 * self._most

    def draw(self, scene: Scene, u: np.ndarray) -> SpikeParams:
        number, intensity = self._num_spikes(u[..., :1]), self._intensity(u[..., 1:2])
        there = np.arange(self._most) < number
        return SpikeParams(u[..., 2:].reshape(*u.shape[:2], -1, 3), intensity * there)

    voxels = Spike.voxels


__all__ = ["Ghosting", "Motion", "RandomGhosting", "RandomMotion", "RandomSpike", "Spike"]
