"""Subject: named images and metadata."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..geometry import check_same_space
from ..random import Streams
from ..shapes import Triple
from .boxes import BoundingBoxes
from .image import INTENSITY, Image
from .pickling import Transferable
from .point_set import PointSet
from .points import Points
from .spatial_map import SpatialMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Attributes of a subject instance; all others are items.
_OWN = frozenset(("history", "streams"))


class Subject(Transferable):
    """Images of one person, animal or object, with any other values by name.

    Args:
        mapping: Names and values, as an alternative to keywords.
        items: Images become images of the subject; all else is metadata, :class:`Points` and
            :class:`BoundingBoxes` included. A value may be ``None``, for example a modality that
            was not acquired.

    Raises:
        ValueError: No value is an image, or a name is that of an attribute of a subject or of a
            batch of subjects, such as ``shape`` or ``device``.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 4, 4, 4)), age=45, t2=None)
    >>> list(subject), subject.age, subject["t1"].shape
    (['t1'], 45, (1, 4, 4, 4))
    """

    #: Function from history records to a transform; set by ``transforms``, a layer above this one.
    _compose: Callable[..., Any]
    #: Function from history records and a name to a map; set likewise.
    _map_of: Callable[..., SpatialMap]
    #: Names that no item may have, since they are attributes of a subject or of a batch.
    _reserved: frozenset[str]
    _items: dict[str, Any]

    def __init__(self, mapping: Mapping[str, object] | None = None, /, **items: Any) -> None:
        self.__dict__["_items"] = {**(mapping or {}), **items}
        check_names(self._items, type(self))
        #: Records of the transforms that were applied to this subject, oldest first.
        self.history: list[Any] = []
        #: Seeds that a loader assigned to this sample, or None.
        self.streams: Streams | None = None
        if not self.get_images_dict(intensity_only=False):
            raise ValueError(
                f"Subject must have at least one image, got {sorted(self._items) or 'nothing'}"
            )

    # Images by name

    def get_images_dict(
        self,
        intensity_only: bool = True,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> dict[str, Image]:
        """Return images by name, in order; as in TorchIO 1, without label maps by default.

        Args:
            intensity_only: Leave label maps out.
            include, exclude: Names to keep, names to leave out.
        """
        return {
            name: image
            for name, image in self._items.items()
            if isinstance(image, Image)
            and not (intensity_only and image.kind != INTENSITY)
            and (include is None or name in include)
            and (exclude is None or name not in exclude)
        }

    def get_images(self, intensity_only: bool = True, **kwargs: Any) -> list[Image]:
        """Return images in the order given; arguments as for :meth:`get_images_dict`."""
        return list(self.get_images_dict(intensity_only, **kwargs).values())

    def get_images_names(self) -> list[str]:
        """Return the names of all images, label maps included."""
        return list(self)

    def get_first_image(self) -> Image:
        """Return the first image, even if it is a label map."""
        return self.get_images(intensity_only=False)[0]

    def add_image(self, image: Image, name: str) -> None:
        """Add or replace an image."""
        if not isinstance(image, Image):
            raise TypeError(f"image must be an Image, got {type(image).__name__}")
        self[name] = image

    def remove_image(self, name: str) -> None:
        """Remove an image."""
        if not isinstance(self._items.get(name), Image):
            raise KeyError(f"subject has no image {name!r}; it has {list(self)}")
        del self._items[name]

    # Points and boxes by name

    def get_points(self) -> dict[str, Points]:
        """Return the values that are points, by name, in order."""
        return {n: v for n, v in self._items.items() if isinstance(v, Points)}

    def get_bounding_boxes(self) -> dict[str, BoundingBoxes]:
        """Return the values that are bounding boxes, by name, in order."""
        return {n: v for n, v in self._items.items() if isinstance(v, BoundingBoxes)}

    # Values by name

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata: all values that are not images, by name."""
        return {n: v for n, v in self._items.items() if not isinstance(v, Image)}

    def keys(self) -> list[str]:
        """Return the names of all values."""
        return list(self._items)

    def values(self) -> list[Any]:
        """Return all values."""
        return list(self._items.values())

    def items(self) -> list[tuple[str, Any]]:
        """Return all names with their values."""
        return list(self._items.items())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        return self._items.get(name, default)

    def __getitem__(self, name: str) -> Any:
        if name not in self._items:
            raise KeyError(f"subject has no {name!r}; it has {list(self._items)}")
        return self._items[name]

    def __setitem__(self, name: str, value: Any) -> None:
        check_names((name,), type(self))
        self._items[name] = value

    def __delitem__(self, name: str) -> None:
        del self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self.get_images_dict(intensity_only=False))

    def __len__(self) -> int:
        return len(self.get_images_dict(intensity_only=False))

    def __getattr__(self, name: str) -> Any:
        # only called for names that are no attribute of the class or the instance
        items = self.__dict__.get("_items", {})
        if name in items:
            return items[name]
        raise AttributeError(f"subject has no attribute or value {name!r}; it has {list(items)}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = hasattr(type(self), name) and not hasattr(Subject, name)  # of a subclass of the user
        if name in _OWN or own:
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    # Geometry

    def check_consistent_space(self) -> None:
        """Raise unless all images have the same shape and corners."""
        images = self.get_images_dict(intensity_only=False)
        check_same_space({name: image.space for name, image in images.items()})

    def _shared(self, attribute: str) -> Any:
        values = {name: getattr(self[name], attribute) for name in self}
        if len(set(values.values())) > 1:
            raise ValueError(f"images must share {attribute}, got {values}")
        return next(iter(values.values()))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (C, I, J, K), which all images must share."""
        shape: tuple[int, int, int, int] = self._shared("shape")
        return shape

    @property
    def spatial_shape(self) -> Triple:
        """Spatial shape (I, J, K), which all images must share."""
        shape: Triple = self._shared("spatial_shape")
        return shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing in mm, which all images must share."""
        spacing: tuple[float, float, float] = self._shared("spacing")
        return spacing

    # Voxels

    def load(self) -> None:
        """Read the voxels of all images that have not been read."""
        for image in self.get_images(intensity_only=False):
            image.load()

    def to(self, *args: Any, **kwargs: Any) -> Subject:
        """Return a copy with images on another device or of another dtype, as ``Tensor.to``.

        Points and boxes go along; see :meth:`Points.to` for their dtype.
        """
        new = copy.copy(self)
        for name, value in self._items.items():
            if isinstance(value, (Image, PointSet)):
                new._items[name] = value.to(*args, **kwargs)
        return new

    def __copy__(self) -> Subject:
        """Copy the subject, its images, points and boxes; voxels and coordinates are shared."""
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        copied = (Image, PointSet)
        items = {n: copy.copy(v) if isinstance(v, copied) else v for n, v in self._items.items()}
        new.__dict__["_items"] = items
        new.__dict__["history"] = list(self.history)
        return new

    # History

    def get_composed_history(self, **kwargs: Any) -> Any:
        """Return a transform that repeats the history of this subject, with the same parameters.

        Args:
            ignore_intensity: Leave intensity transforms out.
            image_interpolation: Interpolation of scalar images to use instead.
        """
        return self._compose(self.history, **kwargs)

    def get_inverse_transform(self, warn: bool = True, **kwargs: Any) -> Any:
        """Return a transform that undoes the history of this subject, last step first.

        Args:
            warn: Warn of steps that cannot be undone; they are skipped.
            ignore_intensity, image_interpolation: See :meth:`get_composed_history`.
        """
        return self._compose(self.history, **kwargs).inverse(warn=warn)

    def apply_inverse_transform(self, **kwargs: Any) -> Subject:
        """Return this subject with its history undone, and an empty history.

        Arguments as for :meth:`get_inverse_transform`.
        """
        result: Subject = self.get_inverse_transform(**kwargs)(self)
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

    def plot(self, **kwargs: Any) -> Figure:
        """Draw the middle planes of all images; see :func:`torchio_gpu.plot.plot_subject`."""
        from ..plot import plot_subject

        return plot_subject(self, **kwargs)

    def _repr_html_(self) -> str:
        """Return HTML with the planes, for notebooks; text if matplotlib is not installed."""
        from ..plot import html_of

        return html_of(self, self.plot)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._items.items())
        return f"{self.__class__.__name__}({values})"


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


def check_names(names: Iterable[Any], owner: type = Subject) -> None:
    """Raise unless names are strings, and are no attributes of a subject or batch.

    Args:
        names: Names of values.
        owner: Class of the subject.
    """
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"names of a Subject must be strings, got {name!r}")
    reserved = sorted(n for n in names if n in Subject._reserved or hasattr(owner, n))
    if reserved:
        raise ValueError(
            f"names of a Subject must not be {reserved}, which it, or a batch, uses itself"
        )


Subject._reserved = frozenset(dir(Subject)) | _OWN | {"_items"}
