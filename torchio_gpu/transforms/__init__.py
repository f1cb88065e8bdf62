"""Transforms: random ones draw parameters for every sample, deterministic ones are given them."""

from .affine import Affine, RandomAffine
from .affine_elastic import AffineElasticDeformation, RandomAffineElasticDeformation
from .base import Transform
from .compose import Compose, OneOf, SomeOf
from .custom import Lambda
from .elastic import ElasticDeformation, RandomElasticDeformation
from .filters import Anisotropy, Blur, RandomAnisotropy, RandomBlur, RandomSwap, Swap
from .flip import Flip, RandomFlip
from .history import Recorded, from_dict
from .intensity import BiasField, Gamma, Noise, RandomBiasField, RandomGamma, RandomNoise
from .kspace import Ghosting, Motion, RandomGhosting, RandomMotion, RandomSpike, Spike
from .ranges import Choice
from .synthesis import LabelsToImage, RandomLabelsToImage

__all__ = [
    "Affine",
    "AffineElasticDeformation",
    "Anisotropy",
    "BiasField",
    "Blur",
    "Choice",
    "Compose",
    "ElasticDeformation",
    "Flip",
    "Gamma",
    "Ghosting",
    "LabelsToImage",
    "Lambda",
    "Motion",
    "Noise",
    "OneOf",
    "RandomAffine",
    "RandomAffineElasticDeformation",
    "RandomAnisotropy",
    "RandomBiasField",
    "RandomBlur",
    "RandomElasticDeformation",
    "RandomFlip",
    "RandomGamma",
    "RandomGhosting",
    "RandomLabelsToImage",
    "RandomMotion",
    "RandomNoise",
    "RandomSpike",
    "RandomSwap",
    "Recorded",
    "SomeOf",
    "Spike",
    "Swap",
    "Transform",
    "from_dict",
]
