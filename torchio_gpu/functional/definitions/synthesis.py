"""Formula of images made of label maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import Volume


def labels_to_image(
    labels: Volume,
    mean: Tensor,
    std: Tensor,
    normals: Volume | None = None,
    values: Sequence[int] | None = None,
    background: Volume | None = None,
) -> Volume:
    """Gaussian mixture whose components are labels: Billot et al. 2020.

    See http://proceedings.mlr.press/v121/billot20a.html. A voxel with shares s of labels is drawn
    from N(sum s mean, sum s^2 std^2); one with less than half a share shows the background, if
    there is one.

    Args:
        labels: [B, 1, I, J, K] integers, or shares of labels 0, 1, ..., [B, L, I, J, K] floats.
        mean, std: Of each label of ``values``, [B, L].
        normals: Standard normal numbers, [B, 1, I, J, K]; 0, and so no noise, if None.
        values: Label of each column of ``mean`` and ``std``; 0, 1, ... if None.
        background: [B, 1, I, J, K].
    """
    columns = range(mean.shape[1]) if values is None else values
    shape = (len(labels), 1, *labels.shape[2:])
    total, variance, share = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for n, label in enumerate(columns):
        part = labels[:, label, None] if labels.is_floating_point() else labels == label
        m, s = (each[:, n, None, None, None, None] for each in (mean, std))
        total, variance, share = total + part * m, variance + (part * s) ** 2, share + part
    out = total if normals is None else total + variance.sqrt() * normals
    return out if background is None else torch.where(share < 0.5, background, out)
