"""Points: landmarks and other places in the world or among the voxels of an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..functional.fields_of_view import TIE
from ..shapes import AffineLike, Triple
from . import io
from .axes import check_axes, conversion
from .point_set import LabelsLike, PointSet, RowsLike


class Gridded(Protocol):
    """Image or anything else with voxels that lie somewhere."""

    @property
    def spatial_shape(self) -> Triple: ...
    @property
    def affine(self) -> np.ndarray: ...


#: Coordinates of points as they may be given, or the path of a file.
PointsLike: TypeAlias = RowsLike | str | os.PathLike[str]


class Points(PointSet):
    """Points in the world, or among the voxels of an affine: landmarks, contacts, vertices.

    A tensor of float32 or float64 is kept as it is, in its graph and in memory shared with the
    caller, as the voxels of an image are; all else is copied. Integers become float64, and
    narrower floating types float32. A point with NaN is missing: it stays so in every map, and
    lies in no image.

    Args:
        data: Coordinates (N, 3), where N may be 0, or the path of a file: .csv and .tsv (world
            RAS+ mm), .fcsv and .mrk.json of 3D Slicer. See :mod:`torchio_gpu.data.io.points`.
        axes: Directions in which the three coordinates grow: for millimetres one letter each of
            R or L, A or P, S or I in any order ('RAS', 'LPS', 'SPL'); for voxels, whose centres
            have whole coordinates, an order of 'IJK'. By default those of the file, or 'RAS'.
        affine: Voxel to world (RAS+ mm), (4, 4); needed for voxel axes.
        labels: A name or a whole number for each point; by default those of the file, if any.
        metadata: Anything else, kept and returned by ``points[name]`` and ``points.name``.

    Raises:
        FileNotFoundError: The path does not exist.
        OSError: The file is damaged; the message names the place.
        TypeError: Coordinates are no real numbers.
        ValueError: They do not have shape (N, 3), or are infinite (on the host), the axes are
            unknown or need an affine, labels are not one for each point, or a name of metadata is
            one that the points use themselves.

    >>> tip = Points([[10.0, 20, 30]], axes="LPS", labels=["tip"])
    >>> tip.to_axes("IJK", affine=np.diag([2, 2, 2, 1])).data
    tensor([[ -5., -10.,  15.]], dtype=torch.float64)
    """

    _columns, _rows = 3, "points"

    def __init__(
        self,
        data: PointsLike,
        *,
        axes: str | None = None,
        affine: AffineLike | None = None,
        labels: LabelsLike | None = None,
        **metadata: Any,
    ) -> None:
        code = "RAS" if axes is None else check_axes(axes)
        if isinstance(data, (str, os.PathLike)):
            rows, names, system = io.read_points(data)
            data = torch.from_numpy(rows)
            code = system if axes is None else code
            labels = names if labels is None else labels
        super().__init__(data, code, affine, labels, metadata)

    def _check_data(self, data: RowsLike) -> Tensor:
        rows = super()._check_data(data)
        if rows.device.type != "cpu":  # values on a device are not waited for
            return rows
        infinite = rows.detach().isinf().any(-1).nonzero()
        if len(infinite):
            at = int(infinite[0])
            raise ValueError(
                "data of Points must be finite, or NaN for a missing point, "
                f"got {rows[at].tolist()} for point {at}"
            )
        return rows

    def to_axes(self, axes: str, affine: AffineLike | None = None) -> Points:
        """Return the same points with coordinates along other axes, or among other voxels.

        Args:
            axes: The new axes; see :class:`Points`.
            affine: Voxel to world of the new axes; by default that of these points.

        Raises:
            ValueError: The axes are unknown, or those of voxels and there is no affine.
        """
        axes = check_axes(axes)
        new = self._affine if affine is None else geometry.check_affine(affine)
        matrix = conversion(self._axes, self._affine, axes, new)
        points = self._with(self._convert(self._data, matrix).to(self.dtype), new)
        points._axes = axes
        return points

    def world(self) -> Tensor:
        """Return the points in the world, [N, 3] float64, RAS+ mm."""
        return self._convert(self._data, conversion(self._axes, self._affine, "RAS", None))

    def with_world(
        self, points: Tensor, folded: Tensor, affine: np.ndarray | None = None
    ) -> Points:
        """Return these points at other places: same axes, dtype, device, labels and metadata.

        Args:
            points: The new places, [N, 3], RAS+ mm.
            folded: True where a place is a guess, [N]; points that were folded stay so.
            affine: New affine; voxel axes are then those of its voxels.

        Raises:
            ValueError: There are not as many places or flags as points.
        """
        points, folded = self._check_moved(points, folded)
        return self._moved(self._convert(points, self._from_world(affine)), folded, affine)

    def inside(self, image: Gridded | geometry.Space) -> Tensor:
        """Return True for points in the field of view of an image, bool (N,).

        It reaches half a voxel beyond the outermost voxel centres: -0.5 <= c < n - 0.5, for voxel
        coordinates c along an axis of n voxels, with the tolerance of 1e-4 voxels that sampling
        has. Missing points are not inside.

        Args:
            image: Image, or anything with a ``spatial_shape`` and an ``affine``.
        """
        shape, affine = _grid(image)
        matrix = conversion(self._axes, self._affine, "IJK", affine)
        voxels = self._convert(self._data.detach(), matrix) + TIE
        ends = torch.tensor(shape, device=voxels.device) - 0.5
        return ((voxels >= -0.5) & (voxels < ends)).all(-1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write coordinates and labels in the format that the suffix names, as float64.

        Points with axes 'RAS' are written so in all formats; other points as RAS into .csv and
        .tsv, and as LPS into .fcsv and .mrk.json. Metadata, the affine and :attr:`folded` are not
        written. The file appears whole or not at all.

        Raises:
            ValueError: The suffix is none of .csv, .tsv, .fcsv and .mrk.json.
        """
        system = io.points_system(path, self._axes)
        matrix = conversion(self._axes, self._affine, system, None)
        rows = self._convert(self._data.detach().cpu(), matrix).numpy()
        io.write_points(rows, self._labels, system, Path(path))


def _grid(image: Any) -> tuple[Triple, np.ndarray]:
    """Return shape (I, J, K) and affine (4, 4) of an image or a space of one."""
    shape = getattr(image, "spatial_shape", image.shape if _is_space(image) else None)
    affine = getattr(image, "affine", None)
    if shape is None or affine is None:
        raise TypeError(
            f"image must have a spatial_shape and an affine, got {type(image).__name__}"
        )
    if _is_space(image):
        if len(affine) != 1:
            raise ValueError(f"image must be one space, got a batch of {len(affine)}")
        affine = affine[0]
    return shape, geometry.check_affine(affine)


def _is_space(image: object) -> bool:
    return isinstance(image, geometry.Space)
