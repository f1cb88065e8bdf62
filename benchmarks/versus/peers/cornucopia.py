"""cornucopia, one sample at a time. Its bias field is a spline through random control points.

Its motion is left out: a pose for the central lines too, and a magnitude image. Its percentiles
are those of the voxels that are not 0, and its window lies a voxel off the centre.
"""

from __future__ import annotations

from importlib.metadata import version
from math import exp, log, sqrt
from typing import Any

import cornucopia as cc
import torch
from torch import Tensor

from .. import workloads as w
from . import Op, by_size, per_sample

NAME, VERSION = "cornucopia", version("cornucopia")

MOTION: dict[str, Any] = {
    "translations": w.AFFINE["translation"],
    "rotations": w.AFFINE["degrees"],
    "zooms": w.AFFINE["scales"],
    "shears": 0,
}
# A plain number of control points would be the largest of a random one.
BEND: dict[str, Any] = {
    "dmax": w.ELASTIC["max_displacement"],
    "shape": cc.random.Fixed(w.ELASTIC["num_control_points"]),
}
SAMPLING: dict[str, Any] = {"unit": "vox", "bound": "zeros"}
#: Full width at half maximum of a Gaussian whose standard deviation is 1.
WIDTH = sqrt(8 * log(2))
LOW, HIGH = (exp(sign * w.BIAS_FIELD["coefficients"]) for sign in (-1, 1))

STEPS: dict[str, Any] = {
    "affine": cc.RandomAffineTransform(**MOTION, **SAMPLING),
    "elastic": cc.RandomElasticTransform(**BEND, **SAMPLING),
    "affine_elastic": cc.RandomAffineElasticTransform(**BEND, **MOTION, **SAMPLING),
    "flip": cc.FlipTransform(),
    "random_flip": cc.RandomFlipTransform(),
    "bias_field": cc.MulFieldTransform(shape=5, vmin=LOW, vmax=HIGH),
    "gamma": cc.RandomGammaTransform(tuple(exp(end) for end in w.GAMMA["log_gamma"])),
    "noise": cc.RandomGaussianNoiseTransform(w.NOISE["std"][1]),
    "blur": cc.RandomSmoothTransform(
        cc.random.Uniform(*([WIDTH * end] * 3 for end in w.BLUR["std"]))
    ),
    # Slices without thickness, since those of the others are not means either.
    "anisotropy": cc.RandomLowResSliceTransform(
        w.ANISOTROPY["downsampling"], thickness=cc.random.Fixed(0)
    ),
    "labels_to_image": cc.RandomGaussianMixtureTransform(
        w.LABELS_TO_IMAGE["default_mean"],
        w.LABELS_TO_IMAGE["default_std"],
        fwhm=cc.random.Fixed(0),
    ),
    "z_normalization": cc.ZTransform(),
    "rescale": cc.QuantileTransform(
        *(q / 100 for q in w.PERCENTILES), *w.RESCALE["out_min_max"], clip=True, max_samples=0
    ),
    # The labels given become 1, 2, ..., all others 0.
    "remap_labels": cc.RelabelTransform(sorted(w.REMAPPING, key=w.REMAPPING.__getitem__)[1:]),
    "one_hot": cc.OneHotTransform(dtype=torch.uint8),
}
STEPS["pipe6"] = cc.SequentialTransform([STEPS[name] for name in w.PIPE6])
PAIR = cc.RandomAffineElasticTransform(**BEND, **MOTION, **SAMPLING, nearest_if_label=True)


def with_labels(x: Tensor, labels: Tensor) -> Tensor:
    """The images of a batch that move with their label maps."""
    return torch.stack([PAIR(*pair)[0] for pair in zip(x, labels, strict=True)])


OPS: dict[str, Op] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "with_labels": with_labels,
    "crop_or_pad": by_size(lambda size: per_sample(cc.PatchTransform(w.crop_or_pad(size)))),
}
