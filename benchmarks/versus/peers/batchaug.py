"""BatchAug: MONAI's transforms for whole batches, with Triton kernels of its own on a GPU.

As MONAI's, its elastic deformation is white noise smoothed by a Gaussian, the same one along all
axes, its bias field is a Legendre polynomial, and its gamma is of the numbers between the least and
the largest of a sample. Its blur takes zeros for what lies outside. What it cannot do in one step,
affine_elastic, is left out, and so is anisotropy: its low resolution is that of all axes.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from math import exp, radians
from typing import Any

import batchaug.pytorch
from torch import Tensor

from .. import workloads as w
from . import Op

NAME, VERSION = "BatchAug", version("batchaug")

COEFFICIENT = w.BIAS_FIELD["coefficients"]
WIDTHS = ("sigma_x", "sigma_y", "sigma_z")
MIRROR = w.RANDOM_FLIP["flip_probability"]


@cache
def steps(cuda: bool) -> dict[str, list[Any]]:
    """Transforms in a row for each operation; those with kernels run on a GPU only."""
    if cuda:
        import batchaug.triton as b
    else:
        b = batchaug.pytorch
    found = {
        "affine": [
            b.RandAffine(
                prob=1,
                rotate_range=radians(w.AFFINE["degrees"]),
                translate_range=w.AFFINE["translation"],
                scale_range=w.AFFINE["scales"],
            )
        ],
        # As smooth and as large as MONAI's.
        "elastic": [b.Rand3DElastic(prob=1, sigma_range=(5, 8), magnitude_range=(130, 230))],
        "flip": [b.RandFlip(w.FLIP["flip_probability"], w.FLIP["axes"])],
        "random_flip": [b.RandFlip(MIRROR, axis) for axis in w.RANDOM_FLIP["axes"]],
        "bias_field": [b.RandBiasField(1, w.BIAS_FIELD["order"], (-COEFFICIENT, COEFFICIENT))],
        "gamma": [b.RandAdjustContrast(1, tuple(exp(end) for end in w.GAMMA["log_gamma"]))],
        "noise": [b.RandGaussianNoise(1, std=w.NOISE["std"])],
        "blur": [b.RandGaussianSmooth(1, **dict.fromkeys(WIDTHS, w.BLUR["std"]))],
    }
    found["pipe6"] = [step for name in w.PIPE6 for step in found[name]]
    return found


def op(name: str) -> Op:
    """One step after another, on the whole batch."""

    def call(x: Tensor) -> Tensor:
        for step in steps(x.is_cuda)[name]:
            x = step(x)
        return x

    return call


OPS: dict[str, Op] = {name: op(name) for name in steps(False)}
