"""Resampling to another spacing, another shape, or the grid of another image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import functional as F
from ... import geometry
from ...arrays import Numbers, as_array, host
from ...data import ImagesBatch, ScalarImage
from ...data.keys import INTENSITY, KINDS, LABEL
from ...functional.maps import WINDOWED
from ...geometry import Space
from ...shapes import LONGEST, Volume, brief, rectangular
from ..base import Context
from ..parameters.types import GridLike
from ..pipeline.maps import Interpolation, SpatialTraits
from ..spatial.affine import IMAGE_MODES, Resampling
from .base import GridParams, GridTransform, new_grid, sample_on
from .spaces import check_size, given_space

#: Full width at half maximum of a Gaussian of standard deviation 1.
_FWHM = 2 * math.sqrt(2 * math.log(2))


class _Resampled(GridTransform, Resampling):
    """Base of transforms that interpolate images on a new grid."""

    _image_modes = (*IMAGE_MODES, *WINDOWED)

    def _set_modes(self, image_interpolation: str, label_interpolation: str) -> None:
        self._set_interpolation(image_interpolation, label_interpolation, 0, 0)

    def interpolation(self) -> Interpolation:
        return Interpolation(self.image_interpolation, self.label_interpolation, None, None)


class Resample(_Resampled):
    """Bring images to another spacing, or onto the grid of another image.

    By spacing, the centre stays in place, and the new grid holds as many voxels as fit into the
    field of view: ``floor(n old / new)``, as in TorchIO 1.x, so that 5 voxels of 1 mm become 2 of
    2 mm. What lies where in the world is kept.

    Args:
        target: Spacing in mm, one number or three; an :class:`Image`, or the path of one; the name
            of an image of the subject; or a pair (spatial shape, affine), or MetaTensor.
        image_interpolation: As for :class:`Affine`; where the axes of image and target are
            parallel, also 'lanczos', 'hamming', 'cosine', 'welch', 'blackman' or 'gaussian', for
            which see :func:`torchio_gpu.functional.resample`.
        label_interpolation: See :class:`Affine`.
        pre_affine_name: Name of a (4, 4) matrix in the metadata of images, such as the result of a
            registration, that moves them in the world beforehand. Those that lack it are not
            moved.
        scalars_only: Leave label maps alone.
        antialias: Smooth scalar images beforehand along axes that lose resolution, by the Gaussian
            of Cardoso et al. 2015 (doi:10.1007/978-3-319-24571-3_81).
        kwargs: See :class:`Transform`.

    On the grid of another image, what lies outside the field of view is 0.

    Raises:
        ValueError: The target is not as above, a spacing is not positive, no image has the
            matrix named, the axes are not parallel where the interpolation needs it; or samples of
            a batch come out in several shapes.

    >>> image = ScalarImage(torch.rand(1, 8, 8, 8))
    >>> out = Resample((2, 2, 1))(image)
    >>> out.spatial_shape, out.spacing
    ((4, 4, 8), (2.0, 2.0, 1.0))
    """

    def __init__(
        self,
        target: Numbers | GridLike | str | Path = 1,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        pre_affine_name: str | None = None,
        scalars_only: bool = False,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_modes(image_interpolation, label_interpolation)
        self.target, self.pre_affine_name = target, pre_affine_name
        self.scalars_only, self.antialias = scalars_only, antialias
        self._spacing: np.ndarray | None = None
        if isinstance(target, Path) and not target.exists():
            raise ValueError(f"target must be the path of an image, {target} does not exist")
        self._space = given_space(target, "target")
        if self._space is not None:  # of an image the grid is needed: histories hold no volumes
            self.target = (self._space.shape, self._space.affine[0])
        elif not isinstance(target, (str, Path)):
            self._spacing = _check_spacing(target)

    @property
    def role(self) -> str:  # type: ignore[override]
        """'volume' with ``antialias``, which needs the voxels around each."""
        return "volume" if self.antialias else "spatial"

    @property
    def traits(self) -> SpatialTraits:  # type: ignore[override]
        # by spacing, voxel axes stay parallel; another image may have another field of view
        same = self._keeps_axes
        return SpatialTraits(parallel=same, regrids=True, pads=not same, cuts=not same)

    @property
    def _keeps_axes(self) -> bool:
        return self._spacing is not None and self.pre_affine_name is None

    @property
    def needs_context(self) -> bool:
        return not self._keeps_axes

    @property
    def kinds(self) -> tuple[str, ...]:
        return (INTENSITY,) if self.scalars_only else KINDS

    @property
    def computes(self) -> bool:
        return True

    def interpolation(self) -> Interpolation:
        fill = None if self._keeps_axes else 0
        return Interpolation(self.image_interpolation, self.label_interpolation, fill, fill)

    def arguments(self) -> dict[str, Any]:
        found = super().arguments()
        if isinstance(self.target, Path):
            found["target"] = str(self.target)
        return found

    def draw(self, context: Context, u: np.ndarray) -> GridParams:
        params = self._grids(context, u)
        if self.image_interpolation in WINDOWED and not self._keeps_axes:
            self._check_axes(context, params)
        return params

    def _check_axes(self, context: Context, params: GridParams) -> None:
        """Raise if scalar images are to be rotated, which windowed interpolation cannot do."""
        for m, (name, space) in enumerate(zip(context.names, context.spaces, strict=True)):
            matrix = space.to_voxel @ params.header[:, m] @ params.affine[:, m]
            if context.images.kind(name) != LABEL and not F.is_parallel(matrix):
                raise ValueError(
                    "image_interpolation must be 'linear', 'nearest' or 'bspline' where the axes "
                    f"of an image and of the target are not parallel, as those of {name!r}, "
                    f"got {self.image_interpolation!r}"
                )

    def _grids(self, context: Context, u: np.ndarray) -> GridParams:
        if self.pre_affine_name is None:
            return super().draw(context, u)
        headers = [self._pre_affines(context, name) for name in context.names]
        if all(header is None for header in headers):
            raise ValueError(
                f"pre_affine_name must name metadata of an image, none has {self.pre_affine_name!r}"
            )
        batch = context.batch
        each = [np.eye(4)[None].repeat(batch, 0) if h is None else h for h in headers]
        pairs = zip(context.spaces, each, strict=True)
        moved = tuple(Space(space.shape, header @ space.affine) for space, header in pairs)
        after = [self.grid_for(space, context) for space in moved]
        return GridParams.of(context.spaces, after, np.linalg.inv(np.stack(each, 1)))

    def _pre_affines(self, context: Context, name: str) -> np.ndarray | None:
        found = context.images.metadata(name, str(self.pre_affine_name))
        if all(matrix is None for matrix in found):
            return None
        matrices = [np.eye(4) if matrix is None else matrix for matrix in found]
        return np.stack([geometry.check_affine(m, f"{self.pre_affine_name}") for m in matrices])

    def grid_for(self, space: Space, context: Context) -> Space:
        if self._spacing is not None:
            return check_size(geometry.respaced(space, self._spacing), "target", self.target)
        if isinstance(self.target, str) and self.target in context.images:
            return context.images.space(self.target)
        reference = self._space or _space_at(str(self.target), context)
        after = Space(reference.shape, reference.affine.repeat(context.batch, 0))
        return check_size(after, "target", self.target)

    def voxels(self, images: Mapping[str, ImagesBatch], name: str, params: GridParams) -> Volume:
        source, after = self.on_recorded_grid(images[name], params), new_grid(params)
        affine = np.linalg.inv(params.header) @ source.affine
        if source.kind == LABEL:
            moved = source.with_data(source.data, affine)
            return sample_on(moved, after, self.label_interpolation, 0)  # type: ignore[no-any-return]
        distance = geometry.spacing(affine)
        factor = geometry.spacing(after.affine) / distance
        std = distance * np.sqrt((factor**2 - 1).clip(0)) / _FWHM
        moved = source.with_data(F.blur(source.data, std, distance), affine)
        return sample_on(moved, after, self.image_interpolation, 0)  # type: ignore[no-any-return]


class Resize(_Resampled):
    """Bring images to another number of voxels over the same field of view.

    Voxels change their size, and most often their proportions: :class:`Resample` and
    :class:`CropOrPad` keep these. The field of view is kept exactly.

    Args:
        target_shape: Voxels along I, J, K; one number stands for three, -1 keeps an axis.
        image_interpolation, label_interpolation: See :class:`Resample`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A number is neither positive nor -1.

    >>> Resize((4, 4, -1))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 4, 4, 8])
    """

    def __init__(
        self,
        target_shape: int | Sequence[int],
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_modes(image_interpolation, label_interpolation)
        self.target_shape = target_shape
        shape = rectangular(target_shape, "target_shape")
        whole = shape.shape in ((), (3,)) and np.issubdtype(shape.dtype, np.integer)
        self._shape = np.broadcast_to(shape, (3,)).tolist() if whole else []
        if not whole or not all(0 < n <= LONGEST or n == -1 for n in self._shape):
            raise ValueError(
                f"target_shape must be numbers of voxels from 1 to {LONGEST}, or -1 to keep one, "
                f"got {target_shape!r}"
            )

    needs_context = False

    def grid_for(self, space: Space, context: Context) -> Space:
        i, j, k = (old if n == -1 else n for n, old in zip(self._shape, space.shape, strict=True))
        return check_size(geometry.resized(space, (i, j, k)), "target_shape", self.target_shape)


def _check_spacing(target: Any) -> np.ndarray:
    wish = (
        "target must be a spacing in mm, one number > 0 or three, an Image, a path, the name of an "
        f"image, or (shape, affine), got {brief(target)}"
    )
    try:
        values = np.broadcast_to(host(as_array(target, "target")), (3,))
    except (TypeError, ValueError) as error:
        raise ValueError(wish) from error
    if isinstance(target, bool) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(wish)
    return values


def _space_at(target: str | Path, context: Context) -> Space:
    """Return the grid of the image in a file, without reading its voxels."""
    if not Path(target).expanduser().exists():
        raise ValueError(
            f"target must name an image of the subject, which has {list(context.images)}, or be a "
            f"path, {str(target)!r} is neither"
        )
    return ScalarImage(target).space


__all__ = ["Resample", "Resize"]
