"""batchgeneratorsv2, the augmentation of nnU-Net: one sample at a time, on the CPU.

Intensities are changed in place: samples are cloned before, which counts. It translates by cutting
out about a random centre. Its elastic deformation is white noise smoothed by a Gaussian and scaled
to a given largest displacement; it deforms and moves in one step. Its gamma is of the numbers
between the least and the largest of a sample. Its blur ends at three standard deviations. What it
calls the variance of noise is the standard deviation. Where it crops or pads by an odd number of
voxels, the odd one is at the other end.

It has no bias field. What comes nearest, a bump that is added, is another thing; so pipe6 is left
out, and patches with it, which it would cut out of a volume as this library does, computing no
more. So is anisotropy: it takes the nearest voxel along all axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from math import exp, radians
from random import uniform
from typing import Any

import torch
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.cropping import center_crop
from torch import Tensor

from .. import workloads as w
from . import Op, by_size, per_sample

NAME, VERSION = "batchgeneratorsv2", version("batchgeneratorsv2")

ANGLE, SCALE = radians(w.AFFINE["degrees"]), w.AFFINE["scales"]
#: Least and largest width of the Gaussian that smooths noise, in voxels, as with MONAI.
SMOOTH = (5, 8)
#: Largest displacement along an axis, voxels: then its standard deviation is that of the others.
LARGEST = 3


def on_cpu(step: Callable[[Tensor], Tensor]) -> Op:
    """A loop over samples, and back to where the batch is."""
    loop = per_sample(step)
    return lambda x: loop(x.cpu()).to(x.device)


def in_place(transform: Any) -> Op:
    """For transforms that change the image they are given."""
    return on_cpu(lambda sample: transform(image=sample.clone())["image"])


def moved(size: Sequence[int]) -> dict[str, Any]:
    """Parameters of an affine map, of images of this size."""
    return {
        "random_crop": True,
        "patch_center_dist_from_border": [n / 2 - w.AFFINE["translation"] for n in size],
        "p_rotation": 1,
        "rotation": (-ANGLE, ANGLE),
        "p_scaling": 1,
        "scaling": (1 - SCALE, 1 + SCALE),
    }


def bent(size: Sequence[int]) -> dict[str, Any]:
    """Parameters of an elastic deformation, of images of this size."""
    return {
        "p_elastic_deform": 1,
        # of each axis, as a part of its length
        "elastic_deform_scale": lambda *_, dim, **__: uniform(*SMOOTH) / size[dim],
        "elastic_deform_magnitude": LARGEST,
    }


def spatial(size: Sequence[int], *parts: Callable[[Sequence[int]], dict[str, Any]]) -> Any:
    """One interpolation for all of them."""
    given: dict[str, Any] = {"patch_center_dist_from_border": 0, "random_crop": False}
    for part in parts:
        given.update(part(size))
    return SpatialTransform(tuple(size), mode_seg="nearest", **given)


def of_images(*parts: Callable[[Sequence[int]], dict[str, Any]]) -> Op:
    """Of a batch without label maps."""

    def make(size: Sequence[int]) -> Op:
        transform = spatial(size, *parts)
        return on_cpu(lambda sample: transform(image=sample)["image"])

    return by_size(make)


@cache
def both(size: tuple[int, ...]) -> Any:
    """Moved and deformed."""
    return spatial(size, moved, bent)


def with_labels(x: Tensor, labels: Tensor) -> Tensor:
    """The images of a batch that move with their label maps."""
    transform = both(tuple(x.shape[2:]))
    pairs = zip(x.cpu(), labels.cpu(), strict=True)
    found = [transform(image=image, segmentation=label)["image"] for image, label in pairs]
    return torch.stack(found).to(x.device)


MIRROR = MirrorTransform(w.FLIP["axes"])
GAMMA = tuple(exp(end) for end in w.GAMMA["log_gamma"])

OPS: dict[str, Op] = {
    "affine": of_images(moved),
    "elastic": of_images(bent),
    "affine_elastic": of_images(moved, bent),
    "with_labels": with_labels,
    # Left to itself, it mirrors each axis or not.
    "flip": on_cpu(lambda x: MIRROR.apply({"image": x}, axes=w.FLIP["axes"])["image"]),
    "gamma": in_place(GammaTransform(GAMMA, 0, True, 1, 0)),
    "noise": in_place(GaussianNoiseTransform(w.NOISE["std"], synchronize_channels=True)),
    "blur": in_place(GaussianBlurTransform(w.BLUR["std"])),
    "crop_or_pad": by_size(lambda size: on_cpu(lambda x: center_crop(x, w.crop_or_pad(size)))),
}
