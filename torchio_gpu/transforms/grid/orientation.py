"""Orientation: the order and direction of voxel axes."""

from __future__ import annotations

from typing import Any

from ... import geometry
from ...geometry import CODES, Space
from ..base import Context
from ..pipeline.maps import SpatialTraits
from .base import GridTransform


class ToOrientation(GridTransform):
    """Reorder voxels so that I, J and K grow in given directions: an exact permutation.

    What lies where in the world is kept, and so is every value.

    Args:
        orientation: Three letters, one of L and R, one of P and A, one of I and S, in the order of
            the voxel axes: 'RAS' for right, anterior, superior.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The letters are not as above; or samples of a batch come out in several shapes.

    >>> image = ScalarImage(torch.rand(1, 4, 5, 6))
    >>> out = ToOrientation("SPL")(image)
    >>> out.orientation_str, out.spatial_shape
    ('SPL', (6, 5, 4))
    """

    traits = SpatialTraits(parallel=True, regrids=True, permutes=True)
    needs_context = False

    def __init__(self, orientation: str = "RAS", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        letters = orientation.upper() if isinstance(orientation, str) else ""
        once = all(sum(letter in pair for letter in letters) == 1 for pair in CODES)
        if len(letters) != 3 or not once:
            raise ValueError(
                "orientation must be three letters, one of L and R, one of P and A, one of I and "
                f"S, got {orientation!r}"
            )
        self.orientation = letters

    def grid_for(self, space: Space, context: Context) -> Space:
        return geometry.reoriented(space, self.orientation)


class ToCanonical(ToOrientation):
    """Reorder voxels so that they grow to the right, anterior and superior: RAS+.

    An exact permutation, of all images by their own affines; see :class:`ToOrientation`.

    Args:
        kwargs: See :class:`Transform`.

    >>> left = ScalarImage(torch.rand(1, 4, 5, 6), affine=np.diag([-1.0, 1, 1, 1]))
    >>> ToCanonical()(left).orientation_str
    'RAS'
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("RAS", **kwargs)


class Transpose(GridTransform):
    """Let I and K change places: an exact permutation.

    What lies where in the world is kept. Unlike in TorchIO 1.x, oblique images are reordered the
    same way.

    Args:
        kwargs: See :class:`Transform`.

    >>> Transpose()(torch.rand(1, 4, 5, 6)).shape
    torch.Size([1, 6, 5, 4])
    """

    traits = SpatialTraits(parallel=True, regrids=True, permutes=True)
    needs_context = False

    def grid_for(self, space: Space, context: Context) -> Space:
        i, j, k = space.shape
        return Space((k, j, i), space.affine[..., [2, 1, 0, 3]])

    def inverse(self) -> Transpose:
        return Transpose(**self._common())


__all__ = ["ToCanonical", "ToOrientation", "Transpose"]
