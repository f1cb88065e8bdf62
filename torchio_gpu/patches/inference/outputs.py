"""Outputs of models: their names, where they lie, and the labels that are made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ...data import Image, LabelMap, ScalarImage
from ...data.checks import usable
from ...geometry import Space, resized
from ...signature import is_number

#: Rule that makes labels of a prediction, or one for each output; see :func:`to_original_space`.
Labels = str | float | Mapping[str, str | float] | None


def check_labels(labels: Any) -> None:
    """Raise a ValueError unless ``labels`` is None, 'argmax', a number or a dict of these."""
    for rule in labels.values() if isinstance(labels, Mapping) else (labels,):
        named = isinstance(rule, str) and rule == "argmax"
        if not (rule is None or named or (is_number(rule) and not math.isnan(rule))):
            raise ValueError(f"labels must be None, 'argmax' or a threshold, got {rule!r}")


def check_names(labels: Labels, outputs: Iterable[Any] | None) -> None:
    """Raise a ValueError if ``labels`` names outputs that there are not.

    Args:
        labels: One rule, or a dict of rules by the name of the output.
        outputs: Names of the outputs; None for one output without a name.
    """
    if not isinstance(labels, Mapping):
        return
    if outputs is None:
        raise ValueError(
            f"labels must be one rule where there is one output without a name, got {dict(labels)}"
        )
    known = list(outputs)
    unknown = [name for name in labels if name not in known]
    if unknown:
        raise ValueError(f"labels must name outputs of {known}, got {unknown}")


def check_outside(outside: float, dtype: torch.dtype = torch.float32) -> None:
    """Raise a ValueError unless a dtype can hold the value of what was not seen."""
    dtype = torch.uint8 if dtype == torch.bool else dtype
    floating = dtype.is_floating_point or dtype.is_complex
    if floating:
        info: Any = torch.finfo(dtype)
        fits = not math.isfinite(outside) or info.min <= outside <= info.max
    else:
        info = torch.iinfo(dtype)
        whole = math.isfinite(outside) and int(outside) == outside
        fits = whole and info.min <= outside <= info.max
    if not fits:
        number = "" if floating else "a whole number "
        raise ValueError(
            f"outside must be {number}between {info.min:g} and {info.max:g}, as the dtype is "
            f"{dtype}, got {outside}"
        )


def labels_of(name: str | None, labels: Labels) -> str | float | None:
    """Return the rule that makes labels of the output of a name."""
    return labels.get(name) if isinstance(labels, Mapping) else labels  # type: ignore[arg-type]


def as_labels(image: Image, labels: str | float | None, name: str | None = None) -> Image:
    """Return the labels of a prediction; see :func:`to_original_space`.

    Args:
        image: The prediction.
        labels: The rule.
        name: Name of the output, for errors.

    Raises:
        ValueError: There is no largest channel: it is the only one, or the channels are labels.
    """
    if labels is None:
        return image
    if labels != "argmax":
        return LabelMap((image.data > float(labels)).to(torch.uint8), affine=image.affine)
    data, where = image.data, "labels" if name is None else f"labels[{name!r}]"
    if isinstance(image, LabelMap) and not data.is_floating_point():
        raise ValueError(
            f"{where} must be None where the prediction holds labels already, as {data.dtype}, "
            "got 'argmax'"
        )
    if len(data) == 1:
        raise ValueError(
            f"{where} must be a threshold, such as 0.5, or None where the prediction has one "
            "channel, got 'argmax'"
        )
    kind = torch.uint8 if len(data) <= 256 else torch.int16
    return LabelMap(data.argmax(0, keepdim=True).to(kind), affine=image.affine)


def as_image(prediction: Any, space: Space) -> Image:
    """Return a prediction (N, I, J, K) as an image: a label map if it holds integers.

    Args:
        prediction: The prediction.
        space: Grid of the image that it is for; it covers the field of view of that.

    Raises:
        ValueError: Its shape does not divide that of the grid, and is not divided by it either.
    """
    if prediction.ndim != 4:
        raise ValueError(f"prediction must have shape (N, I, J, K), got {tuple(prediction.shape)}")
    shape = tuple(prediction.shape[1:])
    if any(max(pair) % min(pair) for pair in zip(shape, space.shape, strict=True)):
        raise ValueError(
            f"prediction must cover the image, of shape {space.shape}, by a whole number of voxels "
            f"for each voxel or the reverse, got shape {shape}"
        )
    affine = space.affine[0] if shape == space.shape else resized(space, shape).affine[0]  # type: ignore[arg-type]
    floating = prediction.is_floating_point() or prediction.is_complex()
    data = prediction.to(torch.uint8) if prediction.dtype == torch.bool else prediction
    return ScalarImage(data, affine=affine) if floating else LabelMap(data, affine=affine)


def as_tensor(prediction: Any) -> Any:
    """Return the voxels of an array as a tensor, and anything else as it is."""
    if not isinstance(prediction, np.ndarray):
        return prediction
    native = prediction.astype(prediction.dtype.newbyteorder("="), copy=False)
    return usable(torch.from_numpy(np.ascontiguousarray(native)))
