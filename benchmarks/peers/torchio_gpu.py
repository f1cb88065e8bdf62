"""This library, measured as any other."""

from __future__ import annotations

import torchio_gpu as tio

from .. import workloads as w
from . import Op

NAME, VERSION = "torchio_gpu", tio.__version__

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
OPS: dict[str, Op] = {**STEPS, "pipe6": tio.Compose([STEPS[name] for name in w.PIPE6])}
