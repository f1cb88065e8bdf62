"""Conversion of inputs of transforms to batches, and of results back to the type of the input.

Every input becomes a :class:`SubjectsBatch`; a single item is a batch of one.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import (
    Image,
    ImagesBatch,
    LabelMap,
    ScalarImage,
    Subject,
    SubjectsBatch,
    io,
    meta_tensor,
)
from .pipeline.mixing import PARTNER, WEIGHT, refuse_recorded
from .pipeline.points import are_points
from .pipeline.record import Record, moving_transforms
from .pipeline.steps import Step

Restore = Callable[[SubjectsBatch], Any]
#: Function from a batch of one image, and the names of the transforms that moved voxels, to the
#: type of the input.
RestoreImage = Callable[[ImagesBatch, Sequence[str]], Any]
#: Name of the image if the input has no names.
NAME = "default_image_name"
#: Words in keys of a dict that are those of label maps.
_LABEL_WORDS = frozenset(
    word + plural
    for word in ("annotation", "label", "labelmap", "mask", "parcellation", "seg", "segmentation")
    for plural in ("", "s")
) | {"gt"}
#: Keys of dicts that were taken for label maps with a warning.
_taken: set[str] = set()


def to_batch(
    x: Any, include: Sequence[str] | None = None, label_keys: Sequence[str] | None = None
) -> tuple[SubjectsBatch, Restore]:
    """Convert anything that holds images to a batch, and return a function for the way back.

    Args:
        x: Subject, Image, SubjectsBatch, ImagesBatch, tensor or array (C, I, J, K), tensor
            (B, C, I, J, K), SimpleITK, NiBabel or PIL image, or a dict of any of these.
        include: Keys of a dict to treat as images; all that hold images by default.
        label_keys: Keys of a dict that hold label maps. None for those that hold bool or int64, or
            whose names are those of label maps; a warning names each of them.

    Returns:
        The batch, and a function that converts a transformed batch to the type of ``x``.

    Raises:
        TypeError: ``x`` holds no images.
        ValueError: A tensor does not have four or five dimensions.
    """
    if isinstance(x, SubjectsBatch):
        return x, lambda batch: batch
    if isinstance(x, Subject):
        return SubjectsBatch.from_subjects([x], view=True), lambda batch: batch.unbatch()[0]
    # the test for a Mapping is slow: skip it for tensors
    if not isinstance(x, (Tensor, Image)) and isinstance(x, Mapping):
        return _from_dict(x, include, label_keys)
    images, restore = _to_images(x, ScalarImage)

    def restore_single(batch: SubjectsBatch) -> Any:
        if NAME not in batch.images:
            raise ValueError(
                f"an input of one image cannot be returned without its image, got "
                f"{list(batch.images)}"
            )
        added = [name for name in batch.images if name != NAME]
        if added:
            raise ValueError(
                f"an input of one image cannot hold the images that were added, "
                f"{', '.join(map(repr, added))}: transform a Subject, a batch or a dict"
            )
        return restore(batch.images[NAME], moving_transforms(_records(batch)))

    return SubjectsBatch({NAME: images}), restore_single


def check_batch(x: Any, step: Step) -> None:
    """Raise unless an input of a step that mixes samples may have several of them."""
    refuse_recorded(step)
    if not _holds_batch(x):
        raise TypeError(
            f"{step.transform.name} mixes the samples of a batch: it takes a SubjectsBatch, "
            "ImagesBatch, tensor (B, C, I, J, K) or a dict of these, got "
            f"{type(x).__name__} of one sample"
        )


def _holds_batch(x: Any) -> bool:
    if isinstance(x, (SubjectsBatch, ImagesBatch)):
        return True
    if isinstance(x, (Tensor, np.ndarray)):
        return x.ndim == 5
    if isinstance(x, (Subject, Image)) or not isinstance(x, Mapping):
        return False
    return any(map(_holds_batch, x.values()))


def _to_images(x: Any, cls: type[Image]) -> tuple[ImagesBatch, RestoreImage]:
    """Convert one image, of any type, to a batch."""
    if isinstance(x, ImagesBatch):
        return x, lambda images, _: images
    if meta_tensor.is_meta_tensor(x):
        meta_tensor.check_volume(x)
        return _from_meta_tensor(x, cls)
    if isinstance(x, Tensor):
        return _from_tensor(x, cls)
    if isinstance(x, np.ndarray):
        if x.ndim not in (4, 5):
            raise ValueError(f"an array must have shape (C, I, J, K), got {x.shape}")
        images, restore = _from_tensor(torch.from_numpy(np.ascontiguousarray(x)), cls)
        return images, lambda images, moved: restore(images, moved).cpu().numpy()
    if isinstance(x, Image):
        return ImagesBatch.from_images([x], view=True), lambda images, _: images.unbatch()[0]
    if io.is_sitk(x):
        first = ImagesBatch.from_images([cls(x)], view=True)
        return first, lambda images, _: io.to_sitk(*images.unbatch()[0]._on_host(), like=x)
    if io.is_nibabel(x):
        return ImagesBatch.from_images([cls(x)], view=True), _to_nibabel
    if _is_pil(x):
        return _from_pil(x, cls)
    raise TypeError(
        "a transform takes a Subject, Image, batch, tensor, array, SimpleITK, NiBabel or PIL "
        f"image, or a dict of these, got {type(x).__name__}"
    )


def _from_meta_tensor(x: Any, cls: type[Image]) -> tuple[ImagesBatch, RestoreImage]:
    voxels, affine = meta_tensor.split(x)
    images, restore = _from_tensor(voxels, cls)
    images.affine = np.broadcast_to(affine, images.affine.shape).copy()

    def back(images: ImagesBatch, moved: Sequence[str]) -> Any:
        return meta_tensor.join(restore(images, moved), images.affine, x, moved)

    return images, back


def _from_tensor(x: Tensor, cls: type[Image]) -> tuple[ImagesBatch, RestoreImage]:
    if x.ndim == 5:
        return ImagesBatch(x, kind=cls.kind), lambda images, _: images.data
    if x.ndim == 4:
        return ImagesBatch(x[None], kind=cls.kind), lambda images, _: images.data[0]
    raise ValueError(
        f"a tensor must have shape (C, I, J, K) or (B, C, I, J, K), got {tuple(x.shape)}"
    )


def _to_nibabel(images: ImagesBatch, _: Sequence[str]) -> Any:
    return images.unbatch()[0]._as_nibabel()


def _is_pil(x: Any) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(x, pil.Image)


def _from_pil(x: Any, cls: type[Image]) -> tuple[ImagesBatch, RestoreImage]:
    """Convert a PIL image: I runs along its width, J down its height; colours are channels."""
    array = np.asarray(x)
    array = array[:, :, None] if array.ndim == 2 else array  # (height, width, channels)
    voxels = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 1, 0)[..., None]))

    def restore(images: ImagesBatch, _: Sequence[str]) -> Any:
        import PIL.Image

        out = images.data[0, ..., 0].detach().cpu().numpy().transpose(2, 1, 0)
        if array.dtype == np.uint8:  # uint8 holds whole numbers from 0 to 255
            out = np.clip(np.rint(out), 0, 255)
        out = out.astype(array.dtype)
        return PIL.Image.fromarray(out[:, :, 0] if x.mode in ("L", "I", "F") else out, x.mode)

    return ImagesBatch(voxels[None], kind=cls.kind), restore


def _from_dict(
    x: Mapping[str, Any], include: Sequence[str] | None, label_keys: Sequence[str] | None
) -> tuple[SubjectsBatch, Restore]:
    """Convert the values of a dict that hold images; the others pass through."""
    labels = set(label_keys or ())
    for key in (*labels, *(include or ())):
        if key not in x:
            raise KeyError(f"include and label_keys must name keys of the dict, {key!r} is none")
    wanted = set(x) if include is None else {*include, *labels}
    for key in (*labels, *(include or ())):
        if meta_tensor.is_meta_tensor(x[key]):
            meta_tensor.check_volume(x[key], repr(key))
    if label_keys is None:
        labels = {key for key in wanted if _is_label_map(key, x[key])}
    found: dict[str, ImagesBatch] = {}
    back: dict[str, RestoreImage] = {}
    for key, value in x.items():
        if key in wanted and _holds_image(value):
            cls = LabelMap if key in labels else ScalarImage
            found[key], back[key] = _to_images(value, cls)
    lists = {key: x[key] if isinstance(x[key], list) else [x[key]] for key in x if key in wanted}
    points = {key: values for key, values in lists.items() if are_points(values)}
    size = len(next(iter(found.values()))) if found else 0
    for key, values in points.items() if found else ():
        if len(values) != size:
            raise ValueError(
                f"{key!r} must hold one value for each of {size} samples, got {len(values)}"
            )
    if not found:
        for key, value in x.items():  # a plane says so itself
            if meta_tensor.is_meta_tensor(value):
                meta_tensor.check_volume(value, repr(key))
        raise TypeError(f"a dict must hold at least one image, got keys {list(x)}")

    def restore(batch: SubjectsBatch) -> dict[str, Any]:
        first = next(iter(back.values()))  # images that were added get the type of the first one
        moved = moving_transforms(_records(batch))
        images = {key: back.get(key, first)(each, moved) for key, each in batch.images.items()}
        values = {key: batch.metadata[key] for key in points}
        single = {key: v if isinstance(x[key], list) else v[0] for key, v in values.items()}
        mixed = {key: batch[key] for key in (PARTNER, WEIGHT) if key in batch.metadata}
        return {**x, **images, **single, **mixed}

    return SubjectsBatch(found, points), restore


def _is_label_map(key: object, value: Any) -> bool:
    """Return True for a value of a dict that is a label map by its dtype or its key, and warn.

    Voxels are not looked at. Images of this library have a kind already.
    """
    if isinstance(value, (Image, ImagesBatch)) or not _holds_image(value):
        return False
    name = str(key)
    words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    named = [word for word in words if word in _LABEL_WORDS]
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if not named and dtype not in ("bool", "int64"):
        return False
    if name not in _taken:
        _taken.add(name)
        reason = f"the word {named[0]!r} in its key" if named else f"its dtype {dtype}"
        warnings.warn(
            f"{name!r} is taken for a label map because of {reason}: it gets nearest-neighbour "
            f"interpolation and no intensity transforms. Say label_keys=({name!r},) if it is one, "
            "label_keys=() if no key of the dict is",
            RuntimeWarning,
            stacklevel=2,
        )
    return True


def _records(batch: SubjectsBatch) -> list[Record]:
    """Return the records of all samples; a step that takes subjects moves them to histories."""
    return [*(record for history in batch.histories or () for record in history), *batch.records]


def _holds_image(value: Any) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim in (4, 5)
    return isinstance(value, (Image, ImagesBatch)) or any(
        test(value) for test in (io.is_sitk, io.is_nibabel, _is_pil)
    )


__all__ = ["NAME", "to_batch"]
