"""Subject: named images and metadata."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry import check_same_space
from ..random import Streams
from ..shapes import Triple
from .boxes import BoundingBoxes
from .facts import table_of_values
from .history import History
from .image import Image
from .keys import INTENSITY, LABEL
from .pickling import Transferable
from .point_set import PointSet, follow_grid
from .points import Points
from .values import NamedValues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Attributes of a subject instance; all others are items.
_OWN = frozenset(("history", "streams"))


class Subject(NamedValues, History, Transferable):
    """Images of one person, animal or object, with any other values by name.

    A mutable mapping of all values, whose length is the number of images, as in TorchIO 1. Slices
    crop all images: ``subject[2:5, :, 4:]``.

    Args:
        mapping: Names and values, as an alternative to keywords.
        items: Images become images of the subject; all else is metadata, :class:`Points` and
            :class:`BoundingBoxes` included. A value may be ``None``, for example a modality that
            was not acquired.

    Raises:
        ValueError: No value is an image, or a name is that of an attribute of a subject or of a
            batch of subjects, such as ``shape`` or ``device``.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 4, 4, 4)), age=45, t2=None)
    >>> list(subject), len(subject), subject.age, subject["t1"].shape
    (['t1', 'age', 't2'], 1, 45, (1, 4, 4, 4))
    >>> subject[:2, 1].t1.shape
    (1, 2, 1, 4)
    """

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

    def get_images(
        self,
        intensity_only: bool = True,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> list[Image]:
        """Return images in the order given; arguments as for :meth:`get_images_dict`."""
        return list(self.get_images_dict(intensity_only, include, exclude).values())

    def get_images_names(self) -> list[str]:
        """Return the names of all images, label maps included."""
        return list(self.get_images_dict(intensity_only=False))

    def get_first_image(self) -> Image:
        """Return the first image, even if it is a label map."""
        return self.get_images(intensity_only=False)[0]

    def get_image(self, image_name: str) -> Image:
        """Return an image by its name."""
        image = self._items.get(image_name)
        if not isinstance(image, Image):
            names = self.get_images_names()
            raise KeyError(f"subject has no image {image_name!r}; its images are {names}")
        return image

    def get_scalar_image(self, image_name: str) -> Image:
        """Return an image by its name; raise a TypeError if it is a label map."""
        return self._of_kind(image_name, INTENSITY, "a scalar image")

    def get_label_map(self, image_name: str) -> Image:
        """Return an image by its name; raise a TypeError unless it is a label map."""
        return self._of_kind(image_name, LABEL, "a label map")

    def _of_kind(self, name: str, kind: str, wish: str) -> Image:
        image = self.get_image(name)
        if image.kind != kind:
            raise TypeError(f"image {name!r} must be {wish}, got {type(image).__name__}")
        return image

    def add_image(self, image: Image, image_name: str) -> None:
        """Add or replace an image."""
        if not isinstance(image, Image):
            raise TypeError(f"image must be an Image, got {type(image).__name__}")
        self[image_name] = image

    def remove_image(self, image_name: str) -> None:
        """Remove an image."""
        self.get_image(image_name)
        del self._items[image_name]

    def update_attributes(self) -> None:
        """Do nothing: values are attributes as soon as they are set, unlike in TorchIO 1."""

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

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, (slice, int, tuple, type(Ellipsis))):
            return self._crop(name)
        if name not in self._items:
            raise self._absent(name)
        return self._items[name]

    def _check(self, names: Iterable[Any]) -> None:
        check_names(names, type(self))

    def __next__(self) -> Any:
        raise TypeError(
            "a Subject is no iterator: sampler(subject) returns one patch, and "
            "sampler(subject, n) iterates over n patches"
        )

    def __len__(self) -> int:
        return len(self.get_images_dict(intensity_only=False))

    def _crop(self, item: Any) -> Subject:
        """Return a subject whose images are the part within spatial slices, on one grid."""
        self.check_consistent_attribute("spatial_shape")
        new = copy.copy(self)
        for name, image in self.get_images_dict(intensity_only=False).items():
            cropped = new._items[name] = image[item]
            for other, value in new._items.items():
                new._items[other] = follow_grid(value, image.affine, cropped.affine)
        return new

    def __setattr__(self, name: str, value: Any) -> None:
        own = hasattr(type(self), name) and not hasattr(Subject, name)  # of a subclass of the user
        early = "_items" not in self.__dict__  # before such a subclass calls this constructor
        if name in _OWN or own or early:
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    # Geometry

    def check_consistent_attribute(
        self,
        attribute: str,
        relative_tolerance: float = 1e-6,
        absolute_tolerance: float = 1e-6,
        message: str | None = None,
    ) -> None:
        """Raise a ValueError unless all images have the same value of an attribute.

        Args:
            attribute: Name of the attribute, such as 'spacing'.
            relative_tolerance, absolute_tolerance: Of numbers, as in ``numpy.allclose``.
            message: Text of the error instead, in which ``{}`` stands for the values.
        """
        images = self.get_images_dict(intensity_only=False)
        values = {name: getattr(image, attribute) for name, image in images.items()}
        first = next(iter(values.values()), None)
        tolerances = relative_tolerance, absolute_tolerance
        if not all(_close(value, first, *tolerances) for value in values.values()):
            text = f"images must share {attribute}, got {{}}" if message is None else message
            raise ValueError(text.replace("{}", str(values)))

    def check_consistent_spatial_shape(self) -> None:
        """Raise a ValueError unless all images have the same spatial shape."""
        self.check_consistent_attribute("spatial_shape")

    def check_consistent_orientation(self) -> None:
        """Raise a ValueError unless all images have the same orientation."""
        self.check_consistent_attribute("orientation")

    def check_consistent_affine(self) -> None:
        """Raise a ValueError unless all images have the same affine."""
        self.check_consistent_attribute("affine")

    def check_consistent_space(self) -> None:
        """Raise a ValueError unless all images have the same shape and corners."""
        images = self.get_images_dict(intensity_only=False)
        check_same_space({name: image.space for name, image in images.items()})

    def is_2d(self) -> bool:
        """Return True if all images have a single slice along K."""
        return all(image.is_2d() for image in self.get_images(intensity_only=False))

    def _shared(self, attribute: str) -> Any:
        self.check_consistent_attribute(attribute)
        return getattr(self.get_first_image(), attribute)

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

    def unload(self) -> None:
        """Remove the voxels of all images from memory; see :meth:`Image.unload`."""
        for image in self.get_images(intensity_only=False):
            image.unload()

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

    def plot(self, return_fig: bool = True, **kwargs: Any) -> Figure:
        """Draw the middle planes of all images, and return the figure.

        Args:
            return_fig: Accepted as in TorchIO 1; the figure is always returned.
            kwargs: As for :func:`torchio_gpu.plot.plot_subject`.
        """
        from ..plot import plot_subject

        return plot_subject(self, **kwargs)

    def plot_difference(self, after: Subject, **kwargs: Any) -> Figure:
        """Draw an image of this subject, that of another one, and the other minus this one.

        Arguments as for :func:`torchio_gpu.plot.plot_difference`.
        """
        from ..plot import plot_difference

        return plot_difference(self, after, **kwargs)

    def _repr_html_(self) -> str:
        """Return HTML with the planes and a table of all values and the history, for notebooks.

        As in TorchIO, a subject that is the value of a cell is read for its picture. Without
        matplotlib there is the table alone, from the headers.
        """
        from ..plot import html_of

        applied = " -> ".join(record.name for record in self.history)
        caption = f"history: {applied}" if applied else ""
        return html_of(self, self.plot, lambda: table_of_values(self._items, caption))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._items.items())
        return f"{self.__class__.__name__}({values})"


def _close(value: Any, other: Any, relative: float, absolute: float) -> bool:
    try:
        return bool(np.allclose(value, other, rtol=relative, atol=absolute))
    except (TypeError, ValueError):  # no numbers, or of another shape
        return bool(np.array_equal(value, other))


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
