"""Transforms: random ones draw parameters for every sample, deterministic ones are given them."""

from .affine import Affine, RandomAffine
from .affine_elastic import AffineElasticDeformation, RandomAffineElasticDeformation
from .base import Transform
from .compose import Compose
from .elastic import ElasticDeformation, RandomElasticDeformation
from .flip import Flip, RandomFlip
from .history import Recorded, from_dict
from .intensity import BiasField, Gamma, Noise, RandomBiasField, RandomGamma, RandomNoise
from .ranges import Choice

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
