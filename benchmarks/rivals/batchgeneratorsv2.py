"""batchgeneratorsv2, the augmentation of nnU-Net: one sample at a time, on the CPU.

Intensities are changed in place: samples are cloned before, which counts. It translates by cutting
out about a random centre. Its elastic deformation is white noise smoothed by a Gaussian and scaled
to a given largest displacement, in one step with the affine map. Its gamma is of the numbers
between the least and the largest of a sample. Its blur ends at three standard deviations. What it
calls the variance of noise is the standard deviation. An odd voxel is cropped or padded at the
other end. It has no bias field: so pipe6 is left out, and patches with it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from contextlib import suppress
from math import exp, radians
from operator import itemgetter
from random import uniform
from types import SimpleNamespace
from typing import Any

import batchgeneratorsv2.transforms
import torch
from torch import Tensor

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH
from . import NO_SPACING, Op, by_size, classes, of_samples, per_sample, seeded, version

NAME, DISTRIBUTION = "batchgeneratorsv2", "batchgeneratorsv2"
VERSION = version(DISTRIBUTION)
_FOUND: dict[str, Any] = {}
for entry in pkgutil.walk_packages(batchgeneratorsv2.transforms.__path__, f"{NAME}.transforms."):
    with suppress(ImportError):  # it wants what is not installed
        _FOUND.update(vars(importlib.import_module(entry.name)))
b: Any = SimpleNamespace(**_FOUND)
TRANSFORMS = classes(_FOUND, b.BasicTransform)
NAMES = [*TRANSFORMS, *dir(b.SpatialTransform)]

ANGLE, SCALE = radians(w.AFFINE["degrees"]), w.AFFINE["scales"]
#: Least and largest width of the Gaussian that smooths noise, in voxels, as with MONAI.
SMOOTH = (5, 8)
#: Largest displacement along an axis, voxels: then its standard deviation is that of the others.
LARGEST = 3


def image(step: Any) -> Op:
    """Operation on a sample; some transforms change the image that they are given."""
    return lambda sample: step(image=sample.cpu().clone())["image"]


def of_images(step: Any) -> Op:
    """Operation on a batch."""
    return per_sample(image(step))


def spatial(size: Sequence[int], moves: bool = True, bends: bool = True, **more: Any) -> Any:
    """One interpolation for all of them."""
    given: dict[str, Any] = {
        "random_crop": moves,
        "p_rotation": float(moves),
        "rotation": (-ANGLE, ANGLE),
        "p_scaling": float(moves),
        "scaling": (1 - SCALE, 1 + SCALE),
        "p_elastic_deform": float(bends),
        # of each axis, as a part of its length
        "elastic_deform_scale": lambda *_, dim, **__: uniform(*SMOOTH) / size[dim],
        "elastic_deform_magnitude": LARGEST,
        "mode_seg": "nearest",
    }
    away = [n / 2 - w.AFFINE["translation"] for n in size]
    return b.SpatialTransform(tuple(size), away, **given | more)


def turned(size: Sequence[int], degrees: float = 10, bends: bool = False) -> Any:
    """Rotation, and deformation, about the centre."""
    angles = -radians(degrees), radians(degrees)
    return spatial(size, bends=bends, random_crop=False, rotation=angles, scaling=(1, 1))


def with_labels(size: Sequence[int]) -> Op:
    """Operation on a batch of images and their label maps."""
    step, both = spatial(size), itemgetter("image", "segmentation")
    return per_sample(lambda x, y: both(step(image=x.cpu(), segmentation=y.cpu())))


def grad_params(x: Tensor, degrees: Tensor) -> Tensor:
    step = turned((16,) * 3)
    step.rotation = lambda *_, **kwargs: torch.deg2rad(degrees) * (kwargs["dim"] == 0)
    return step(image=x[0])["image"]


NEAREST = turned((12,) * 3)
NOISE, BENT = b.GaussianNoiseTransform(), turned((32,) * 3, 20, bends=True)
WINDOW, MIRROR = turned((PATCH,) * 3, bends=True), b.MirrorTransform(w.FLIP["axes"])
OPS: dict[str, Any] = {
    **of_samples(
        {
            "gamma": b.GammaTransform([exp(e) for e in w.GAMMA["log_gamma"]], 0, True, 1, 0),
            "noise": b.GaussianNoiseTransform(w.NOISE["std"], synchronize_channels=True),
            "blur": b.GaussianBlurTransform(w.BLUR["std"]),
            "anisotropy": b.SimulateLowResolutionTransform((0.3, 0.3), True, False, (1, 2)),
            "device": b.ComposeTransforms([turned((16,) * 3, bends=True), NOISE]),
            "grad_image": turned((10,) * 3),
            "compile": b.ComposeTransforms([turned((8,) * 3), NOISE]),
            "fused": {
                "all": b.ComposeTransforms([turned((32,) * 3, 20), BENT]),
                "an affine with an elastic step in one class": BENT,
            },
            "dropout": b.BlankRectangleTransform(6, 0, 2),
            "ct_kernel": {
                "sharp": b.SharpeningTransform((0.2, 0.2)),
                "soft": b.GaussianBlurTransform((1.0, 1.0)),
            },
        },
        of_images,
    ),
    "affine": by_size(lambda size: of_images(spatial(size, bends=False))),
    "elastic": by_size(lambda size: of_images(spatial(size, moves=False))),
    "affine_elastic": by_size(lambda size: of_images(spatial(size))),
    "with_labels": by_size(with_labels),
    # Left to itself, it mirrors each axis or not.
    "flip": per_sample(lambda x: MIRROR.apply({"image": x.cpu()}, axes=w.FLIP["axes"])["image"]),
    "crop_or_pad": by_size(
        lambda size: per_sample(lambda x: b.center_crop(x.cpu(), w.crop_or_pad(size)))
    ),
    "batch": image(turned((12,) * 3)),
    "seeds": seeded(of_images(turned((8,) * 3))),
    "grad_params": grad_params,
    "points": lambda x, places: itemgetter("image", "keypoints")(
        turned(x.shape[1:])(image=x, keypoints=places)
    ),
    "planes": image(turned((24, 24), 30)),
    "dtypes": lambda x: NEAREST(image=x.float(), segmentation=x)["segmentation"],
    "types": {"dict": lambda x: turned((9, 8, 7))(**x)},
    "samplers": {"uniform": image(b.SpatialTransform((SIDE,) * 3, 3, True))},
    "windows": {"elastic_ones": lambda x: lambda: WINDOW(image=x)["image"]},
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
