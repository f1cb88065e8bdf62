"""MONAI's array transforms, one sample at a time.

Its elastic deformation is white noise smoothed by a Gaussian; one as smooth as the spline of the
others would take a wider, slower Gaussian. Its bias field is a Legendre polynomial. Its spike
replaces the magnitude of a point in k-space, by the exponential of a given number, and keeps the
phase; the others add to what there is, relative to the largest magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, prod, radians
from typing import Any

import monai
from monai import transforms as m

from .. import workloads as w
from . import Op, by_size, per_sample

NAME, VERSION = "MONAI", monai.__version__
# Plain tensors in and out: quicker than tensors with metadata.
monai.data.set_track_meta(False)

MOTION: dict[str, Any] = {
    "rotate_range": [radians(w.AFFINE["degrees"])] * 3,
    "translate_range": [w.AFFINE["translation"]] * 3,
    "scale_range": [w.AFFINE["scales"]] * 3,
}
# Displacements have the standard deviation of the spline's, about 1.4 voxels.
BEND: dict[str, Any] = {"sigma_range": (5, 8), "magnitude_range": (200, 350)}
SAMPLING: dict[str, Any] = {"mode": "bilinear", "padding_mode": "zeros"}
WIDTHS = ("sigma_x", "sigma_y", "sigma_z")
COEFFICIENT = w.BIAS_FIELD["coefficients"]
FLIPS = [m.RandFlip(w.RANDOM_FLIP["flip_probability"], axis) for axis in w.RANDOM_FLIP["axes"]]

STEPS: dict[str, Any] = {
    "affine": m.RandAffine(1, **MOTION, **SAMPLING),
    "elastic": m.Rand3DElastic(**BEND, prob=1, **SAMPLING),
    "affine_elastic": m.Rand3DElastic(**BEND, prob=1, **MOTION, **SAMPLING),
    "flip": m.RandFlip(w.FLIP["flip_probability"], w.FLIP["axes"]),
    "random_flip": m.Compose(FLIPS),
    "bias_field": m.RandBiasField(w.BIAS_FIELD["order"], (-COEFFICIENT, COEFFICIENT), prob=1),
    "gamma": m.RandAdjustContrast(1, [exp(end) for end in w.GAMMA["log_gamma"]]),
    "noise": m.RandGaussianNoise(1, std=w.NOISE["std"][1], sample_std=True),
    "blur": m.RandGaussianSmooth(**dict.fromkeys(WIDTHS, w.BLUR["std"]), prob=1),
}
STEPS["pipe6"] = m.Compose([STEPS[name] for name in w.PIPE6])


def spike(size: Sequence[int]) -> Op:
    """Spikes as bright as those of the others. Left to itself, MONAI looks for a range first."""
    largest = prod(size) / 2  # magnitude in k-space, of numbers whose mean is 1/2
    ends = [log(end * largest) for end in w.SPIKE["intensity"]]
    return per_sample(m.RandKSpaceSpikeNoise(1, ends, channel_wise=False))


OPS: dict[str, Op] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "spike": by_size(spike),
}
