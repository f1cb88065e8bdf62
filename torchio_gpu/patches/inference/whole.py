"""Prediction in the original space: preprocess, predict, and undo the preprocessing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import Image, ImagesBatch, ScalarImage, Subject, SubjectsBatch
from ...geometry import Space, check_same_space
from ...random import Streams
from ...shapes import Volume, check_count
from ...signature import checked, is_sequence
from ...transforms import Compose, Transform
from ...transforms.convert import NAME
from .original_space import undone
from .outputs import (
    Labels,
    as_image,
    as_labels,
    check_labels,
    check_names,
    check_outside,
    labels_of,
)
from .predict import device_of, dtype_of, evaluating, input_names, predict_by_patches

__all__ = ["predict"]

#: Key of an output that the model returned without a name.
ONLY = None


@checked
def predict(
    model: Callable[[Volume], Any],
    subject: Any,
    preprocessing: Any = None,
    patch_size: Any = None,
    patch_overlap: Any = 0,
    *,
    image: str | Sequence[str] | None = None,
    labels: Labels = None,
    outside: float = 0,
    overlap_mode: str = "hann",
    batch_size: int = 4,
    padding_mode: str | float | None = None,
    fill: float = 0,
    output_shape: Any = None,
    device: torch.device | str | None = None,
    output_device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    progress: bool = False,
) -> Any:
    """Predict in the original space: preprocess, predict, and undo the preprocessing.

    The prediction lies on the grid that the image had when it was given, with exactly its affine.
    Only the preprocessing is undone, and no history that the subject had before; of the
    preprocessing only what moved the image or gave it another grid, by
    :func:`to_original_space`. The subject given is not changed.

    Args:
        model: Function from volumes or patches (B, C, I, J, K) to predictions (B, N, I, J, K), or
            to a dict of them. A module is in evaluation mode meanwhile, and its modes are restored;
            wrap it in ``nn.Sequential(model, nn.Softmax(1))``, not in a function, which would hide
            its modes, device and dtype. Its input is a copy, in the dtype of its first
            floating-point parameter; without one in that of the image, or float32 for integers.
        subject: Subject, Image, path of an image, tensor or array (C, I, J, K), or SubjectsBatch.
        preprocessing: Transform, function of a subject, or sequence of these; None for none.
        patch_size: Size of the patches of :func:`predict_by_patches`; None predicts whole volumes.
        image: Image that is the input of the model, or several, whose channels are concatenated;
            by default the only scalar image. The result is on the original grid of the first one.
        labels: None returns what the model returns, 'argmax' the number of the largest of several
            channels, and a number where channels are above it, both after interpolation in the
            original space; or a dict of these for some of the outputs of a model that returns a
            dict. See :func:`to_original_space`. Labels that the model itself returns, as integers
            or bool, are brought back by the nearest neighbour; of patches, they need the
            ``overlap_mode`` 'crop', as labels have no mean.
        outside: Value of voxels that the preprocessing cut away, in the dtype of the output.
        batch_size: Volumes or patches per call of the model.
        output_shape: Shape of the output for patches, where a network changes the resolution; the
            output covers the field of view of its input. Whole volumes show it themselves.
        patch_overlap, overlap_mode, padding_mode, fill: See :func:`predict_by_patches`.
        device, output_device, autocast, progress: See :func:`predict_by_patches`.

    Returns:
        A ScalarImage (or a LabelMap if the model returns integers, or with ``labels``), a dict of
        them, or ImagesBatches for a SubjectsBatch. Floating dtypes of the model are kept.

    Raises:
        TypeError: The subject is of another type, or the model returns something else.
        ValueError: An argument is not as above, a step of the preprocessing may move images and
            cannot be undone, the output has another shape than its input, or ``labels`` or
            ``outside`` do not fit it.
        KeyError: The subject has no such image.

    >>> ct = ScalarImage(torch.rand(1, 12, 11, 6), affine=np.diag([-1, -1, 3, 1]))
    >>> steps = [ToCanonical(), Resample(2), CropOrPad(8), ZNormalization()]
    >>> predict(lambda x: x > 0, ct, steps, outside=255)
    LabelMap(shape=(1, 12, 11, 6), spacing=(1.00, 1.00, 3.00), orientation=LPS+, ...)
    """
    check_labels(labels)
    check_outside(outside)
    options = Options(
        patch_size, patch_overlap, overlap_mode, batch_size, padding_mode, fill, output_shape,
        device, output_device, autocast, progress,
    )  # fmt: skip
    prepared = Prepared.of(subject, preprocessing, image)
    outputs = options.run(model, prepared.input())
    check_names(labels, None if ONLY in outputs else outputs)
    results: dict[str | None, Any] = {}
    for name, output in outputs.items():
        check_outside(outside, output.dtype)
        images = [as_image(each, prepared.space(n)) for n, each in enumerate(output)]
        rule = labels_of(name, labels)
        back = [as_labels(prepared.undo(i, n, outside), rule, name) for n, i in enumerate(images)]
        results[name] = ImagesBatch.from_images(back) if prepared.many else back[0]
    return only(results)


def only(outputs: dict[str | None, Any]) -> Any:
    """Return outputs by name, or the one that the model returned without a name."""
    return outputs.get(ONLY, outputs)


@dataclass
class Options:
    """Arguments of :func:`predict` that say how a model is called."""

    patch_size: Any = None
    patch_overlap: Any = 0
    overlap_mode: str = "hann"
    batch_size: int = 4
    padding_mode: str | float | None = None
    fill: float = 0
    output_shape: Any = None
    device: torch.device | str | None = None
    output_device: torch.device | str | None = None
    autocast: torch.dtype | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size", 1)
        if self.patch_size is None and self.output_shape is not None:
            raise ValueError(
                f"output_shape must be None where patch_size is, got {self.output_shape!r}"
            )

    def run(self, model: Callable[[Volume], Any], images: ImagesBatch) -> dict[str | None, Tensor]:
        """Return the outputs of a model by name, each of (B, N, I, J, K), without gradients."""
        with torch.no_grad(), evaluating(model):
            if self.patch_size is None:
                return self._whole(model, images)
            each = [self._by_patches(model, data) for data in images.data]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def _whole(
        self, model: Callable[[Volume], Any], images: ImagesBatch
    ) -> dict[str | None, Tensor]:
        data = images.data
        where, dtype = self.where(model, data), dtype_of(model, data)
        found: dict[str | None, list[Tensor]] = {}
        for shared in torch.split(data, self.batch_size):
            # a copy: the first layer may compute in place, and voxels may be those of the subject
            some = shared.to(where, dtype, non_blocking=True, copy=True)
            with torch.autocast(where.type, self.autocast, enabled=self.autocast is not None):
                output = model(some)
            outputs = _by_name(output)
            if found and list(found) != list(outputs):
                raise ValueError(f"model must return {list(found)} always, got {list(outputs)}")
            for name, value in outputs.items():
                _check_output(value, len(shared))
                found.setdefault(name, []).append(value.to(self.output_device or value.device))
        return {name: torch.cat(values) for name, values in found.items()}

    def _by_patches(self, model: Callable[[Volume], Any], data: Tensor) -> dict[str | None, Tensor]:
        def call(patches: Volume) -> Any:
            output = model(patches)
            for value in _by_name(output).values():
                _check_output(value, len(patches))
                if not value.is_floating_point() and self.overlap_mode != "crop":
                    raise ValueError(
                        "overlap_mode must be 'crop' where the model returns labels, of which "
                        f"there is no mean: {value.dtype}, got {self.overlap_mode!r}"
                    )
            return output

        options = {each.name: getattr(self, each.name) for each in fields(self)}
        options["device"] = self.where(model, data)
        data = data.to(dtype_of(model, data))
        return _by_name(predict_by_patches(call, data, **options))

    def where(self, model: Any, like: Tensor) -> torch.device:
        """Return the device on which the model runs."""
        return device_of(model, like) if self.device is None else torch.device(self.device)


def _by_name(output: Any) -> dict[str | None, Any]:
    if not isinstance(output, Mapping):
        return {ONLY: output}
    if not output or ONLY in output:
        raise ValueError(
            f"model must return a tensor, or at least one by name, got a dict of {list(output)}"
        )
    return dict(output)


def _check_output(output: Any, batch: int) -> None:
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        raise TypeError(f"model must return a tensor or a dict of tensors, got {kind}")
    if output.ndim != 5 or len(output) != batch or 0 in output.shape:
        raise ValueError(
            f"model must return (B, N, I, J, K) with B = {batch}, got {tuple(output.shape)}"
        )


@dataclass
class Prepared:
    """Preprocessed samples, with histories that hold the preprocessing alone.

    Args:
        batch: The samples.
        names: Images that are the input of the model.
        originals: Grid of the first of them before the preprocessing.
        many: True if a batch was given.
    """

    batch: SubjectsBatch
    names: list[str]
    originals: Space
    many: bool

    @classmethod
    def of(cls, subject: Any, preprocessing: Any, image: str | Sequence[str] | None) -> Prepared:
        """Preprocess a subject, an image, or a batch; see :func:`predict`."""
        batch = _as_batch(subject, image)
        before = {name: images.space for name, images in batch.images.items()}
        if preprocessing is not None:
            batch = _as_transform(preprocessing, "preprocessing")(batch)
        names = input_names(list(batch.images), list(batch.get_images_dict()), image)
        if names[0] not in before:
            raise ValueError(
                f"image must name first one that the subject has before the preprocessing, one of "
                f"{list(before)}, got {names[0]!r}"
            )
        return cls(batch, names, before[names[0]], isinstance(subject, SubjectsBatch))

    def input(self, batch: SubjectsBatch | None = None) -> ImagesBatch:
        """Return the input of the model: the images of these samples, or of views of them."""
        images = [(self.batch if batch is None else batch).images[name] for name in self.names]
        check_same_space(dict(zip(self.names, (each.space for each in images), strict=True)))
        if len(images) == 1:
            return images[0]
        return images[0].with_data(torch.cat([each.data for each in images], 1))

    def space(self, sample: int) -> Space:
        """Return the grid of the first image of a sample, after the preprocessing."""
        space = self.batch.images[self.names[0]].space
        return Space(space.shape, space.affine[sample : sample + 1])

    def undo(self, prediction: Image, sample: int, outside: float) -> Image:
        """Return a prediction for a sample on its original grid."""
        entries, name = self.batch.history[sample], self.names[0]
        back = undone(prediction, entries, name, self.space(sample), outside)
        one = slice(sample, sample + 1)
        original = Space(self.originals.shape, self.originals.affine[one])
        if back.spatial_shape != original.shape or not back.space.is_same(original):
            raise ValueError(
                f"preprocessing must record all that it does to {name!r}: its history "
                f"leads to {back.spatial_shape}, {back.affine.tolist()}, and the image was "
                f"{original.shape}, {original.affine[0].tolist()}"
            )
        return type(back)(back.data, affine=original.affine[0])


def _as_batch(subject: Any, image: Any) -> SubjectsBatch:
    """Return samples without a history, in containers and with streams of their own."""
    if isinstance(subject, SubjectsBatch):
        return _unused(copy.copy(subject))
    if isinstance(subject, (str, Path, Tensor, np.ndarray)):
        subject = ScalarImage(subject)
    if isinstance(subject, Image):
        if image is not None:
            raise ValueError(f"image must be None unless subject is a Subject, got {image!r}")
        subject = Subject({NAME: type(subject)(subject)})
    if not isinstance(subject, Subject):
        raise TypeError(
            "subject must be a Subject, an Image, a path, a tensor, an array or a SubjectsBatch, "
            f"got {type(subject).__name__}"
        )
    return _unused(SubjectsBatch.from_subjects([copy.copy(subject)], view=True))


def _unused(batch: SubjectsBatch) -> SubjectsBatch:
    """Forget the history of a batch, and let it draw numbers that those given do not count."""
    batch.histories, batch.records = None, []
    if batch.streams is not None:
        batch.streams = Streams(batch.streams.seeds, batch.streams.used.copy())
    return batch


def _as_transform(given: Any, name: str) -> Transform:
    """Return a transform, a function of a subject, or a sequence of these as one transform."""
    if isinstance(given, Transform):
        return given
    steps: list[Any] = [given] if callable(given) else list(given) if is_sequence(given) else [None]
    if not all(map(callable, steps)):
        raise TypeError(f"{name} must be a transform or a sequence of them, got {given!r}")
    return Compose(steps)
