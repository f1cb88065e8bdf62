"""Launches, bytes and Fourier passes of transforms of volumes: ``python -m benchmarks.passes``.

Counted on ``meta`` tensors, on the path that a GPU takes: a prediction until a GPU has spoken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import torchio_gpu as tio

from . import records
from .counting import (
    GPUS,
    INSTRUCTIONS,
    LAUNCH,
    about,
    budgets,
    counted,
    origin,
    over_budget,
    rounded,
)
from .workloads import WORKLOADS

SUITE = "passes"
WORKLOAD = "W1"
GPU = GPUS[90]
#: Method, for readers of the table.
HOW = f"""\
- PREDICTION, not a measurement: no GPU was used. Counted: every operator of torch and every \
kernel of this library that a call launches for voxels on an {GPU.name}, and the bytes that each \
must move, with each of its tensors once; Fourier transforms once for each axis, with the copies \
and the scaling that torch adds. An operator takes the longest of three: its bytes at \
{GPU.bandwidth:.3g} B/s, the multiplications of a matrix product in the FMA units ({GPU.sms} x 128 \
a clock of {GPU.clock:.3g} Hz; in the kernel for products along an axis, {INSTRUCTIONS} for \
each), and {LAUNCH} µs from one launch to the next. Other kernels of this library count by their \
bytes alone. Called with image and label map of {WORKLOAD}; a copy reads and writes the image."""
#: What has a budget, see CASES.
BUDGETED = ("predicted, copies", "launches", "Fourier passes")

Result = dict[str, Any]

_POSES = {"degrees": [(5, 0, 0)] * 2, "translation": [(0, 3, 0)] * 2, "times": (0.3, 0.7)}
_BEAMS = {"probe": "convex", "angle": 60, "radius": 50}
_RATES, _FOUR = {1: (1, 2), 2: 4}, {"used_labels": range(4)}
_HISTOGRAM, _RANGE = {"image": np.linspace(0, 100, 13)}, (1, 99)

#: By name: what makes a transform, and its budget, small launches on parameters included: predicted
#: time in copies of the image, launches, and passes of Fourier transforms, none by default.
CASES = {
    "Motion": (lambda: tio.Motion(**_POSES), 10.8, 12),
    "Motion, magnitude": (lambda: tio.Motion(**_POSES, output="magnitude"), 23, 20),
    "RandomMotion": (tio.RandomMotion, 10.8, 16),
    "Ghosting": (lambda: tio.Ghosting(4, 0, 0.5), 2.9, 5),
    "RandomGhosting": (tio.RandomGhosting, 3, 8),
    "Gibbs": (lambda: tio.Gibbs(0.6, 1), 2.9, 5),
    "RandomGibbs": (tio.RandomGibbs, 3, 8),
    "RandomWrap": (tio.RandomWrap, 3, 8),
    "RandomPartialFourier": (tio.RandomPartialFourier, 7, 14),  # two products
    "RandomChemicalShift": (tio.RandomChemicalShift, 17, 96),
    "RandomZipper": (tio.RandomZipper, 16, 190, 3),
    "RandomB0Distortion": (tio.RandomB0Distortion, 6, 14),
    "RandomSliceMotion": (tio.RandomSliceMotion, 19, 34),
    "RandomSpike": (tio.RandomSpike, 5.6, 16, 3),
    "RandomCoilNoise": (tio.RandomCoilNoise, 31, 32),
    "RandomBlur": (tio.RandomBlur, 8.5, 14),
    "RandomAnisotropy": (tio.RandomAnisotropy, 3, 10),
    "RandomAnisotropy, antialias": (lambda: tio.RandomAnisotropy(antialias=True), 3.4, 15),
    "RandomReconstructionKernel": (tio.RandomReconstructionKernel, 13, 18),
    "RandomSliceThickness": (tio.RandomSliceThickness, 2.9, 8),
    "RandomLowDose": (tio.RandomLowDose, 1030, 240),
    "RandomStreaks": (tio.RandomStreaks, 1040, 240),
    "RandomBeamHardening": (tio.RandomBeamHardening, 1880, 300),
    "RandomAcousticShadow": (lambda: tio.RandomAcousticShadow(_BEAMS), 10.8, 50),
    "RandomLabelAttenuation": (lambda: tio.RandomLabelAttenuation(_BEAMS, _RATES), 54, 165),
    "RandomLabelsToUltrasound": (lambda: tio.RandomLabelsToUltrasound(_BEAMS, **_FOUR), 465, 460),
    "RandomReverberation": (lambda: tio.RandomReverberation(_BEAMS), 50, 176),
    "RandomAttenuation": (lambda: tio.RandomAttenuation(_BEAMS), 9.6, 36),
    "RandomTimeGain": (lambda: tio.RandomTimeGain(_BEAMS), 10.2, 46),
    "RandomSpeckle": (lambda: tio.RandomSpeckle(_BEAMS), 62.5, 150),
    "RandomHaze": (lambda: tio.RandomHaze(_BEAMS), 72, 168),
    "RandomLowField": (tio.RandomLowField, 14.5, 56),
    "RandomLowResolution": (tio.RandomLowResolution, 8.8, 17),
    "RandomHistogramShift": (tio.RandomHistogramShift, 3.7, 28),
    "RandomSigmoidContrast": (tio.RandomSigmoidContrast, 6.1, 36),
    "RandomCutout": (tio.RandomCutout, 1.7, 6),
    "RandomSwap": (tio.RandomSwap, 8, 100),
    "RandomLabelsToImage": (lambda: tio.RandomLabelsToImage(label_key="label", **_FOUR), 85, 150),
    "RandomRings": (tio.RandomRings, 21, 215),
    "RandomSparseView": (tio.RandomSparseView, 970, 215),
    "RandomLimitedAngle": (tio.RandomLimitedAngle, 970, 215),
    "RandomMetal": (lambda: tio.RandomMetal("label"), 1590, 250),
    "Resample": (lambda: tio.Resample(2), 1.6, 7),
    "Resample, antialias": (lambda: tio.Resample(2, antialias=True), 9.4, 18),
    "Resample, bspline": (lambda: tio.Resample(1.5, "bspline"), 4.8, 13),
    "Resize": (lambda: tio.Resize(96), 1.8, 7),
    "CropOrPad": (lambda: tio.CropOrPad(144), 1.7, 3),
    "Pad, reflect": (lambda: tio.Pad(8, padding_mode="reflect"), 5, 7),
    "ToOrientation": (lambda: tio.ToOrientation("LPI"), 1.4, 3),
    "RescaleIntensity": (tio.RescaleIntensity, 4, 38),
    "RescaleIntensity, percentiles": (lambda: tio.RescaleIntensity(percentiles=_RANGE), 11, 110),
    "ZNormalization": (tio.ZNormalization, 9, 72),
    "ZNormalization, masked": (lambda: tio.ZNormalization("label"), 15, 82),
    "HistogramStandardization": (lambda: tio.HistogramStandardization(_HISTOGRAM), 14, 105),
    "Mask": (lambda: tio.Mask("label"), 2.1, 4),
    "OneHot": (lambda: tio.OneHot(4), 1, 4),
    "RemapLabels": (lambda: tio.RemapLabels({1: 2}), 3.5, 15),
    "ErodeLabels": (lambda: tio.ErodeLabels(2), 53, 64),
    "DilateLabels": (lambda: tio.DilateLabels(2), 47, 57),
    "Contour": (tio.Contour, 4.6, 13),
}


def look(name: str) -> Result:
    """Count what one transform launches, and predict its time."""
    (make, *most), shape = CASES[name], WORKLOADS[WORKLOAD].shape
    image = torch.empty(shape, device="meta")
    labels = torch.empty(shape, dtype=torch.uint8, device="meta")
    images = {"image": tio.ImagesBatch(image), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    batch, transform = tio.SubjectsBatch(images), make()

    def call() -> None:
        batch.streams = tio.random.Streams(np.arange(shape[0]))
        transform(batch)

    launched = counted(call)
    us, copy = sum(each.us(GPU) for each in launched), 2 * image.nbytes
    return {
        "transform": name,
        "launches": sum(each.launches for each in launched),
        "of them over volumes": sum(each.voxels >= image.numel() // 2 for each in launched),
        "Fourier passes": sum(each.fourier for each in launched),
        "moved, copies": rounded(sum(each.bytes for each in launched) / copy),
        "predicted, µs": rounded(us),
        "predicted, copies": rounded(us / GPU.moves(copy)),
        "budget": dict(zip(BUDGETED, (*most, 0), strict=False)),
    }


def text(result: Result) -> str:
    """Return the table and how it was made."""
    return f"{budgets(result['rows'])}\n\n{HOW}\n{origin(result)}"


main = records.command(
    __doc__,
    lambda: {**about(SUITE), "rows": [look(name) for name in CASES]},
    text,
    lambda result: [row["transform"] for row in result["rows"] if over_budget(row)],
    output={"default": records.FOLDER / f"{SUITE}.json"},
)

if __name__ == "__main__":
    main()
