"""Base of transforms that give each image another grid: orientation, spacing, field of view.

The places of voxels in the world change, the content stays where it is. Such a map consists of the
new grid alone, so it shares the sampling of its neighbours, and its inverse is the former grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NoReturn

import numpy as np

from ... import functional as F
from ...data import ImagesBatch, SpatialMap
from ...geometry import Space, check_affine
from ...geometry.space import WHOLE
from ...shapes import Triple, check_triple
from ..base import Context
from ..kinds import SpatialTransform, WholeVolume
from ..parameters.params import Params
from ..pipeline.maps import Interpolation, SpatialTraits
from .spaces import check_size


@dataclass(frozen=True)
class GridParams(Params):
    """Grids of each image before and after, and the correction of its affine, if there is one."""

    before_shape: Annotated[np.ndarray, "B M 3", int]
    before: Annotated[np.ndarray, "B M 4 4"]
    shape: Annotated[np.ndarray, "B M 3", int]
    affine: Annotated[np.ndarray, "B M 4 4"]
    # world after to world before: identity unless an affine is corrected
    header: Annotated[np.ndarray, "B M 4 4"]
    undone: bool = False

    @classmethod
    def of(
        cls, before: Sequence[Space], after: Sequence[Space], header: np.ndarray | None = None
    ) -> GridParams:
        """Create parameters from the grids of the images before and after."""

        def columns(spaces: Sequence[Space]) -> tuple[np.ndarray, np.ndarray]:
            affines = np.stack([space.affine for space in spaces], 1)
            shapes = np.array([space.shape for space in spaces])
            return shapes[None].repeat(len(affines), 0), affines

        identity = np.broadcast_to(np.eye(4), (len(before[0].affine), len(before), 4, 4)).copy()
        return cls(*columns(before), *columns(after), identity if header is None else header)

    def check(self) -> None:
        pairs = {"before_shape": self.before, "shape": self.affine}
        for name, affines in pairs.items():
            for shape in getattr(self, name).reshape(-1, 3):
                check_triple(shape, name)
                check_size(Space(_triple(shape), affines), name, shape.tolist())
        for name in ("before", "affine", "header"):
            for matrix in getattr(self, name).reshape(-1, 4, 4):
                check_affine(matrix, name)

    def gate(self, active: np.ndarray) -> GridParams:
        change = active.any() and not active.all() and (self.shape != self.before_shape).any()
        if change:
            raise ValueError(
                "a transform must keep the shape of images when it leaves samples of a batch out: "
                f"{self.before_shape[0, 0].tolist()} became {self.shape[0, 0].tolist()}"
            )
        mask = active[:, None, None, None]
        return GridParams(
            self.before_shape,
            self.before,
            self.shape if active.any() else self.before_shape,
            np.where(mask, self.affine, self.before),
            np.where(mask, self.header, np.eye(4)),
            self.undone,
        )

    def swap(self) -> GridParams:
        """Return the parameters of the inverse."""
        header = np.linalg.inv(self.header)
        return GridParams(
            self.shape, self.affine, self.before_shape, self.before, header, not self.undone
        )

    def cut_first(self) -> tuple[GridParams, GridParams] | None:
        """Return the same change in two steps: cut voxels off, then add the others.

        Only what is left by the first should be interpolated, as by the inverse of a pad: what it
        added would otherwise be mixed with the outermost voxels.

        Returns:
            None if grids differ by more than whole voxels, or nothing is cut off.
        """
        steps = np.linalg.inv(self.before) @ self.affine  # voxels after to voxels before
        first, size = np.rint(steps[..., :3, 3]), self.shape
        steps[..., :3, 3] -= first
        if not np.allclose(steps, np.eye(4), atol=WHOLE) or (self.header != np.eye(4)).any():
            return None
        low, high = first.clip(0), np.minimum(first + size, self.before_shape)
        kept = (high - low).astype(self.shape.dtype)
        if kept.min() < 1 or (kept == self.before_shape).all() or np.ptp(kept, axis=0).any():
            return None
        common = self.before.copy()
        common[..., :3, 3] += (self.before[..., :3, :3] @ low[..., None])[..., 0]
        return (
            replace(self, shape=kept, affine=common),
            replace(self, before_shape=kept, before=common),
        )

    def match(self, column: int | None, space: Space) -> int | None:
        """Return the number of an image that was on a grid before; None if there is none.

        Args:
            column: Number of the image itself, if it has an entry, which is tried first.
            space: The grid.
        """
        every = range(self.shape.shape[1])
        for m in every if column is None else (column, *every):
            before = Space(_triple(self.before_shape[0, m]), self.before[:, m])
            if before.is_same(space):
                return m
        return None

    def follow(self, column: int | None, space: Space) -> SpatialMap | None:
        """Return the map of an image on a grid: that of a recorded image on the same grid.

        Args:
            column: Number of the image itself, if it has an entry.
            space: Its grid.

        Returns:
            None if no image was on that grid.
        """
        m = self.match(column, space)
        if m is None:
            return None
        header = self.header[:, m]
        moved = bool((header != np.eye(4)).any())
        after = Space(_triple(self.shape[0, m]), self.affine[:, m])
        same = after.shape == space.shape and np.array_equal(after.affine, space.affine)
        if same and not moved:
            return SpatialMap()  # the grid is unchanged
        return SpatialMap(header if moved else None, space=after)


def _triple(shape: np.ndarray) -> Triple:
    i, j, k = shape.tolist()
    return int(i), int(j), int(k)


class GridTransform(SpatialTransform, WholeVolume):
    """Spatial transform that gives each image another grid. Not for use by itself.

    A subclass of role 'volume' computes new voxels in :meth:`voxels`, instead of sampling the old.
    """

    traits = SpatialTraits(parallel=True, regrids=True)
    check_shape = False  # images are regridded one by one

    def grid_for(self, space: Space, context: Context) -> Space:
        """Return the new grid of an image.

        Args:
            space: The old grid.
            context: Images of the samples.
        """
        raise NotImplementedError

    @property
    def needs_context(self) -> bool:
        """True if the new grid depends on more than the old one."""
        return True

    @property
    def computes(self) -> bool:
        return False

    def interpolation(self) -> Interpolation | None:
        return None

    def draw(self, context: Context, u: np.ndarray) -> GridParams:
        after = [self.grid_for(space, context) for space in context.spaces]
        return GridParams.of(context.spaces, after)

    def column(
        self, params: GridParams, recorded: Sequence[str], name: str, space: Space
    ) -> int | None:
        own = recorded.index(name) if name in recorded else None
        found = params.match(own, space)
        if found is None and self.role == "volume":
            self._refuse_grid(space)
        return found

    def regrid(self, params: GridParams, column: int | None, space: Space) -> SpatialMap:
        found = params.follow(column, space)
        if found is None and not params.undone and not self.needs_context:
            context = Context((), (space,))
            found = SpatialMap(space=self.grid_for(space, context))
        return found or self._refuse_grid(space)

    def on_recorded_grid(self, images: ImagesBatch, params: GridParams) -> ImagesBatch:
        """Return the images if they are on the grid of the parameters of an image, else raise."""
        single = params.change(lambda _, value: value[:, None])
        return images if single.follow(0, images.space) else self._refuse_grid(images.space)

    def _refuse_grid(self, space: Space) -> NoReturn:
        raise ValueError(
            f"{self.name} was applied to images on other grids: an image of shape {space.shape} "
            "can only follow one that was on the same grid"
        )

    def affine_of(
        self, images: Mapping[str, ImagesBatch], name: str, params: GridParams
    ) -> np.ndarray:
        return params.affine

    def invert(self, params: GridParams) -> GridParams:
        return params.swap()


def sample_on(images: ImagesBatch, after: Space, mode: str, fill: float) -> Any:
    """Sample the voxels of images on another grid."""
    matrix = images.space.to_voxel @ after.affine
    if F.is_parallel(matrix):
        return F.resample(images.data, after.shape, matrix, mode=mode, fill=fill)
    return F.warp(images.data, matrix, size=after.shape, mode=mode, fill=fill)


def new_grid(params: GridParams) -> Space:
    """Return the new grid, from the parameters of a single image."""
    return Space(_triple(params.shape[0]), params.affine)
