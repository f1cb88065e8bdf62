"""Mix-up: weighted means of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.distributions import Beta

from ...data.keys import LABEL
from ...functional.dispatch.launch import to_device
from ...shapes import Volume, with_voxel_axes
from ...signature import is_number
from ..base import Context
from ..kinds import BatchTransform, Images
from ..parameters.quantiles import Quantile
from ..pipeline.mixing import MixParams, draw_partners


class MixUp(BatchTransform):
    """Replace each sample by a weighted mean of itself and of another one of the batch.

    Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412.
    The weight of the sample itself is drawn from Beta(alpha, alpha).

    Label maps of several channels are mixed alike, and still sum to 1 if they are one-hot; put
    :class:`OneHot` before. For a class
    of a whole image, weigh two losses by the metadata ``mix_partner`` and ``mix_weight``, see
    :class:`BatchTransform`. Points are left as they are.

    Args:
        alpha: Parameter of the distribution, > 0: the larger, the more equal the weights.
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: When called, the input is a single sample.
        ValueError: ``alpha`` is not > 0; or, when called, a label map has one channel.

    >>> batch = torch.rand(4, 1, 8, 8, 8)
    >>> MixUp(alpha=0.4)(batch).shape
    torch.Size([4, 1, 8, 8, 8])
    """

    def __init__(self, alpha: float = 0.4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not is_number(alpha) or not alpha > 0:
            raise ValueError(f"alpha must be > 0, got {alpha!r}")
        self.alpha = alpha
        self._weight = Quantile(Beta(float(alpha), float(alpha)))

    @property
    def draws(self) -> int:
        return 2

    def draw(self, context: Context, u: np.ndarray) -> MixParams:
        partner = draw_partners(u[:, 0])
        return MixParams(partner, self._weight(u[:, 1]), partner)

    def mix(self, images: Images, partners: Images, name: str, params: MixParams) -> Volume:
        own = images[name]
        if own.kind == LABEL and own.shape[1] == 1:
            raise ValueError(
                f"label maps must be one-hot to be mixed, and {name!r} has one channel: put "
                "OneHot() before MixUp, exclude it, or take CutMix or ClassMix"
            )
        x, y = own.data, partners[name].data
        half = x.dtype in (torch.float16, torch.bfloat16)  # too coarse for weights
        a, b = (each.float() if half or not each.is_floating_point() else each for each in (x, y))
        if x.is_complex():
            a, b = x, y
        (weight,) = to_device(x.device, params.weight)
        out = torch.lerp(b, a, with_voxel_axes(weight).to(a.dtype))
        return out.to(x.dtype) if half else out
