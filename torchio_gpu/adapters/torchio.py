"""Images, subjects and batches of TorchIO 1 and 2, from and to those of this library.

Voxels are shared, not copied, and images that were not read stay unread where the other library
can read them by itself. The history is not carried: its records are classes of their library.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import BoundingBoxes, Image, ImagesBatch, LabelMap, Points, Subject, SubjectsBatch
from ..data.keys import AFFINE, DATA, HISTORY, LABEL, PATH, STEM, TYPE

#: Entries of an image of TorchIO 1 that are not metadata.
_OWN = (DATA, AFFINE, TYPE, PATH, STEM)


def from_torchio(x: Any) -> Any:
    """Return an image, a subject or a batch of TorchIO as that of this library.

    Args:
        x: Image or subject of TorchIO 1 or 2, ``ImagesBatch`` or ``SubjectsBatch`` of TorchIO 2, or
            the dict that a loader of TorchIO 1 gives.

    Geometry, metadata, kinds, paths, points and boxes are kept. Points and boxes that TorchIO 2
    attaches to an image become values of the subject, named ``{image}_{name}``.

    Raises:
        TypeError: ``x`` is something else.
        ValueError: A name is one that subjects or images use themselves, or a subject has no image.

    >>> import torchio
    >>> image = torchio.LabelMap(tensor=torch.ones(1, 4, 4, 4, dtype=torch.uint8))
    >>> from_torchio(image).data.data_ptr() == image.data.data_ptr()
    True
    """
    if isinstance(x, Mapping) and not _is_torchio(x, "Subject", "Image"):
        return _from_dict(x)
    if _is_torchio(x, "Subject"):
        return _from_subject(x)
    if _is_torchio(x, "Image"):
        if getattr(x, "points", None) or getattr(x, "bounding_boxes", None):
            warnings.warn(
                "points and boxes of a single image are left out: convert the subject",
                RuntimeWarning,
                stacklevel=2,
            )
        return _from_image(x)
    if _is_torchio(x, "ImagesBatch"):
        affines = np.stack([affine.numpy() for affine in x.affines])
        kind = _from_image(x[0]).kind
        return ImagesBatch(x.data, affines, kind)
    if _is_torchio(x, "SubjectsBatch"):
        images = {name: from_torchio(each) for name, each in x.images.items()}
        values = {name: list(map(_from_value, each)) for name, each in x.metadata.items()}
        return SubjectsBatch(images, values)
    raise TypeError(
        f"x must be an image, a subject or a batch of TorchIO, got {type(x).__module__}."
        f"{type(x).__name__}"
    )


def to_torchio(x: Image | Subject | ImagesBatch | SubjectsBatch) -> Any:
    """Return an image, a subject or a batch as that of the TorchIO that is installed.

    A batch becomes a ``SubjectsBatch`` for TorchIO 2, and for TorchIO 1 the dict that its loaders
    give. TorchIO 1 has no points and boxes, and gets them as they are; TorchIO 2 knows no maps of
    weights for sampling, and gets scalar images.

    Args:
        x: Image, subject or batch.

    Raises:
        ImportError: TorchIO is not installed.
        TypeError: ``x`` is something else.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 4, 4, 4)), age=45)
    >>> to_torchio(subject)["age"], from_torchio(to_torchio(subject)).age
    (45, 45)
    """
    try:
        torchio = import_module("torchio")
    except ImportError as error:
        raise ImportError("to_torchio needs TorchIO: pip install torchio") from error
    newer = hasattr(torchio, "SubjectsBatch")
    if isinstance(x, Image):
        return _to_image(x, torchio, newer)
    if isinstance(x, Subject):
        values = {name: _to_value(value, torchio, newer) for name, value in x.items()}
        return torchio.Subject(**values)
    if isinstance(x, ImagesBatch) and newer:
        cls = torchio.LabelMap if x.kind == LABEL else torchio.ScalarImage
        affines = [torchio.AffineMatrix(affine) for affine in x.affine]
        return torchio.ImagesBatch(x.data, affines, image_class=cls)
    if isinstance(x, ImagesBatch):
        return dict(x.items())
    if isinstance(x, SubjectsBatch):
        images = {name: to_torchio(each) for name, each in x.images.items()}
        if not newer:
            return {**images, **{name: x[name] for name in x.metadata}}
        columns = {
            name: [_to_value(value, torchio, newer) for value in values]
            for name, values in x.metadata.items()
        }
        return torchio.SubjectsBatch(images, metadata=columns)
    raise TypeError(f"x must be an image, a subject or a batch, got {type(x).__name__}")


def _is_torchio(x: Any, *names: str) -> bool:
    """Return True for an instance of one of the classes of TorchIO, which is not imported."""
    torchio: Any = sys.modules.get("torchio")
    classes = (getattr(torchio, name, None) for name in names)
    return any(isinstance(cls, type) and isinstance(x, cls) for cls in classes)


# ---- From TorchIO


def _from_value(value: Any) -> Any:
    """Return an image, points or boxes of TorchIO as ours, and any other value as it is."""
    if _is_torchio(value, "Image"):
        return _from_image(value)
    if not _is_torchio(value, "Points", "BoundingBoxes"):
        return value
    metadata = dict(value.metadata)
    labels = metadata.pop("labels", None)
    affine = value.affine.numpy()
    if _is_torchio(value, "Points"):
        return Points(value.data, axes=value.axes, affine=affine, labels=labels, **metadata)
    axes = value.format.axes.lower()
    centre = value.format.representation.value == "center_size"
    labels = labels if value.labels is None else value.labels
    name = f"c{axes}whd" if centre else axes + axes
    return BoundingBoxes(value.data, format=name, affine=affine, labels=labels, **metadata)


def _from_image(image: Any) -> Image:
    older: bool = isinstance(image, Mapping)
    if older:  # TorchIO 1
        kind, path, loaded = image.type, image.path, image.get(DATA) is not None
        metadata = {name: value for name, value in image.items() if name not in _OWN}
        reader, checks = _own_reader(image.reader), image.check_nans
        lazy = not loaded and path is not None
    else:
        kind = LABEL if _is_torchio(image, "LabelMap") else Image.kind
        path, metadata, reader, checks = image.path, dict(image.metadata), None, False
        own = _own_reader(getattr(image, "_reader", None)) or getattr(image, "_channels_last", 0)
        zarr = path is not None and path.suffix == ".zarr"
        lazy = not image.is_loaded and path is not None and not own and not zarr
    if lazy:
        given: Any = {"path": path, "reader": reader, "verify_path": False}
        if getattr(image, "_affine", None) is not None:  # of TorchIO 2: it may be the user's
            given["affine"] = image.affine.numpy()
        return Image(type=kind, check_nans=checks, **given, **metadata)
    affine = np.asarray(image.affine)
    new: Image = Image(type=kind, tensor=image.data, affine=affine, check_nans=checks, **metadata)
    new.path, new.reader = path, reader
    return new


def _own_reader(reader: Any) -> Any:
    """Return a reader that is not TorchIO's own, or None."""
    own = getattr(reader, "__module__", None) or ""
    return None if reader is None or own.split(".")[0] == "torchio" else reader


