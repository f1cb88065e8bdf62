"""What a spatial transform says: where content goes, on which grid, and how voxels are read.

Maps are pull-backs in the world, in millimetres: one motion for all images of a subject. Each image
turns them into a map between its own voxels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...arrays import Array
from ...data import ImagesBatch
from ...data.image import INTENSITY
from ...geometry import Space, orientation, spacing
from .reading import sample

if TYPE_CHECKING:
    from .chain import Chain
    from .steps import Step


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
        self._images, self._told = images, told
        self._chains = {} if chains is None else chains

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
        return sample(chain, images, ())

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


class Scene(NamedTuple):
    """What a transform may know when it draws parameters.

    Args:
        names: Images that the transform will change.
        spaces: Where the voxels of each of them lie.
        images: All images. Their shapes and types cost nothing; a look at their voxels waits for
            the device.
    """

    names: tuple[str, ...]
    spaces: tuple[Space, ...]
    images: Present = Present({})

    @property
    def space(self) -> Space:
        """Where the voxels of the first image lie."""
        return self.spaces[0]

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.space.affine)


class Elastic(NamedTuple):
    """A bending map of the world, ``p -> p + d(p)``: where an output point comes from.

    Args:
        control_points: Displacement d in mm along RAS+, [B, 3, N0, N1, N2].
        lattice: World to control-point coordinates, [B, 4, 4].
        inverse: Use the inverse map instead.
    """

    control_points: Array
    lattice: np.ndarray
    inverse: bool = False


class Move(NamedTuple):
    """One step of a spatial transform, as a pull-back in the world: first bend, then ``matrix``.

    Args:
        matrix: Output world to input world, [B, 4, 4].
        elastic: Bending applied to output points before the matrix.
        space: Grid of the output; that of the input by default.
        inverse: Of the matrix, where it is known.
    """

    matrix: Array | None = None
    elastic: Elastic | None = None
    space: Space | None = None
    inverse: Array | None = None


class Sampling(NamedTuple):
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

    def of(self, kind: str) -> tuple[Any, Any]:
        """Interpolation and value outside for images of a kind."""
        if kind == INTENSITY:
            return self.image, self.image_fill
        return self.label, self.label_fill


#: Of a step that asks for nothing.
NOTHING = Sampling(None, None, None, None)


def check_spaces(spaces: dict[str, Space], transform: str) -> None:
    """Refuse images that differ in shape while their affines say that they should not."""
    if len(spaces) < 2:
        return
    first_name, first = next(iter(spaces.items()))
    for name, space in spaces.items():
        if space is first or space.shape == first.shape:
            continue
        if space.is_aligned(first):
            raise ValueError(
                f"images of a subject must share a shape under {transform} when they share "
                f"an affine: {first_name!r} has {first.shape}, {name!r} has {space.shape}"
            )


def check_places(step: Step, names: Sequence[str], spaces: Sequence[Space]) -> None:
    """Warn of images that were added since a motion was recorded, and lie elsewhere.

    They lie where the others did if their middle is within a voxel of that of one of them, and
    their axes point the same way: a prediction may be of another spacing.
    """
    for name, space in zip(names, spaces, strict=True):
        if name in step.names or not step.spaces:
            continue
        if not any(_is_there(space, known) for known in step.spaces):
            warnings.warn(
                f"{name!r} was added after {step.transform.name} was applied, and lies elsewhere: "
                f"it is moved wrongly. Its affine is {space.affine[0].tolist()}, that of "
                f"{step.names[0]!r} was {step.spaces[0].affine[0].tolist()}",
                RuntimeWarning,
                stacklevel=2,
            )


def _is_there(space: Space, known: Space) -> bool:
    codes = {orientation(affine) for affine in (*space.affine, *known.affine)}
    apart = np.linalg.norm(space.centre - known.centre, axis=-1).max()
    side = max(spacing(space.affine).max(), spacing(known.affine).max())
    return len(codes) == 1 and bool(apart <= side)
