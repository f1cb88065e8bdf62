"""Masks of the voxels that a transform measures or changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import functional as F
from ... import geometry
from ...data import ImagesBatch
from ...data.keys import LABEL
from ...functional.dispatch.launch import indices
from ...functional.labels import check_labels, representable
from ...geometry import Space
from ...shapes import LONGEST, rectangular
from ...tracing import untraceable

#: Argument that defines a mask: None, a name, a function of the voxels of one image, or bounds.
Masking = None | str | int | Sequence[int] | Callable[[Tensor], Tensor]
HALVES = ("Left", "Right", "Posterior", "Anterior", "Inferior", "Superior")


def check_masking(masking_method: Any, argument: str = "masking_method") -> Masking:
    """Return a masking method, the value of an argument of that name, or raise."""
    if masking_method is None or isinstance(masking_method, str) or callable(masking_method):
        return masking_method  # type: ignore[no-any-return]
    if isinstance(masking_method, (int, tuple, list)) and not isinstance(masking_method, bool):
        check_bounds(masking_method, argument)
        return masking_method
    raise TypeError(
        f"{argument} must be None, the name of a label map, one of "
        f"{', '.join(HALVES)}, a function, or bounds, got {masking_method!r}"
    )


def check_bounds(value: Any, name: str) -> np.ndarray:
    """Return numbers of voxels at the two ends of each axis, [3, 2], from one, three or six."""
    numbers = rectangular(value, name)
    if numbers.shape in ((), (3,)):
        numbers = np.repeat(np.broadcast_to(numbers, (3,)), 2)
    whole = numbers.shape == (6,) and np.issubdtype(numbers.dtype, np.integer)
    if not whole or (numbers < 0).any() or (numbers > LONGEST).any():
        raise ValueError(
            f"{name} must be whole numbers from 0 to {LONGEST}: one, three or six, got {value!r}"
        )
    return numbers.reshape(3, 2)


def mask_of(
    masking_method: Masking,
    images: Mapping[str, ImagesBatch],
    name: str,
    labels: Sequence[int] | None = None,
    argument: str = "masking_method",
) -> Tensor | None:
    """Return the mask of voxels of an image, [B, 1 or C, I, J, K] bool; None for all voxels.

    Args:
        masking_method: None for all voxels; the name of a label map, for voxels that are not 0
            there (in the nearest voxel, if its grid differs); one of 'Left', 'Right',
            'Posterior', 'Anterior', 'Inferior', 'Superior' for that half of the image, resolved
            through each sample's orientation (TorchIO 1.x takes every image to be in RAS+); a
            function from the voxels of one sample, (C, I, J, K), to such a mask; or the voxels to
            leave out at the ends of the axes, as ``cropping`` of :class:`Crop`.
        images: All images.
        name: The image.
        labels: Labels of the label map that are inside the mask; None for all but 0.
        argument: Name of the argument that defines the mask, for errors.

    Raises:
        KeyError: There is no such label map.
        ValueError: A function returns a mask of another shape.
    """
    if masking_method is None:
        return None
    target = images[name]
    if isinstance(masking_method, (int, tuple, list)):
        return _within_bounds(masking_method, target)
    if not isinstance(masking_method, str):
        untraceable("a function of the user is called")
        # it may write to its argument
        function: Any = masking_method
        masks = [torch.as_tensor(function(v.clone())).bool() for v in target.data]
        mask = torch.stack([m.to(target.device) for m in masks])
        wanted = tuple(target.shape)
        if mask.shape[2:] != wanted[2:] or mask.shape[1:2] not in ((1,), wanted[1:2]):
            raise ValueError(
                f"{argument} must return a mask of shape (1 or {wanted[1]}, {wanted[2]}, "
                f"{wanted[3]}, {wanted[4]}) for {name!r}, got {tuple(mask.shape[1:])}"
            )
        return mask
    if masking_method in images and images[masking_method].kind == LABEL:
        return _from_labels(images[masking_method], target.space, labels)
    half = masking_method.capitalize()
    if half in HALVES:
        return _half_mask(half[0], target)
    label_maps = [n for n, each in images.items() if each.kind == LABEL]
    fact = "is a scalar image" if masking_method in images else "is none of these"
    raise KeyError(
        f"{argument} must name a label map of the subject, which has {label_maps}, or one of "
        f"{', '.join(HALVES)}; {masking_method!r} {fact}"
    )


def _from_labels(images: ImagesBatch, space: Space, labels: Sequence[int] | None) -> Tensor:
    data = images.data
    if labels is None:
        mask = data != 0
    else:
        mask = torch.isin(
            data, indices(representable(labels, data.dtype), data.device).to(data.dtype)
        )
    if not images.space.is_same(space):
        matrix = images.space.to_voxel @ space.affine
        mask = F.warp(mask, matrix, size=space.shape, mode="nearest", fill=0)
    return mask if mask.shape[1] == 1 else mask.any(1, keepdim=True)


def _within_bounds(bounds: int | Sequence[int], images: ImagesBatch) -> Tensor:
    """Return a mask of the voxels that are left where others are cut off the ends of the axes."""
    mask = torch.zeros(len(images), 1, *images.spatial_shape, dtype=torch.bool)
    i, j, k = (
        slice(first, max(n - last, 0))
        for n, (first, last) in zip(
            images.spatial_shape, check_bounds(bounds, "masking_method").tolist(), strict=True
        )
    )
    mask[:, :, i, j, k] = True
    return mask.to(images.device, non_blocking=True)


def _half_mask(letter: str, images: ImagesBatch) -> Tensor:
    """Return a mask of one half of each sample; a middle plane belongs to the R, A or S half."""
    size = images.spatial_shape
    inside = np.zeros((len(images), *size), dtype=bool)
    for sample, affine in enumerate(images.affine):
        axis = geometry.axis_index(letter, affine)
        codes = geometry.orientation(affine)
        n = size[axis]
        middle = n // 2 if codes[axis] in "RAS" else n - n // 2  # first plane of the upper half
        upper = codes[axis] == letter
        along = np.moveaxis(inside[sample], axis, 0)
        along[slice(middle, n) if upper else slice(0, middle)] = True
    return torch.from_numpy(inside)[:, None].to(images.device, non_blocking=True)


__all__ = ["HALVES", "Masking", "check_bounds", "check_labels", "check_masking", "mask_of"]