def _from_subject(subject: Any) -> Subject:
    if isinstance(subject, Mapping):  # TorchIO 1
        return Subject({name: _from_value(value) for name, value in subject.items()})
    values = {**subject.images, **subject.points, **subject.bounding_boxes, **subject.metadata}
    for name, image in subject.images.items():
        for attached in (image.points, image.bounding_boxes):
            values.update({f"{name}_{key}": value for key, value in attached.items()})
    return Subject({name: _from_value(value) for name, value in values.items()})


def _from_dict(batch: Mapping[str, Any]) -> SubjectsBatch:
    """Return the batch of a dict that a loader of TorchIO 1 gives."""
    images = {
        name: _from_columns(value)
        for name, value in batch.items()
        if isinstance(value, Mapping) and {DATA, AFFINE, TYPE} <= set(value)
    }
    if not images:
        raise TypeError(f"x must be a batch of TorchIO 1 with images, got keys {list(batch)}")
    skipped = (*images, HISTORY)
    return SubjectsBatch(images, {n: v for n, v in batch.items() if n not in skipped})


def _from_columns(columns: Mapping[str, Any]) -> ImagesBatch:
    """Return the images of a dict of their values, one of each for every sample."""
    data, affine = columns[DATA], np.asarray(columns[AFFINE])
    kinds = set(columns[TYPE])
    if len(kinds) != 1:
        raise ValueError(f"images of a batch must be of one type, got {sorted(kinds)}")
    others = {name: values for name, values in columns.items() if name not in _OWN}
    images = []
    for n, (voxels, matrix) in enumerate(zip(data, affine, strict=True)):
        metadata = {name: values[n] for name, values in others.items()}
        image: Image = Image(type=columns[TYPE][0], tensor=voxels, affine=matrix, **metadata)
        path = columns.get(PATH, [""] * len(data))[n]
        images.append(image._with(None))
        images[-1].path = path or None
    return ImagesBatch(data, affine, images[0].kind, images)


# ---- To TorchIO


def _to_value(value: Any, torchio: Any, newer: bool) -> Any:
    if isinstance(value, Image):
        return _to_image(value, torchio, newer)
    if not newer or not isinstance(value, (Points, BoundingBoxes)):
        return value
    affine = np.eye(4) if value.affine is None else value.affine
    metadata, labels = dict(value.metadata), value.labels
    numbers = None
    if isinstance(value, BoundingBoxes) and labels and all(type(n) is int for n in labels):
        numbers, labels = torch.tensor(labels), None
    metadata |= {} if labels is None else {"labels": labels}
    if isinstance(value, Points):
        return torchio.Points(value.data, axes=value.axes, affine=affine, metadata=metadata)
    centre = value.format.startswith("c")
    if not centre:
        value = value.to_format(2 * value.axes.lower())
    form = torchio.BoundingBoxFormat(value.axes, "center_size" if centre else "corners")
    return torchio.BoundingBoxes(
        value.data, format=form, labels=numbers, affine=affine, metadata=metadata
    )


def _to_image(image: Image, torchio: Any, newer: bool) -> Any:
    cls = torchio.LabelMap if isinstance(image, LabelMap) else torchio.ScalarImage
    given: dict[str, Any] = dict(image.metadata)
    readable = image.reader is None or not newer
    if image.path is not None and not image.loaded and readable and not _moved(image):
        if newer:
            return cls(image.path, **given)
        given |= {} if image.reader is None else {"reader": image.reader}
        given |= {"path": image.path, "verify_path": False}
    else:
        tensor: Tensor = image.data
        given |= {"affine": image.affine}
        if newer:
            return cls(tensor, **given)
        given |= {"tensor": tensor, "path": image.path, "verify_path": False}
    given["check_nans"] = image.check_nans
    if image.kind not in (LabelMap.kind, "intensity"):
        return torchio.Image(type=image.kind, **given)
    return cls(**given)


def _moved(image: Image) -> bool:
    """Return True for an image that was not read and has an affine that is not the file's."""
    own = image._affine
    return own is not None and not np.array_equal(own, image._read_header().affine.numpy())


__all__ = ["from_torchio", "to_torchio"]
