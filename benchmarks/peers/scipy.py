"""scipy's Gaussian filter: one sample at a time, on the CPU and one of its cores."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from scipy.ndimage import gaussian_filter
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


OPS: dict[str, Op] = {"blur": per_sample(blur)}
