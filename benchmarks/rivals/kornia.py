"""kornia: whole batches. Of its augmentations few know volumes: affine maps and flips.

Corners are aligned: without, its default, what it does is not what its parameters say, by 1 / size.
An angle is a component of a rotation vector, not one of three turns. Its gamma clamps to [0, 1],
where all numbers lie. It has Gaussian kernels and a filter for volumes, but no blur made of them:
the one here filters along one axis after another, and beyond the border the outermost voxel goes
on. Noise, bias fields and elastic deformation are of flat images only: there is no pipe6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kornia
import torch
from kornia import augmentation as k
from torch import Tensor
from torch.nn.functional import pad

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH
from . import NO_SPACING, Op, by_size, sample, seeded

NAME, DISTRIBUTION, VERSION = "kornia", "kornia", kornia.__version__
NAMES = dir(k)
TRANSFORMS = [n for n in NAMES if n.startswith("Random") and isinstance(getattr(k, n), type)]

SCALE = (1 - w.AFFINE["scales"], 1 + w.AFFINE["scales"])
#: Taps to both sides of the middle: four of the largest widths, as with scipy.
TAPS = 4 * w.BLUR["std"][1]
MIRROR = k.RandomHorizontalFlip3D(p=1)
FLIP = torch.nn.Sequential(k.RandomDepthicalFlip3D(p=1), k.RandomVerticalFlip3D(p=1), MIRROR)
TURN = k.RandomAffine3D(degrees=10.0, translate=(0.1, 0.1, 0.1), p=1)
MOVE = k.RandomAffine3D(20.0, p=1)
ANY = k.AugmentationSequential(TURN, data_keys=None)
MASK = pad(torch.ones(2, 4, 4, 4), (2,) * 6)  # of volumes of 8³
NEAREST = k.RandomAffine3D(10.0, translate=(0.1, 0.1, 0.1), resample="NEAREST", p=1)


def affine(size: Sequence[int]) -> Op:
    """Translations are fractions of the size, the last axis first."""
    move = [w.AFFINE["translation"] / n for n in reversed(size)]
    return k.RandomAffine3D(w.AFFINE["degrees"], move, (SCALE,) * 3, align_corners=True, p=1)


def gamma(x: Tensor) -> Tensor:
    """A power of its own for each sample."""
    power = x.new_empty(len(x), 1, 1, 1, 1).uniform_(*w.GAMMA["log_gamma"]).exp()
    return kornia.enhance.adjust_gamma(x, power)


def blur(x: Tensor) -> Tensor:
    """A width of its own for each sample and axis."""
    std = x.new_empty(3, len(x), 1).uniform_(*w.BLUR["std"])
    for axis, width in enumerate(std, start=1):
        kernel = kornia.filters.get_gaussian_kernel1d(2 * TAPS + 1, width)  # [B, taps]
        shape = [len(x), 1, 1, 1]
        shape[axis] = -1
        x = kornia.filters.filter3d(x, kernel.view(shape))
    return x


def steps(*each: Any, keys: Sequence[str] = ("input",)) -> Any:
    return k.AugmentationSequential(*each, data_keys=[*keys])


def replay(x: Tensor) -> tuple[Tensor, Tensor]:
    both = steps(TURN, k.RandomHorizontalFlip3D())
    return both(x[None])[0], both(x[None], params=both._params)[0]


def undone(x: Tensor) -> tuple[Tensor, Tensor]:
    both = steps(TURN, MIRROR)
    y = both(x[None])
    return y[0], both.inverse(y)[0]


def points(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    # x, y, z are along K, J, I
    y, moved = steps(TURN, keys=("input", "keypoints"))(x[None], places.flip(1)[None])
    return y[0], moved[0].flip(1)


def planes(step: Any) -> Op:
    """Operation on planes across K, as 2D images."""
    return lambda x: step(x[0].movedim(3, 0)).movedim(0, 3)[None]


OPS: dict[str, Any] = {
    "affine": by_size(affine),
    "flip": FLIP,
    "gamma": gamma,
    "blur": blur,
    "batch": TURN,
    "device": steps(TURN, k.RandomEqualize3D(p=1)),
    "seeds": seeded(TURN),
    "grad_image": TURN,
    "grad_params": lambda x, angle: k.RandomRotation3D(
        pad(angle.expand(1, 2), (0, 0, 2, 0)), p=1.0
    )(x),
    "compile": TURN,
    "fused": {"affines composed": steps(MOVE, MOVE)},
    "replay": replay,
    "inverse": {"affines": undone},
    "points": points,
    "planes": sample(k.RandomRotation((30.0, 30.0), p=1)),
    "dtypes": sample(NEAREST),
    "types": {"dict": lambda x: ANY({"image": x["image"][None]})},
    "mixing": lambda x: k.RandomTransplantation3D(p=1)(x, MASK)[0],
    "ct_kernel": {
        "sharp": planes(k.RandomSharpness((3.0, 3.0), p=1)),
        "soft": planes(k.RandomGaussianBlur((5, 5), (1.0, 1.0), p=1)),
    },
    "samplers": {"uniform": sample(k.RandomCrop3D((SIDE,) * 3))},
    "windows": {"affines": lambda x: lambda: k.CenterCrop3D(PATCH)(TURN(x[None]))},
    "models": lambda: kornia.models,
}
NOTES = {
    "crop_or_pad": "~ crops: `CenterCrop3D`",
    "z_normalization": "~ by a mean and a standard deviation that are given",
    "device": "affine and equalisation: it has neither elastic deformations nor noise of volumes",
    "grad_image": "of an affine; contrast is for 2D images",
    "kernels": "- torch's own kernels",
    **NO_SPACING,
    "with_labels": "~ by a second transform and the parameters of the first; pipelines refuse",
    "elastic": "~ 2D images: `RandomElasticTransform`",
    "noise": "~ 2D images: `RandomGaussianNoise`",
    "motion": "- `RandomMotionBlur3D` blurs along a line; no motion within k-space",
    "dropout": "~ 2D images: `RandomErasing`",
    "mixing": "`RandomTransplantation3D`, by masks; MixUp and CutMix for 2D images",
    "ct_kernel": "of planes as 2D images of 0 to 1",
    "networks": "~ 2D: a Dice loss; networks for matching, detection and edges",
    "models": "for 2D images; nothing was fetched",
}
