"""Maps of the world that spatial transforms apply, as pull-backs: from output to input points."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arrays import Array, common
from .fields import Field
from .matrices import apply_affine, invert
from .space import Space

#: Error, in mm, above which a point counts as not found: the map folds there.
_FOLDED = 1e-3


class SpatialMap(NamedTuple):
    """Map of the world, ``q -> matrix (q + d(q))``, from output points to input points.

    Content moves the other way: :meth:`push` says where a point of the input is in the output.
    Points are in mm along RAS+, [B, N, 3].

    Args:
        matrix: [B, 4, 4]; identity by default.
        elastic: Field d, in mm; none by default.
        space: Grid of the output; that of the input by default.
        inverse: Inverse of the matrix, if it is known; computed when needed otherwise.

    >>> move = SpatialMap(np.array([[[1, 0, 0, 5.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]))
    >>> move.pull(np.zeros((1, 1, 3)))[0, 0], move.push(np.zeros((1, 1, 3)))[0][0, 0]
    (array([5., 0., 0.]), array([-5.,  0.,  0.]))
    """

    matrix: Array | None = None
    elastic: Field | None = None
    space: Space | None = None
    inverse: Array | None = None

    def pull(self, points: Array) -> Any:
        """Return the input points that output points show, [B, N, 3]."""
        if self.elastic is not None:
            _, points, moved = common(points, self.elastic.at(points))
            points = points + moved
        if self.matrix is None:
            return points
        _, matrix, points = common(self.matrix, points)
        return apply_affine(matrix, points)

    def push(self, points: Array) -> tuple[Any, Any]:
        """Return where input points are in the output, [B, N, 3], and where that is unknown.

        Returns:
            The points, and [B, N] bool: True where the map folds, and the point is the last iterate
            of the inversion.
        """
        if self.matrix is not None:
            inverse = invert(self.matrix) if self.inverse is None else self.inverse
            _, inverse, points = common(inverse, points)
            points = apply_affine(inverse, points)
        field, exact = self.elastic, points[..., 0] != points[..., 0]
        if field is None:
            return points, exact
        _, points, moved = common(points, field.inverted().at(points))
        found = points + moved
        if field.inverse:  # the inverse is known, and was evaluated
            return found, exact
        error = found + field.at(found) - points
        return found, (error * error).sum(-1) > _FOLDED**2
