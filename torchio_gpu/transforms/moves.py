"""Where content goes: the maps of spatial transforms, composed until voxels are read through them.

Maps are pull-backs in the world, in millimetres: one motion for all images of a subject. Each image
turns them into a map between its own voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import functional as F
from ..arrays import Array, common
from ..data import ImagesBatch
from ..data.image import INTENSITY
from ..functional.program import Operation
from ..geometry import (
    SPACE_TOLERANCE_MM,
    Space,
    apply_affine,
    displace,
    invert,
    windowed,
    within_slice,
)


class Present(Mapping[str, ImagesBatch]):
    """The images of a batch as they are at some point of a pipeline.

    Voxels that still wait to be read through a chain of maps are read when they are asked for,
    and not kept; where they lie is known without that. ``told`` is told of such a reading.
    """

    def __init__(
        self,
        images: Mapping[str, ImagesBatch],
        chains: Mapping[str, Chain] | None = None,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._images, self._chains, self._told = images, chains or {}, told

    def space(self, name: str) -> Space:
        """Where the voxels of an image lie."""
        chain = self._chains.get(name)
        return self._images[name].space if chain is None else chain.space

    def kind(self, name: str) -> str:
        """'intensity' or 'label'."""
        return self._images[name].kind

    def metadata(self, name: str, key: str) -> list[Any]:
        """A value that goes with an image, of each sample; None where it has none."""
        return self._images[name].metadata(key)

    def __getitem__(self, name: str) -> ImagesBatch:
        images, chain = self._images[name], self._chains.get(name)
        if chain is None or not chain.moved:
            return images
        self._told(name)
        return chain.sample(images, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


@dataclass(frozen=True)
class Scene:
    """What a transform may know when it draws parameters.

    Args:
        names: Images that the transform will change.
        spaces: Where the voxels of each of them lie.
        images: All images. Their shapes and types cost nothing; a look at their voxels waits for
            the device.
    """

    names: tuple[str, ...]
    spaces: tuple[Space, ...]
    images: Present = field(default_factory=lambda: Present({}))

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
        image: Interpolation of scalar images; None where the transform only moves whole voxels.
        label: Interpolation of label maps, likewise.
        image_fill: Value outside scalar images: a number or a rule of ``fill_value``; None where
            nothing from outside is ever read.
        label_fill: Value outside label maps, likewise.
    """

    image: str | None = "linear"
    label: str | None = "nearest"
    image_fill: str | float | None = "minimum"
    label_fill: float | None = 0

    @property
    def modes(self) -> tuple[str | None, str | None]:
        """Interpolation of scalar images and of label maps."""
        return self.image, self.label

    @property
    def fills(self) -> tuple[str | float | None, float | None]:
        """Values outside scalar images and label maps."""
        return self.image_fill, self.label_fill

    def then(self, other: Sampling | None) -> Sampling:
        """How voxels are read when another step's wishes come after these."""
        if other is None:
            return self
        pairs = zip((*self.modes, *self.fills), (*other.modes, *other.fills), strict=True)
        return Sampling(*(old if new is None else new for old, new in pairs))  # type: ignore[arg-type]

    def of(self, kind: str) -> tuple[Any, Any]:
        """Interpolation and value outside for images of a kind."""
        if kind == INTENSITY:
            return self.image, self.image_fill
        return self.label, self.label_fill


#: Of a run that no step has asked anything of yet.
NOTHING = Sampling(None, None, None, None)


_DEFAULT = Sampling()
#: Rounding, in voxels, of where a field of view ends.
_WHOLE = 1e-6


@dataclass
class Chain:
    """The maps of one image that wait to be sampled.

    As long as they keep voxel axes parallel, what they cut off or add can be cut off the source
    and added to it, by whole voxels: see :meth:`frame`.
    """

    source: Space
    space: Space  # of the output so far
    kind: str
    matrix: Array | None = None  # towards the source, from where the elastic map is evaluated
    elastic: Elastic | None = None
    after: np.ndarray | None = None  # from the output to where the elastic map is evaluated
    sampling: Sampling = NOTHING  # as the steps wish
    turned: bool = False  # whether a step may have turned voxel axes
    exact: bool = False  # whether voxels were only moved when the chain was sampled

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

    def frame(self, images: ImagesBatch) -> ImagesBatch:
        """Bring what was cut off and added forward to the source: whole voxels, no interpolation.

        Voxels of the source are kept whose cubes reach into the field of view of the output so
        far. What is added holds the value that the step that added it asked for.
        """
        if self.space is self.source or self.turned:
            return images
        matrix = self.source.to_voxel @ _times(self.matrix, self.space.affine)
        if not F.is_parallel(matrix):
            return images
        rule = self.sampling.of(self.kind)[1]
        self.sampling = replace(self.sampling, image_fill=None, label_fill=None)
        ends = np.array([[-0.5] * 3, [n - 0.5 for n in self.space.shape]])
        edges = np.sort(apply_affine(matrix, ends), axis=1)  # [B, 2, 3]
        first = np.floor(edges[:, 0] + 0.5 + _WHOLE)
        count = (np.ceil(edges[:, 1] + 0.5 - _WHOLE) - first).clip(1).max(0)
        i, j, k = count.astype(int).tolist()
        if not first.any() and (i, j, k) == self.source.shape:
            return images
        shift = np.eye(4)[None].repeat(len(first), 0)
        shift[:, :3, 3] = first
        fill = F.fill_value(images.data, 0 if rule is None else rule)
        data = F.warp(images.data, shift, size=(i, j, k), mode="nearest", fill=fill)
        self.source = windowed(self.source, first, (i, j, k))
        return images.with_data(data, self.source.affine)

    def sample(self, images: ImagesBatch, program: Sequence[Operation]) -> ImagesBatch:
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
        mode, rule = _DEFAULT.then(self.sampling).of(self.kind)
        self.exact = not self.turned and F.is_exact(matrix, points)
        if self.exact:
            mode = "nearest"  # values are moved, whatever was asked for
        fill = F.fill_value(images.data, rule)
        if not self.turned and not self.exact and F.is_parallel(matrix):
            data = F.resample(images.data, self.space.shape, matrix, mode=mode, fill=fill)
            data = F.pointwise(data, program) if program else data
            return images.with_data(data, self.space.affine)
        data = F.warp(
            images.data,
            matrix,
            points,
            lattice=lattice,
            size=self.space.shape,
            mode=mode,
            fill=fill,
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
