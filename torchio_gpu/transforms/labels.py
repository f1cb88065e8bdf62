"""Label maps: memberships, new labels for old, borders, the largest component."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import ImagesBatch
from ..data.image import LABEL
from ..functional import labels as F
from ..shapes import Volume
from .base import Scene, Transform
from .masks import Masking, check_masking, mask_of
from .params import Params

Images = Mapping[str, ImagesBatch]


@dataclass(frozen=True)
class LabelParams(Params):
    """Nothing: what happens to a label map is settled by the label map."""


@dataclass(frozen=True)
class OneHotParams(Params):
    """Whether channels become labels again."""

    back: bool = False


@dataclass(frozen=True)
class RemapParams(Params):
    """New labels for old, for each sample and image; the end of a row may repeat an entry."""

    old: np.ndarray  # [B, M, N]
    new: np.ndarray  # [B, M, N]


class _LabelTransform(Transform):
    """What all transforms of label maps share: types are kept, scalar images left alone."""

    role = "volume"
    shares = True
    computes = False
    kinds = (LABEL,)

    def draw(self, scene: Scene, u: np.ndarray) -> Params:
        return LabelParams()

    def voxels(self, images: Images, name: str, params: Any) -> Volume:
        try:
            return self._labels(images, name, params)
        except ValueError as error:  # which names the argument, and does not know the image
            raise ValueError(f"{self.name} of {name!r}: {error}") from error

    def _labels(self, images: Images, name: str, params: Any) -> Volume:
        """The new labels of one image."""
        raise NotImplementedError


class OneHot(_LabelTransform):
    """Give each label a channel of its own, 1 where a voxel has it and 0 elsewhere.

    Args:
        num_classes: How many labels, from 0, there are. -1 for one more than the largest label of
            the batch, which waits for the device.
        kwargs: See :class:`Transform`.

    The inverse gives each voxel the label of its largest channel.

    Raises:
        ValueError: ``num_classes`` is neither -1 nor positive; or, when called, a label map has
            several channels, or, as seen on the CPU, labels that are negative, no integers, or
            ``num_classes`` or more.

    >>> labels = LabelMap(torch.tensor([0, 2, 1]).view(1, 1, 1, 3))
    >>> OneHot()(labels).data.squeeze()
    tensor([[1, 0, 0],
            [0, 0, 1],
            [0, 1, 0]])
    """

    def __init__(self, num_classes: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = F.check_num_classes(num_classes)

    def draw(self, scene: Scene, u: np.ndarray) -> OneHotParams:
        return OneHotParams()

    def _labels(self, images: Images, name: str, params: OneHotParams) -> Volume:
        x = images[name].data
        if not params.back:
            return F.one_hot(x, self.num_classes)
        return (x.byte() if x.dtype == torch.bool else x).argmax(1, keepdim=True).to(x.dtype)

    def invert(self, params: OneHotParams) -> OneHotParams:
        return OneHotParams(not params.back)


class _Remap(_LabelTransform):
    """What the transforms that replace labels share."""

    masking_method: Masking

    def _labels(self, images: Images, name: str, params: RemapParams) -> Volume:
        mask = mask_of(self.masking_method, images, name)
        return F.remap_labels(images[name].data, (params.old, params.new), mask)

    def _given(self, remapping: Mapping[int, int], scene: Scene) -> RemapParams:
        """One table for all samples and images."""
        table = np.array([[*remapping.keys()], [*remapping.values()]], dtype=np.int64)
        shape = (scene.batch, len(scene.names), table.shape[1])
        return RemapParams(*(np.broadcast_to(labels, shape).copy() for labels in table))


class RemapLabels(_Remap):
    """Replace labels by others, all of them at once: two labels may change places.

    Args:
        remapping: The new label of each label to change.
        masking_method: Where to change labels: None for everywhere, the name of a label map, a
            half such as 'Left', or a function; see :func:`torchio_gpu.transforms.masks.mask_of`.
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
        self.remapping = {_key(old): _label(new, "remapping") for old, new in remapping.items()}
        self.masking_method = check_masking(masking_method)

    def draw(self, scene: Scene, u: np.ndarray) -> RemapParams:
        return self._given(self.remapping, scene)

    @property
    def is_invertible(self) -> bool:
        return len(set(self.remapping.values())) == len(self.remapping)

    def invert(self, params: RemapParams) -> Params:
        return _swapped(params) if self.is_invertible else super().invert(params)


