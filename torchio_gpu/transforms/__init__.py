"""Transforms: random ones draw parameters for every sample, deterministic ones are given them."""

from .affine import Affine, RandomAffine
from .affine_elastic import AffineElasticDeformation, RandomAffineElasticDeformation
from .base import Transform
from .compose import Compose, OneOf, SomeOf
from .crop import Crop, CropOrPad, EnsureShapeMultiple, Pad
from .custom import Lambda
from .elastic import ElasticDeformation, RandomElasticDeformation
from .filters import Anisotropy, Blur, RandomAnisotropy, RandomBlur, RandomSwap, Swap
from .flip import Flip, RandomFlip
from .header import CopyAffine, ToReferenceSpace
from .histogram import HistogramStandardization
from .history import Recorded, from_dict
from .intensity import BiasField, Gamma, Noise, RandomBiasField, RandomGamma, RandomNoise
from .kspace import Ghosting, Motion, RandomGhosting, RandomMotion, RandomSpike, Spike
from .labels import (
    Contour,
    KeepLargestComponent,
    OneHot,
    RemapLabels,
    RemoveLabels,
    SequentialLabels,
)
from .normalization import (
    PCA,
    Clamp,
    Mask,
    RescaleIntensity,
    To,
    ZNormalization,
)
from .orientation import ToCanonical, ToOrientation, Transpose
from .ranges import Choice
from .resample import Resample, Resize
from .synthesis import LabelsToImage, RandomLabelsToImage

__all__ = [
    "PCA",
    "Affine",
    "AffineElasticDeformation",
    "Anisotropy",
    "BiasField",
    "Blur",
    "Choice",
    "Clamp",
    "Compose",
    "Contour",
    "CopyAffine",
    "Crop",
    "CropOrPad",
    "ElasticDeformation",
    "EnsureShapeMultiple",
    "Flip",
    "Gamma",
    "Ghosting",
    "HistogramStandardization",
    "KeepLargestComponent",
    "LabelsToImage",
    "Lambda",
    "Mask",
    "Motion",
    "Noise",
    "OneHot",
    "OneOf",
    "Pad",
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
    "RemapLabels",
    "RemoveLabels",
    "Resample",
    "RescaleIntensity",
    "Resize",
    "SequentialLabels",
    "SomeOf",
    "Spike",
    "Swap",
    "To",
    "ToCanonical",
    "ToOrientation",
    "ToReferenceSpace",
    "Transform",
    "Transpose",
    "ZNormalization",
    "from_dict",
]
