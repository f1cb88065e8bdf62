"""Rescaling of intensities to a range."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ...arrays import Numbers
from ...functional import normalization as F
from ...shapes import Volume
from ..parameters.masks import Masking, check_masking, mask_of
from .base import Images, Normalization, NormalizationParams, describe_samples


class RescaleIntensity(Normalization):
    """Map intensities to a range, after clamping them to two percentiles.

    Args:
        out_min_max: The range; d means (-d, d).
        percentiles: Percentiles that are mapped to its ends; d means (0, d). Isensee et al.
            2018, https://arxiv.org/abs/1809.10486, take (0.5, 99.5).
        masking_method: Voxels whose percentiles are taken: None for all; the name of a label
            map; 'Left', 'Right', 'Posterior', 'Anterior', 'Inferior' or 'Superior' for a half; or
            a function from voxels (C, I, J, K) to a mask.
        in_min_max: Intensities that are mapped to the ends of the range, in place of those of the
            percentiles; d means (-d, d).
        kwargs: See :class:`Transform`.

    Between spatial steps of a pipeline, one of which interpolates afterwards, it may be carried out
    on the voxels before they are sampled, whose extremes interpolation does not reach.

    A sample whose percentiles are equal, as those of a constant image, is left as it is, as is one
    with an empty mask, or whose range is not finite; a RuntimeWarning says so, save on a GPU, where
    asking would make the host wait.

    Raises:
        ValueError: A range is empty, or percentiles are not between 0 and 100.
        KeyError: ``masking_method`` is a name that stands for nothing.

    >>> RescaleIntensity((-1, 1))(torch.tensor([2., 3, 4]).view(1, 1, 1, 3)).flatten()
    tensor([-1.,  0.,  1.])
    """

    def __init__(
        self,
        out_min_max: Numbers = (0, 1),
        percentiles: Numbers = (0, 100),
        masking_method: Masking = None,
        in_min_max: Numbers | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_min_max = F.check_range(out_min_max, "out_min_max", proper=False)
        self.percentiles = F.check_range(percentiles, "percentiles", None, 0, 100)
        self.masking_method = check_masking(masking_method)
        self.in_min_max = None if in_min_max is None else F.check_range(in_min_max, "in_min_max")

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        """True if nothing is clamped: no percentiles, and no mask that excludes extremes."""
        return self.percentiles == (0, 100) and self.masking_method is None

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = images[name].data
        out, percentiles, in_min_max = self.out_min_max, self.percentiles, self.in_min_max
        if self.commutes and in_min_max is not None:
            return F.rescale(x, out, in_min_max=in_min_max)
        mask = mask_of(self.masking_method, images, name)
        low, high = F.cutoffs(x, percentiles, mask)
        if x.device.type == "cpu":
            self._report(images, name, low, high)
        return F.rescale(x, out, percentiles, mask, in_min_max, known=(low, high))

    def _report(self, images: Images, name: str, low: Tensor, high: Tensor) -> None:
        equal = low == high if self.in_min_max is None else torch.zeros_like(low, dtype=torch.bool)
        for wrong, fact in (
            (equal, "the intensities to map are all the same"),
            (low.isnan(), "its mask is empty, or its range not finite"),
        ):
            if wrong.any():
                warnings.warn(
                    f"RescaleIntensity leaves {describe_samples(images, name, wrong)} as it is: "
                    f"{fact}",
                    RuntimeWarning,
                    stacklevel=2,
                )
