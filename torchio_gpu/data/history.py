"""History of the transforms that were applied to a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .image import Image
from .point_set import PointSet
from .spatial_map import SpatialMap


class History:
    """Base of subjects: the transforms that were applied, to repeat and to undo them."""

    #: Function from history records to a transform; set by ``transforms``, a layer above this one.
    _compose: Callable[..., Any]
    #: Function from a transform, a subject and arguments to a history record; set likewise.
    _record_of: Callable[..., Any]
    #: Function from history records and a name to a map; set likewise.
    _map_of: Callable[..., SpatialMap]
    #: Records of the transforms, oldest first.
    history: list[Any]
    _items: dict[str, Any]

    def get_composed_history(
        self, ignore_intensity: bool = False, image_interpolation: str | None = None
    ) -> Any:
        """Return a transform that repeats the history of this subject, with the same parameters.

        Args:
            ignore_intensity: Leave transforms of intensities out; what moves images, changes their
                grids or changes labels stays.
            image_interpolation: Interpolation of scalar images to use instead.
        """
        return self._compose(self.history, ignore_intensity, image_interpolation)

    def get_applied_transforms(
        self, ignore_intensity: bool = False, image_interpolation: str | None = None
    ) -> list[Any]:
        """Return the transforms of :meth:`get_composed_history` as a list, oldest first."""
        return list(self.get_composed_history(ignore_intensity, image_interpolation))

    @property
    def applied_transforms(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and parameters of each transform of the history, oldest first."""
        return [(record.name, record.params.to_dict()) for record in self.history]

    def add_transform(
        self, transform: Any, parameters_dict: Mapping[str, Any] | None = None
    ) -> None:
        """Add a transform to the history, as if it had been applied; the images stay as they are.

        Args:
            transform: Transform that draws no numbers, such as an :class:`Affine`.
            parameters_dict: Arguments to construct its class with; by default those of its own.
        """
        self.history.append(self._record_of(transform, self, parameters_dict))

    def get_inverse_transform(
        self,
        warn: bool = True,
        ignore_intensity: bool = False,
        image_interpolation: str | None = None,
    ) -> Any:
        """Return a transform that undoes the history of this subject, last step first.

        Args:
            warn: Warn of steps that cannot be undone; they are skipped.
            ignore_intensity, image_interpolation: See :meth:`get_composed_history`.
        """
        composed = self.get_composed_history(ignore_intensity, image_interpolation)
        return composed.inverse(warn=warn)

    def apply_inverse_transform(self, **kwargs: Any) -> Any:
        """Return this subject with its history undone, and an empty history.

        A prediction that was added under a name of its own goes back with the images; one that
        replaced an image is taken for that image, and loses what intensity transforms did to it.
        All of the history is undone, preprocessing included, unless it was cleared before.
        :func:`torchio_gpu.predict`, :func:`torchio_gpu.test_time_augmentation` and
        :func:`torchio_gpu.to_original_space` need no such care.

        Arguments as for :meth:`get_inverse_transform`.
        """
        result: Any = self.get_inverse_transform(**kwargs)(self)
        result.clear_history()
        return result

    def applied_map(self, name: str) -> SpatialMap:
        """Return the map of the world that the history of this subject applied to a value.

        It maps output points, of this subject, to input points, of the subject before its history:
        by its ``as_sitk()``, SimpleITK resamples the image before to the image after. Corrections
        of affines, such as those of :class:`CopyAffine`, are part of the maps of the images that
        they correct and of the points on their grids. Grids are not: crops and spacings leave
        content where it is.

        Args:
            name: Name of an image, of points or of boxes.

        Raises:
            KeyError: There is no value of that name.
            TypeError: The value is nothing that transforms move.

        >>> subject = Subject(t1=ScalarImage(torch.rand(1, 8, 8, 8)))
        >>> moved = Affine(scales=1, degrees=0, translation=(5, 0, 0))(subject)
        >>> moved.applied_map("t1").affine[:3, 3].tolist()
        [-5.0, 0.0, 0.0]
        """
        if name not in self._items:
            raise KeyError(f"subject has no {name!r}; it has {list(self._items)}")
        check_moves(name, [self._items[name]])
        return self._map_of(self.history, name)

    def clear_history(self) -> None:
        """Clear the history."""
        self.history = []


def check_moves(name: str, values: Sequence[Any]) -> None:
    """Raise unless a value is an image, points or boxes in a sample, which transforms move.

    Args:
        name: Name of the value.
        values: The value of each sample; None for a sample that lacks it.
    """
    other = [value for value in values if not isinstance(value, (Image, PointSet))]
    if len(other) == len(values) and any(value is not None for value in other):
        kind = type(next(value for value in other if value is not None)).__name__
        raise TypeError(f"name must be that of an image, points or boxes, {name!r} is {kind}")


__all__ = ["History", "check_moves"]