class RemoveLabels(_Remap):
    """Make labels background.

    Args:
        labels: Labels to remove.
        background_label: What voxels that have one of them get.
        masking_method: Where to do so; see :class:`RemapLabels`.
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
        self.labels = tuple(_label(label, "labels") for label in labels)
        self.background_label = _label(background_label, "background_label")
        self.masking_method = check_masking(masking_method)

    def draw(self, scene: Scene, u: np.ndarray) -> RemapParams:
        return self._given(dict.fromkeys(self.labels, self.background_label), scene)

    def _labels(self, images: Images, name: str, params: RemapParams) -> Volume:
        F.check_held(params.new, images[name].data.dtype, "background_label")
        return super()._labels(images, name, params)


class SequentialLabels(_Remap):
    """Make the labels of each label map 0, 1, 2 and so on, in ascending order.

    Args:
        masking_method: Where to change labels; see :class:`RemapLabels`.
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

    shares = False

    def __init__(self, masking_method: Masking = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking_method = check_masking(masking_method)

    def draw(self, scene: Scene, u: np.ndarray) -> RemapParams:
        known = [_present(scene.images[name].data) for name in scene.names]
        width = max(int(has.sum(1).max(initial=0)) for _, has in known)
        columns = []
        for labels, has in known:
            order = np.argsort(~has, axis=1, kind="stable")  # the labels of a sample come first
            rank = np.minimum(np.arange(width), has.sum(1, keepdims=True) - 1)  # [B, N]
            columns.append((labels[np.take_along_axis(order, rank, 1)], rank))
        old, new = (np.stack(column, 1) for column in zip(*columns, strict=True))
        return RemapParams(old, new)

    def invert(self, params: RemapParams) -> RemapParams:
        return _swapped(params)


class KeepLargestComponent(_LabelTransform):
    """Keep the largest component of each label map, and make all else 0.

    Voxels other than 0 are of one component if they share faces, directly or through others. Those
    that are kept keep their labels, where TorchIO 1.x makes them 1: for masks it is the same. Of
    components of one size, the one that begins first when I is the fastest axis is kept, as there.
    Waits for the device.

    Args:
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: When called, a label map has several channels.

    >>> labels = LabelMap(torch.tensor([1, 0, 1, 1]).view(1, 1, 1, 4))
    >>> KeepLargestComponent()(labels).data.flatten()
    tensor([0, 0, 1, 1])
    """

    def _labels(self, images: Images, name: str, params: LabelParams) -> Volume:
        return F.largest_component(images[name].data)


class Contour(_LabelTransform):
    """Keep the borders of regions: the voxels with another label beside one of their six faces.

    A region is open where it leaves the image. Voxels that are kept keep their labels, and each
    label has its border, where TorchIO 1.x knows label 1 alone and leaves others untouched: for
    masks it is the same.

    Args:
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: When called, a label map has several channels.

    >>> labels = LabelMap(torch.tensor([0, 1, 1, 1, 0]).view(1, 1, 1, 5))
    >>> Contour()(labels).data.flatten()
    tensor([0, 1, 0, 1, 0])
    """

    def _labels(self, images: Images, name: str, params: LabelParams) -> Volume:
        return F.contour(images[name].data)


def _swapped(params: RemapParams) -> RemapParams:
    return RemapParams(params.new, params.old)


def _key(value: Any) -> int:
    """A label that is a key of a dict, of which JSON makes a string."""
    whole = isinstance(value, str) and value.removeprefix("-").isdecimal()
    return _label(int(value) if whole else value, "remapping")


def _label(value: Any, argument: str) -> int:
    """A label as an integer, or raise."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{argument} must be made of labels that are integers, got {value!r}")


def _present(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Labels that any sample has, [N], ascending, and whether each sample has them, [B, N]."""
    if x.is_meta:  # where nobody can know
        return np.zeros(0, dtype=np.int64), np.zeros((len(x), 0), dtype=bool)
    labels, number = torch.unique(x, return_inverse=True)
    has = torch.zeros(len(x), len(labels), dtype=torch.bool, device=x.device)
    has.scatter_(1, number.flatten(1), True)
    found = labels.cpu().double() if labels.is_floating_point() else labels.cpu().long()
    if found.is_floating_point() and bool((found % 1 == 0).all()):
        found = found.long()  # as they are in most label maps that a file stores as floats
    return found.numpy(), has.cpu().numpy()


__all__ = [
    "Contour",
    "KeepLargestComponent",
    "OneHot",
    "RemapLabels",
    "RemoveLabels",
    "SequentialLabels",
]
