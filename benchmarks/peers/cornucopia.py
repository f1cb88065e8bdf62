"""cornucopia, one sample at a time. Its bias field is a spline through random control points."""

from __future__ import annotations

from importlib.metadata import version
from math import exp
from typing import Any

import cornucopia as cc

from .. import workloads as w
from . import Op, per_sample

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
}
STEPS["pipe6"] = cc.SequentialTransform([STEPS[name] for name in w.PIPE6])
OPS: dict[str, Op] = {name: per_sample(step) for name, step in STEPS.items()}
