"""kornia: whole batches. Of its augmentations few know volumes: affine maps and flips.

Corners are aligned: without, its default, what it does is not what its parameters say, by 1 / size.
An angle is a component of a rotation vector, not one of three turns. Its gamma clamps to [0, 1],
where all numbers lie. It has Gaussian kernels and a filter for volumes, but no blur made of them:
the one here filters along one axis after another, by kernels of each sample's own. Beyond the
border the outermost voxel goes on.

Noise, bias fields and elastic deformation are of flat images only, so that there is no pipe6.
"""

from __future__ import annotations

from collections.abc import Sequence

import kornia
import torch
from kornia import augmentation as k
from torch import Tensor

from .. import workloads as w
from . import Op, by_size

NAME, VERSION = "kornia", kornia.__version__

SCALE = (1 - w.AFFINE["scales"], 1 + w.AFFINE["scales"])
#: Taps to both sides of the middle: four of the largest widths, as with scipy.
TAPS = 4 * w.BLUR["std"][1]
FLIP = torch.nn.Sequential(
    k.RandomDepthicalFlip3D(p=1), k.RandomVerticalFlip3D(p=1), k.RandomHorizontalFlip3D(p=1)
)


def affine(size: Sequence[int]) -> Op:
    """Translations are fractions of the size, the last axis first."""
    step: Op = k.RandomAffine3D(
        w.AFFINE["degrees"],
        [w.AFFINE["translation"] / n for n in reversed(size)],
        (SCALE,) * 3,
        align_corners=True,
        p=1,
    )
    return step


def gamma(x: Tensor) -> Tensor:
    """A power of its own for each sample."""
    power = x.new_empty(len(x), 1, 1, 1, 1).uniform_(*w.GAMMA["log_gamma"]).exp()
    result: Tensor = kornia.enhance.adjust_gamma(x, power)
    return result


def blur(x: Tensor) -> Tensor:
    """A width of its own for each sample and axis."""
    std = x.new_empty(3, len(x), 1).uniform_(*w.BLUR["std"])
    for axis, width in enumerate(std, start=1):
        kernel = kornia.filters.get_gaussian_kernel1d(2 * TAPS + 1, width)  # [B, taps]
        shape = [len(x), 1, 1, 1]
        shape[axis] = -1
        x = kornia.filters.filter3d(x, kernel.view(shape))
    return x


OPS: dict[str, Op] = {"affine": by_size(affine), "flip": FLIP, "gamma": gamma, "blur": blur}
