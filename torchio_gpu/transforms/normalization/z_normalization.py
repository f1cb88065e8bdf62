"""Normalization of intensities to mean 0 and standard deviation 1."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from ...functional import normalization as F
from ...functional.statistics import moments
from ...shapes import Volume
from ..parameters.masks import HALVES, Masking, check_masking, mask_of
from .base import Images, Normalization, NormalizationParams, describe_samples


class ZNormalization(Normalization):
    """Subtract the mean and divide by the standard deviation (with n - 1).

    Args:
        masking_method: Voxels whose statistics are taken; see :class:`RescaleIntensity`.
        kwargs: See :class:`Transform`.

    A standard deviation of 0 counts as 1: a constant sample becomes 0. One with an empty mask is
    left as it is. TorchIO raises for both, which would make a GPU's host wait.

    Between spatial steps of a pipeline, one of which interpolates afterwards, it is carried out
    on the voxels before they are sampled: mean and standard deviation are those of what is in view
    there, noise that interpolation smooths away included.

    Raises:
        KeyError: ``masking_method`` is a name that stands for nothing.

    Warns:
        RuntimeWarning: A sample has a standard deviation of 0, or an empty mask. On the CPU only:
            on a GPU the host would wait for the statistics.

    >>> ZNormalization()(torch.tensor([2., 3, 4]).view(1, 1, 1, 3)).flatten()
    tensor([-1.,  0.,  1.])
    """

    def __init__(self, masking_method: Masking = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking_method = check_masking(masking_method)

    @staticmethod
    def mean(tensor: Tensor) -> Tensor:
        """Return the mask of voxels above the mean of all: a ``masking_method``."""
        return tensor > tensor.double().mean()

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        """True if there is no mask, or a label map, which moves with the content."""
        name = self.masking_method
        return name is None or (isinstance(name, str) and name.capitalize() not in HALVES)

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = images[name].data
        statistics = moments(x, mask_of(self.masking_method, images, name))
        if x.device.type == "cpu":
            for wrong, fact in (
                (statistics.std == 0, "becomes 0: all of its voxels are the same"),
                (statistics.mean.isnan(), "stays as it is: its mask is empty, or has NaN in it"),
            ):
                if wrong.any():
                    warnings.warn(
                        f"ZNormalization: {describe_samples(images, name, wrong)} {fact}",
                        RuntimeWarning,
                        stacklevel=2,
                    )
        return F.standardize(x, known=statistics)
