"""Functions on label maps (B, C, I, J, K): one-hot, remapping, contours, components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..shapes import Volume, check_volume, rectangular
from .compiled import traceable
from .dispatch.launch import indices, to_device
from .eager import labels as eager

__all__ = [
    "check_held",
    "check_labels",
    "check_num_classes",
    "connected_components",
    "contour",
    "largest_component",
    "one_hot",
    "remap_labels",
    "representable",
]


@traceable
def one_hot(x: Volume, num_classes: int = -1) -> Volume:
    """Encode labels as one channel each: 1 where a voxel has the label and 0 elsewhere.

    Args:
        x: Labels, (B, 1, I, J, K): integers from 0, in a tensor of any real type.
        num_classes: Number of labels, and so of channels. -1 for one more than the largest label of
            all samples, which waits for the device.

    Returns:
        Volume, (B, num_classes, I, J, K), of the dtype of ``x``.

    Raises:
        ValueError: ``x`` has several channels. On the CPU, or when the number of labels is asked
            for: a label is negative, no integer, or ``num_classes`` or more. Elsewhere
            labels are not checked, and a voxel with such a label has 0 in all channels.

    >>> x = torch.tensor([0, 2, 1]).view(1, 1, 1, 1, 3)
    >>> one_hot(x).squeeze()
    tensor([[1, 0, 0],
            [0, 0, 1],
            [0, 1, 0]])
    """
    _single(x)
    check_num_classes(num_classes)
    if num_classes == -1 and x.is_meta:
        raise ValueError("num_classes must be given for meta tensors, which hold no labels, got -1")
    if num_classes == -1 or x.device.type == "cpu":
        if x.is_floating_point() and bool((x % 1 != 0).any()):
            raise ValueError("x must hold integer labels, got values with a fraction")
        ends = (x.byte() if x.dtype == torch.bool else x).aminmax()
        low, high = int(ends.min), int(ends.max)
        if low < 0:
            raise ValueError(f"x must hold labels >= 0, got {low}")
        num_classes = high + 1 if num_classes == -1 else num_classes
        if high >= num_classes:
            raise ValueError(
                f"num_classes must be above every label: expected at least {high + 1}, "
                f"got {num_classes}"
            )
    return eager.one_hot(x, num_classes)


@traceable
def remap_labels(
    x: Volume,
    remapping: Mapping[int, int] | tuple[Any, Any],
    mask: Tensor | None = None,
) -> Volume:
    """Replace labels by others, all of them at once: two labels may change places.

    Args:
        x: Labels, (B, C, I, J, K), of any real type.
        remapping: New label of each label to change, as a dict; or labels and new labels as two
            arrays on the host, (N) for all samples or (B, N), where a sample may repeat an entry.
        mask: Voxels to change, (B, 1 or C, I, J, K) bool; all by default.

    Returns:
        Volume of the same shape and dtype; ``x`` itself where there is nothing to change.

    Raises:
        TypeError: ``remapping`` does not hold numbers, or is on a device.
        ValueError: The dtype of ``x`` cannot hold a new label, a label has two new ones, or a shape
            is not as above.

    >>> x = torch.tensor([0, 1, 2, 3], dtype=torch.uint8).view(1, 1, 1, 1, 4)
    >>> remap_labels(x, {1: 2, 2: 1, 3: 7}).flatten()
    tensor([0, 2, 1, 7], dtype=torch.uint8)
    """
    check_volume(x)
    old, new = _table(remapping, len(x))  # [1 or B, N]
    if mask is not None:
        wanted = [(len(x), channels, *x.shape[2:]) for channels in (1, x.shape[1])]
        if mask.dtype != torch.bool or tuple(mask.shape) not in wanted:
            raise ValueError(
                f"mask must be bool of shape {wanted[0]} or {wanted[1]}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
    if old.shape[1] == 0:
        return x
    check_held(new, x.dtype, "remapping")
    # No voxel has a label that the dtype cannot hold: repeat an entry that it can hold instead.
    can = _held(old, x.dtype)
    first = can.argmax(1)[:, None]
    new = np.where(can, new, np.take_along_axis(new, first, 1))
    old = np.where(can, old, np.take_along_axis(old, first, 1))
    if not can.any(1).all():
        none = ~can.any(1)
        old[none], new[none] = 0, 0
    table = np.stack((old, new))
    whole = table.dtype == np.int64
    pair = indices(table, x.device) if whole else to_device(x.device, table)[0]
    out = eager.remap(x, *pair.to(x.dtype))
    return out if mask is None else torch.where(mask, out, x)


@traceable
def contour(x: Volume) -> Volume:
    """Keep the borders of regions: voxels that share a face with a voxel of another label.

    Outside the image there is no label: a region is open where it leaves the image. For
    two labels, 0 and 1, this is ITK's ``BinaryContourImageFilter``.

    Args:
        x: Labels, (B, 1, I, J, K), of any type. 0 is background, and has no border.

    Returns:
        Volume of the same shape and dtype.

    Raises:
        ValueError: ``x`` has several channels.

    >>> x = torch.tensor([0, 1, 1, 1, 2, 2]).view(1, 1, 1, 1, 6)
    >>> contour(x).flatten()
    tensor([0, 1, 0, 1, 2, 0])
    """
    return eager.contour(_single(x))


@traceable
def connected_components(x: Volume) -> Tensor:
    """Number the connected components of each sample: nonzero voxels that share faces.

    Waits for the device, once for each round of joining runs of voxels; there are few rounds.

    Args:
        x: Mask or labels, (B, 1, I, J, K), of any type.

    Returns:
        Number of each voxel's component, (B, 1, I, J, K) int64: from 1, in the order in which
        components begin when K is the fastest axis; 0 for voxels that are 0. On the meta device
        only shape and dtype are defined.

    Raises:
        ValueError: ``x`` has several channels.

    >>> x = torch.tensor([1, 1, 0, 1, 0, 1]).view(1, 1, 1, 1, 6)
    >>> connected_components(x).flatten()
    tensor([1, 1, 0, 2, 0, 3])
    """
    if _single(x).is_meta:
        return torch.empty_like(x, dtype=torch.int64)
    return eager.connected_components(x)


@traceable
def largest_component(x: Volume) -> Volume:
    """Keep the largest component of each sample, see :func:`connected_components`; 0 elsewhere.

    Of components of one size, the one that begins first when I is the fastest axis is kept, as ITK
    does. Voxels that are kept keep their labels. Waits for the device.

    Args:
        x: Mask or labels, (B, 1, I, J, K), of any type.

    Returns:
        Volume of the same shape and dtype.

    Raises:
        ValueError: ``x`` has several channels.

    >>> x = torch.tensor([1, 1, 0, 3, 2, 3]).view(1, 1, 1, 1, 6)
    >>> largest_component(x).flatten()
    tensor([0, 0, 0, 3, 2, 3])
    """
    if _single(x).is_meta:
        return torch.empty_like(x)
    return eager.largest_component(x)


def check_num_classes(num_classes: Any) -> int:
    """Return a number of labels, or -1 to count them, if it is valid; raise otherwise."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)):
        raise TypeError(f"num_classes must be an integer, got {num_classes!r}")
    if num_classes != -1 and not 1 <= num_classes <= 2**16:
        raise ValueError(f"num_classes must be -1, or from 1 to {2**16}, got {num_classes}")
    return int(num_classes)


