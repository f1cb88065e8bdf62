"""scipy.ndimage: one sample at a time, on the CPU and one of its cores."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from scipy.ndimage import affine_transform, gaussian_filter, label
from torch import Tensor

from .. import workloads as w
from . import Op, per_sample

NAME, VERSION = "scipy", scipy.__version__
RANDOM = np.random.default_rng(0)


def blur(x: Tensor) -> Tensor:
    """A sample, blurred by a width of its own along each axis."""
    low, high = w.BLUR["std"]
    std = RANDOM.uniform(low, high, 3)
    blurred = gaussian_filter(x.numpy(force=True), std, axes=(1, 2, 3))
    return torch.as_tensor(blurred, device=x.device)


def resample(x: Tensor) -> Tensor:
    """A sample, at another spacing about the same centre."""
    size, after = x.shape[1:], w.resampled(x.shape[1:])
    first = [(n - 1 - w.SPACING * (m - 1)) / 2 for n, m in zip(size, after, strict=True)]
    scale = [w.SPACING] * 3
    channels = [
        affine_transform(channel, scale, first, after, order=1, mode="nearest")
        for channel in x.numpy(force=True)
    ]
    return torch.as_tensor(np.stack(channels), device=x.device)


def largest_component(mask: Tensor) -> Tensor:
    """That of a mask (1, I, J, K), whose components are voxels that share faces."""
    components, _ = label(mask[0].numpy(force=True))
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    return torch.as_tensor(components == largest, dtype=mask.dtype, device=mask.device)[None]


OPS: dict[str, Op] = {
    "blur": per_sample(blur),
    "resample": per_sample(resample),
    "largest_component": per_sample(largest_component),
}
