"""Subjects in a folder: a file .b2nd for each image, and a JSON file that is written last.

The JSON file is replaced in one step, and names the stamp of the input that the images were made
from, which is part of the names of their files. So a reader sees a subject whole or not at all,
whoever writes at the same time; what is damaged, missing or older is made again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data import BoundingBoxes, Points, Subject, io
from ..data.image import Image, image_class
from ..data.io.writing import write_text
from ..data.point_set import PointSet
from ..transforms import Transform, from_dict, records
from ..transforms.descriptions import class_name
from ..transforms.parameters.params import Params
from ..transforms.pipeline.record import Record
from .plain import decoded, dtype_named, encoded

_VERSION = 1
_POINTS: dict[str, type[PointSet]] = {cls.__name__: cls for cls in (Points, BoundingBoxes)}


def save(subject: Subject, entry: Path, stamp: str, allow: Sequence[type[Transform]]) -> None:
    """Write a subject.

    Args:
        subject: The subject, with all images in memory.
        entry: JSON file to write.
        stamp: Stamp of the input that it was made from.
        allow: Classes of transforms that its history may have, besides those of this library.

    Raises:
        TypeError: It has a value that cannot be kept.
        OSError: Writing fails.
    """
    history = [record.to_dict() for record in subject.history]
    try:
        for each in history:
            _record(json.loads(json.dumps(each)), allow)
    except (ValueError, KeyError) as error:
        raise TypeError(f"history must be one that can be read to be kept: {error}") from error
    items = {name: encoded_value(value, name) for name, value in subject.items()}
    content = {"torchio_gpu": _VERSION, "stamp": stamp, "items": items, "history": history}
    text = json.dumps(content)
    entry.parent.mkdir(parents=True, exist_ok=True)
    images = subject.get_images_dict(intensity_only=False)
    for name, image in images.items():
        target = _file(entry, stamp, list(items).index(name))
        io.write(*image._on_host(), target, kind=image.kind)
    write_text(text, entry)
    kept = f"{entry.stem}-{stamp}-"
    for file in entry.parent.glob(f"{entry.stem}-*.b2nd"):
        if not file.name.startswith(kept):
            file.unlink(missing_ok=True)


def load(
    entry: Path, stamp: str, base: Subject, allow: Sequence[type[Transform]]
) -> Subject | None:
    """Return the subject of an entry; None if there is none, or none of that stamp.

    Args:
        entry: JSON file.
        stamp: Stamp of the input as it is now.
        base: Subject that was prepared, whose class the result has.
        allow: As for :func:`save`.
    """
    try:
        content = json.loads(entry.read_text(encoding="utf-8"))
        if content["torchio_gpu"] != _VERSION or content["stamp"] != stamp:
            return None
        items = {
            name: _decoded_value(value, _file(entry, stamp, n), base.get(name))
            for n, (name, value) in enumerate(content["items"].items())
        }
        history = [_record(each, allow) for each in content["history"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, AssertionError):
        return None  # missing, being replaced, damaged, or of a device that is not there
    subject = copy.copy(base)
    subject.__dict__["_items"] = items
    subject.history = history
    return subject


def encoded_value(value: Any, name: str) -> Any:
    """Return a value of a subject, an image without its voxels, as values that JSON has."""
    if isinstance(value, Image):
        if type(value) is not image_class(value.kind):
            raise TypeError(
                f"image {name!r} must be a {image_class(value.kind).__name__} itself to be kept in "
                f"a folder, got {type(value).__name__}"
            )
        paths = value.path if isinstance(value.path, list) or value.path is None else [value.path]
        return {
            "class": type(value).__name__,
            "kind": value.kind,
            "dtype": str(value.dtype).removeprefix("torch."),
            "device": str(value.data.device) if value.loaded else "cpu",
            "paths": None if paths is None else [str(path) for path in paths],
            "several": isinstance(value.path, list),
            "check_nans": value.check_nans,
            "nifti": None if value._nifti is None else encoded(vars(value._nifti), name),
            "metadata": encoded(value.metadata, f"metadata of {name!r}"),
        }
    if isinstance(value, PointSet):
        if _POINTS.get(type(value).__name__) is not type(value):
            raise TypeError(
                f"{name!r} must be Points or BoundingBoxes to be kept in a folder, got "
                f"{type(value).__name__}"
            )
        return {"class": type(value).__name__, "state": encoded(vars(value), f"{name!r}")}
    return {"class": None, "value": encoded(value, f"value {name!r}")}


def _decoded_value(stored: Any, file: Path, base: Any) -> Any:
    kind = stored["class"]
    if kind is None:
        return decoded(stored["value"])
    if kind in _POINTS:
        points = _POINTS[kind].__new__(_POINTS[kind])
        points.__dict__.update(decoded(stored["state"]))
        return points
    data, affine = io.read(file)
    image = image_class(stored["kind"])(
        data.to(stored["device"], dtype_named(stored["dtype"])),
        affine=affine.numpy(),
        reader=base.reader if isinstance(base, Image) else None,
    )
    image.check_nans = bool(stored["check_nans"])
    image.metadata = decoded(stored["metadata"])
    if stored["paths"] is not None:
        paths = [Path(path) for path in stored["paths"]]
        image.path = paths if stored["several"] else paths[0]
    if stored["nifti"] is not None:
        image._nifti = io.NiftiFields(**decoded(stored["nifti"]))
    return image


def _record(stored: Any, allow: Sequence[type[Transform]]) -> Record:
    if stored["params_type"] == Params.__name__:  # none, of a step that takes subjects
        checked = records.check(stored)
        cls = {cls.__name__: cls for cls in allow}[checked.transform]
        step = from_dict({"_target_": class_name(cls), **checked.arguments}, allow)
        return Record(step, Params(), checked.names, checked.untouched, follows=checked.follows)
    made: Any = from_dict(stored, allow)
    return Record(
        made.transform, made.params, made.names, made.untouched,
        spaces=made.spaces, fuse=made.fuse, follows=made.follows,
    )  # fmt: skip


def _file(entry: Path, stamp: str, number: int) -> Path:
    return entry.with_name(f"{entry.stem}-{stamp}-{number}.b2nd")


__all__ = ["encoded_value", "load", "save"]
