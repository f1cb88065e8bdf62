"""Metadata of OME-Zarr, versions 0.1 to 0.5: axes, units, and transformations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Millimetres in units of length; others, and none, are taken as mm.
_MM = {
    "angstrom": 1e-7,
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "centimeter": 10.0,
    "decimeter": 100.0,
    "meter": 1e3,
    "inch": 25.4,
    "foot": 304.8,
}
_VOXEL = {"x": "I", "y": "J", "z": "K", "i": "I", "j": "J", "k": "K"}
#: World axis and sign of the directions in which axes grow.
_DIRECTIONS = {
    "left-to-right": (0, 1),
    "right-to-left": (0, -1),
    "posterior-to-anterior": (1, 1),
    "anterior-to-posterior": (1, -1),
    "inferior-to-superior": (2, 1),
    "superior-to-inferior": (2, -1),
}
_VERSION = "0.5"


class Multiscale:
    """First image of a group, at one or more resolutions.

    Args:
        attributes: Attributes of the group.

    Raises:
        ValueError: They have a part that OME-Zarr does not allow.
    """

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        try:
            first = (attributes.get("ome") or attributes)["multiscales"][0]
            self.levels: dict[str, Any] = {each["path"]: each for each in first["datasets"]}
            self._shared = first.get("coordinateTransformations") or []
            named = [{"name": a} if isinstance(a, str) else a for a in first.get("axes") or ()]
            self._axes: Sequence[Any] = named
            if not self.levels or not all(isinstance(axis["name"], str) for axis in named):
                raise ValueError("no resolution, or an axis without a name")
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"multiscales must be as in OME-Zarr: {error!r}") from error

    @staticmethod
    def described(attributes: Mapping[str, Any]) -> bool:
        """Return True if attributes of a group are those of an image."""
        ome = attributes.get("ome")
        return "multiscales" in (ome if isinstance(ome, Mapping) else attributes)

    def axes(self, count: int) -> str:
        """Return a letter for each of the axes of an array: I, J or K for x, y or z, else C.

        Spatial axes of other names are z, y and x in that order, as are axes without a name.
        """
        known = self._axes or [{"name": name} for name in "tczyx"[-count:]]
        if len(known) != count:
            raise ValueError(f"array must have the {len(known)} axes of multiscales, got {count}")
        spatial = [_VOXEL.get(axis["name"].lower(), "") for axis in known if _spatial(axis)]
        named = all(spatial) and len({*spatial}) == len(spatial)
        letters = iter(spatial if named else "KJI"[-len(spatial) :])
        return "".join(next(letters, "?") if _spatial(axis) else "C" for axis in known)

    def affine(self, level: str, axes: str) -> np.ndarray:
        """Return the affine, mm, of a resolution whose array has axes as :meth:`axes` returns."""
        scale, shift = np.ones(len(axes)), np.zeros(len(axes))
        for each in (*(self.levels[level].get("coordinateTransformations") or ()), *self._shared):
            try:
                kind = each["type"]
                if kind not in ("scale", "translation", "identity"):
                    raise ValueError(f"transformation {kind} is not known")
                if kind != "identity":
                    values = np.array(each[kind], dtype=np.float64)
                    if values.shape != scale.shape:
                        raise ValueError(f"{kind} must have {len(axes)} numbers, got {each[kind]}")
                    scale, shift = (
                        (scale * values, shift * values)
                        if kind == "scale"
                        else (scale, shift + values)
                    )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"coordinateTransformations must be scales and translations: {error}"
                ) from error
        matrix = np.eye(4)
        for n, letter in enumerate(axes):
            if letter not in "IJK":
                continue
            axis = self._axes[n] if self._axes else {}
            column = "IJK".index(letter)
            world, sign = _direction(axis, column)
            unit = _MM.get(str(axis.get("unit")), 1.0) * sign
            matrix[:3, column] = np.eye(3)[world] * scale[n] * unit
            matrix[world, 3] = shift[n] * unit
        return matrix


def _spatial(axis: Mapping[str, Any]) -> bool:
    return axis.get("type") == "space" if "type" in axis else axis["name"].lower() in _VOXEL


def _direction(axis: Mapping[str, Any], column: int) -> tuple[int, int]:
    """Return world axis and sign in which an axis grows: x to the right, unless it says more."""
    orientation = axis.get("orientation")
    value = orientation.get("value") if isinstance(orientation, Mapping) else None
    return _DIRECTIONS.get(str(value), (column, 1))


def metadata(affine: np.ndarray, path: str) -> dict[str, Any]:
    """Return attributes of a group with one array (C, z, y, x); {} if they cannot tell the affine.

    Scales and translations tell an affine without rotation, whose axes grow as those of the world.
    """
    scale, shift = affine.diagonal()[:3], affine[:3, 3]
    if (affine[:3, :3] != np.diag(scale)).any() or (scale <= 0).any():
        return {}
    values = (("scale", [1.0, *scale[::-1].tolist()]), ("translation", [0, *shift[::-1].tolist()]))
    space = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    multiscale = {
        "axes": [{"name": "c", "type": "channel"}, *space],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": kind, kind: numbers} for kind, numbers in values
                ],
            }
        ],
    }
    return {"ome": {"version": _VERSION, "multiscales": [multiscale]}}


__all__ = ["Multiscale", "metadata"]
