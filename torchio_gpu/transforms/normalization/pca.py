"""Principal components of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...functional import normalization as F
from ...functional.dispatch.arguments import as_given, check_real
from ...functional.intensity import clamp
from ...shapes import Volume
from .base import Images, Normalization, NormalizationParams


class PCA(Normalization):
    """Principal components of the channels of each image, such as the features of a network.

    Args:
        num_components: Number of components, which become the channels.
        whiten: Divide each by its standard deviation.
        normalize: Divide all by the standard deviation of the first.
        make_skewness_positive: Change the sign of each component of negative skewness. Otherwise
            the sign is such that the channel of largest weight has a positive one.
        values_range: Values that are mapped to 0 and 1; None for the least and greatest of each
            sample. The default is what Darcet et al. 2025, https://arxiv.org/abs/2502.08769, show.
        clip: Clamp the result to [0, 1].
        pca_kwargs: Must be empty: TorchIO 1.x hands them to scikit-learn, which is not used here.
        kwargs: See :class:`Transform`.

    On a GPU, torch's eigensolver makes the host wait.

    Raises:
        ValueError: There are fewer channels than components, or an argument is not as above.

    >>> PCA(num_components=2)(torch.rand(5, 4, 4, 4)).shape
    torch.Size([2, 4, 4, 4])
    """

    def __init__(
        self,
        num_components: int = 3,
        *,
        whiten: bool = True,
        normalize: bool = True,
        make_skewness_positive: bool = True,
        values_range: Sequence[float] | None = (-2.3, 2.3),
        clip: bool = True,
        pca_kwargs: Mapping[str, object] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_components = F.check_components(num_components)
        self.whiten, self.normalize, self.clip = whiten, normalize, clip
        self.make_skewness_positive = make_skewness_positive
        self.values_range = None
        if values_range is not None:
            self.values_range = F.check_range(values_range, "values_range")
        if pca_kwargs:
            raise ValueError(
                f"pca_kwargs must be empty, as scikit-learn is not used, got {dict(pca_kwargs)}"
            )
        self.pca_kwargs = pca_kwargs

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = check_real(images[name].data)
        y = F.principal_components(
            x if x.dtype == torch.float64 else x.float(),
            self.num_components,
            whiten=self.whiten,
            normalize=self.normalize,
            make_skewness_positive=self.make_skewness_positive,
        )
        y = F.rescale(y, in_min_max=self.values_range)
        return as_given(clamp(y, 0, 1) if self.clip else y, x)
