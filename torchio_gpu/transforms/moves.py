"""Where content goes: the maps of spatial transforms, composed until voxels are read through them.

Maps are pull-backs in the world, in millimetres: one motion for all images of a subject. Each image
turns them into a map between its own voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import functional as F
from ..arrays import Array, common
from ..data import ImagesBatch
from ..data.image import INTENSITY
from ..functional.program import Operation
from ..functional.spatial import is_exact
from ..geometry import SPACE_TOLERANCE_MM, Space, displace, invert, within_slice


@dataclass(frozen=True)
class Scene:
    """What a transform may know when it draws parameters.

    Args:
        names: Images that the transform will change.
        spaces: Where the voxels of each of them lie.
        images: All images, for transforms of whole volumes. Their shapes and types cost nothing;
            a look at their voxels waits for the device.
    """

    names: tuple[str, ...]
    spaces: tuple[Space, ...]
    images: Mapping[str, ImagesBatch] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """Where the voxels of the first image lie."""
        return self.spaces[0]

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.space.affine)


@dataclass(frozen=True)
class Elastic:
    """A bending map of the world, ``p -> p + d(p)``: where an output point comes from.

    Args:
        control_points: Displacement d in mm along RAS+, [B, 3, N0, N1, N2].
        lattice: World to control-point coordinates, [B, 4, 4].
        inverse: Use the inverse map instead.
    """

    control_points: Array
    lattice: np.ndarray
    inverse: bool = False


@dataclass(frozen=True)
class Move:
    """One step of a spatial transform, as a pull-back in the world: first bend, then ``matrix``.

    Args:
        matrix: Output world to input world, [B, 4, 4].
        elastic: Bending applied to output points before the matrix.
        space: Grid of the output; that of the input by default.
    """

    matrix: Array | None = None
    elastic: Elastic | None = None
    space: Space | None = None


@dataclass(frozen=True)
class Sampling:
    """How a spatial transform reads voxels.

    Args:
        image: Interpolation of scalar images.
        label: Interpolation of label maps.
        image_fill: Value outside scalar images: a number or a rule of ``fill_value``.
        label_fill: Value outside label maps.
    """

    image: str = "linear"
    label: str = "nearest"
    image_fill: str | float = "minimum"
    label_fill: float = 0


@dataclass
class Chain:
    """The maps of one image that wait to be sampled."""

    source: Space
    space: Space  # of the output so far
    matrix: Array | None = None  # towards the source, from where the elastic map is evaluated
    elastic: Elastic | None = None
    after: np.ndarray | None = None  # from the output to where the elastic map is evaluated

    def add(self, move: Move) -> None:
        """Follow one more map: outputs of the chain become its inputs."""
        if move.elastic is not None:
            assert self.elastic is None  # a run holds one bending map: the plan sees to it
            self.elastic = move.elastic
        if move.matrix is not None:
            # a pull-back: the maps before this one act on its result
            if self.elastic is None or move.elastic is not None:
                self.matrix = _times(self.matrix, move.matrix)
            else:
                self.after = _times(self.after, move.matrix)
        if move.space is not None:
            self.space = move.space

    @property
    def moved(self) -> bool:
        """Whether any map was added."""
        maps = (self.matrix, self.elastic, self.after)
        return self.space is not self.source or any(m is not None for m in maps)

    def sample(
        self, images: ImagesBatch, sampling: Sampling | None, program: Sequence[Operation]
    ) -> ImagesBatch:
        """Read the voxels through all maps at once, and apply what follows to each."""
        grid = _times(self.after, self.space.affine)
        world = grid if self.matrix is None else _times(self.matrix, grid)
        matrix = _times(self.source.to_voxel, world)
        points = lattice = None
        if self.elastic is not None:
            lattice = _times(self.elastic.lattice, grid)
            inverse = self.space.to_voxel if self.after is None else invert(grid)
            points = displace(self.elastic.control_points, inverse[:, :3, :3])
        if 1 in self.source.shape:
            matrix = within_slice(matrix, self.source.shape, self.space.shape)
            if points is not None:
                free = np.array([n > 1 for n in self.space.shape], dtype=np.float64)
                _, points, free = common(points, free)
                points = points * free[:, None, None, None]
        if sampling is None and is_exact(matrix, points):
            sampling = Sampling(image="nearest")  # no step asks to interpolate: values are moved
        sampling = sampling or Sampling()
        intensity = images.kind == INTENSITY
        rule = sampling.image_fill if intensity else sampling.label_fill
        data = F.warp(
            images.data,
            matrix,
            points,
            lattice=lattice,
            size=self.space.shape,
            mode=sampling.image if intensity else sampling.label,
            fill=F.fill_value(images.data, rule),
            inverse=self.elastic is not None and self.elastic.inverse,
            operations=program,
        )
        return images.with_data(data, self.space.affine)


def _times(left: Array | None, right: Array) -> Any:
    """Product of matrices, of which the left one may be missing."""
    if left is None:
        return right
    _, left, right = common(left, right)
    return left @ right


def check_spaces(spaces: dict[str, Space], transform: str) -> None:
    """Refuse images that differ in shape while their affines say that they should not."""
    if len(spaces) < 2:
        return
    first_name, first = next(iter(spaces.items()))
    for name, space in spaces.items():
        if space is first or space.shape == first.shape:
            continue
        if np.abs(space.affine - first.affine).max() < SPACE_TOLERANCE_MM:
            raise ValueError(
                f"images of a subject must share a shape under {transform} when they share "
                f"an affine: {first_name!r} has {first.shape}, {name!r} has {space.shape}"
            )
