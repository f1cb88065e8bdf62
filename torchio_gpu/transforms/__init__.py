"""Transforms: random ones draw parameters for every sample, deterministic ones are given them."""

from .base import Transform
from .compose import Compose
from .history import Recorded, from_dict
from .intensity import BiasField, Gamma, Noise, RandomBiasField, RandomGamma, RandomNoise
from .ranges import Choice
from .spatial import (
    Affine,
    AffineElasticDeformation,
    ElasticDeformation,
    Flip,
    RandomAffine,
    RandomAffineElasticDeformation,
    RandomElasticDeformation,
    RandomFlip,
)

__all__ = [
    "Affine",
    "AffineElasticDeformation",
    "BiasField",
    "Choice",
    "Compose",
    "ElasticDeformation",
    "Flip",
    "Gamma",
    "Noise",
    "RandomAffine",
    "RandomAffineElasticDeformation",
    "RandomBiasField",
    "RandomElasticDeformation",
    "RandomFlip",
    "RandomGamma",
    "RandomNoise",
    "Recorded",
    "Transform",
    "from_dict",
]
