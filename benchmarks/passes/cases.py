"""Transforms of whole volumes, and what each may take of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import torchio_gpu as tio


class Budget(NamedTuple):
    """Budget of one call, small launches on parameters included.

    Args:
        copies: Predicted time, in copies of the image.
        launches: Kernels that are launched.
        fourier: Passes of Fourier transforms.
    """

    copies: float
    launches: int
    fourier: int = 0


class Case(NamedTuple):
    """A transform, and its budget."""

    make: Callable[[], Any]
    budget: Budget


_POSES: dict[str, Any] = {"degrees": [(5, 0, 0)] * 2, "translation": [(0, 3, 0)] * 2}
_BEAMS = {"probe": "convex", "angle": 60, "radius": 50}
_HISTOGRAM = {"image": np.linspace(0, 100, 13)}

#: By name, in the order of the table. All are called with the image and the label map of W1.
CASES = {
    "Motion": Case(lambda: tio.Motion(**_POSES, times=(0.3, 0.7)), Budget(10.8, 12)),
    "Motion, magnitude": Case(
        lambda: tio.Motion(**_POSES, times=(0.3, 0.7), output="magnitude"), Budget(23, 20)
    ),
    "RandomMotion": Case(tio.RandomMotion, Budget(10.8, 16)),
    "Ghosting": Case(lambda: tio.Ghosting(4, 0, 0.5), Budget(2.9, 5)),
    "RandomGhosting": Case(tio.RandomGhosting, Budget(3, 8)),
    "Gibbs": Case(lambda: tio.Gibbs(0.6, 1), Budget(2.9, 5)),
    "RandomGibbs": Case(tio.RandomGibbs, Budget(3, 8)),
    "RandomWrap": Case(tio.RandomWrap, Budget(3, 8)),
    "RandomPartialFourier": Case(tio.RandomPartialFourier, Budget(7, 14)),  # two products
    "RandomChemicalShift": Case(tio.RandomChemicalShift, Budget(17, 96)),
    "RandomZipper": Case(tio.RandomZipper, Budget(16, 190, 3)),
    "RandomB0Distortion": Case(tio.RandomB0Distortion, Budget(6, 14)),
    "RandomSliceMotion": Case(tio.RandomSliceMotion, Budget(19, 34)),
    "RandomSpike": Case(tio.RandomSpike, Budget(5.6, 16, 3)),
    "RandomCoilNoise": Case(tio.RandomCoilNoise, Budget(31, 32)),
    "RandomBlur": Case(tio.RandomBlur, Budget(8.5, 14)),
    "RandomAnisotropy": Case(tio.RandomAnisotropy, Budget(3, 10)),
    "RandomAnisotropy, antialias": Case(
        lambda: tio.RandomAnisotropy(antialias=True), Budget(3.4, 15)
    ),
    "RandomReconstructionKernel": Case(tio.RandomReconstructionKernel, Budget(13, 18)),
    "RandomSliceThickness": Case(tio.RandomSliceThickness, Budget(2.9, 8)),
    "RandomLowDose": Case(tio.RandomLowDose, Budget(1030, 240)),
    "RandomStreaks": Case(tio.RandomStreaks, Budget(1040, 240)),
    "RandomBeamHardening": Case(tio.RandomBeamHardening, Budget(1880, 300)),
    "RandomAcousticShadow": Case(lambda: tio.RandomAcousticShadow(_BEAMS), Budget(10.8, 50)),
    "RandomLabelAttenuation": Case(
        lambda: tio.RandomLabelAttenuation(_BEAMS, {1: (1, 2), 2: 4}), Budget(54, 165)
    ),
    "RandomLabelsToUltrasound": Case(
        lambda: tio.RandomLabelsToUltrasound(_BEAMS, used_labels=range(4)), Budget(465, 460)
    ),
    "RandomReverberation": Case(lambda: tio.RandomReverberation(_BEAMS), Budget(50, 176)),
    "RandomAttenuation": Case(lambda: tio.RandomAttenuation(_BEAMS), Budget(9.6, 36)),
    "RandomTimeGain": Case(lambda: tio.RandomTimeGain(_BEAMS), Budget(10.2, 46)),
    "RandomSpeckle": Case(lambda: tio.RandomSpeckle(_BEAMS), Budget(62.5, 150)),
    "RandomHaze": Case(lambda: tio.RandomHaze(_BEAMS), Budget(72, 168)),
    "RandomLowField": Case(tio.RandomLowField, Budget(14.5, 56)),
    "RandomLowResolution": Case(tio.RandomLowResolution, Budget(8.8, 17)),
    "RandomHistogramShift": Case(tio.RandomHistogramShift, Budget(3.7, 28)),
    "RandomSigmoidContrast": Case(tio.RandomSigmoidContrast, Budget(6.1, 36)),
    "RandomCutout": Case(tio.RandomCutout, Budget(1.7, 6)),
    "RandomSwap": Case(tio.RandomSwap, Budget(8, 100)),
    "RandomLabelsToImage": Case(
        lambda: tio.RandomLabelsToImage(label_key="label", used_labels=range(4)), Budget(85, 150)
    ),
    "RandomRings": Case(tio.RandomRings, Budget(21, 215)),
    "RandomSparseView": Case(tio.RandomSparseView, Budget(970, 215)),
    "RandomLimitedAngle": Case(tio.RandomLimitedAngle, Budget(970, 215)),
    "RandomMetal": Case(lambda: tio.RandomMetal("label"), Budget(1590, 250)),
    "Resample": Case(lambda: tio.Resample(2), Budget(1.6, 7)),
    "Resample, antialias": Case(lambda: tio.Resample(2, antialias=True), Budget(9.4, 18)),
    "Resample, bspline": Case(lambda: tio.Resample(1.5, "bspline"), Budget(4.8, 13)),
    "Resize": Case(lambda: tio.Resize(96), Budget(1.8, 7)),
    "CropOrPad": Case(lambda: tio.CropOrPad(144), Budget(1.7, 3)),
    "Pad, reflect": Case(lambda: tio.Pad(8, padding_mode="reflect"), Budget(5, 7)),
    "ToOrientation": Case(lambda: tio.ToOrientation("LPI"), Budget(1.4, 3)),
    "RescaleIntensity": Case(tio.RescaleIntensity, Budget(4, 38)),
    "RescaleIntensity, percentiles": Case(
        lambda: tio.RescaleIntensity(percentiles=(1, 99)), Budget(11, 110)
    ),
    "ZNormalization": Case(tio.ZNormalization, Budget(9, 72)),
    "ZNormalization, masked": Case(lambda: tio.ZNormalization("label"), Budget(15, 82)),
    "HistogramStandardization": Case(
        lambda: tio.HistogramStandardization(_HISTOGRAM), Budget(14, 105)
    ),
    "Mask": Case(lambda: tio.Mask("label"), Budget(2.1, 4)),
    "OneHot": Case(lambda: tio.OneHot(4), Budget(1, 4)),
    "RemapLabels": Case(lambda: tio.RemapLabels({1: 2}), Budget(3.5, 15)),
    "ErodeLabels": Case(lambda: tio.ErodeLabels(2), Budget(53, 64)),
    "DilateLabels": Case(lambda: tio.DilateLabels(2), Budget(47, 57)),
    "Contour": Case(tio.Contour, Budget(4.6, 13)),
}
