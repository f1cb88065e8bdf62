"""Prediction of a whole volume by a network, patch by patch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...data import Image, ScalarImage, Subject
from ...progress import progress as shown
from ...random import Streams
from ...shapes import Volume, check_count
from ...signature import checked, is_sequence
from ..sampling.grid import GridSampler
from ..sampling.location import PatchLocation
from .aggregator import PatchAggregator

__all__ = ["predict_by_patches"]


@checked
def predict_by_patches(
    model: Callable[[Volume], Any],
    subject: Subject | Image | Tensor | np.ndarray,
    patch_size: Any,
    patch_overlap: Any = 0,
    *,
    image: str | Sequence[str] | None = None,
    overlap_mode: str = "hann",
    batch_size: int = 4,
    padding_mode: str | float | None = None,
    fill: float = 0,
    output_shape: Any = None,
    device: torch.device | str | None = None,
    output_device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    reduction: Callable[[Tensor], Tensor] | None = None,
    progress: bool = False,
    load: bool = True,
) -> Any:
    """Predict a volume by patches on a regular grid, without gradients.

    Args:
        model: Function from patches (B, C, i, j, k) to predictions (B, N, i, j, k), or to a dict of
            them. A module is in evaluation mode meanwhile, and its modes are restored. Patches
            have the dtype of its first floating-point parameter; without one their own, or float32
            for integers.
        subject: A Subject; or an Image, tensor or array (C, I, J, K).
        patch_size, patch_overlap, padding_mode, fill: See :class:`GridSampler`.
        image: Image of a Subject that is the input of the model, or several, whose channels are
            concatenated; by default its only scalar image.
        overlap_mode, output_shape: See :class:`PatchAggregator`.
        batch_size: Patches per call of the model; the last call may have fewer.
        device: Device of the model; by default that of its first parameter, or else of the image.
        output_device: Device of the output; by default that of the predictions.
        autocast: Dtype for torch.autocast; None for no autocast.
        reduction: Applied to (N, planes, J, K) of the output as soon as planes are done, for
            outputs that do not fit into memory: ``lambda slab: slab.argmax(0)``. It must keep the
            last three axes.
        progress: Show a progress bar of the patches.
        load: Read the voxels of the image. With False each patch reads its own, from a file that
            can be sliced; see :class:`GridSampler`. For several images, give one made of their
            paths: ``ScalarImage([t1, t2])``.

    Returns:
        The prediction, (N, I, J, K), or a dict of predictions; with a ``reduction``, its results,
        concatenated.

    Raises:
        TypeError: ``subject`` is of another type, or the model returns something else.
        ValueError: An argument is not as above, or the subject has several scalar images and
            ``image`` is None.
        KeyError: The subject has no such image.

    >>> image = ScalarImage(torch.rand(1, 20, 20, 20))
    >>> threshold = predict_by_patches(lambda x: x > 0.5, image, 8, 2, overlap_mode="crop")
    >>> bool((threshold == (image.data > 0.5)).all())
    True
    """
    check_count(batch_size, "batch_size", 1)
    joined = _joined(subject, image, load)
    subject = Subject(image=joined)
    # nothing is drawn for these patches: they need no seeds of torch's generator
    subject.streams = Streams(np.zeros(1, dtype=np.int64))
    sampler = GridSampler(subject, patch_size, patch_overlap, padding_mode, fill, load)
    first = sampler.tensor("image", sampler.patch_locations[:1])
    where = device_of(model, first) if device is None else torch.device(device)
    dtype = dtype_of(model, first)
    aggregator = PatchAggregator(
        joined.spatial_shape, overlap_mode, sampler.patch_overlap, output_shape, output_device
    )

    def predictions(advance: Callable[[int], None]) -> Iterator[tuple[Any, list[PatchLocation]]]:
        locations = sampler.patch_locations
        for n in range(0, len(locations), batch_size):
            some = locations[n : n + batch_size]
            batch = sampler.tensor("image", some).to(where, dtype, non_blocking=True)
            with torch.autocast(where.type, autocast, enabled=autocast is not None):
                output = model(batch)
            yield output, some
            advance(len(some))

    with evaluating(model), torch.no_grad(), shown("patches", len(sampler), progress) as advance:
        pairs = predictions(advance)
        if reduction is not None:
            return torch.cat([slab.data for slab in aggregator.stream(pairs, reduction)], -3)
        names: list[str] | None = None
        for output, locations in pairs:
            names = list(output) if isinstance(output, Mapping) else None
            aggregator.add_batch(output, locations)
        if names is None:
            return aggregator.get_output()
        return {name: aggregator.get_output(name) for name in names}


def _joined(subject: Any, image: str | Sequence[str] | None, load: bool = True) -> Image:
    """Return the image that is the input of the model."""
    if isinstance(subject, (Tensor, np.ndarray)):
        subject = ScalarImage(subject)
    if isinstance(subject, Image):
        if image is not None:
            raise ValueError(f"image must be None unless subject is a Subject, got {image!r}")
        return subject
    if not isinstance(subject, Subject):
        kind = type(subject).__name__
        raise TypeError(f"subject must be a Subject, an Image, a tensor or an array, got {kind}")
    names = input_names(list(subject), list(subject.get_images_dict()), image)
    images = [subject[name] for name in names]
    if len(images) == 1:
        return images[0]
    if not load:
        raise ValueError(
            f"load must be True for several images, whose voxels are concatenated, got {names}: "
            "give one image made of their paths, ScalarImage([...])"
        )
    Subject(dict(zip(names, images, strict=True))).check_consistent_space()
    data = torch.cat([copy.copy(each).data for each in images])  # read into the copies
    return ScalarImage(data, affine=images[0].affine)


def input_names(
    known: Sequence[str], scalars: Sequence[str], image: str | Sequence[str] | None
) -> list[str]:
    """Return the names of the images that are the input of a model.

    Args:
        known: Names of all values of the subject.
        scalars: Names of its scalar images.
        image: Names that were asked for, or None.
    """
    names = [image] if isinstance(image, str) else image
    if names is not None and not (is_sequence(names) and all(isinstance(n, str) for n in names)):
        raise TypeError(f"image must be the name of an image, or several, got {image!r}")
    if names is None:
        names = scalars
        if len(names) != 1:
            raise ValueError(f"image must name one or more of {list(known)}, got None")
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise KeyError(f"image must name images of {list(known)}, got {image!r}")
    return list(names)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Set a module to evaluation mode within the block, and restore the mode of each part."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [part for part in parts if part.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def device_of(model: Any, like: Tensor) -> torch.device:
    """Return the device of the first parameter of a model, or else that of a tensor."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return like.device if parameter is None else parameter.device


def dtype_of(model: Any, like: Tensor) -> torch.dtype:
    """Return the dtype of the input of a model, of voxels such as those of a tensor.

    It is that of the first floating-point parameter, since layers compute in one dtype only. A
    model without one gets floating and complex voxels as they are, and integers as float32.
    """
    if like.is_complex():
        return like.dtype
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    own = like.dtype if like.is_floating_point() else torch.float32
    return next((p.dtype for p in parameters if p.is_floating_point()), own)
