"""Regions of label maps: the largest component, and contours."""

from __future__ import annotations

from ...functional import labels as F
from ...shapes import Volume
from ..kinds import Images
from .base import LabelParams, NewLabels


class KeepLargestComponent(NewLabels):
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

    def new_labels(self, images: Images, name: str, params: LabelParams) -> Volume:
        return F.largest_component(images[name].data)


class Contour(NewLabels):
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

    def new_labels(self, images: Images, name: str, params: LabelParams) -> Volume:
        return F.contour(images[name].data)
