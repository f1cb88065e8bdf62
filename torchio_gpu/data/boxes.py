"""Bounding boxes with sides along the axes of the world or of a voxel grid."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..arrays import send
from ..shapes import AffineLike
from .axes import VOXEL_AXES, WORLD_AXES, conversion
from .point_set import LabelsLike, PointSet, RowsLike

#: Points along each axis of the lattice on a box.
_SIDE = 5
#: Lattice points on the surface of the unit cube: 98 of 5 x 5 x 5.
_SURFACE = torch.tensor(
    [p for p in product(range(_SIDE), repeat=3) if {0, _SIDE - 1} & set(p)], dtype=torch.float64
) / (_SIDE - 1)
_CORNERS = torch.tensor([*product((0.0, 1.0), repeat=3)], dtype=torch.float64)


class BoundingBoxes(PointSet):
    """Boxes with sides along the axes of the world, or of the voxels of an affine.

    Corners are edges in continuous coordinates: a box covers low <= c <= high along each axis. As
    voxel i covers [i - 0.5, i + 0.5], the box around voxels 2 to 5 is from 1.5 to 5.5, and its
    size is 4.

    A box stays a box: after a map, and along axes that are oblique to its own, it becomes the
    smallest one that holds what it covered, so that a rotated box grows. (An elastic map is asked
    at 98 points of its surface.) The spatial transforms of one pipeline are composed before that is
    done, once.

    Args:
        data: Numbers (N, 6), where N may be 0. Tensors are shared and all else is copied, as for
            :class:`Points`.
        format: Meaning of the six numbers, with axes as in :class:`Points`: lower and upper corner
            ('ijkijk', 'rasras', 'lpslps'); lower corner and size ('ijkwhd', 'raswhd'); centre and
            size, with a c in front ('cijkwhd', 'craswhd'). The lower corner has the smallest
            coordinates along these axes, and sizes follow their order. (What TorchIO 2 calls
            IJKWHD, centre and size, is 'cijkwhd'.)
        affine: Voxel to world (RAS+ mm), (4, 4); needed for voxel axes.
        labels: A name or a whole number for each box, such as its class.
        metadata: Anything else, kept and returned by ``boxes[name]`` and ``boxes.name``.

    Raises:
        TypeError: Numbers are not real.
        ValueError: They do not have shape (N, 6), are not finite, or sizes are negative; the format
            is unknown or needs an affine; labels are not one for each box; or a name of metadata
            is one that the boxes use themselves.

    >>> boxes = BoundingBoxes([[1.5, 1.5, 1.5, 5.5, 5.5, 5.5]], affine=np.diag([2, 2, 2, 1]))
    >>> boxes.to_format("raswhd").data
    tensor([[3., 3., 3., 8., 8., 8.]], dtype=torch.float64)
    """

    _columns, _rows, _per_row = 6, "boxes", len(_SURFACE)

    def __init__(
        self,
        data: RowsLike,
        *,
        format: str = "ijkijk",
        affine: AffineLike | None = None,
        labels: LabelsLike | None = None,
        **metadata: Any,
    ) -> None:
        self._format, axes = _parse(format)
        super().__init__(data, axes, affine, labels, metadata)

    def _check_data(self, data: RowsLike) -> Tensor:
        rows = super()._check_data(data)
        if rows.device.type == "meta":
            return rows
        values = rows.detach().cpu()
        sizes = values[:, 3:] if self._format.endswith("whd") else values[:, 3:] - values[:, :3]
        for wish, right in (("be finite", values.isfinite()), ("have sizes >= 0", sizes >= 0)):
            wrong = (~right).any(-1).nonzero()
            if len(wrong):
                at = int(wrong[0])
                raise ValueError(
                    f"data of BoundingBoxes must {wish} in format {self._format!r}, "
                    f"got {values[at].tolist()} for box {at}"
                )
        return rows

    @property
    def format(self) -> str:
        """Meaning of the six numbers, such as 'ijkijk'."""
        return self._format

    def _along(self) -> str:
        return f"format={self._format!r}"

    def to_format(self, format: str, affine: AffineLike | None = None) -> BoundingBoxes:
        """Return the same boxes in another format, or among other voxels.

        If the new axes are oblique to those of the boxes, these become the smallest boxes along
        the new axes that hold them.

        Args:
            format: The new format; see :class:`BoundingBoxes`.
            affine: Voxel to world of the new axes; by default that of these boxes.

        Raises:
            ValueError: The format is unknown, or one of voxels and there is no affine.
        """
        format, axes = _parse(format)
        new = self._affine if affine is None else geometry.check_affine(affine)
        matrix = conversion(self._axes, self._affine, axes, new)
        low, high = _ends(self._data, self._format)
        if not np.array_equal(matrix, np.eye(4)):
            low, high = _hull(self._convert(_lattice(low, high, _CORNERS), matrix))
        boxes = self._with(_joined(low, high, format).to(self.dtype), new)
        boxes._format, boxes._axes = format, axes
        return boxes

    def world(self) -> Tensor:
        """Return 98 points of the surface of each box, [98 N, 3] float64, RAS+ mm.

        They are those of a 5 x 5 x 5 lattice, corners included, box after box.
        """
        lattice = _lattice(*_ends(self._data, self._format), _SURFACE)
        matrix = conversion(self._axes, self._affine, "RAS", None)
        return self._convert(lattice, matrix).flatten(0, 1)

    def with_world(
        self, points: Tensor, folded: Tensor, affine: np.ndarray | None = None
    ) -> BoundingBoxes:
        """Return the smallest boxes, in the same format, that hold the moved surface points.

        Args:
            points: The points of :meth:`world` after a map, [98 N, 3], RAS+ mm.
            folded: True where a place is a guess, [98 N]; a box is folded if one of its points is.
            affine: New affine; voxel axes are then those of its voxels.

        Raises:
            ValueError: There are not 98 places and flags for each box.
        """
        points, folded = self._check_moved(points, folded)
        moved = self._convert(points, self._from_world(affine))
        data = _joined(*_hull(moved.reshape(-1, len(_SURFACE), 3)), self._format)
        return self._moved(data, folded.reshape(-1, len(_SURFACE)).any(-1), affine)


def _parse(format: object) -> tuple[str, str]:
    """Return a format in lower case, and its axes; raise if it is unknown."""
    text = format.lower() if isinstance(format, str) else ""
    axes = text.removeprefix("c")[:3].upper()
    if axes in VOXEL_AXES | WORLD_AXES:
        low = axes.lower()
        if text in (low + low, f"{low}whd", f"c{low}whd"):
            return text, axes
    raise ValueError(
        "format must be two corners such as 'ijkijk' or 'rasras', a corner and size such as "
        f"'ijkwhd', or centre and size such as 'cijkwhd', got {format!r}"
    )


def _ends(data: Tensor, format: str) -> tuple[Tensor, Tensor]:
    """Return the lower and upper corners of rows in a format, [N, 3] each."""
    first, second = data[:, :3], data[:, 3:]
    if format.startswith("c"):
        return first - second / 2, first + second / 2
    return first, first + second if format.endswith("whd") else second


def _joined(low: Tensor, high: Tensor, format: str) -> Tensor:
    """Return rows in a format from lower and upper corners, [N, 6]."""
    if format.startswith("c"):
        return torch.cat([(low + high) / 2, high - low], -1)
    return torch.cat([low, high - low if format.endswith("whd") else high], -1)


def _lattice(low: Tensor, high: Tensor, shares: Tensor) -> Tensor:
    """Return points of boxes, [N, M, 3] float64, given as shares [M, 3] of their sides."""
    low, high = (end.to(torch.float64)[:, None] for end in (low, high))
    shares = send(shares, low.device)
    return low * (1 - shares) + high * shares  # exact at both ends


def _hull(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower and upper corners of the smallest boxes around points, [N, M, 3]."""
    return points.amin(1), points.amax(1)
