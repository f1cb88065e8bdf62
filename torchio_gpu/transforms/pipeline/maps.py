"""Spatial maps, interpolation, and the traits that decide which steps share a sampling.

Maps are pull-backs in the world, in millimetres: one motion for all images of a subject. For each
image they are converted to a map between its own voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ...data.keys import LABEL
from ...geometry import Space


@dataclass(frozen=True)
class SpatialTraits:
    """Properties of a spatial transform by which the engine decides which steps share a sampling.

    Args:
        bends: The map is not affine.
        parallel: Voxel axes of input and output are parallel.
        permutes: Voxel axes may come in another order.
        regrids: Each image gets a grid of its own, and content stays where it is.
        pads: The field of view may grow.
        cuts: The field of view may shrink.
        modulates: All displacements of a sample have one direction, and scalar images are
            multiplied by the Jacobian determinant of the map, so that their integral is kept.
    """

    bends: bool = False
    parallel: bool = False
    permutes: bool = False
    regrids: bool = False
    pads: bool = False
    cuts: bool = False
    modulates: bool = False


class Interpolation(NamedTuple):
    """Interpolation and fill of a spatial transform.

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
        """Fill of scalar images and of label maps."""
        return self.image_fill, self.label_fill

    def of(self, kind: str) -> tuple[Any, Any]:
        """Return the interpolation and the fill for images of a kind."""
        if kind == LABEL:
            return self.label, self.label_fill
        return self.image, self.image_fill


#: Interpolation of a step that asks for nothing.
NOTHING = Interpolation(None, None, None, None)


def may_move(transform: Any) -> bool:
    """Return True if a transform moves content, changes the grid, or is a function that may.

    Crops and pads whose values depend on the voxels, and resampling that smooths, are of the role
    'volume', and change the grid as others do.
    """
    traits: SpatialTraits | None = transform.traits
    if traits is None:
        return False
    return transform.role not in ("pointwise", "volume") or traits.regrids


def check_spaces(spaces: dict[str, Space], transform: str) -> None:
    """Raise a ValueError if images share an affine but not a shape."""
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
