"""What transforms share that give each image another grid: orientation, spacing, field of view.

Where voxels lie in the world changes; the content stays where it is. Such a map keeps nothing but
the grid it leads to, so it takes part in spatial runs for free, and its inverse is the way back to
the grid that there was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import numpy as np

from ... import functional as F
from ...data import ImagesBatch
from ...geometry import Space, check_affine
from ...shapes import Triple, check_triple
from ..base import Context
from ..kinds import SpatialTransform, WholeVolume
from ..parameters.params import Params
from ..pipeline.maps import Interpolation, SpatialMap, SpatialTraits
from .spaces import check_size


@dataclass(frozen=True)
class GridParams(Params):
    """The grid of each image before and after, and how the world moved under it, if it did."""

    before_shape: Annotated[np.ndarray, "B M 3", int]
    before: Annotated[np.ndarray, "B M 4 4"]
    shape: Annotated[np.ndarray, "B M 3", int]
    affine: Annotated[np.ndarray, "B M 4 4"]
    # world after to world before: identity unless a header lied
    header: Annotated[np.ndarray, "B M 4 4"]
    undone: bool = False

    @classmethod
    def of(
        cls, before: Sequence[Space], after: Sequence[Space], header: np.ndarray | None = None
    ) -> GridParams:
        """From the grids of the images."""

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
        """The way back."""
        header = np.linalg.inv(self.header)
        return GridParams(
            self.shape, self.affine, self.before_shape, self.before, header, not self.undone
        )

    def match(self, column: int | None, space: Space) -> int | None:
        """Which image was on a grid before, an image's own entry first; None if there is none."""
        every = range(self.shape.shape[1])
        for m in every if column is None else (column, *every):
            known = Space(_triple(self.before_shape[0, m]), self.before[:, m])
            if known.is_same(space):
                return m
        return None

    def follow(self, column: int | None, space: Space) -> SpatialMap | None:
        """What happens to an image on a grid: what happened to one on the same grid.

        Args:
            column: The image's own entry, if it has one.
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
            return SpatialMap()  # stays where it is
        return SpatialMap(header if moved else None, space=after)


def _triple(shape: np.ndarray) -> Triple:
    i, j, k = shape.tolist()
    return int(i), int(j), int(k)


class GridTransform(SpatialTransform, WholeVolume):
    """Spatial transform that gives each image another grid. Not for use by itself.

    Of role 'volume', with voxels of their own, where the new ones are not samples of the old.
    """

    traits = SpatialTraits(parallel=True, regrids=True)
    check_shape = False  # images are regridded one by one

    def grid_for(self, space: Space, context: Context) -> Space:
        """The new grid of an image.

        Args:
            space: The old one.
            context: What is known of the samples.
        """
        raise NotImplementedError

    @property
    def looks(self) -> bool:
        """Whether the new grid follows from more than the old one."""
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
        self, params: GridParams, known: Sequence[str], name: str, space: Space
    ) -> int | None:
        own = known.index(name) if name in known else None
        found = params.match(own, space)
        if found is None and self.role == "volume":
            self._lost(space)
        return found

    def regrid(self, params: GridParams, column: int | None, space: Space) -> SpatialMap:
        move = params.follow(column, space)
        if move is None and not params.undone and not self.looks:
            context = Context((), (space,))
            move = SpatialMap(space=self.grid_for(space, context))
        return move or self._lost(space)

    def known(self, images: ImagesBatch, params: GridParams) -> ImagesBatch:
        """Images on the grid that parameters of a single image are about; others are refused."""
        alone = params.change(lambda _, value: value[:, None])
        return images if alone.follow(0, images.space) else self._lost(images.space)

    def _lost(self, space: Space) -> NoReturn:
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
    """The voxels of images on another grid."""
    matrix = images.space.to_voxel @ after.affine
    if F.is_parallel(matrix):
        return F.resample(images.data, after.shape, matrix, mode=mode, fill=fill)
    return F.warp(images.data, matrix, size=after.shape, mode=mode, fill=fill)


def after_of(params: GridParams) -> Space:
    """The new grid, of parameters of a single image."""
    return Space(_triple(params.shape[0]), params.affine)
