"""Transforms, random and deterministic, of images, subjects and batches."""

from ..data import SpatialMap
from .base import Transform
from .building import from_dict
from .compose import Compose, OneOf, SomeOf
from .custom import Lambda
from .grid.crop import Crop, Pad
from .grid.crop_or_pad import CropOrPad, EnsureShapeMultiple
from .grid.header import CopyAffine, ToReferenceSpace
from .grid.orientation import ToCanonical, ToOrientation, Transpose
from .grid.resample import Resample, Resize
from .history import Recorded
from .intensity.anisotropy import Anisotropy, RandomAnisotropy
from .intensity.bias_field import BiasField, RandomBiasField
from .intensity.blur import Blur, RandomBlur
from .intensity.brightness import Brightness, RandomBrightness
from .intensity.contrast import Contrast, RandomContrast
from .intensity.gamma import Gamma, RandomGamma
from .intensity.labels_to_image import LabelsToImage, RandomLabelsToImage
from .intensity.low_resolution import LowResolution, RandomLowResolution
from .intensity.noise import Noise, RandomNoise
from .intensity.swap import RandomSwap, Swap
from .kinds import (
    BatchTransform,
    FourierTransform,
    IntensityTransform,
    LabelTransform,
    PointwiseTransform,
    RandomTransform,
    SpatialTransform,
    VolumeTransform,
)
from .kspace.ghosting import Ghosting, RandomGhosting
from .kspace.gibbs import Gibbs, RandomGibbs
from .kspace.motion import Motion, RandomMotion
from .kspace.partial_fourier import PartialFourier, RandomPartialFourier
from .kspace.slice_motion import RandomSliceMotion, SliceMotion
from .kspace.spike import RandomSpike, Spike
from .kspace.wrap import RandomWrap, Wrap
from .labels.one_hot import OneHot
from .labels.regions import Contour, KeepLargestComponent
from .labels.remap import RemapLabels, RemoveLabels, SequentialLabels
from .mixing.class_mix import ClassMix
from .mixing.cut_mix import CutMix
from .mixing.mix_up import MixUp
from .normalization.clamp import Clamp
from .normalization.histogram import HistogramStandardization, train_histogram
from .normalization.mask import Mask
from .normalization.pca import PCA
from .normalization.rescale import RescaleIntensity
from .normalization.to import To
from .normalization.z_normalization import ZNormalization
from .parameters.params import Params
from .parameters.ranges import Choice
from .pipeline.context import Context
from .pipeline.maps import Interpolation, SpatialTraits
from .spatial.affine import Affine, RandomAffine
from .spatial.affine_elastic import AffineElasticDeformation, RandomAffineElasticDeformation
from .spatial.b0_distortion import B0Distortion, RandomB0Distortion
from .spatial.displacement import Diffeomorphism, Displacement
from .spatial.elastic import ElasticDeformation, RandomElasticDeformation
from .spatial.flip import Flip, RandomFlip
from .spatial.random_displacement import RandomDiffeomorphism, RandomDisplacement
from .subject_functions import MonaiAdapter, SubjectFunction

__all__ = [
    "PCA",
    "Affine",
    "AffineElasticDeformation",
    "Anisotropy",
    "B0Distortion",
    "BatchTransform",
    "BiasField",
    "Blur",
    "Brightness",
    "Choice",
    "Clamp",
    "ClassMix",
    "Compose",
    "Context",
    "Contour",
    "Contrast",
    "CopyAffine",
    "Crop",
    "CropOrPad",
    "CutMix",
    "Diffeomorphism",
    "Displacement",
    "ElasticDeformation",
    "EnsureShapeMultiple",
    "Flip",
    "FourierTransform",
    "Gamma",
    "Ghosting",
    "Gibbs",
    "HistogramStandardization",
    "IntensityTransform",
    "Interpolation",
    "KeepLargestComponent",
    "LabelTransform",
    "LabelsToImage",
    "Lambda",
    "LowResolution",
    "Mask",
    "MixUp",
    "MonaiAdapter",
    "Motion",
    "Noise",
    "OneHot",
    "OneOf",
    "Pad",
    "Params",
    "PartialFourier",
    "PointwiseTransform",
    "RandomAffine",
    "RandomAffineElasticDeformation",
    "RandomAnisotropy",
    "RandomB0Distortion",
    "RandomBiasField",
    "RandomBlur",
    "RandomBrightness",
    "RandomContrast",
    "RandomDiffeomorphism",
    "RandomDisplacement",
    "RandomElasticDeformation",
    "RandomFlip",
    "RandomGamma",
    "RandomGhosting",
    "RandomGibbs",
    "RandomLabelsToImage",
    "RandomLowResolution",
    "RandomMotion",
    "RandomNoise",
    "RandomPartialFourier",
    "RandomSliceMotion",
    "RandomSpike",
    "RandomSwap",
    "RandomTransform",
    "RandomWrap",
    "Recorded",
    "RemapLabels",
    "RemoveLabels",
    "Resample",
    "RescaleIntensity",
    "Resize",
    "SequentialLabels",
    "SliceMotion",
    "SomeOf",
    "SpatialMap",
    "SpatialTraits",
    "SpatialTransform",
    "Spike",
    "SubjectFunction",
    "Swap",
    "To",
    "ToCanonical",
    "ToOrientation",
    "ToReferenceSpace",
    "Transform",
    "Transpose",
    "VolumeTransform",
    "Wrap",
    "ZNormalization",
    "from_dict",
    "train_histogram",
]
