"""Masking: set voxels outside a mask to a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...functional import normalization as F
from ...shapes import Volume
from ..parameters.masks import HALVES, Masking, check_labels, check_masking, mask_of
from .base import Images, Normalization, NormalizationParams


class Mask(Normalization):
    """Set voxels outside a mask to a value. The dtype is kept.

    Args:
        masking_method: The mask: see :class:`RescaleIntensity`.
        outside_value: The value, in the image's own units.
        labels: Labels of a label map that are inside; None for all but 0.
        kwargs: See :class:`Transform`.

    Raises:
        KeyError: ``masking_method`` is a name that stands for nothing.
        ValueError: ``labels`` are given without a label map, or integer voxels cannot hold the
            value.

    >>> Mask(lambda x: x > 2, outside_value=-1)(torch.arange(5).view(1, 1, 1, 5)).flatten()
    tensor([-1, -1, -1,  3,  4])
    """

    @property
    def computes(self) -> bool:
        return False

    def __init__(
        self,
        masking_method: Masking,
        outside_value: float = 0,
        labels: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.masking_method = check_masking(masking_method)
        self.outside_value = outside_value
        self.labels = check_labels(labels)
        if labels is not None and not isinstance(masking_method, str):
            raise ValueError(
                f"labels must be None where masking_method is no label map, got {labels!r}"
            )

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        method = self.masking_method
        mask = mask_of(method, images, name, self.labels)
        if self.labels is not None and str(method).capitalize() in HALVES and method not in images:
            raise ValueError(f"labels must be None where masking_method is a half, {method!r}")
        x = images[name].data
        return x if mask is None else F.mask_voxels(x, mask, self.outside_value)
