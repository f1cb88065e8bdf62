"""Cut-mix: boxes of other samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch.distributions import Beta

from ...functional.cutout import in_boxes
from ...shapes import Volume
from ...signature import is_number
from ..base import Context
from ..kinds import BatchTransform, Images
from ..parameters.quantiles import Quantile
from ..pipeline.mixing import MixParams, check_shapes, draw_partners


@dataclass(frozen=True)
class CutMixParams(MixParams):
    """Partner of each sample, and the box that is taken from it, in voxels."""

    first: Annotated[np.ndarray, "B 3", int]
    size: Annotated[np.ndarray, "B 3", int]


class CutMix(BatchTransform):
    """Replace a box of each sample by that of another one of the batch, in images and label maps.

    Yun et al. 2019, CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features, doi:10.1109/ICCV.2019.00612. The share of the volume that stays is drawn from
    Beta(alpha, alpha). The box has the proportions of the volume, and its centre is anywhere; what
    is outside is cut off, and the metadata ``mix_weight`` is the share that did stay.

    All images must have one shape, whose voxels correspond. Points are left as they are.

    Args:
        alpha: Parameter of the distribution, > 0: 1 for equally probable shares.
        kwargs: See :class:`Transform`, and :class:`BatchTransform` for the metadata.

    Raises:
        TypeError: When called, the input is a single sample.
        ValueError: ``alpha`` is not > 0; or, when called, images differ in shape.

    >>> batch = torch.rand(4, 1, 8, 8, 8)
    >>> CutMix()(batch).shape
    torch.Size([4, 1, 8, 8, 8])
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not is_number(alpha) or not alpha > 0:
            raise ValueError(f"alpha must be > 0, got {alpha!r}")
        self.alpha = alpha
        self._kept = Quantile(Beta(float(alpha), float(alpha)))

    computes = False

    @property
    def draws(self) -> int:
        return 5

    def draw(self, context: Context, u: np.ndarray) -> CutMixParams:
        check_shapes(context, self.name)
        shape = np.array(context.space.shape)
        thick = shape > 1  # an axis of one voxel is whole
        share = (1 - self._kept(u[:, 1:2])) ** (1 / max(1, thick.sum()))
        side = np.where(thick, share, 1) * shape  # [B, 3]
        centre = np.where(thick, u[:, 2:], 0.5) * shape
        first = np.clip(np.rint(centre - side / 2), 0, shape).astype(int)
        end = np.clip(np.rint(centre + side / 2), 0, shape).astype(int)
        weight = 1 - (end - first).prod(1) / shape.prod()
        partner = draw_partners(u[:, 0])
        return CutMixParams(partner, weight, partner, first, end - first)

    def mix(self, images: Images, partners: Images, name: str, params: CutMixParams) -> Volume:
        x = images[name].data
        inside = in_boxes(x, params.first[:, None], params.size[:, None])
        return torch.where(inside, partners[name].data, x)
