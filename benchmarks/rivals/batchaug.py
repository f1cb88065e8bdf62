"""BatchAug: MONAI's transforms for whole batches, with Triton kernels of its own on a GPU.

As MONAI's, its elastic deformation is white noise smoothed by a Gaussian, the same one along all
axes, its bias field is a Legendre polynomial, and its gamma is of the numbers between the least and
the largest of a sample. Its blur takes zeros for what lies outside. What it cannot do in one step,
affine_elastic, is left out.
"""

from __future__ import annotations

from functools import reduce
from math import exp, radians
from typing import Any

import batchaug as b
import torch

from .. import workloads as w
from . import NO_SPACING, Op, sample, seeded, version

NAME, DISTRIBUTION, VERSION = "BatchAug", "batchaug", version("batchaug")
if not torch.cuda.is_available():
    b.set_backend("pytorch")  # its Triton kernels need a GPU
NAMES = TRANSFORMS = [*b._TRANSFORM_NAMES]

COEFFICIENT = w.BIAS_FIELD["coefficients"]
WIDTHS = ("sigma_x", "sigma_y", "sigma_z")
FLIPS = [b.RandFlip(w.RANDOM_FLIP["flip_probability"], axis) for axis in w.RANDOM_FLIP["axes"]]


def steps(*each: Any) -> Op:
    """One after another, on the whole batch."""
    return lambda x: reduce(lambda y, step: step(y), each, x)


STEPS: dict[str, Any] = {
    "affine": b.RandAffine(
        prob=1,
        rotate_range=radians(w.AFFINE["degrees"]),
        translate_range=w.AFFINE["translation"],
        scale_range=w.AFFINE["scales"],
    ),
    # As smooth and as large as MONAI's.
    "elastic": b.Rand3DElastic(prob=1, sigma_range=(5, 8), magnitude_range=(130, 230)),
    "random_flip": steps(*FLIPS),
    "bias_field": b.RandBiasField(1, w.BIAS_FIELD["order"], (-COEFFICIENT, COEFFICIENT)),
    "gamma": b.RandAdjustContrast(1, tuple(exp(end) for end in w.GAMMA["log_gamma"])),
    "noise": b.RandGaussianNoise(1, std=w.NOISE["std"]),
}
STEPS["pipe6"] = steps(*(STEPS[name] for name in w.PIPE6))
SMALL: dict[str, Any] = {"prob": 1, "rotate_range": radians(10)}
TURN = b.RandAffine(**SMALL, translate_range=3)
MOVE = b.RandAffined(["x"], prob=1, rotate_range=radians(20), padding_mode="zeros")
BEND: dict[str, Any] = {"sigma_range": (5, 6), "magnitude_range": (100, 200), "prob": 1}
NOISE = b.RandGaussianNoise(prob=1)


def planar(name: str, width: float) -> dict[str, tuple[float, float]]:
    """Widths of a Gaussian across K."""
    return {f"{name}_{axis}": (n, n) for axis, n in zip("xyz", (width, width, 1e-3), strict=True)}


def lazy(*each: Any) -> Op:
    together = b.Compose(list(each), lazy=True)
    return lambda x: together({"x": x})["x"]


OPS: dict[str, Any] = {
    **STEPS,
    "flip": b.RandFlip(w.FLIP["flip_probability"], w.FLIP["axes"]),
    "blur": b.RandGaussianSmooth(1, **dict.fromkeys(WIDTHS, w.BLUR["std"])),
    "batch": TURN,
    "device": steps(TURN, b.Rand3DElastic(**BEND), NOISE),
    "seeds": seeded(TURN),
    "grad_image": steps(TURN, b.RandAdjustContrast(prob=1, gamma=(0.5, 2))),
    "compile": steps(TURN, NOISE),
    "fused": {
        "all": lazy(MOVE, MOVE, b.RandFlipd(["x"], prob=1), b.Rand3DElasticd(["x"], **BEND)),
        "affines composed": lazy(MOVE, MOVE),
    },
    "dtypes": sample(b.RandAffine(**SMALL, mode="nearest")),
    "types": {"dict": lambda x: b.RandAffined(["image"], **SMALL)({"image": x["image"][None]})},
    "gibbs": b.RandGibbsNoise(prob=1, alpha=(0.6, 0.6)),
    "anisotropy": b.RandSimulateLowResolution(prob=1, zoom_range=(0.3, 0.3)),
    "ct_kernel": {
        "sharp": b.RandGaussianSharpen(
            prob=1, **planar("sigma1", 0.1), **planar("sigma2", 0.6), alpha=(2.0, 2.0)
        ),
        "soft": b.RandGaussianSmooth(prob=1, **planar("sigma", 1.0)),
    },
}
NOTES = {
    "crop_or_pad": "~ pads to a multiple of a number",
    "kernels": "? Triton, for contrast, scaling, bias field, smoothing; its page gives times",
    "grad_params": "~ to the matrix in the parameters of `apply`, not to angles",
    "with_labels": "~ affine maps of dictionaries",
    **NO_SPACING,
    "replay": "~ parameters can be drawn apart and applied again; nothing is recorded",
    "planes": "- volumes only",
    "ct_kernel": "in voxels (`RandGaussianSharpen`)",
}
