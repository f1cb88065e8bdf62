"""Transforms, random and deterministic, of images, subjects and batches."""

from ..data import SpatialMap
from .base import Transform
from .building import from_dict
from .compose import Compose, OneOf, SomeOf
from .ct.beam_hardening import BeamHardening, RandomBeamHardening
from .ct.kernel import RandomReconstructionKernel, ReconstructionKernel
from .ct.limited_angle import LimitedAngle, RandomLimitedAngle
from .ct.low_dose import LowDose, RandomLowDose
from .ct.metal import Metal, RandomMetal
from .ct.rings import RandomRings, Rings
from .ct.sparse_view import RandomSparseView, SparseView
from .ct.streaks import RandomStreaks, Streaks
from .ct.thickness import RandomSliceThickness, SliceThickness
from .ct.window import RandomWindow, Window
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
from .intensity.cutout import Cutout, RandomCutout
from .intensity.gamma import Gamma, RandomGamma
from .intensity.histogram_shift import HistogramShift, RandomHistogramShift
from .intensity.labels_to_image import LabelsToImage, RandomLabelsToImage
from .intensity.low_field import LowField, RandomLowField
from .intensity.low_resolution import LowResolution, RandomLowResolution
from .intensity.noise import Noise, RandomNoise
from .intensity.sigmoid_contrast import RandomSigmoidContrast, SigmoidContrast
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
from .kspace.chemical_shift import ChemicalShift, RandomChemicalShift
from .kspace.coil_noise import CoilNoise, RandomCoilNoise
from .kspace.ghosting import Ghosting, RandomGhosting
from .kspace.gibbs import Gibbs, RandomGibbs
from .kspace.motion import Motion, RandomMotion
from .kspace.partial_fourier import PartialFourier, RandomPartialFourier
from .kspace.slice_motion import RandomSliceMotion, SliceMotion
from .kspace.spike import RandomSpike, Spike
from .kspace.wrap import RandomWrap, Wrap
from .kspace.zipper import RandomZipper, Zipper
from .labels.morphology import DilateLabels, ErodeLabels, RandomDilateLabels, RandomErodeLabels
from .labels.one_hot import OneHot
from .labels.regions import Contour, KeepLargestComponent
from .labels.remap import RemapLabels, RemoveLabels, SequentialLabels
from .labels.smooth import RandomSmoothLabels, SmoothLabels
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
from .ultrasound.attenuation import Attenuation, RandomAttenuation, RandomTimeGain, TimeGain
from .ultrasound.haze import Haze, RandomHaze
from .ultrasound.label_attenuation import LabelAttenuation, RandomLabelAttenuation
from .ultrasound.labels_to_ultrasound import LabelsToUltrasound, RandomLabelsToUltrasound
from .ultrasound.reverberation import RandomReverberation, Reverberation
from .ultrasound.shadow import AcousticShadow, RandomAcousticShadow
from .ultrasound.speckle import RandomSpeckle, Speckle

__all__ = [
    "PCA",
    "AcousticShadow",
    "Affine",
    "AffineElasticDeformation",
    "Anisotropy",
    "Attenuation",
    "B0Distortion",
    "BatchTransform",
    "BeamHardening",
    "BiasField",
    "Blur",
    "Brightness",
    "ChemicalShift",
    "Choice",
    "Clamp",
    "ClassMix",
    "CoilNoise",
    "Compose",
    "Context",
    "Contour",
    "Contrast",
    "CopyAffine",
    "Crop",
    "CropOrPad",
    "CutMix",
    "Cutout",
    "Diffeomorphism",
    "DilateLabels",
    "Displacement",
    "ElasticDeformation",
    "EnsureShapeMultiple",
    "ErodeLabels",
    "Flip",
    "FourierTransform",
    "Gamma",
    "Ghosting",
    "Gibbs",
    "Haze",
    "HistogramShift",
    "HistogramStandardization",
    "IntensityTransform",
    "Interpolation",
    "KeepLargestComponent",
    "LabelAttenuation",
    "LabelTransform",
    "LabelsToImage",
    "LabelsToUltrasound",
    "Lambda",
    "LimitedAngle",
    "LowDose",
    "LowField",
    "LowResolution",
    "Mask",
    "Metal",
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
    "RandomAcousticShadow",
    "RandomAffine",
    "RandomAffineElasticDeformation",
    "RandomAnisotropy",
    "RandomAttenuation",
    "RandomB0Distortion",
    "RandomBeamHardening",
    "RandomBiasField",
    "RandomBlur",
    "RandomBrightness",
    "RandomChemicalShift",
    "RandomCoilNoise",
    "RandomContrast",
    "RandomCutout",
    "RandomDiffeomorphism",
    "RandomDilateLabels",
    "RandomDisplacement",
    "RandomElasticDeformation",
    "RandomErodeLabels",
    "RandomFlip",
    "RandomGamma",
    "RandomGhosting",
    "RandomGibbs",
    "RandomHaze",
    "RandomHistogramShift",
    "RandomLabelAttenuation",
    "RandomLabelsToImage",
    "RandomLabelsToUltrasound",
    "RandomLimitedAngle",
    "RandomLowDose",
    "RandomLowField",
    "RandomLowResolution",
    "RandomMetal",
    "RandomMotion",
    "RandomNoise",
    "RandomPartialFourier",
    "RandomReconstructionKernel",
    "RandomReverberation",
    "RandomRings",
    "RandomSigmoidContrast",
    "RandomSliceMotion",
    "RandomSliceThickness",
    "RandomSmoothLabels",
    "RandomSparseView",
    "RandomSpeckle",
    "RandomSpike",
    "RandomStreaks",
    "RandomSwap",
    "RandomTimeGain",
    "RandomTransform",
    "RandomWindow",
    "RandomWrap",
    "RandomZipper",
    "ReconstructionKernel",
    "Recorded",
    "RemapLabels",
    "RemoveLabels",
    "Resample",
    "RescaleIntensity",
    "Resize",
    "Reverberation",
    "Rings",
    "SequentialLabels",
    "SigmoidContrast",
    "SliceMotion",
    "SliceThickness",
    "SmoothLabels",
    "SomeOf",
    "SparseView",
    "SpatialMap",
    "SpatialTraits",
    "SpatialTransform",
    "Speckle",
    "Spike",
    "Streaks",
    "SubjectFunction",
    "Swap",
    "TimeGain",
    "To",
    "ToCanonical",
    "ToOrientation",
    "ToReferenceSpace",
    "Transform",
    "Transpose",
    "VolumeTransform",
    "Window",
    "Wrap",
    "ZNormalization",
    "Zipper",
    "from_dict",
    "train_histogram",
]
