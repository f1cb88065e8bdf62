"""Base of transforms of ultrasound: the geometry of the beams, and log compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data import ImagesBatch
from ...functional.ultrasound.compression import check_compression
from ...functional.ultrasound.geometry import (
    PROBES,
    BeamGeometry,
    GeometryLike,
    check_geometry,
    check_plane_axes,
)
from ...geometry import spacing
from ...shapes import Volume
from ..base import Context
from ..kinds import VolumeTransform
from ..parameters.label_maps import name_of_map
from ..parameters.params import per_image
from ..parameters.ranges import Range


class Ultrasound(VolumeTransform):
    """Transform of B-mode images along the beams of a probe. Not for use by itself.

    Its parameters have a field ``geometry``, [B, M, 7], as :meth:`_geometries` returns it.
    """

    def _set_beams(
        self,
        geometry: GeometryLike | str,
        axes: Sequence[int],
        dynamic_range: float,
        white: float,
    ) -> None:
        self.geometry, self.axes = geometry, axes
        self.dynamic_range, self.white = dynamic_range, white
        if not isinstance(geometry, str) or geometry in PROBES:
            check_geometry(geometry)
        check_plane_axes(axes)
        check_compression(dynamic_range, white)

    def _geometries(self, context: Context, names: Sequence[str] | None = None) -> np.ndarray:
        """Return the geometry of each sample and image as numbers, [B, M, 7].

        Args:
            context: Images of the samples.
            names: Images whose metadata may hold it; those to transform by default.
        """
        given, names = self.geometry, context.names if names is None else names
        if not isinstance(given, str) or given in PROBES:
            one = as_numbers(check_geometry(given))
            return np.tile(one, (context.batch, len(names), 1))
        found = []
        for name in names:
            values = context.images.metadata(name, given)
            lacking = [sample for sample, value in enumerate(values) if value is None]
            if lacking:
                raise KeyError(
                    f"{self.name} needs metadata {given!r} of {name!r}, the geometry of its beams, "
                    f"which sample {lacking[0]} lacks"
                )
            found.append([as_numbers(check_geometry(value)) for value in values])
        return np.array(found).swapaxes(0, 1)

    def _per_image(self, names: Sequence[str], context: Context) -> dict[str, Any]:
        """Return arguments that are a number for each sample or image, [1 or B, 1 or M], by name.

        Args:
            names: Their names.
            context: Images of the samples.
        """
        return {name: per_image(getattr(self, name), (), name, context.names) for name in names}

    def _beams(self, image: ImagesBatch, geometry: np.ndarray) -> dict[str, Any]:
        """Return the arguments of functions that all transforms of ultrasound have.

        Args:
            image: The image.
            geometry: Its geometry, [B, 7].
        """
        return {
            "geometry": [as_geometry(one) for one in geometry],
            "spacing": spacing(image.affine),
            "axes": self.axes,
            "dynamic_range": self.dynamic_range,
            "white": self.white,
        }


def drawn(names: Sequence[str], ranges: Range, u: np.ndarray) -> dict[str, np.ndarray]:
    """Return numbers of some ranges side by side, [B, M], by name.

    Args:
        names: Names of the numbers, in order.
        ranges: Their ranges.
        u: Uniform numbers, the first of which are used, [B, M, n].
    """
    return dict(zip(names, np.moveaxis(ranges(u[..., : len(names)]), -1, 0), strict=True))


def label_map(
    images: Mapping[str, ImagesBatch], label_key: str | None, name: str, transform: str
) -> Volume:
    """Return the label map to read, the first one for None, (B, 1, I, J, K).

    Args:
        images: All images.
        label_key: Name of the label map, or None.
        name: Image that is transformed, on whose grid the label map must be.
        transform: Name of the transform, for errors.

    Raises:
        KeyError: There is no such label map.
        ValueError: It has another grid, or several channels.
    """
    kinds = tuple((each, images[each].kind) for each in images)
    source = name_of_map(kinds, label_key, transform)
    maps, image = images[source], images[name]
    if maps.shape[1] != 1 or not maps.space.is_same(image.space):
        raise ValueError(
            f"{transform} needs {source!r} to have one channel in the space of {name!r}: it has "
            f"{maps.shape[1]}, and their corners are {maps.space.distance_mm(image.space):.3g} mm "
            "apart"
        )
    return maps.data


def as_numbers(geometry: BeamGeometry) -> list[float]:
    """Return a geometry as seven numbers, 0 for None, which records hold.

    >>> as_numbers(BeamGeometry("phased", depth=90))
    [2.0, 0.0, 70.0, 50.0, 90.0, 0.0, 0.0]
    """
    probe, width, angle, radius, depth, center = geometry
    numbers = (PROBES.index(probe), width or 0, angle, radius, depth or 0, *center)
    return [float(n) for n in numbers]


def as_geometry(numbers: np.ndarray) -> BeamGeometry:
    """Return the geometry of seven numbers; the inverse of :func:`as_numbers`."""
    probe, width, angle, radius, depth, *center = numbers.tolist()
    return BeamGeometry(
        PROBES[int(probe)], width or None, angle, radius, depth or None, tuple(center)
    )


__all__ = ["Ultrasound", "as_geometry", "as_numbers", "drawn", "label_map"]
