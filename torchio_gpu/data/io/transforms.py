"""Maps of the world as SimpleITK transforms, which map output to input points in LPS+."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import host
from ...geometry import BSplineField, DenseField, Space, check_affine
from ...shapes import Triple
from .voxels import LPS, sitk

#: Rings of control points, all zero, which let a spline fade to the end of its support.
_BEYOND = 3


def to_sitk_transform(move: Any, space: Space | None = None) -> Any:
    """Return a map as a SimpleITK transform.

    Args:
        move: :class:`torchio_gpu.SpatialMap` of one sample.
        space: Grid on which inverses of bending maps are sampled.
    """
    parts = _parts(move, space)
    return parts[0] if len(parts) == 1 else sitk().CompositeTransform(parts)


def _parts(move: Any, space: Space | None) -> list[Any]:
    """Return the transforms of a map; as in a CompositeTransform, the last one acts first."""
    parts = []
    if move.matrix is not None or move.elastic is None:
        matrix = np.eye(4) if move.matrix is None else _only(host(move.matrix))
        affine = sitk().AffineTransform(3)
        lps = LPS @ check_affine(matrix, "matrix of a map for SimpleITK") @ LPS
        affine.SetMatrix(lps[:3, :3].ravel().tolist())
        affine.SetTranslation(lps[:3, 3].tolist())
        parts.append(affine)
    field = move.elastic
    if field is None:
        return parts
    if not _has_transform(field, space):
        if space is None:
            raise ValueError(
                "grid must be given for a map with an inverse of a bending map, or with a flow, "
                "which goes on outside its grid: SimpleITK has no transform for these"
            )
        # as a whole, so that it is exact at the voxels of the grid
        field = type(move)(elastic=field).as_dense(space).elastic
    if hasattr(field, "outer"):
        return [*parts, *_parts(field.outer, space), *_parts(field.inner, space)]
    if isinstance(field, BSplineField):
        return [*parts, _bspline(field)]
    return [*parts, _dense(field)]


def _has_transform(field: Any, space: Space | None) -> bool:
    """Return True if SimpleITK has a transform for a field, or for each map of a sequence."""
    if hasattr(field, "outer"):
        fields = (field.outer.elastic, field.inner.elastic)
        return all(each is None or _has_transform(each, space) for each in fields)
    if isinstance(field, DenseField):  # SimpleITK's fields end at their grid
        return not field.inverse and not field.extends
    return isinstance(field, BSplineField) and not field.inverse and field.ends is None


def _bspline(field: BSplineField) -> Any:
    # ITK ends a spline sharply where its lattice has less than four control points around a point
    inner = _only(host(field.control_points))
    points = np.pad(inner, [(0, 0), *[(_BEYOND, _BEYOND)] * 3])
    values = LPS[:3, :3] @ points.reshape(3, -1)  # [3, N0 N1 N2]
    counts = points.shape[1:]
    affine = np.linalg.inv(_only(host(field.lattice)))
    affine[:3, 3] -= affine[:3, :3].sum(1) * _BEYOND
    size, origin, spacing, direction = _grid(counts, affine)
    transform = sitk().BSplineTransform(3, 3)
    transform.SetFixedParameters([*map(float, size), *origin, *spacing, *direction])
    first_fastest = values.reshape(3, *counts).transpose(0, 3, 2, 1)
    transform.SetParameters(first_fastest.ravel().tolist())
    return transform


def _dense(field: DenseField) -> Any:
    values = np.einsum("ab,bijk->kjia", LPS[:3, :3], _only(host(field.displacement)))
    image = sitk().GetImageFromArray(np.ascontiguousarray(values, np.float64), isVector=True)
    _, origin, spacing, direction = _grid(values.shape[2::-1], _only(host(field.affine)))
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return sitk().DisplacementFieldTransform(image)


def _grid(
    shape: Any, affine: np.ndarray
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return size, origin, spacing and direction of a grid in LPS+, given its affine in RAS+."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    return list(shape), lps[:3, 3].tolist(), spacing.tolist(), direction.ravel().tolist()


def _only(values: np.ndarray) -> np.ndarray:
    """Return the values of the only sample."""
    if len(values) != 1:
        raise ValueError(f"map must be of one sample for SimpleITK, got {len(values)}")
    only: np.ndarray = values[0]
    return only


def bspline_axes(shape: Triple, affine: np.ndarray, counts: Triple) -> np.ndarray:
    """Return the world axes of the lattice that ITK lays over an image, [3, 3], RAS+, as columns.

    Args:
        shape: Voxels of the image along I, J, K.
        affine: Voxel to world of the image, (4, 4).
        counts: Control points along the axes of the lattice.
    """
    size, origin, spacing, direction = _grid(shape, affine)
    image = sitk().Image(size, sitk().sitkUInt8)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    lattice = sitk().BSplineTransformInitializer(image, [n - 3 for n in counts])
    axes: np.ndarray = LPS[:3, :3] @ np.array(lattice.GetFixedParameters()[9:18]).reshape(3, 3)
    return axes
