"""batchgeneratorsv2, the augmentation of nnU-Net: one sample at a time, on the CPU.

Intensities are changed in place: samples are cloned before, which counts. It translates by cutting
out about a random centre. Its elastic deformation is white noise smoothed by a Gaussian and scaled
to a given largest displacement; it deforms and moves in one step. Its gamma is of the numbers
between the least and the largest of a sample. Its blur ends at three standard deviations. What it
calls the variance of noise is the standard deviation. Where it crops or pads by an odd number of
voxels, the odd one is at the other end.

It has no bias field. What comes nearest, a bump that is added, is another thing; so pipe6 is left
out, and patches with it, which it would cut out of a volume as this library does, computing no
more.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import exp, radians
from random import uniform
from typing import Any

import batchgeneratorsv2.transforms
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.blank_rectangle import BlankRectangleTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.noise.sharpen import SharpeningTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.cropping import center_crop
from torch import Tensor

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH
from . import NO_SPACING, Op, by_size, classes, per_sample, seeded, version

NAME, DISTRIBUTION = "batchgeneratorsv2", "batchgeneratorsv2"
VERSION = version(DISTRIBUTION)
_FOUND: dict[str, Any] = {}
for entry in pkgutil.walk_packages(batchgeneratorsv2.transforms.__path__, f"{NAME}.transforms."):
    with suppress(ImportError):  # it wants what is not installed
        _FOUND.update(vars(importlib.import_module(entry.name)))
TRANSFORMS = classes(_FOUND, BasicTransform)
NAMES = [*TRANSFORMS, *dir(SpatialTransform)]

ANGLE, SCALE = radians(w.AFFINE["degrees"]), w.AFFINE["scales"]
#: Least and largest width of the Gaussian that smooths noise, in voxels, as with MONAI.
SMOOTH = (5, 8)
#: Largest displacement along an axis, voxels: then its standard deviation is that of the others.
LARGEST = 3


def on_cpu(step: Callable[[Tensor], Tensor]) -> Op:
    """A loop over samples, and back to where the batch is."""
    loop = per_sample(step)
    return lambda x: loop(x.cpu()).to(x.device)


def of_images(step: Any) -> Op:
    """Of a batch; some transforms change the image that they are given."""
    return on_cpu(lambda sample: step(image=sample.clone())["image"])


def affine(size: Sequence[int]) -> dict[str, Any]:
    """Parameters of an affine map, of images of this size."""
    return {
        "random_crop": True,
        "patch_center_dist_from_border": [n / 2 - w.AFFINE["translation"] for n in size],
        "p_rotation": 1,
        "rotation": (-ANGLE, ANGLE),
        "p_scaling": 1,
        "scaling": (1 - SCALE, 1 + SCALE),
    }


def elastic(size: Sequence[int]) -> dict[str, Any]:
    """Parameters of an elastic deformation, of images of this size."""
    return {
        "p_elastic_deform": 1,
        # of each axis, as a part of its length
        "elastic_deform_scale": lambda *_, dim, **__: uniform(*SMOOTH) / size[dim],
        "elastic_deform_magnitude": LARGEST,
    }


def spatial(size: Sequence[int], *wanted: Callable[[Sequence[int]], dict[str, Any]]) -> Any:
    """One interpolation for all of them."""
    given: dict[str, Any] = {"patch_center_dist_from_border": 0, "random_crop": False}
    for part in wanted:
        given.update(part(size))
    return SpatialTransform(tuple(size), mode_seg="nearest", **given)


def with_labels(size: Sequence[int]) -> Op:
    """Of a batch of images and their label maps."""
    step = spatial(size, affine, elastic)

    def op(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(x.cpu(), labels.cpu(), strict=True)
        found = [step(image=image, segmentation=label) for image, label in pairs]
        images, maps = (torch.stack([f[k] for f in found]) for k in ("image", "segmentation"))
        return images.to(x.device), maps.to(x.device)

    return op


def turned(size: Any, degrees: float = 10, bend: bool = False, **kwargs: Any) -> SpatialTransform:
    """Rotation, and deformation by about a voxel, about the centre."""
    bends = {"elastic_deform_scale": (0.2, 0.3), "elastic_deform_magnitude": (1.0, 2.0)}
    turns = {"p_rotation": 1, "rotation": (-radians(degrees), radians(degrees))}
    return SpatialTransform(
        size, 0, False, p_elastic_deform=float(bend), **bends, **turns, **kwargs
    )


def grad_params(x: Tensor, degrees: Tensor) -> Tensor:
    step = turned((16,) * 3)
    step.rotation = lambda *_, **kwargs: torch.deg2rad(degrees) * (kwargs["dim"] == 0)
    return step(image=x[0])["image"]


def points(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    moved = turned(x.shape[1:])(image=x, keypoints=places)
    return moved["image"], moved["keypoints"]


def dtypes(x: Tensor) -> Tensor:
    step = turned((12,) * 3, mode_seg="nearest")
    return step(image=x.float(), segmentation=x)["segmentation"]


TURN, BENT = turned((32,) * 3, 20), turned((32,) * 3, 20, bend=True)
MIRROR = MirrorTransform(w.FLIP["axes"])
GAMMA = GammaTransform(tuple(exp(end) for end in w.GAMMA["log_gamma"]), 0, True, 1, 0)
OPS: dict[str, Any] = {
    "affine": by_size(lambda size: of_images(spatial(size, affine))),
    "elastic": by_size(lambda size: of_images(spatial(size, elastic))),
    "affine_elastic": by_size(lambda size: of_images(spatial(size, affine, elastic))),
    "with_labels": by_size(with_labels),
    # Left to itself, it mirrors each axis or not.
    "flip": on_cpu(lambda x: MIRROR.apply({"image": x}, axes=w.FLIP["axes"])["image"]),
    "gamma": of_images(GAMMA),
    "noise": of_images(GaussianNoiseTransform(w.NOISE["std"], synchronize_channels=True)),
    "blur": of_images(GaussianBlurTransform(w.BLUR["std"])),
    "anisotropy": of_images(SimulateLowResolutionTransform((0.3, 0.3), True, False, (1, 2))),
    "crop_or_pad": by_size(lambda size: on_cpu(lambda x: center_crop(x, w.crop_or_pad(size)))),
    "batch": lambda x: turned((12,) * 3)(image=x)["image"],
    "device": of_images(ComposeTransforms([turned((16,) * 3, 10, True), GaussianNoiseTransform()])),
    "seeds": seeded(of_images(turned((8,) * 3))),
    "grad_image": per_sample(lambda x: turned((10,) * 3)(image=x)["image"]),
    "grad_params": grad_params,
    "compile": of_images(ComposeTransforms([turned((8,) * 3), GaussianNoiseTransform()])),
    "fused": {
        "all": of_images(ComposeTransforms([TURN, BENT])),
        "an affine with an elastic step in one class": of_images(BENT),
    },
    "points": points,
    "planes": lambda x: turned((24, 24), 30)(image=x)["image"],
    "dtypes": dtypes,
    "types": {"dict": lambda x: turned((9, 8, 7))(**x)},
    "dropout": of_images(BlankRectangleTransform(6, 0, 2)),
    "ct_kernel": {
        "sharp": of_images(SharpeningTransform((0.2, 0.2))),
        "soft": of_images(GaussianBlurTransform((1.0, 1.0))),
    },
    "samplers": {"uniform": lambda x: SpatialTransform((SIDE,) * 3, 3, True)(image=x)["image"]},
    "windows": {
        "elastic_ones": lambda x: lambda: turned((PATCH,) * 3, bend=True)(image=x)["image"]
    },
}
NOTES = {
    "one_hot": "~ where a segmentation becomes channels of the image",
    "grad_image": "of an affine; gamma works in place",
    "kernels": "- torch's own kernels, on the CPU",
    **NO_SPACING,
    "replay": "~ parameters can be drawn apart and applied again; nothing is recorded",
    "bias_field": "~ a brightness gradient, added: `BrightnessGradientAdditiveTransform`",
    "largest_component": "- components are removed at random only",
}