def check_labels(labels: Any) -> tuple[int, ...] | None:
    """Return labels as whole numbers, or None for none given."""
    if labels is None:
        return None
    whole = isinstance(labels, (Sequence, np.ndarray)) and not isinstance(labels, str)
    numbers = rectangular(labels, "labels") if whole else np.empty((0, 0))
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"labels must be whole numbers in a sequence, got {labels!r}")
    return tuple(numbers.tolist())


def representable(labels: Sequence[int], dtype: torch.dtype) -> np.ndarray:
    """Return the labels that a dtype can represent."""
    numbers = np.asarray(labels, dtype=np.int64)
    if dtype == torch.bool:
        return numbers[(numbers >= 0) & (numbers <= 1)]
    if dtype.is_floating_point:
        return numbers
    limits = torch.iinfo(dtype)
    return numbers[(numbers >= limits.min) & (numbers <= limits.max)]


def check_held(labels: np.ndarray, dtype: torch.dtype, name: str) -> None:
    """Raise if ``dtype`` cannot hold all ``labels``; ``name`` is the argument they come from."""
    held = _held(labels, dtype)
    if not held.all():
        raise ValueError(
            f"{name} must lead to labels that {dtype} can hold, got "
            f"{np.unique(labels[~held]).tolist()}"
        )


def _held(labels: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Return a mask of the labels that ``dtype`` can hold."""
    there = torch.from_numpy(np.ascontiguousarray(labels))
    return (there.to(dtype).to(there.dtype) == there).numpy()


def _single(x: Volume) -> Volume:
    if check_volume(x).shape[1] != 1:
        raise ValueError(f"x must have one channel, got {x.shape[1]}")
    return x


def _table(remapping: Any, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return old and new labels, [1 or B, N] each, int64 or float64; raise if they are invalid."""
    pair = remapping
    if isinstance(remapping, Mapping):
        pair = [list(remapping.keys()), list(remapping.values())]
    try:
        old, new = (np.asarray(labels) for labels in pair)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"remapping must be a dict of labels, or two arrays of them on the host, "
            f"got {type(remapping).__name__}"
        ) from error
    if any(labels.size and labels.dtype.kind not in "iuf" for labels in (old, new)):
        raise TypeError(f"remapping must be made of numbers, got {old.dtype} and {new.dtype}")
    whole = all(labels.dtype.kind in "iu" for labels in (old, new))
    old, new = (np.atleast_2d(labels.astype(np.int64 if whole else np.float64))
                for labels in (old, new))  # fmt: skip
    if old.ndim != 2 or old.shape != new.shape or len(old) not in (1, batch):
        raise ValueError(
            f"remapping must be two arrays of one shape, (N) or ({batch}, N), "
            f"got {old.shape} and {new.shape}"
        )
    order = old.argsort(1)
    ascending = (np.take_along_axis(labels, order, 1) for labels in (old, new))
    same, apart = ((np.diff(labels, axis=1) == 0) for labels in ascending)
    if (same & ~apart).any():
        raise ValueError("remapping must give each label one new label, some have two")
    return old, new
