"""Replacement and removal of labels."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ...functional import labels as F
from ...shapes import Volume
from ..base import Context
from ..kinds import Images
from ..parameters.masks import Masking, check_masking, mask_of
from ..parameters.params import Params
from .base import NewLabels


@dataclass(frozen=True)
class RemapParams(Params):
    """Old and new labels for each sample and image; entries may be repeated to N."""

    old: Annotated[np.ndarray, "B M N"]
    new: Annotated[np.ndarray, "B M N"]


class _Remap(NewLabels):
    """Replacement of labels by others."""

    masking_method: Masking

    def new_labels(self, images: Images, name: str, params: RemapParams) -> Volume:
        mask = mask_of(self.masking_method, images, name)
        return F.remap_labels(images[name].data, (params.old, params.new), mask)

    def _same_for_all(self, remapping: Mapping[int, int], context: Context) -> RemapParams:
        """Return parameters with one table for all samples and images."""
        table = np.array([[*remapping.keys()], [*remapping.values()]], dtype=np.int64)
        shape = (context.batch, len(context.names), table.shape[1])
        return RemapParams(*(np.broadcast_to(labels, shape).copy() for labels in table))


class RemapLabels(_Remap):
    """Replace labels by others, all of them at once: two labels may change places.

    Args:
        remapping: The new label of each label to change.
        masking_method: Voxels in which to change labels: None for all, the name of a label map, a
            half such as 'Left', or a function; see
            :func:`torchio_gpu.transforms.parameters.masks.mask_of`.
        kwargs: See :class:`Transform`.

    Where no two labels become one, the inverse gives new labels back their old ones. It cannot
    know them from voxels that had the new label before: to merge and split again left and right
    structures, say, mask the half that is to change.

    Raises:
        TypeError: ``remapping`` is not a dict, or has labels that are not integers.
        ValueError: When called, the type of a label map cannot hold a new label.

    >>> labels = LabelMap(torch.arange(5).view(1, 1, 1, 5))
    >>> RemapLabels({1: 2, 2: 1, 3: 1, 4: 7})(labels).data.flatten()
    tensor([0, 2, 1, 1, 7])
    """

    def __init__(
        self, remapping: Mapping[int, int], masking_method: Masking = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.remapping = {
            _check_key(old): _check_label(new, "remapping") for old, new in remapping.items()
        }
        self.masking_method = check_masking(masking_method)

    def draw(self, context: Context, u: np.ndarray) -> RemapParams:
        return self._same_for_all(self.remapping, context)

    def is_invertible(self) -> bool:
        return len(set(self.remapping.values())) == len(self.remapping)

    def invert(self, params: RemapParams) -> Params:
        return _swapped(params) if self.is_invertible() else super().invert(params)


class RemoveLabels(_Remap):
    """Make labels background.

    Args:
        labels: Labels to remove.
        background_label: Label that replaces them.
        masking_method: Voxels in which to remove labels; see :class:`RemapLabels`.
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: A label is not an integer.
        ValueError: When called, the type of a label map cannot hold the background label.

    >>> labels = LabelMap(torch.arange(5).view(1, 1, 1, 5))
    >>> RemoveLabels([2, 4])(labels).data.flatten()
    tensor([0, 1, 0, 3, 0])
    """

    def __init__(
        self,
        labels: Sequence[int],
        background_label: int = 0,
        masking_method: Masking = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.labels = tuple(_check_label(label, "labels") for label in labels)
        self.background_label = _check_label(background_label, "background_label")
        self.masking_method = check_masking(masking_method)

    def draw(self, context: Context, u: np.ndarray) -> RemapParams:
        return self._same_for_all(dict.fromkeys(self.labels, self.background_label), context)

    def new_labels(self, images: Images, name: str, params: RemapParams) -> Volume:
        F.check_held(params.new, images[name].data.dtype, "background_label")
        return super().new_labels(images, name, params)


class SequentialLabels(_Remap):
    """Make the labels of each label map 0, 1, 2 and so on, in ascending order.

    Args:
        masking_method: Voxels in which to change labels; see :class:`RemapLabels`.
        kwargs: See :class:`Transform`.

    The smallest label that a sample has becomes 0, be it background or not. Which labels there
    are is looked up, which waits for the device, and noted: the inverse brings them back.

    Raises:
        ValueError: When called, the type of a label map cannot hold as many labels: 256 of them in
            int8.

    >>> labels = LabelMap(torch.tensor([0, 10, 5]).view(1, 1, 1, 3))
    >>> SequentialLabels()(labels).data.flatten()
    tensor([0, 2, 1])
    """

    @property
    def shares(self) -> bool:
        return False

    def __init__(self, masking_method: Masking = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking_method = check_masking(masking_method)

    def draw(self, context: Context, u: np.ndarray) -> RemapParams:
        present = [_present_labels(context.images[name].data) for name in context.names]
        width = max(int(has.sum(1).max(initial=0)) for _, has in present)
        columns = []
        for labels, has in present:
            order = np.argsort(~has, axis=1, kind="stable")  # the labels of a sample come first
            rank = np.minimum(np.arange(width), has.sum(1, keepdims=True) - 1)  # [B, N]
            columns.append((labels[np.take_along_axis(order, rank, 1)], rank))
        old, new = (np.stack(column, 1) for column in zip(*columns, strict=True))
        return RemapParams(old, new)

    def invert(self, params: RemapParams) -> RemapParams:
        return _swapped(params)


def _swapped(params: RemapParams) -> RemapParams:
    return RemapParams(params.new, params.old)


def _check_key(value: Any) -> int:
    """Return a label that is a key of a dict as an integer; JSON turns keys into strings."""
    whole = isinstance(value, str) and value.removeprefix("-").isdecimal()
    return _check_label(int(value) if whole else value, "remapping")


def _check_label(value: Any, argument: str) -> int:
    """Return a label as an integer, or raise a TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{argument} must hold integers, got {value!r}")


def _present_labels(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of all samples, [N], ascending, and a mask of those of each, [B, N]."""
    if x.is_meta:  # voxels have no values
        return np.zeros(0, dtype=np.int64), np.zeros((len(x), 0), dtype=bool)
    labels, number = torch.unique(x, return_inverse=True)
    has = torch.zeros(len(x), len(labels), dtype=torch.bool, device=x.device)
    has.scatter_(1, number.flatten(1), True)
    found = labels.cpu().double() if labels.is_floating_point() else labels.cpu().long()
    if found.is_floating_point() and bool((found % 1 == 0).all()):
        found = found.long()  # whole numbers that a file stores as floats
    return found.numpy(), has.cpu().numpy()
