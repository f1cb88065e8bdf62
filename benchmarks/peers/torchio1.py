"""TorchIO 1: one sample at a time, on the CPU, in part through SimpleITK."""

from __future__ import annotations

from importlib.metadata import version

import torchio as tio

from .. import workloads as w
from . import Op, per_sample

NAME, VERSION = "TorchIO", version("torchio")
if not VERSION.startswith("1."):
    raise ImportError(f"TorchIO 1 is asked for, {VERSION} is installed")

STEPS = {
    "affine": tio.RandomAffine(**w.AFFINE),
    "elastic": tio.RandomElasticDeformation(**w.ELASTIC),
    "affine_elastic": tio.RandomAffineElasticDeformation(
        affine_kwargs=w.AFFINE, elastic_kwargs=w.ELASTIC
    ),
    "flip": tio.RandomFlip(**w.FLIP),
    "random_flip": tio.RandomFlip(**w.RANDOM_FLIP),
    "bias_field": tio.RandomBiasField(**w.BIAS_FIELD),
    "gamma": tio.RandomGamma(**w.GAMMA),
    "noise": tio.RandomNoise(**w.NOISE),
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
OPS: dict[str, Op] = {name: per_sample(step) for name, step in STEPS.items()}
